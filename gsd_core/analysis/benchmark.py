"""The structure benchmark: does a representation bring together what a label says belongs together?

Bound                 how alike a neighbour may be to the query in something else
Pool                  labelled rows and what may be a neighbour of what
Precision             P@k of every query, with its chance
compute_precision     P@k for several representations at once, in blocks of queries
bootstrap_mean        mean and its interval over samples
bootstrap_pairs       the same for pairs of samples
compute_cluster_agreement  adjusted mutual information of clusters with labels, with its interval
shuffle_labels        the control: labels dealt anew over samples

Source: methods §5. Neighbours are never of the query's own sample. Shapes: n rows, q queries, E embedding width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.metrics import adjusted_mutual_info_score

from gsd_core.analysis.baselines import Representation

BLOCK = 512
N_RESAMPLES, N_AGREEMENT_RESAMPLES = 300, 40


class Bound(NamedTuple):
    """``rows`` (m, E) unit rows, dense or sparse, ``places`` (n,) the one of each row of the pool; a neighbour's must
    have a cosine of at most ``limit`` with the query's."""

    rows: np.ndarray | sp.csr_matrix
    places: np.ndarray
    limit: float


@dataclass(frozen=True, slots=True)
class Pool:
    """Rows of the benchmark.

    ``labels`` (n,) int codes, ``samples`` (n,) int codes. ``differ`` are further (n,) int codes, in all of which a
    neighbour must differ from the query; ``bound`` keeps out neighbours that are too alike in their question, say.
    """

    labels: np.ndarray
    samples: np.ndarray
    differ: Sequence[np.ndarray] = field(default_factory=tuple)
    bound: Bound | None = None

    def allowed(self, rows: np.ndarray) -> np.ndarray:
        """(len(rows), n) bool: which rows may be neighbours of these."""
        mask = self.samples[rows][:, None] != self.samples[None, :]
        for codes in self.differ:
            mask &= codes[rows][:, None] != codes[None, :]
        if self.bound is not None:
            cosines = _multiply(self.bound.rows[self.bound.places[rows]], self.bound.rows)
            mask &= (cosines <= self.bound.limit)[:, self.bound.places]
        return mask


class Precision(NamedTuple):
    """``values`` (q,) share of the k nearest that carry the query's label; ``chance`` (q,) the same for random
    neighbours; ``ceiling`` (q,) for perfect ones, below 1 where fewer than k carry the label; NaN where the query
    has fewer than k that may be neighbours. ``queries`` (q,) rows."""

    values: np.ndarray
    chance: np.ndarray
    ceiling: np.ndarray
    queries: np.ndarray


def compute_precision(
    representations: Sequence[Representation],
    pool: Pool,
    *,
    k: int = 10,
    queries: np.ndarray | None = None,
    asked: np.ndarray | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Precision]:
    """P@k by cosine, one result a representation. A row of zeros has random neighbours: it counts as chance.

    With `asked` (q, W), these rows ask in place of the queries' own, whose labels and restrictions they have; the same
    for every representation.
    """
    rows = np.arange(len(pool.labels)) if queries is None else np.asarray(queries)
    values = np.full((len(representations), len(rows)), np.nan)
    chance, ceiling = np.full((2, len(rows)), np.nan)
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        at = slice(start, start + len(block))
        mask = pool.allowed(block)
        n_allowed = mask.sum(1)
        same = pool.labels[block][:, None] == pool.labels[None, :]
        enough = n_allowed >= k
        n_same = (same & mask).sum(1)
        chance[at] = np.where(enough, n_same / np.maximum(n_allowed, 1), np.nan)
        ceiling[at] = np.where(enough, np.minimum(n_same, k) / k, np.nan)
        if len(pool.labels) <= k:
            continue
        for place, each in enumerate(representations):
            cosines = _multiply(each.rows[block] if asked is None else asked[at], each.rows)
            empty = ~np.any(cosines != 0, axis=1)
            # Ties (rows that share no word) must not go by row order: a little noise, far below any real difference.
            noise = np.random.default_rng(start).random(cosines.shape, dtype=np.float32)
            cosines = np.where(mask, cosines + 1e-6 * noise, -np.inf)
            nearest = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
            share = np.take_along_axis(same, nearest, 1).mean(1)
            values[place, at] = np.where(enough, np.where(empty, chance[at], share), np.nan)
        if on_progress:
            on_progress(min(start + BLOCK, len(rows)), len(rows))
    return [Precision(row, chance, ceiling, rows) for row in values]


