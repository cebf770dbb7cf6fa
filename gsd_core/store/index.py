"""Nearest directions without reading all of them: a vector index of a checkpoint's records.

INDEX_ABOVE_BYTES, FEWEST_ROWS   from which size an index saves time
needs_index         whether a checkpoint is so big
has_index           whether a records table has an index
build_index         build the index of a records table and measure its recall
find_nearest        rows nearest to a direction, by exact cosines
FACTORS, RECALL_AT, GOOD_RECALL, SAME   how recall is measured
PARTITIONS, BITS, Keep   form of the index; a filter of rows

The index is Lance's: RaBitQ codes of five bits for each value (Gao and Long 2024, arXiv 2405.12497), by inner product.
All partitions are read, which takes 13 ms for a million rows of width 1,024. Reading 64 of 1,000 partitions missed a
quarter of the neighbours; the codes missed none (``docs/store.md``).

The index holds stored directions v; a search needs their centred cosine ``(v − m)·t / |v − m|``, with the corpus mean m
and the centred unit query t. Near neighbours of cosine c it ranks, to first order, like the inner product of v with
``t + (c / |q − m|)·m``. A first search finds c, a second one the candidates. They are ranked by the exact cosines of
their stored directions (methods §1.4.7).
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
FACTORS = (4, 8, 16, 32, 64)  # candidates for each neighbour; the first good one is used
GOOD_RECALL = 0.98
RECALL_AT = 50
SAME = 1e-4  # neighbours whose cosines differ by less are equally good
_EVERY = 10**6  # more partitions than any index has
_QUERIES = 40
_FIRST_LEVEL = 0.5
_COLUMNS = ["batch", "position", "sample", "index", "direction"]

Keep = Callable[[pa.Table], np.ndarray]


def needs_index(n_rows: int, width: int) -> bool:
    """Whether an index makes the search of ``n_rows`` directions faster."""
    return n_rows >= FEWEST_ROWS and 2 * n_rows * width > INDEX_ABOVE_BYTES


def has_index(rows: Any) -> bool:
    """Whether an opened records table (``LanceDataset``) has an index."""
    return any("direction" in each["fields"] for each in rows.list_indices())


def build_index(records: Table, width: int) -> dict[str, Any]:
    """Index the directions of a records table. Returns ``{n_rows, factor, recall, recall_at, seconds}``.

    Recall is measured with searches like those of pages: 40 seeded stored directions, centred, without their own
    sample. It is the share of the 50 found whose cosine is at most 1e-4 below the true 50th. ``factor`` is the smallest
    number of candidates for each neighbour that reaches 0.98, or the largest one.
    """
    started = time.monotonic()
    rows: Any = records.open()
    n_rows = rows.count_rows()
    rows.create_index("direction", "IVF_RQ", metric="dot", num_partitions=PARTITIONS, num_bits=BITS, replace=True)
    rows = records.open()
    centring = Centring(compute_mean((stored for stored, _ in _iter_rows(rows, width)), width))
    queries, owners = _draw_queries(rows, width)
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
    """The `top` rows nearest to the stored direction ``query`` (P,), among those for which ``keep`` is true.

    ``keep`` gets candidates with the columns ``batch, position, sample, index``. Returns such rows and their
    exact centred cosines (r,) float32, best first, equal ones in capture order. Rows written after the index are
    searched too.
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
    """At least half of ``size`` kept candidates with their exact cosines, in any order."""
    n_rows, k = rows.count_rows(), size
    while True:
        nearest = {"column": "direction", "q": asked, "k": k, "nprobes": _EVERY, "metric": "dot"}
        found = rows.scanner(columns=[*_COLUMNS, "_distance"], nearest=nearest).to_table()
        is_kept = keep(found)
        if 2 * np.count_nonzero(is_kept) >= size or k >= n_rows:
            break
        k *= 4  # the query's own long sample can fill the first candidates
    found = found.filter(pa.array(is_kept))
    stored = to_matrix(found.column("direction"), len(asked)).astype(np.float32)
    return found.drop_columns(["direction", "_distance"]), centring.compute_cosines(stored, unit)


def _iter_rows(rows: Any, width: int) -> Iterator[tuple[np.ndarray, pa.Array]]:
    """Pieces of all stored directions (m, P) float16, and their samples (m,)."""
    for piece in rows.scanner(columns=["sample", "direction"], batch_size=8192).to_batches():
        yield to_matrix(piece.column("direction"), width), piece.column("sample")


def _draw_queries(rows: Any, width: int) -> tuple[np.ndarray, list[str]]:
    """(q, P) float32 stored directions except zeros, and their samples."""
    n_rows = rows.count_rows()
    drawn = np.random.default_rng(0).choice(n_rows, size=min(4 * _QUERIES, n_rows), replace=False)
    taken = rows.take(drawn, columns=["sample", "direction"])
    stored = to_matrix(taken.column("direction"), width).astype(np.float32)
    held = np.flatnonzero(stored.any(axis=1))[:_QUERIES]
    return stored[held], taken.column("sample").take(pa.array(held)).to_pylist()


def _find_last(rows: Any, width: int, queries: np.ndarray, owners: list[str], centring: Centring) -> np.ndarray:
    """(q, 50) float32: the largest cosines of each query to rows of other samples, from all rows."""
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
