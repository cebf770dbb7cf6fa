"""Reading one checkpoint: a fixed view of its finished batches, in capture order.

CheckpointView   what one checkpoint held at the moment it was opened; n spans
open_view        the newest view, or the one in hand when nothing has changed

Markers are opened before records. Every batch that a marker names is therefore whole in the records, and rows of
other batches (a commit under way, or one that was killed) are left out. Capture order is (batch, position), whatever
the order in which batches reached the disk: an interrupted and resumed run reads like an undisturbed one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from gsd_core.comparison.centring import Centring
from gsd_core.store.index import find_nearest, has_index
from gsd_core.store.tables import Table, to_matrix

_READ_BYTES = 4 * 2**20  # directions held in memory at once while streaming


@dataclass
class CheckpointView:
    """A consistent view of one checkpoint. ``order`` (n,) int64: row offset of each span, in capture order; ``keys``
    (n,) int64 number its batch and position; ``batches`` are those that are finished."""

    records: Any | None
    captured: Any | None
    sketch_width: int
    order: np.ndarray
    versions: tuple[int, int]
    batches: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    keys: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    _losses_at: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.order)

    @cached_property
    def rank(self) -> np.ndarray:
        """(rows of the table,) int64: place of each row in capture order, −1 for rows of unfinished batches."""
        rank = np.full(self.records.count_rows() if self.records is not None else 0, -1, dtype=np.int64)
        rank[self.order] = np.arange(len(self.order))
        return rank

    @cached_property
    def _is_plain(self) -> bool:
        return len(self.order) == len(self.rank) and bool((self.rank[:-1] < self.rank[1:]).all())

    def read_columns(self, names: Sequence[str]) -> pa.Table:
        """These columns of every span, in capture order."""
        assert self.records is not None
        rows = self.records.to_table(columns=list(names), scan_in_order=True)
        return rows if self._is_plain else rows.take(pa.array(self.order))

    def iter_directions(self, start: int, stop: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pieces ``(places (m,) int64, directions (m, P) float16)`` of the spans ``start:stop``, in no fixed order."""
        if self.records is None or stop <= start:
            return
        wanted = self.order[start:stop]
        first, last = int(wanted.min()), int(wanted.max()) + 1
        rows = max(256, _READ_BYTES // (2 * self.sketch_width))
        scanner = self.records.scanner(
            columns=["direction"],
            offset=first,
            limit=last - first,
            batch_size=rows,
            batch_readahead=2,
            scan_in_order=True,
        )
        at = first
        for piece in scanner.to_batches():
            places = self.rank[at : at + piece.num_rows]
            at += piece.num_rows
            directions = to_matrix(piece.column("direction"), self.sketch_width)
            inside = (places >= start) & (places < stop)
            if inside.all():
                yield places, directions
            elif inside.any():
                yield places[inside], directions[inside]

    def read_directions(self, start: int, stop: int) -> np.ndarray:
        """(stop − start, P) float16 directions in capture order."""
        out = np.empty((max(0, stop - start), self.sketch_width), np.float16)
        for places, directions in self.iter_directions(start, stop):
            out[places - start] = directions
        return out

    def take_directions(self, places: np.ndarray) -> np.ndarray:
        """(m, P) float16 directions of the spans at ``places``, which may repeat and come in any order."""
        if self.records is None or not len(places):
            return np.empty((0, self.sketch_width), np.float16)
        offsets, back = np.unique(self.order[places], return_inverse=True)
        rows = self.records.take(offsets, columns=["direction"])
        return to_matrix(rows.column("direction"), self.sketch_width)[back]

    @cached_property
    def _owners(self) -> pa.Table:
        return self.read_columns(["sample", "index"])

    def span_ids(self, places: np.ndarray | None = None) -> pa.ChunkedArray | pa.Array:
        """Span ids ``SAMPLE#K`` in capture order, or of the given places."""
        rows = self._owners if places is None else self._owners.take(pa.array(places))
        return join_span_ids(rows.column("sample"), rows.column("index"))

    def sample_ids(self, places: np.ndarray | None = None) -> pa.ChunkedArray:
        """Sample of each span in capture order, or of the given places."""
        column = self._owners.column("sample")
        return column if places is None else column.take(pa.array(places))

    def compute_cosines(self, query: np.ndarray, centring: Centring) -> np.ndarray:
        """(n,) float32 cosine of ``query`` (P,) to each direction, all centred alike; 0 where one has no direction."""
        cosines = np.zeros(len(self), np.float32)
        unit = centring.apply(query[None])[0]
        if not unit.any():
            return cosines
        buffer = np.empty(
            (0, self.sketch_width), np.float32
        )  # kept: fresh pages cost more than the arithmetic
        for places, directions in self.iter_directions(0, len(self)):
            if len(buffer) < len(directions):
                buffer = np.empty(directions.shape, np.float32)
            piece = buffer[: len(directions)]
            piece[...] = directions
            cosines[places] = centring.compute_cosines(piece, unit)
        return cosines

    @cached_property
    def has_index(self) -> bool:
        """Whether directions can be searched without reading them all."""
        return self.records is not None and has_index(self.records)

    def find_nearest(
        self, query: np.ndarray, centring: Centring, top: int, exclude_sample: str | None, factor: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best `top` by the index: places (r,) in capture order and exact cosines (r,), best first.

        ``factor``: candidates for each neighbour asked for.
        """

        def keep(found: pa.Table) -> np.ndarray:
            is_wanted = np.isin(found.column("batch").to_numpy(), self.batches)
            if exclude_sample is not None:
                is_wanted &= pc.not_equal(found.column("sample"), exclude_sample).to_numpy()
            return is_wanted

        rows, cosines = find_nearest(self.records, query, centring, top, keep, factor)
        keys = _number(*(rows.column(name).to_numpy() for name in ("batch", "position")))
        return np.searchsorted(self.keys, keys), cosines

    def read_losses(self, sample: str) -> np.ndarray | None:
        """(T,) float32 token losses of a sample, None where it was not captured."""
        if self.captured is None:
            return None
        if not self._losses_at:
            ids = self.captured.to_table(columns=["sample"], scan_in_order=True).column("sample").to_pylist()
            self._losses_at = {each: at for at, each in enumerate(ids) if each is not None}
        at = self._losses_at.get(sample)
        if at is None:
            return None
        value = self.captured.take([at], columns=["token_losses"]).column("token_losses")[0].values
        return None if value is None else value.to_numpy(zero_copy_only=False).astype(np.float32)

    def read_skipped(self) -> pd.DataFrame:
        """``sample, reason`` of the samples that capture left out here, in capture order."""
        if self.captured is None:
            return pd.DataFrame({"sample": pd.Series(dtype=object), "reason": pd.Series(dtype=object)})
        rows = self.captured.to_table(columns=["batch", "position", "sample", "reason"])
        rows = rows.filter(pc.is_valid(rows.column("reason")))
        rows = rows.sort_by([("batch", "ascending"), ("position", "ascending")])
        return rows.select(["sample", "reason"]).to_pandas()


def join_span_ids(samples: Any, indices: Any) -> Any:
    """Span ids from columns of samples and K, as ``types.join_span`` makes one."""
    return pc.binary_join_element_wise(samples, pc.cast(indices, pa.string()), "#")


def open_view(
    records: Table, captured: Table, sketch_width: int, known: CheckpointView | None = None
) -> CheckpointView:
    """The newest view of a checkpoint's tables; ``known`` itself when neither table has changed since."""
    marks = captured.open()  # before the records, see above
    rows = records.open() if marks is not None else None
    versions = (marks.version if marks is not None else 0, rows.version if rows is not None else 0)
    if known is not None and known.versions == versions:
        return known
    if marks is None or rows is None:
        return CheckpointView(None, marks, sketch_width, np.zeros(0, np.int64), versions)
    finished = np.unique(marks.to_table(columns=["batch"]).column("batch").to_numpy())
    keys = rows.to_table(columns=["batch", "position"], scan_in_order=True)
    batch, position = keys.column("batch").to_numpy(), keys.column("position").to_numpy()
    numbers = _number(batch, position)
    offsets = np.flatnonzero(np.isin(batch, finished))
    order = offsets[np.argsort(numbers[offsets], kind="stable")].astype(np.int64)
    return CheckpointView(rows, marks, sketch_width, order, versions, finished, numbers[order])


def _number(batch: np.ndarray, position: np.ndarray) -> np.ndarray:
    """(n,) int64 that ascend with batch, then position."""
    return (batch.astype(np.int64) << 32) + position
