"""Clusters from coarse to fine, each with its own evidence. Source: ours, around the Louvain algorithm.

LEVELS               name → resolution, coarse first
STRENGTHS            confirmed: clearly stronger than comparable chance clusters, and stable; tentative: stronger; weak
ClusterLevel         the clusters of one level with their evidence
find_cluster_levels  directions → their levels
find_clusters        the clusters of one resolution, without evidence
Places, find_places  where the clusters of a level lie, to place further spans in them
MOST_SEARCHED        spans among which levels are sought; of a larger corpus a seeded draw

Real data are weak: few groups are so dense that `clusters` would call them found, and how fine one should look depends
on the question. So the graph of nearest neighbours in *other* samples is partitioned at several resolutions by the
Louvain algorithm (Blondel et al. 2008, arXiv 0803.0476; scikit-network), spans that do not bear their cluster out leave
it, and every cluster says how much it can be relied on:

* *strength*: mean cosine of its members in different samples, beside that of clusters of at least half its size which
  the same search finds by chance: in the same directions with the signs of their numbers drawn anew for each sample.
* *stability*: the search is repeated on halves of the samples; of two members that are both in a half, how often are
  they in one cluster again?

Chosen by measurement on 1,764 steps of GSM8K under SmolLM2 (bundled run, step 0; labels: operations of a step). AMI and
purity (share of pairs of different samples with the same label, chance 0.22) of the half of the spans that fit best:

=============================  ========  =====  ======
search                         clusters  AMI    purity
=============================  ========  =====  ======
Leiden, 10 neighbours, 1.0     17        0.165  0.37
Leiden, 10 neighbours, 2.0     35        0.204  0.45
Leiden, 10 neighbours, 4.0     67        0.228  0.54
Leiden, 10 neighbours, 8.0     119       0.229  0.58
HDBSCAN on 8 UMAP dimensions   59        0.203  0.49
HDBSCAN on 8 UMAP dimensions   20        0.208  0.43
EVoC 0.3.2, its three layers   49        0.200  0.50
EVoC 0.3.2                     27        0.178  0.46
EVoC 0.3.2                     5         0.136  0.33
=============================  ========  =====  ======

Fifteen or thirty neighbours differ by less than 0.03 from these, Louvain from Leiden by less than 0.02;
scikit-network's Leiden gives other clusters at each call, its Louvain the same. It takes a tenth of a second here,
which pays for the flipped signs and the halves.

Shapes: n spans, P sketch width, m clusters of a level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from sknetwork.clustering import Louvain

from gsd_core.analysis.manifold import compute_knn
from gsd_core.comparison.centring import find_alive

LEVELS = {"coarse": 1.0, "middle": 3.0, "fine": 8.0}
STRENGTHS = ("confirmed", "tentative", "weak")
SMALLEST = 5
"""Samples, and spans, that a cluster has at least."""
MOST_SEARCHED = 15_000
N_NEIGHBORS = 10
N_ASKED = 30  # neighbours of which those in the span's own sample are left out
N_OUTSIDE = 2_000  # spans outside a cluster that say what a cosine to its mean is worth
BORNE_OUT = 0.95  # quantile of theirs that a member reaches
N_FLIPPED, N_HALVES = 9, 8
"""Searches in directions with flipped signs, and in halves of the samples."""
MANY, N_FLIPPED_OF_MANY = 5_000, 3  # spans from which fewer searches have clusters enough
N_LARGEST = 20  # chance clusters that a cluster is compared with at least
CLEARLY = 1.15
"""Times the strongest chance cluster's cosine, both as Fisher's z: one of hundreds exceeds the bare one by itself."""
ALIKE = 0.999  # a cosine whose z is still finite
STABLE = 0.5
"""Share of pairs that a confirmed cluster keeps together."""


@dataclass(frozen=True, slots=True)
class ClusterLevel:
    """``clusters`` (n,) int32, 0 is the largest and -1 is in none; a row of the others for each of the m clusters.

    ``cosine`` (m,) mean cosine of members in different samples; ``null`` (m,) the strongest of comparable chance
    clusters, ``chance`` (m,) the share of them that are as strong; ``stability`` (m,) in [0, 1]; ``strength`` in
    `STRENGTHS`.
    """

    name: str
    clusters: np.ndarray
    cosine: np.ndarray
    null: np.ndarray
    chance: np.ndarray
    stability: np.ndarray
    strength: list[str]


def find_cluster_levels(
    directions: np.ndarray,
    samples: np.ndarray,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[ClusterLevel]:
    """The levels of centred ``directions`` (n, P), unit norm or zero, of the ``samples`` (n,) numbers, coarse first.

    Spans without direction are in no cluster. Too few spans for any cluster give levels without clusters.
    """
    report = on_progress or (lambda done, total: None)
    n_flipped = N_FLIPPED_OF_MANY if len(directions) > MANY else N_FLIPPED
    steps = n_flipped + 2
    graph = _make_graph(directions, samples, seed)
    found = [_partition(graph, directions, samples, resolution, seed) for resolution in LEVELS.values()]
    report(1, steps)
    null: list[np.ndarray] = []
    for number in range(n_flipped if any(each.max(initial=-1) >= 0 for each in found) else 0):
        flipped = _flip(directions, samples, seed + 1 + number)
        other = _make_graph(flipped, samples, seed)
        for resolution in LEVELS.values():
            chance = _partition(other, flipped, samples, resolution, seed)
            null.append(np.stack([_count(chance), _measure_strength(flipped, samples, chance)], axis=1))
        report(2 + number, steps)
    sizes, strengths = (np.concatenate(null) if null else np.zeros((0, 2))).T
    levels = []
    for (name, resolution), clusters in zip(LEVELS.items(), found, strict=True):
        cosine = _measure_strength(directions, samples, clusters)
        chance, strongest = _compare(_count(clusters), cosine, sizes, strengths)
        stability = _measure_stability(graph, samples, clusters, resolution, seed)
        is_clear = np.arctanh(np.clip(cosine, -1, ALIKE)) > CLEARLY * np.arctanh(np.clip(strongest, -1, ALIKE))
        strength = [
            STRENGTHS[2 if own <= most else 0 if clear and kept >= STABLE else 1]
            for own, most, clear, kept in zip(cosine, strongest, is_clear, stability, strict=True)
        ]
        levels.append(ClusterLevel(name, clusters, cosine, strongest, chance, stability, strength))
    report(steps, steps)
    return levels


def find_clusters(directions: np.ndarray, samples: np.ndarray, resolution: float, seed: int = 0) -> np.ndarray:
    """(n,) int32 clusters of one resolution; arguments and result as of ``find_cluster_levels``."""
    return _partition(_make_graph(directions, samples, seed), directions, samples, resolution, seed)


@dataclass(frozen=True, slots=True)
class Places:
    """``means`` (m, P) unit vectors, ``floors`` (m,) the least cosine of a member to each."""

    means: np.ndarray
    floors: np.ndarray

    def place(self, directions: np.ndarray) -> np.ndarray:
        """(n,) int32 the cluster whose mean is nearest to each of the centred ``directions`` (n, P), -1 below its
        floor."""
        if not len(self.means):
            return np.full(len(directions), -1, np.int32)
        cosines = directions @ self.means.T
        best = cosines.argmax(axis=1)
        nearest = cosines[np.arange(len(best)), best]
        is_near = (nearest >= self.floors[best]) & (nearest > 0)  # 0 is a span without direction
        return np.where(is_near, best, -1).astype(np.int32)


def find_places(directions: np.ndarray, clusters: np.ndarray, seed: int = 0) -> Places:
    """Where the ``clusters`` (n,) of ``directions`` (n, P) lie; their floors are those that members were held to."""
    background, groups = _draw_background(directions, clusters, seed)
    means, floors = [], []
    for cluster, rows in enumerate(_iter_members(clusters)):
        total = directions[rows].sum(axis=0)
        means.append(total / max(float(np.linalg.norm(total)), 1e-12))
        floors.append(_find_floor(background[groups != cluster] @ means[-1]))
    return Places(np.array(means, np.float32).reshape(-1, directions.shape[1]), np.array(floors))


def _draw_background(directions: np.ndarray, clusters: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """At most ``N_OUTSIDE`` seeded directions, and their clusters."""
    rows = np.arange(len(clusters))
    if len(rows) > N_OUTSIDE:
        rows = np.random.default_rng(seed).choice(rows, N_OUTSIDE, replace=False)
    return directions[rows], clusters[rows]


def _find_floor(outside: np.ndarray) -> float:
    """The least cosine of a member, from those of spans outside its cluster."""
    return max(0.0, float(np.quantile(outside, BORNE_OUT))) if len(outside) else 0.0


def _make_graph(directions: np.ndarray, samples: np.ndarray, seed: int) -> sp.csr_matrix:
    """(n, n) symmetric: cosine with each of the nearest spans in other samples, twice where both are nearest."""
    n = len(directions)
    alive = np.flatnonzero(find_alive(directions))
    if len(alive) <= N_NEIGHBORS:
        return sp.csr_matrix((n, n))
    indices, distances = compute_knn(directions[alive], min(N_ASKED, len(alive) - 1), seed)
    is_other = samples[alive][indices] != samples[alive][:, None]
    is_taken = is_other & (np.cumsum(is_other, axis=1) <= N_NEIGHBORS)
    rows, places = np.nonzero(is_taken)
    weights = np.maximum(1.0 - distances[rows, places], 0.0)
    edges = sp.csr_matrix((weights, (alive[rows], alive[indices[rows, places]])), shape=(n, n))
    return (edges + edges.T).tocsr()


def _partition(
    graph: sp.csr_matrix, directions: np.ndarray, samples: np.ndarray, resolution: float, seed: int
) -> np.ndarray:
    """(n,) int32 clusters by falling size; spans that do not bear theirs out are in none."""
    clusters = _search(graph, resolution, seed)
    kept = _bear_out(directions, clusters, seed)
    return _by_size(kept, samples)


def _search(graph: sp.csr_matrix, resolution: float, seed: int) -> np.ndarray:
    """(n,) int32 communities; -1 where a node has no edge."""
    if not graph.nnz:
        return np.full(graph.shape[0], -1, np.int32)
    found = Louvain(resolution=resolution, random_state=seed).fit_predict(graph)
    return np.where(np.diff(graph.indptr) > 0, found, -1).astype(np.int32)


def _bear_out(directions: np.ndarray, clusters: np.ndarray, seed: int) -> np.ndarray:
    """Members whose cosine to the other members' mean is beyond nearly all cosines of spans outside to it."""
    kept = clusters.copy()
    background, groups = _draw_background(directions, clusters, seed)
    for cluster in range(int(clusters.max(initial=-1)) + 1):
        rows = np.flatnonzero(clusters == cluster)
        if len(rows) < SMALLEST:
            kept[rows] = -1
            continue
        total = directions[rows].sum(axis=0)
        own = directions[rows] @ total
        others = (own - 1.0) / np.sqrt(np.maximum(total @ total - 2 * own + 1.0, 1e-12))
        apart = background[groups != cluster] @ (total / max(float(np.linalg.norm(total)), 1e-12))
        kept[rows[others < _find_floor(apart)]] = -1
    return kept


