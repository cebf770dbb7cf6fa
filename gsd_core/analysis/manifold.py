"""Nearest-neighbour graph of directions, and seeded UMAP coordinates of any dimension from it.

Knn                 neighbour graph: indices and cosine distances, self first
compute_knn         exact for up to 20,000 directions, approximate (seeded) beyond
compute_manifold    (n, d) UMAP coordinates; the map uses d = 2, the clusters d = 8
fit_umap            UMAP of a given graph
compute_principal   principal coordinates
make_search_index   the approximate index behind it, for rows that are not in the graph
EXACT_UP_TO         where the graph stops being exact

The map is a picture: near points had near directions, far distances and areas mean nothing. Clusters are never found
in it.

Why the graph is computed here: umap-learn measures every pair below 4,096 points in a Python loop (3,000 ×
1,024: 26 s; one matrix product: 0.3 s), and its approximate index costs every new process about 25 s of
compiling. The same graph also serves map and clusters. Shapes: n directions, P sketch width, k neighbours, d
coordinates.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import pynndescent
import umap

from gsd_core.comparison.centring import check_finite, find_alive

EXACT_UP_TO = 20_000
LEAVES = 32  # at which a search for the neighbours of a further direction begins
FEW = 16  # fewer directions than this have no neighbourhood graph to speak of: principal coordinates instead
BLOCK = 1024  # rows of the similarity matrix held at a time: 80 MB at 20,000


class Knn(NamedTuple):
    """``indices`` (n, k) int32 with the row itself first; ``distances`` (n, k) float32, 1 - cosine, ascending."""

    indices: np.ndarray
    distances: np.ndarray

    @classmethod
    def of(cls, index: pynndescent.NNDescent) -> Knn:
        """The graph of a search index."""
        indices, distances = index.neighbor_graph
        return cls(indices.astype(np.int32), np.maximum(distances, 0.0).astype(np.float32))

    def head(self, k: int) -> Knn:
        """The first ``k`` columns."""
        return Knn(np.ascontiguousarray(self.indices[:, :k]), np.ascontiguousarray(self.distances[:, :k]))


def compute_knn(directions: np.ndarray, k: int = 15, seed: int = 0) -> Knn:
    """The ``k`` nearest directions of each, itself included, by cosine.

    ``directions`` (n, P) float32 unit norm, n >= 1; k is cut to n. Exact by blocked matrix products up to
    20,000 rows; beyond, `make_search_index`.
    """
    n = len(directions)
    k = min(k, n)
    if n > EXACT_UP_TO:
        return Knn.of(make_search_index(directions, k, seed))
    indices = np.empty((n, k), dtype=np.int32)
    distances = np.empty((n, k), dtype=np.float32)
    for start in range(0, n, BLOCK):
        rows = np.arange(start, min(start + BLOCK, n))
        away = 1.0 - directions[rows] @ directions.T
        np.maximum(away, 0.0, out=away)
        away[np.arange(len(rows)), rows] = -1.0  # itself first, also among identical directions
        near = np.argpartition(away, k - 1, axis=1)[:, :k] if k < n else np.tile(np.arange(n), (len(rows), 1))
        near.sort(axis=1)  # equal distances in index order: the same graph on every machine
        found = np.take_along_axis(away, near, axis=1)
        order = np.argsort(found, axis=1, kind="stable")
        indices[rows] = np.take_along_axis(near, order, axis=1)
        distances[rows] = np.maximum(np.take_along_axis(found, order, axis=1), 0.0)
    return Knn(indices, distances)


def make_search_index(directions: np.ndarray, k: int, seed: int) -> pynndescent.NNDescent:
    """Pynndescent's index of ``directions`` (n, P), seeded and on one thread (more threads would not repeat).

    A search begins at ``LEAVES`` leaves of a tree. From pynndescent's own single leaf a group of more than ``k``
    directions is an island of the graph that many searches never reach: of the 15 nearest of 50,000 directions in 250
    groups they found 49 %, so half of the further spans were placed anywhere. From 32 leaves they find 99.5 %.
    """
    return pynndescent.NNDescent(
        directions, metric="cosine", n_neighbors=k, random_state=seed, n_jobs=1, search_tree_leaf_budget=LEAVES
    )


def compute_manifold(
    directions: np.ndarray,
    n_dims: int = 2,
    seed: int = 0,
    n_neighbors: int = 15,
    min_dist: float = 0.1,
    knn: Knn | None = None,
) -> np.ndarray:
    """Seeded UMAP coordinates (McInnes, Healy, Melville 2018, arXiv 1802.03426) of directions under cosine.

    Parameters
    ----------
    directions
        (n, P) float32, unit norm or zero. Zero rows have no direction: they lie at the origin, which is the
        centre.
    n_dims, n_neighbors, min_dist
        UMAP's; ``n_neighbors`` counts the point itself and is cut to n.
    knn
        Graph from `compute_knn` over the *non-zero* rows with at least ``n_neighbors`` columns, to save its
        time.

    Returns
    -------
    (n, n_dims) float32, centred. Below 16 directions: principal coordinates. Same seed, same bytes on one
    machine.
    """
    check_finite(directions, "directions")
    alive = np.flatnonzero(find_alive(directions))
    out = np.zeros((len(directions), n_dims), dtype=np.float32)
    if not len(alive):
        return out
    rows = directions if len(alive) == len(directions) else directions[alive]
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    if len(rows) < FEW or np.ptp(rows, axis=0).max() < 1e-6:
        coordinates = compute_principal(rows, n_dims)
    else:
        k = min(n_neighbors, len(rows))
        graph = compute_knn(rows, k, seed) if knn is None else knn.head(k)
        coordinates = fit_umap(rows, graph, seed, n_components=n_dims, min_dist=min_dist)
    out[alive] = coordinates - coordinates.mean(axis=0)
    return out


def fit_umap(rows: np.ndarray, knn: Knn, seed: int, **options: Any) -> np.ndarray:
    """Seeded UMAP coordinates (n, d) float32 of ``rows`` (n, P) from their graph; ``options`` are UMAP's."""
    with warnings.catch_warnings():
        # A given graph comes without a search index (we never transform) and identical spans make components:
        # both are meant.
        warnings.filterwarnings("ignore", message="precomputed_knn")
        warnings.filterwarnings("ignore", category=UserWarning, module=r"(umap|sklearn)\.")
        model = umap.UMAP(
            n_neighbors=knn.indices.shape[1],
            metric="cosine",
            random_state=seed,
            n_jobs=1,
            precomputed_knn=(knn.indices, knn.distances),
            force_approximation_algorithm=True,
            **options,
        )
        return np.asarray(model.fit_transform(rows), dtype=np.float32)


def compute_principal(rows: np.ndarray, n_dims: int) -> np.ndarray:
    """(n, n_dims) leading principal coordinates, zero-padded; identical rows coincide."""
    out = np.zeros((len(rows), n_dims), dtype=np.float32)
    if not len(rows):
        return out
    left, scale, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    kept = min(n_dims, len(scale))
    left = left[:, :kept] * np.where(scale[:kept] > 1e-5, scale[:kept], 0.0)
    signs = np.sign(left[np.abs(left).argmax(axis=0), np.arange(kept)])  # a singular vector's sign is arbitrary
    out[:, :kept] = left * np.where(signs == 0, 1.0, signs)
    return out
