"""Aligned spans: the nearest directions of *other* samples.

Directions           centred directions of a checkpoint with their null and, where it is needed, an index
Neighbors            the best aligned spans of one span
find_neighbors       Neighbors: the one answer of ``gsd neighbors`` and of the pages
compute_neighbors    indices and cosines of the best aligned rows of an array
rank_best            the rows with the largest cosines

A cosine is no finding by itself: it stands beside its q.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gsd_core.comparison.centring import Rows, check_finite, find_alive
from gsd_core.comparison.nulls import Null
from gsd_core.comparison.wording import Wording

BATCH = 16_384

Search = Callable[[int, int], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Directions:
    """Directions of a checkpoint as everything compares them; made by ``gsd_core.store.load_directions``.

    ``rows`` (n, P) float32, centred, unit norm (zero where the gradient is zero), in capture order: an array, or of a
    run too big to be held `CentredRows`. ``search``, where the store has an index for rows that are not held: row and
    number → the best rows of other samples and their cosines.
    """

    rows: Rows
    null: Null
    search: Search | None = None


class Neighbors(NamedTuple):
    """``rows`` (r,), best first, with ``cosines`` and ``q_values`` (r,); chosen from ``n_candidates`` spans."""

    rows: np.ndarray
    cosines: np.ndarray
    q_values: np.ndarray
    n_candidates: int


def find_neighbors(
    directions: Directions, row: int, samples: np.ndarray, top: int, wording: Wording | None = None
) -> Neighbors:
    """The ``top`` spans of other samples by cosine with span ``row``. Source: methods §1.4, "ours".

    ``samples`` (n,) ids or numbers; with ``wording`` only spans that say it in other words are candidates. q is
    Benjamini and Hochberg's over all candidates against the stricter null; where an index was asked, candidates that
    it did not give count as p = 1.
    """
    if directions.search is not None and wording is None:
        rows, cosines = directions.search(row, top)
        n_candidates = int(np.count_nonzero(samples != samples[row]))
        return Neighbors(rows, cosines, directions.null.compute_q_values(cosines, n_candidates), n_candidates)
    rows, cosines = compute_neighbors(directions.rows, row, samples, top=len(samples))
    if wording is not None:
        is_other = wording.compute_cosines([row])[0, rows] <= wording.limit
        rows, cosines = rows[is_other], cosines[is_other]
    q_values = directions.null.compute_q_values(cosines)
    return Neighbors(rows[:top], cosines[:top], q_values[:top], len(rows))


def compute_neighbors(
    directions: Rows,
    query: int | np.ndarray,
    samples: np.ndarray,
    top: int = 10,
    exclude_sample: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The ``top`` spans of other samples by cosine with one direction. Source: methods §1.4, "ours".

    Parameters
    ----------
    directions
        (n, P) centred, unit norm or zero, read in batches. Zero rows have no direction and are never neighbours.
    query
        Row number, or a (P,) direction of any length centred in the same way (`Centring.apply`).
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
    is_candidate = np.ones(n, dtype=bool) if exclude_sample is None else np.asarray(samples != exclude_sample)
    for start in range(0, n, BATCH):
        rows = np.asarray(directions[start : start + BATCH], dtype=np.float32)
        part = cosines[start : start + BATCH]
        part[...] = rows @ (vector / length)
        at_zero = np.flatnonzero(part == 0)  # a row without direction is one of these
        is_candidate[start + at_zero] &= find_alive(rows[at_zero])
    indices = rank_best(cosines, np.flatnonzero(is_candidate), top)
    return indices, np.clip(cosines[indices], -1.0, 1.0)


def rank_best(cosines: np.ndarray, rows: np.ndarray, top: int) -> np.ndarray:
    """The ``top`` of ``rows`` (m,) with the largest of the cosines (n,), best first, equal ones in the given order."""
    if top < len(rows):
        # Everything as good as the last chosen row first, so that ties are settled by order and not by chance.
        last = np.partition(cosines[rows], len(rows) - top)[len(rows) - top]
        rows = rows[cosines[rows] >= last]
    return rows[np.argsort(-cosines[rows], kind="stable")[:top]]
