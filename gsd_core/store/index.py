"""Nearest directions without reading all of them: a vector index beside the records of a checkpoint.

INDEX_ABOVE_BYTES   from how many bytes of directions an index pays: below, reading them all is as quick
needs_index         whether a checkpoint is so big
has_index           whether a records table has its index
build_index         build (or rebuild) the index of a records table and measure how it has to be asked
find_nearest        rows nearest to a direction, by their exact cosines

The index is Lance's: RaBitQ codes of five bits a value (Gao and Long 2024, arXiv 2405.12497), by inner product. *Every*
partition is read: at a million rows of width 1,024 that takes 13 ms, while 64 of 1,000 partitions missed a quarter of
the neighbours and the codes themselves missed none (``docs/store.md``).

The index knows stored directions v, a search wants their cosine less the corpus mean m. That is
``(v − m)·t / |v − m|`` with ``t`` the unit query less m. For unit v the length |v − m| depends on v·m alone, so to the
first order, around neighbours of cosine c, it ranks like the inner product of v with ``t + (c / |q − m|)·m``: a first
question finds c, a second the candidates, which are ranked by the exact cosines of their stored directions. Without
that term tight clusters come out in the order of v·m (``docs/store.md``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gsd_core.comparison.centring import Centring, compute_mean
from gsd_core.store.tables import Table, to_matrix

INDEX_ABOVE_BYTES = 200 * 2**20
FEWEST_ROWS = 10_000  # too few to train on
PARTITIONS, BITS = 64, 5
FACTORS = (4, 8, 16, 32, 64)  # candidates for each neighbour asked for; the first that is good enough is used
GOOD_RECALL = 0.98
RECALL_AT = 50
SAME = 1e-4  # neighbours whose cosines differ by less are equally good
_EVERY = 10**6  # more partitions than any index has
_QUERIES = 40
_FIRST_LEVEL = 0.5
_COLUMNS = ["batch", "position", "sample", "direction"]

Keep = Callable[[pa.Table], np.ndarray]


def needs_index(n_rows: int, width: int) -> bool:
    """Whether n directions of that width are quicker to search with an index."""
    return n_rows >= FEWEST_ROWS and 2 * n_rows * width > INDEX_ABOVE_BYTES


def has_index(rows: Any) -> bool:
    """Whether an opened records table (``LanceDataset``) has its index."""
    return any("direction" in each["fields"] for each in rows.list_indices())


def build_index(records: Table, width: int, seed: int = 0) -> dict[str, Any]:
    """Index the directions of a records table; ``{n_rows, factor, recall, recall_at, seconds}``.

    Recall is measured as pages ask: 40 seeded stored directions, centred by the mean of all, their own samples left
    out. It is the share of the 50 found whose cosine is no more than 1e-4 below that of the true 50th, which a pass
    over everything gives. ``factor`` is the smallest number of candidates a neighbour with a recall of 0.98, or the
    largest tried.
    """
    started = time.monotonic()
    rows: Any = records.open()
    n_rows = rows.count_rows()
    rows.create_index(
        "direction", "IVF_RQ", metric="dot", num_partitions=PARTITIONS, num_bits=BITS, replace=True
    )
    rows = records.open()
    centring = Centring(compute_mean((stored for stored, _ in _iter_rows(rows, width)), width))
    queries, owners = _draw_queries(rows, width, seed)
    wanted = _find_last(rows, width, queries, owners, centring)
    factor, recall = FACTORS[0], 1.0
    for factor in FACTORS:
        recall = _measure_recall(rows, queries, owners, centring, wanted, factor)
        if recall >= GOOD_RECALL:
            break
    return {
        "n_rows": n_rows,
        "factor": factor,
        "recall": recall,
        "recall_at": RECALL_AT,
        "seconds": time.monotonic() - started,
    }


def find_nearest(
    rows: Any, query: np.ndarray, centring: Centring, top: int, keep: Keep, factor: int = FACTORS[-1]
) -> tuple[pa.Table, np.ndarray]:
    """The `top` rows nearest to ``query`` (P,), which is a direction as stored, among those that ``keep`` is true for.

    ``keep`` gets candidates with the columns ``batch, position, sample``. Returns such rows and (r,) float32 exact
    cosines, query and rows centred alike; best first, equal ones in capture order. Rows that were stored after the
    index are searched too.
    """
    unit = query[None].astype(np.float32)
    length = centring.subtract(unit)[0]
    asked = unit = unit[0] / length
    size = factor * max(top, RECALL_AT)
    if centring.mean.any() and unit.any():
        pull = centring.mean / length
        cosines = np.sort(_ask(rows, asked + _FIRST_LEVEL * pull, unit, centring, 2 * top, keep)[1])
        level = float(cosines[-top:][0]) if len(cosines) else 0.0
        asked = asked + max(level, 0.0) * pull
    found, cosines = _ask(rows, asked, unit, centring, size, keep)
    position, batch = found.column("position").to_numpy(), found.column("batch").to_numpy()
    best = np.lexsort((position, batch, -cosines))[:top]
    return found.take(pa.array(best)), cosines[best]


def _ask(
    rows: Any, asked: np.ndarray, unit: np.ndarray, centring: Centring, size: int, keep: Keep
) -> tuple[pa.Table, np.ndarray]:
    """At least half of ``size`` candidates that are kept, with their exact cosines, in no particular order."""
    n_rows, k = rows.count_rows(), size
    while True:
        nearest = {"column": "direction", "q": asked, "k": k, "nprobes": _EVERY, "metric": "dot"}
        found = rows.scanner(columns=[*_COLUMNS, "_distance"], nearest=nearest).to_table()
        is_kept = keep(found)
        if 2 * np.count_nonzero(is_kept) >= size or k >= n_rows:
            break
        k *= 4  # a long sample of its own can fill the first candidates
    found = found.filter(pa.array(is_kept))
    stored = to_matrix(found.column("direction"), len(asked)).astype(np.float32)
    return found.drop_columns(["direction", "_distance"]), centring.compute_cosines(stored, unit)


def _iter_rows(rows: Any, width: int) -> Iterator[tuple[np.ndarray, pa.Array]]:
    """Pieces of all stored directions (m, P) float16, and their samples (m,)."""
    for piece in rows.scanner(columns=["sample", "direction"], batch_size=8192).to_batches():
        yield to_matrix(piece.column("direction"), width), piece.column("sample")


def _draw_queries(rows: Any, width: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """(q, P) float32 stored directions that are not zero, and their samples."""
    n_rows = rows.count_rows()
    drawn = np.random.default_rng(seed).choice(n_rows, size=min(4 * _QUERIES, n_rows), replace=False)
    taken = rows.take(drawn, columns=["sample", "direction"])
    stored = to_matrix(taken.column("direction"), width).astype(np.float32)
    held = np.flatnonzero(stored.any(axis=1))[:_QUERIES]
    return stored[held], taken.column("sample").take(pa.array(held)).to_pylist()


def _find_last(
    rows: Any, width: int, queries: np.ndarray, owners: list[str], centring: Centring
) -> np.ndarray:
    """(q, 50) float32 the largest cosines of each query to rows of other samples, by reading everything."""
    units = centring.apply(queries).T
    names = list(dict.fromkeys(owners))
    own = np.array([names.index(owner) for owner in owners], dtype=np.int64)
    best = np.full((len(queries), RECALL_AT), -2.0, dtype=np.float32)
    for stored, samples in _iter_rows(rows, width):
        cosines = centring.compute_cosines(stored.astype(np.float32), units).T
        held = pc.index_in(samples, value_set=pa.array(names)).fill_null(-1).to_numpy()
        cosines[own[:, None] == held[None]] = -2.0
        both = np.concatenate([best, cosines], axis=1)
        best = -np.partition(-both, RECALL_AT - 1, axis=1)[:, :RECALL_AT]
    return best


def _measure_recall(
    rows: Any,
    queries: np.ndarray,
    owners: list[str],
    centring: Centring,
    wanted: np.ndarray,
    factor: int,
) -> float:
    shares = []
    for query, owner, best in zip(queries, owners, wanted, strict=True):
        true = best[best >= -1.0]
        if len(true):
            _, cosines = find_nearest(rows, query, centring, len(true), _leave_out(owner), factor)
            shares.append(np.count_nonzero(cosines >= true.min() - SAME) / len(true))
    return float(np.mean(shares)) if shares else 1.0


def _leave_out(sample: str) -> Keep:
    return lambda found: np.asarray(pc.not_equal(found.column("sample"), sample).to_numpy())
