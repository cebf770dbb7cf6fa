"""Clusters of directions: spans that pull the model the same way.

compute_clusters            clusters (-1 is noise) and membership probabilities
find_groups                 the first half of it: dense groups, not confirmed
confirm_clusters            sends members back to noise whose directions do not bear the cluster out
default_min_cluster_size    smallest group that is called a cluster, from the number of spans

Chosen by measurement: 24 planted von Mises-Fisher-like clusters, 1,024 dimensions, five common nuisance
directions, 3,000 spans, one thread. AMI over all spans, noise counted as a group of its own:

============================  ==========  ============  ==========  ==========================
within-cluster cosine, noise  0.5, 20 %   0.25, 20 %    0.4, 20 %*  seconds warm (first import)
============================  ==========  ============  ==========  ==========================
HDBSCAN on the 2-D picture    0.987       0.854         0.987       3 (20)
HDBSCAN on 30 components      0.988       0.464         0.944       0.5
EVoC 0.3.2                    0.870       0.795         0.843       0.3 (111)
8 UMAP dimensions, unchecked  0.989       0.887         0.990       4.5 (20)
the same, confirmed (used)    0.990       0.941         0.991       4.5 (20)
============================  ==========  ============  ==========  ==========================

(* clusters in six families.) UMAP makes dense lumps of anything: on directions with no structure half of all
spans got a cluster, after the confirmation none did; of planted noise 99 to 100 % is called noise, 0 to 54 %
without. Clusters weaker than the common directions (cosine 0.15 here) are missed, but found once those are
removed (``n_top=5``: AMI 0.996).
"""

from __future__ import annotations

import numpy as np
from sklearn.cluster import HDBSCAN

from gsd_core.analysis.manifold import Knn, compute_manifold
from gsd_core.analysis.placing import FittedSample
from gsd_core.comparison.centring import Rows, find_alive

N_DIMS = 8
SMALLEST = 5
N_NEIGHBORS = 30
MIN_SAMPLES = 10  # neighbours that make a dense point; more makes more noise
BORNE_OUT = 4.0  # robust standard deviations above what spans outside the cluster have
BATCH = 8192
N_BACKGROUND = 20_000
MAX_FLOOR = 0.9  # in very few dimensions chance alone would ask for more than a cosine can be
SKLEARN_UP_TO = 20_000


def default_min_cluster_size(n: int) -> int:
    """A third of √n, at least 5: 5 at 200 spans, 18 at 3,000, 33 at 10,000, 149 at 200,000. Source: "ours"."""
    return max(SMALLEST, round(np.sqrt(n) / 3))


