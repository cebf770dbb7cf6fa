"""Aligned spans: the nearest directions of *other* samples.

compute_neighbors    indices and cosines of the best aligned spans, the query's own sample left out

A cosine is no finding by itself: show it with p or q from `nulls`.
"""

from __future__ import annotations

import numpy as np

from gsd_core.comparison.centring import check_finite

BATCH = 16_384


def compute_neighbors(
    directions: np.ndarray,
    query: int | np.ndarray,
    samples: np.ndarray,
    top: int = 10,
    exclude_sample: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The ``top`` spans of other samples by cosine with one direction. Source: methods §1.4, "ours".

    Parameters
    ----------
    directions
        (n, P) centred, unit norm or zero. Zero rows have no direction and are never neighbours.
    query
        Row number, or a (P,) direction of any length centred in the same way (`apply_centring`).
    samples
        (n,) sample id of each row. The query row's own sample is left out.
    exclude_sample
        Sample left out when ``query`` is a vector; with a row number it must be None.

    Returns
    -------
    indices (r,) int64 and cosines (r,) float32, best first, equal cosines in row order; r <= top. Empty for a
    query without direction.

    Raises
    ------
    ValueError
        A query row or width that does not exist, NaN in the query, or a different number of samples and rows.
    """
    n = len(directions)
    samples = np.asarray(samples)
    if len(samples) != n:
        raise ValueError(f"{n} directions but {len(samples)} sample ids; give one id per row")
    if isinstance(query, (int, np.integer)):
        if not 0 <= query < n:
            raise ValueError(f"query row {query} does not exist; rows are 0 to {n - 1}")
        if exclude_sample is not None:
            raise ValueError("exclude_sample goes with a query vector; a query row leaves its own sample out")
        vector, exclude_sample = directions[query], samples[query]
    else:
        vector = np.asarray(query)
        if vector.shape != directions.shape[1:]:
            raise ValueError(f"query has shape {vector.shape}, directions have width {directions.shape[1]}")
    check_finite(vector[None, :], "query")
    vector = np.asarray(vector, dtype=np.float32)
    length = float(np.linalg.norm(vector))
    if length == 0.0 or top <= 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)

    cosines = np.empty(n, dtype=np.float32)
    candidate = np.ones(n, dtype=bool) if exclude_sample is None else np.asarray(samples != exclude_sample)
    for start in range(0, n, BATCH):
        rows = np.asarray(directions[start : start + BATCH], dtype=np.float32)
        cosines[start : start + BATCH] = rows @ (vector / length)
        candidate[start : start + BATCH] &= np.any(rows != 0, axis=1)
    indices = np.flatnonzero(candidate)
    if top < len(indices):
        # Everything as good as the last place first, so that ties are settled by row order and not by chance.
        last = np.partition(cosines[indices], len(indices) - top)[len(indices) - top]
        indices = indices[cosines[indices] >= last]
    order = np.argsort(-cosines[indices], kind="stable")[:top]
    return indices[order], np.clip(cosines[indices[order]], -1.0, 1.0)
