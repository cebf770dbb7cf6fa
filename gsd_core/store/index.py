"""Nearest directions without reading all of them: a vector index beside the records of a checkpoint.

INDEX_ABOVE_BYTES   from how many bytes of directions an index pays: below, reading them all is as quick
build_index         build (or rebuild) the index of a records table and measure its recall
find_candidates     rows near a query, to be ranked exactly by the caller

The index is Lance's IVF with RaBitQ codes, by inner product. A centred cosine ``(v − m)·(q − m) / ‖v − m‖`` is, up to
a constant and the row's length, the inner product of the stored ``v`` with ``q − m``; candidates are therefore found
by that product and ranked by the exact centred cosine of their stored directions. Measured on 200,000 × 1,024 planted
directions: recall of the best 50 0.98 at 10 partitions and 100 candidates, 5 ms a query, against 0.95 for scalar
codes at 80 partitions.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pyarrow as pa

from gsd_core.store.tables import Table, to_matrix

INDEX_ABOVE_BYTES = 200 * 2**20
FEWEST_ROWS = 10_000  # too few to train partitions on
PROBES = 64
REFINE = 16  # candidates for each neighbour asked for
FEWEST_CANDIDATES = 400
_CHECKED_QUERIES, _CHECKED_TOP = 20, 50


def needs_index(n_rows: int, width: int) -> bool:
    """Whether n directions of that width are quicker to search with an index."""
    return n_rows >= FEWEST_ROWS and 2 * n_rows * width > INDEX_ABOVE_BYTES


def has_index(rows: Any) -> bool:
    """Whether an opened records table (``LanceDataset``) has its index."""
    return any("direction" in each["fields"] for each in rows.list_indices())


def build_index(records: Table, width: int, seed: int = 0) -> dict[str, Any]:
    """Index the directions of a records table; ``{n_rows, n_partitions, recall, recall_at, seconds}``.

    Recall is measured on stored directions as queries: the share of the 50 largest inner products, found by reading
    everything, that are among the candidates. Zero directions never matter: their product is 0.
    """
    started = time.monotonic()
    rows: Any = records.open()
    n_rows = rows.count_rows()
    n_partitions = max(16, int(n_rows**0.5))
    rows.create_index("direction", "IVF_RQ", metric="dot", num_partitions=n_partitions, replace=True)
    rows = records.open()
    return {
        "n_rows": n_rows,
        "n_partitions": n_partitions,
        "recall": _measure_recall(rows, width, seed),
        "recall_at": _CHECKED_TOP,
        "seconds": time.monotonic() - started,
    }


def find_candidates(
    rows: Any, query: np.ndarray, top: int, columns: list[str], n_probes: int = PROBES
) -> pa.Table:
    """At least `top` rows near `query` (P,) by inner product, with `columns`, in no particular order.

    Rows that were stored after the index are searched too.
    """
    scanner = rows.scanner(
        columns=[*columns, "_distance"],
        nearest={
            "column": "direction",
            "q": np.asarray(query, np.float32),
            "k": max(FEWEST_CANDIDATES, REFINE * top),
            "nprobes": n_probes,
            "metric": "dot",
        },
    )
    return scanner.to_table().drop_columns(["_distance"])


def _measure_recall(rows: Any, width: int, seed: int) -> float:
    n_rows = rows.count_rows()
    places = np.sort(
        np.random.default_rng(seed).choice(n_rows, size=min(_CHECKED_QUERIES, n_rows), replace=False)
    )
    queries = to_matrix(rows.take(places, columns=["direction"]).column("direction"), width).astype(
        np.float32
    )
    best = np.full((len(queries), 0), 0.0, dtype=np.float32)
    keys = np.zeros((len(queries), 0), dtype=np.int64)
    start = 0
    for piece in rows.scanner(columns=["direction"], scan_in_order=True, batch_size=8192).to_batches():
        products = queries @ to_matrix(piece.column("direction"), width).astype(np.float32).T
        here = np.broadcast_to(np.arange(start, start + piece.num_rows), products.shape)
        best, keys = np.concatenate([best, products], 1), np.concatenate([keys, here], 1)
        kept = np.argsort(-best, axis=1)[:, :_CHECKED_TOP]
        best, keys = np.take_along_axis(best, kept, 1), np.take_along_axis(keys, kept, 1)
        start += piece.num_rows
    truth = rows.take(np.unique(keys), columns=["batch", "position"])
    names = dict(zip(np.unique(keys).tolist(), _keys_of(truth), strict=True))
    hits = 0
    for query, wanted in zip(queries, keys, strict=True):
        found = set(_keys_of(find_candidates(rows, query, _CHECKED_TOP, ["batch", "position"])))
        hits += sum(names[key] in found for key in wanted.tolist())
    return hits / max(1, keys.size)


def _keys_of(rows: pa.Table) -> list[tuple[int, int]]:
    return list(zip(rows.column("batch").to_pylist(), rows.column("position").to_pylist(), strict=True))