def compute_clusters(
    directions: Rows,
    seed: int = 0,
    min_cluster_size: int | None = None,
    knn: Knn | None = None,
    sample: FittedSample | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """HDBSCAN (Campello et al. 2013) on 8 seeded UMAP coordinates, then confirmed in the directions. "Ours".

    Parameters
    ----------
    directions
        (n, P) float32, unit norm or zero; n may be 0. Zero rows have no direction and are noise.
    min_cluster_size
        None: `default_min_cluster_size`.
    knn
        As in `compute_manifold`.
    sample
        Of `fit_sample`: groups are found in it, with a smallest size in proportion (at least 5), the other spans take
        what their nearest fitted ones have, and all are confirmed.

    Returns
    -------
    clusters (n,) int32: 0 is the largest cluster, then by size; -1 is noise. probabilities (n,) float32 in [0,
    1], 0 for noise.

    Raises
    ------
    ValueError
        A row holds NaN or infinity.
    """
    size = default_min_cluster_size(len(directions)) if min_cluster_size is None else min_cluster_size
    if sample is None:
        clusters, sureness = find_groups(directions[:], seed, size, knn)
    else:
        share = len(sample.rows) / len(directions)
        part = max(SMALLEST, round(size * share))
        found = find_groups(sample.rows, seed, part, sample.knn)
        clusters, sureness = sample.placing.vote(*found)
    clusters = _by_size(confirm_clusters(directions, clusters, size, seed))
    return clusters, np.where(clusters >= 0, sureness, np.float32(0))


def find_groups(
    directions: np.ndarray, seed: int, min_cluster_size: int, knn: Knn | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Clusters (n,) int32 and probabilities (n,) float32 of `compute_clusters` before anything is confirmed."""
    n = len(directions)
    clusters, probabilities = np.full(n, -1, dtype=np.int32), np.zeros(n, dtype=np.float32)
    coordinates = compute_manifold(directions, N_DIMS, seed, N_NEIGHBORS, 0.0, knn)
    alive = np.flatnonzero(find_alive(directions))
    if len(alive) < min_cluster_size:
        return clusters, probabilities
    points = coordinates[alive].astype(np.float64)
    if np.ptp(points, axis=0).max() < 1e-6:  # one direction for all: a cluster without doubt, which HDBSCAN cannot say
        clusters[alive], probabilities[alive] = 0, 1.0
        return clusters, probabilities
    clusters[alive], sureness = _hdbscan(points, min_cluster_size, min(MIN_SAMPLES, min_cluster_size))
    probabilities[alive] = np.clip(np.nan_to_num(sureness), 0.0, 1.0)
    return clusters, probabilities


def confirm_clusters(directions: Rows, clusters: np.ndarray, min_cluster_size: int, seed: int = 0) -> np.ndarray:
    """Keep a member only where its direction bears its cluster out. Source: "ours".

    A member's cosine to the mean direction of the *other* members must lie at least 4 robust standard
    deviations (median and MAD) above the cosines that spans outside the cluster have to it, and as far above
    zero, with a deviation never below that of random directions, 1/√P. Groups that fall
    below ``min_cluster_size`` or lose more than half of their members were none, and dissolve.

    ``directions`` (n, P) unit norm or zero; ``clusters`` (n,), -1 is noise. Returns clusters (n,) int32 with the
    same numbers, some now -1. Cost: one (n, P) × (P, clusters) product, in batches; the outside is a seeded
    sample of at most 20,000 spans.
    """
    clusters = np.asarray(clusters)
    kept = clusters.astype(np.int32)
    n, n_clusters = len(kept), int(kept.max(initial=-1)) + 1
    if not n_clusters:
        return kept
    sums = np.zeros((n_clusters, directions.shape[1]), dtype=np.float64)
    for start in range(0, n, BATCH):
        batch = kept[start : start + BATCH]
        np.add.at(sums, batch[batch >= 0], directions[start : start + BATCH][batch >= 0])
    squares = (sums**2).sum(axis=1)
    lengths = np.sqrt(np.maximum(squares, 1e-12))
    floors = _background_floors(directions, kept, sums / lengths[:, None], seed)
    for start in range(0, n, BATCH):
        rows = np.flatnonzero(kept[start : start + BATCH] >= 0)
        members = directions[start : start + BATCH][rows]
        rows += start
        own = kept[rows]
        with_sum = np.einsum("bp,bp->b", members, sums[own])
        # Without the member itself: <x, s - x> / |s - x|, from <x, s> and |s|.
        others = np.sqrt(np.maximum(squares[own] - 2 * with_sum + 1.0, 1e-12))
        kept[rows[(with_sum - 1.0) / others < floors[own]]] = -1
    sizes = np.bincount(kept[kept >= 0], minlength=n_clusters)
    before = np.bincount(clusters[clusters >= 0], minlength=n_clusters)
    stands = (sizes >= min_cluster_size) & (2 * sizes >= before)
    return np.where((kept >= 0) & stands[kept], kept, -1).astype(np.int32)


def _background_floors(directions: Rows, clusters: np.ndarray, means: np.ndarray, seed: int) -> np.ndarray:
    """(clusters,) cosine that a member must reach: outside median, or zero, + 4 × 1.4826 × outside MAD, or 1/√P."""
    alive = np.flatnonzero(find_alive(directions))
    if len(alive) > N_BACKGROUND:
        alive = np.sort(np.random.default_rng(seed).choice(alive, N_BACKGROUND, replace=False))
    cosines = directions[alive] @ means.T.astype(np.float32)
    floors = np.zeros(len(means))
    chance = 1.0 / np.sqrt(directions.shape[1])
    for cluster in range(len(means)):
        outside = cosines[clusters[alive] != cluster, cluster]
        # Centring pushes all that belongs to no strong cluster the same way, a little: being less unlike each
        # other than unlike the clusters is not enough, hence a level of at least zero and the spread of
        # random directions.
        if len(outside) >= 5:  # too few outside say nothing: the cluster is all there is
            middle = np.median(outside)
            spread = max(1.4826 * float(np.median(np.abs(outside - middle))), chance)
            floors[cluster] = min(max(float(middle), 0.0) + BORNE_OUT * spread, MAX_FLOOR)
    return floors


def _hdbscan(points: np.ndarray, min_cluster_size: int, min_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Clusters and probabilities: scikit-learn up to 20,000 points (nothing to compile), fast_hdbscan beyond."""
    if len(points) <= SKLEARN_UP_TO:
        model = HDBSCAN(min_cluster_size=min_cluster_size, min_samples=min_samples, copy=True).fit(points)
    else:
        # Its first import compiles for 24 to 36 s, which a small run need not pay.
        import fast_hdbscan  # noqa: PLC0415

        model = fast_hdbscan.HDBSCAN(min_cluster_size=min_cluster_size, min_samples=min_samples).fit(points)
    return np.asarray(model.labels_), np.asarray(model.probabilities_)


def _by_size(clusters: np.ndarray) -> np.ndarray:
    """The same clusters numbered by falling size (ties: first seen), noise kept at -1."""
    names, first, sizes = np.unique(clusters, return_index=True, return_counts=True)
    real = names >= 0
    order = np.lexsort((first[real], -sizes[real]))
    renamed = np.full(len(clusters), -1, dtype=np.int32)
    for new, old in enumerate(names[real][order]):
        renamed[clusters == old] = new
    return renamed
