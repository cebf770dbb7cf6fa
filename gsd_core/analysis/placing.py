"""A corpus too big to be fitted: fit a sample, put every other span where its nearest fitted spans are.

PLACED_ABOVE     above this many directions a sample of so many is fitted
Placing          the fitted spans and each other span's nearest ones
fit_sample       draw the sample, its graph and the neighbours of the rest
FittedSample     what `fit_sample` gives

UMAP of 50,000 directions takes half a minute, of a million hours; a span between its neighbours costs 0.2 ms. Source:
"ours" (barycentric placing as in locally linear embedding, by inverse distance; votes as in k nearest neighbours).
Shapes: n spans, P sketch width, m fitted spans, r others, k neighbours, d coordinates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gsd_core.analysis.manifold import EXACT_UP_TO, Knn, compute_knn, make_search_index
from gsd_core.comparison.centring import Rows, find_alive

PLACED_ABOVE = 50_000
N_PLACED_BY = 15
EPSILON = 0.3  # how far a search looks beyond the best found; pynndescent's own 0.1 misses a quarter of small groups
BATCH = 8192


class Placing(NamedTuple):
    """``n`` spans; ``fitted`` (m,) and ``others`` (r,) row numbers, ascending; ``near`` (r, k) int32 places in
    ``fitted`` and ``weights`` (r, k) float32 that sum to 1. Rows in neither have no direction."""

    n: int
    fitted: np.ndarray
    others: np.ndarray
    near: np.ndarray
    weights: np.ndarray

    def place(self, coordinates: np.ndarray) -> np.ndarray:
        """(n, d) float32 coordinates from those of the fitted spans (m, d): the others at the weighted mean of their
        neighbours, all centred again; rows without direction at the origin."""
        out = np.zeros((self.n, coordinates.shape[1]), dtype=np.float32)
        out[self.fitted] = coordinates
        for start in range(0, len(self.others), BATCH):
            part = slice(start, start + BATCH)
            near = coordinates[self.near[part]]
            out[self.others[part]] = np.einsum("rk,rkd->rd", self.weights[part], near)
        held = np.concatenate([self.fitted, self.others])
        out[held] -= out[held].mean(axis=0, dtype=np.float64).astype(np.float32)
        return out

    def vote(self, clusters: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Clusters (n,) int32 and probabilities (n,) float32 from those of the fitted spans (m,).

        Each other span takes the cluster, or noise, to which its neighbours give most weight; its probability is the
        weighted sum of theirs. Rows without direction are noise.
        """
        all_clusters, all_sure = np.full(self.n, -1, dtype=np.int32), np.zeros(self.n, dtype=np.float32)
        all_clusters[self.fitted], all_sure[self.fitted] = clusters, probabilities
        for start in range(0, len(self.others), BATCH):
            rows, near = self.others[start : start + BATCH], self.near[start : start + BATCH]
            weights, offered = self.weights[start : start + BATCH], clusters[near]
            agrees = offered[:, :, None] == offered[:, None, :]
            best = np.einsum("rkj,rj->rk", agrees, weights).argmax(axis=1)
            chosen = offered[np.arange(len(rows)), best]
            all_clusters[rows] = chosen
            agreed = np.where(offered == chosen[:, None], weights * probabilities[near], 0)
            all_sure[rows] = np.where(chosen >= 0, agreed.sum(axis=1), 0)
        return all_clusters, all_sure


class FittedSample(NamedTuple):
    """``rows`` (m, P) float32 directions of the fitted spans, ``knn`` their graph, ``placing`` the rest."""

    rows: np.ndarray
    knn: Knn
    placing: Placing


def fit_sample(
    directions: Rows,
    size: int,
    n_neighbors: int,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> FittedSample:
    """A seeded sample of ``size`` of the spans that have a direction, and the nearest 15 of it for each other span.

    Parameters
    ----------
    directions
        (n, P) unit norm or zero, of which more than ``size`` are not zero; read in batches of 8,192.
    n_neighbors
        Columns of the sample's graph.
    on_progress
        Called as ``on_progress(done, total)`` after each batch of others.

    Raises
    ------
    ValueError
        There are no more directions than ``size``.
    """
    is_other = find_alive(directions).copy()
    held = np.flatnonzero(is_other)
    if len(held) <= size:
        raise ValueError(f"{len(held)} directions need no sample of {size}")
    fitted = np.sort(np.random.default_rng(seed).choice(held, size, replace=False))
    rows = np.ascontiguousarray(directions[fitted], dtype=np.float32)
    n_neighbors, k = min(n_neighbors, size), min(N_PLACED_BY, size)
    index = make_search_index(rows, n_neighbors, seed) if size > EXACT_UP_TO else None
    knn = compute_knn(rows, n_neighbors) if index is None else Knn.of(index)
    is_other[fitted] = False
    others = np.flatnonzero(is_other)
    near = np.empty((len(others), k), dtype=np.int32)
    weights = np.empty((len(others), k), dtype=np.float32)
    done = 0
    for start in range(0, len(directions), BATCH):
        batch = directions[start : start + BATCH][is_other[start : start + BATCH]]
        part = slice(done, done + len(batch))
        done += len(batch)
        if index is None:
            away = 1.0 - batch @ rows.T
            near[part] = np.argpartition(away, k - 1, axis=1)[:, :k]
            distances = np.take_along_axis(away, near[part], axis=1)
        elif len(batch):
            near[part], distances = index.query(batch, k=k, epsilon=EPSILON)
        weights[part] = 1.0 / (np.maximum(distances, 0.0) + 1e-3)
        if on_progress:
            on_progress(done, len(others))
    weights /= weights.sum(axis=1, keepdims=True)
    return FittedSample(rows, knn, Placing(len(directions), fitted, others, near, weights))