def _by_size(clusters: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Clusters of enough samples, renumbered by falling size."""
    n = int(clusters.max(initial=-1)) + 1
    rows = clusters >= 0
    pairs = np.unique(np.stack([clusters[rows], samples[rows]], axis=1), axis=0)
    sizes = np.bincount(clusters[rows], minlength=n)
    stays = np.flatnonzero(np.bincount(pairs[:, 0], minlength=n) >= SMALLEST)
    order = stays[np.argsort(-sizes[stays], kind="stable")]
    number = np.full(n + 1, -1, np.int32)  # the last one is that of -1
    number[order] = np.arange(len(order))
    return number[clusters]


def _count(clusters: np.ndarray) -> np.ndarray:
    return np.bincount(clusters[clusters >= 0], minlength=int(clusters.max(initial=-1)) + 1)


def _measure_strength(directions: np.ndarray, samples: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """(m,) mean cosine of members in different samples."""
    found = []
    for rows in _iter_members(clusters):
        members = directions[rows].astype(np.float64)
        of_sample = np.unique(samples[rows], return_inverse=True)[1]
        sums = np.zeros((of_sample.max() + 1, members.shape[1]))
        np.add.at(sums, of_sample, members)
        total, counts = sums.sum(axis=0), np.bincount(of_sample)
        n_pairs = len(rows) ** 2 - np.square(counts).sum()
        found.append((total @ total - np.square(sums).sum()) / max(n_pairs, 1))
    return np.array(found, dtype=np.float64)


def _iter_members(clusters: np.ndarray) -> Iterator[np.ndarray]:
    order = np.argsort(clusters, kind="stable")
    return iter(np.split(order, np.searchsorted(clusters[order], np.arange(clusters.max(initial=-1) + 1)))[1:])


def _flip(directions: np.ndarray, samples: np.ndarray, seed: int) -> np.ndarray:
    """The directions with the sign of every number drawn anew, for all spans of a sample alike.

    Cosines within a sample and the size of every number stay; what samples share is lost.
    """
    numbers = np.unique(samples, return_inverse=True)[1]
    flips = np.random.default_rng(seed).random((int(numbers.max(initial=-1)) + 1, directions.shape[1])) < 0.5
    return np.where(flips[numbers], -directions, directions)


def _compare(
    sizes: np.ndarray, cosines: np.ndarray, null_sizes: np.ndarray, null_cosines: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Share of chance clusters that are as strong, and the strongest of them, (m,) each.

    Compared are those of at least half the size, or the largest ones: smaller ones are stronger by chance.
    """
    shares, strongest = np.zeros(len(sizes)), np.zeros(len(sizes))
    by_size = np.argsort(-null_sizes, kind="stable")
    if not len(by_size):
        return shares, strongest  # nothing at all is found by chance
    for at, (size, cosine) in enumerate(zip(sizes, cosines, strict=True)):
        comparable = null_cosines[by_size[: max(int((2 * null_sizes >= size).sum()), N_LARGEST)]]
        shares[at] = (1 + (comparable >= cosine).sum()) / (1 + len(comparable))
        strongest[at] = comparable.max()
    return shares, strongest


def _measure_stability(
    graph: sp.csr_matrix, samples: np.ndarray, clusters: np.ndarray, resolution: float, seed: int
) -> np.ndarray:
    """(m,) of two members that are both in a random half of the samples, how often they are in one cluster there."""
    m = int(clusters.max(initial=-1)) + 1
    together, pairs = np.zeros(m), np.zeros(m)
    random = np.random.default_rng(seed)
    names = np.unique(samples)
    for _ in range(N_HALVES if m else 0):
        rows = np.flatnonzero(np.isin(samples, random.permutation(names)[: len(names) // 2]))
        again = _search(graph[rows][:, rows].tocsr(), resolution, seed)
        own = clusters[rows]
        held = (own >= 0) & (again >= 0)
        counts = sp.csr_matrix(
            (np.ones(held.sum()), (own[held], again[held])), shape=(m, int(again.max(initial=0)) + 1)
        )
        together += np.asarray(counts.multiply(counts - (counts > 0)).sum(axis=1)).ravel()
        n_own = np.bincount(own[own >= 0], minlength=m)
        pairs += n_own * (n_own - 1)
    return together / np.maximum(pairs, 1)