def _multiply(asking: Any, rows: Any) -> np.ndarray:
    product = asking @ rows.T
    return product.toarray() if sp.issparse(product) else np.asarray(product, dtype=np.float32)


def bootstrap_mean(
    values: np.ndarray, samples: np.ndarray, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of ``values`` (q,) without NaN, and its 95 % interval from resampling whole samples. NaN where empty."""
    known = ~np.isnan(values)
    if not known.any():
        return (float("nan"),) * 3
    _, codes = np.unique(np.asarray(samples)[known], return_inverse=True)
    totals, counts = np.bincount(codes, values[known]), np.bincount(codes).astype(float)
    draws = np.random.default_rng(seed).integers(0, len(counts), size=(n_resamples, len(counts)))
    means = totals[draws].sum(1) / counts[draws].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(totals.sum() / counts.sum()), float(low), float(high)


def bootstrap_pairs(values: np.ndarray, pairs: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Mean of ``values`` (m,) and its 95 % interval, for ``pairs`` (m, 2) of sample ids. NaN where empty.

    Samples are resampled, not pairs: pairs that share a sample rise and fall together. A pair counts as often as
    both its samples were drawn.
    """
    if not len(values):
        return (float("nan"),) * 3
    names, codes = np.unique(np.asarray(pairs).ravel(), return_inverse=True)
    left, right = codes.reshape(-1, 2).T
    random = np.random.default_rng(seed)
    drawn = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=N_RESAMPLES)
    weights = drawn[:, left] * drawn[:, right]
    weights = weights[weights.any(axis=1)]
    means = weights @ np.asarray(values, dtype=np.float64) / weights.sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975]) if len(means) else (float("nan"),) * 2
    return float(np.mean(values)), float(low), float(high)


def compute_cluster_agreement(
    clusters: np.ndarray, labels: np.ndarray, samples: np.ndarray, seed: int = 0
) -> tuple[float, float, float, int]:
    """Adjusted mutual information of clusters with labels over the spans in a cluster; value, interval, n.

    The interval is moved by the mean of the resampled values, which are too high: a sample that is drawn twice agrees
    with itself.
    """
    inside = np.asarray(clusters) >= 0
    found, true, owners = clusters[inside], labels[inside], np.asarray(samples)[inside]
    if len(np.unique(found)) < 2 or len(np.unique(true)) < 2:
        return (*(float("nan"),) * 3, int(inside.sum()))
    names, codes = np.unique(owners, return_inverse=True)
    rows_of = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
    random = np.random.default_rng(seed)
    scores = []
    for _ in range(N_AGREEMENT_RESAMPLES):
        rows = np.concatenate([rows_of[i] for i in random.integers(0, len(names), len(names))])
        scores.append(adjusted_mutual_info_score(true[rows], found[rows]))
    value = float(adjusted_mutual_info_score(true, found))
    low, high = np.minimum(np.quantile(scores, [0.025, 0.975]) - np.mean(scores) + value, 1.0)
    return value, float(low), float(high), int(inside.sum())


def shuffle_labels(labels: np.ndarray, samples: np.ndarray, seed: int = 0) -> np.ndarray:
    """Labels for a control that must be at chance: dealt anew over samples, or over rows where a sample has several.

    How many rows a sample has must not survive the deal: it goes with the label.
    """
    random = np.random.default_rng(seed)
    _, first, codes = np.unique(samples, return_index=True, return_inverse=True)
    if np.array_equal(labels, labels[first][codes]):
        return labels[first][random.permutation(len(first))][codes]
    return labels[random.permutation(len(labels))]
