"""Reading one checkpoint: a fixed view of its finished batches, in capture order.

CheckpointView   one checkpoint at the moment when it was opened; n spans
open_view        the newest view, or the known one if nothing changed
join_span_ids    span ids of whole columns

Markers are opened before records, so every batch with a marker is whole in the records. Rows of other batches (of a
running or killed commit) are left out. Capture order is (batch, position), not the order of writing, so a resumed run
reads like an undisturbed one.
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
from gsd_core.comparison.nearest import rank_best
from gsd_core.store.index import find_nearest, has_index
from gsd_core.store.tables import Table, to_matrix

_READ_BYTES = 4 * 2**20  # directions held in memory at once while streaming


@dataclass
class CheckpointView:
    """A consistent view of one checkpoint; its rows are spans in capture order.

    ``order`` (n,) int64: offset of each row in the records table; ``keys`` (n,) int64: batch and position of each row
    as one ascending number; ``batches``: the finished batches.
    """

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
        """(records,) int64: row of each record in the view, −1 for records of unfinished batches."""
        rank = np.full(self.records.count_rows() if self.records is not None else 0, -1, dtype=np.int64)
        rank[self.order] = np.arange(len(self.order))
        return rank

    @cached_property
    def _is_plain(self) -> bool:
        return len(self.order) == len(self.rank) and bool((self.rank[:-1] < self.rank[1:]).all())

    def read_columns(self, names: Sequence[str]) -> pa.Table:
        """These columns of every span, in capture order."""
        assert self.records is not None
        table = self.records.to_table(columns=list(names), scan_in_order=True)
        return table if self._is_plain else table.take(pa.array(self.order))

    def iter_directions(self, start: int, stop: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pieces ``(rows (m,) int64, directions (m, P) float16)`` of the rows ``start:stop``, in any order."""
        if self.records is None or stop <= start:
            return
        wanted = self.order[start:stop]
        first, last = int(wanted.min()), int(wanted.max()) + 1
        scanner = self.records.scanner(
            columns=["direction"],
            offset=first,
            limit=last - first,
            batch_size=max(256, _READ_BYTES // (2 * self.sketch_width)),
            batch_readahead=2,
            scan_in_order=True,
        )
        at = first
        for piece in scanner.to_batches():
            rows = self.rank[at : at + piece.num_rows]
            at += piece.num_rows
            directions = to_matrix(piece.column("direction"), self.sketch_width)
            inside = (rows >= start) & (rows < stop)
            if inside.all():
                yield rows, directions
            elif inside.any():
                yield rows[inside], directions[inside]

    def read_directions(self, start: int, stop: int) -> np.ndarray:
        """(stop − start, P) float16 directions in capture order."""
        out = np.empty((max(0, stop - start), self.sketch_width), np.float16)
        for rows, directions in self.iter_directions(start, stop):
            out[rows - start] = directions
        return out

    def take_directions(self, rows: np.ndarray) -> np.ndarray:
        """(m, P) float16 directions of ``rows``, which may repeat and be in any order."""
        if self.records is None or not len(rows):
            return np.empty((0, self.sketch_width), np.float16)
        offsets, back = np.unique(self.order[rows], return_inverse=True)
        taken = self.records.take(offsets, columns=["direction"])
        return to_matrix(taken.column("direction"), self.sketch_width)[back]

    @cached_property
    def _owners(self) -> pa.Table:
        return self.read_columns(["sample", "index"])

    def compute_cosines(self, query: np.ndarray, centring: Centring) -> np.ndarray:
        """(n,) float32 cosine of ``query`` (P,) to each direction, all centred alike; 0 without a direction."""
        cosines = np.zeros(len(self), np.float32)
        unit = centring.apply(query[None])[0]
        if not unit.any():
            return cosines
        buffer = np.empty((0, self.sketch_width), np.float32)  # reused: new memory costs more than the arithmetic
        for rows, directions in self.iter_directions(0, len(self)):
            if len(buffer) < len(directions):
                buffer = np.empty(directions.shape, np.float32)
            piece = buffer[: len(directions)]
            piece[...] = directions
            cosines[rows] = centring.compute_cosines(piece, unit)
        return cosines

    def find_exact(
        self, query: np.ndarray, centring: Centring, top: int, exclude_sample: str | None
    ) -> tuple[np.ndarray, pa.Table, np.ndarray]:
        """What ``find_nearest`` gives, from all directions."""
        cosines = self.compute_cosines(query, centring)
        rows = np.arange(len(self))
        if exclude_sample is not None:
            # Not by NumPy, which ignores zero characters at the end of a text.
            rows = rows[pc.not_equal(self._owners.column("sample"), exclude_sample).to_numpy()]
        rows = rank_best(cosines, rows, top)
        return rows, self._owners.take(pa.array(rows)), cosines[rows]

    @cached_property
    def has_index(self) -> bool:
        """Whether the records have a search index."""
        return self.records is not None and has_index(self.records)

    def find_nearest(
        self, query: np.ndarray, centring: Centring, top: int, exclude_sample: str | None, factor: int
    ) -> tuple[np.ndarray, pa.Table, np.ndarray]:
        """The best `top` by the index, best first: rows (r,), their ``sample`` and ``index``, and
        exact cosines (r,).

        ``factor`` is the number of candidates for each of them.
        """

        def keep(found: pa.Table) -> np.ndarray:
            is_wanted = np.isin(found.column("batch").to_numpy(), self.batches)
            if exclude_sample is not None:
                is_wanted &= pc.not_equal(found.column("sample"), exclude_sample).to_numpy()
            return is_wanted

        rows, cosines = find_nearest(self.records, query, centring, top, keep, factor)
        keys = _number(*(rows.column(name).to_numpy() for name in ("batch", "position")))
        return np.searchsorted(self.keys, keys), rows.select(["sample", "index"]), cosines

    def read_losses(self, sample: str) -> np.ndarray | None:
        """(T,) float32 token losses of a sample, None if it was not captured."""
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
        """``sample, reason`` of the skipped samples, in capture order."""
        if self.captured is None:
            return pd.DataFrame({"sample": pd.Series(dtype=object), "reason": pd.Series(dtype=object)})
        rows = self.captured.to_table(columns=["batch", "position", "sample", "reason"])
        rows = rows.filter(pc.is_valid(rows.column("reason")))
        rows = rows.sort_by([("batch", "ascending"), ("position", "ascending")])
        return rows.select(["sample", "reason"]).to_pandas()


def join_span_ids(samples: Any, indices: Any) -> Any:
    """Span ids from columns of samples and K, like ``types.join_span``."""
    return pc.binary_join_element_wise(samples, pc.cast(indices, pa.string()), "#")


def open_view(
    records: Table, captured: Table, sketch_width: int, known: CheckpointView | None = None
) -> CheckpointView:
    """The newest view of a checkpoint's tables, or ``known`` if neither table changed."""
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
    """(n,) int64 that are ordered by batch, then position."""
    return (batch.astype(np.int64) << 32) + position
