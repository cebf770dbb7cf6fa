"""Structural twins: samples whose reasoning is aligned while their questions speak of different things.

Twin                     one such pair with its scores and aligned spans
ScoredPairs              pairs of traces with both similarities
TwinSearch               twins, tested pairs and random pairs, as `find_twins` gives them
compute_trace_vectors    one direction a trace, for the nearest-neighbour index
find_candidates          pairs of traces worth an alignment
find_twins               candidates → alignment → null → ranking
align_pair               the best run of two traces with its cosines

Methods §1.6, "ours". Candidates are chosen by what spans two traces hold and never by their order, because the null
of the alignment is the shuffled order: a choice that looked at the order would make chance look significant. Shapes:
n spans, P sketch width, N traces, E embedding width, m pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from gsd_core.analysis.align import (
    MatchScale,
    TracedSpans,
    Traces,
    compute_local_alignment,
    compute_pair_scores,
    make_shuffles,
)
from gsd_core.analysis.manifold import compute_knn
from gsd_core.comparison.centring import Rows
from gsd_core.comparison.nulls import adjust_p_values, compute_pair_cosines, compute_q_values
from gsd_core.comparison.wording import Wording, make_wording

PER_TRACE = 40  # candidates a trace brings from the index
PER_TRACE_OTHER_WORDS = 10  # of those whose reasoning is in other words
ANY_TOPIC = 10  # of its nearest, whatever their questions
LOOKED_AT = 160  # nearest traces among which those are found
RARE_UP_TO, PER_TRACE_RARE = 50, 10  # traces that hold a rare pair of clusters; candidates it brings to each
N_RANDOM = 4_000
PER_PATTERN = 10
MOST_WALKED = 20_000  # pairs whose cluster pattern is looked at, best first
_NULL_SIZE, _FEWEST_SHUFFLES, _MOST_SHUFFLES = 400_000, 5, 100
_MOST_LENGTHS, _LEAST_NULL = 6, 50_000  # classes of length, and shuffled scores for each


@dataclass(frozen=True)
class Twin:
    """Traces ``a < b`` by number.

    ``structural`` is the best run over ``sqrt(S_a · S_b)``, ``semantic`` the cosine of the questions, ``wording`` the
    mean one of the aligned spans' words (NaN where unknown); ``z_*`` stand against random pairs; ``aligned`` holds
    ``(k_a, k_b, cosine)`` by place in the trace; ``pattern`` is the clusters of the aligned spans, ``·`` for noise.
    """

    a: int
    b: int
    structural: float
    semantic: float
    z_structural: float
    z_semantic: float
    p_value: float
    q_value: float
    aligned: list[tuple[int, int, float]]
    pattern: str
    wording: float

    @property
    def score(self) -> float:
        """``z_structural − z_semantic``."""
        return self.z_structural - self.z_semantic


class ScoredPairs(NamedTuple):
    """``pairs`` (m, 2) of traces with their ``structural`` and ``semantic`` similarity (m,)."""

    pairs: np.ndarray
    structural: np.ndarray
    semantic: np.ndarray


@dataclass(frozen=True)
class TwinSearch:
    """``twins`` by descending score, ``rewordings`` those of them in other words, and more such, by descending
    ``structural``; ``tested`` and ``random`` pairs; ``info`` plain numbers."""

    twins: list[Twin]
    rewordings: list[Twin]
    tested: ScoredPairs
    random: ScoredPairs
    info: dict[str, Any]


def compute_trace_vectors(directions: Rows, traces: Traces) -> np.ndarray:
    """(N, P) float32 mean direction of each trace at unit norm, zero where it has none. ``directions`` (n, P) in
    ``traces.order``."""
    if not len(traces.ids):
        return np.zeros((0, directions.shape[1]), dtype=np.float32)
    return _to_unit(np.add.reduceat(directions[:], traces.offsets[:-1], axis=0))


def find_candidates(
    vectors: np.ndarray,
    semantic: np.ndarray,
    bags: list[np.ndarray],
    limit: float,
    seed: int = 0,
    wording: Wording | None = None,
) -> np.ndarray:
    """Pairs worth an alignment: neighbours in direction, and traces that share rare pairs of clusters.

    Parameters
    ----------
    vectors
        (N, P) of `compute_trace_vectors`.
    semantic
        (N, E) unit embeddings. Of the 160 nearest traces, the 40 nearest with a semantic cosine up to ``limit`` are
        taken, and the 10 nearest of all: traces of one topic would otherwise crowd the others out.
    bags
        For each trace its clusters. A pair of clusters that at most 50 traces hold, in whatever order, brings up
        to 10 candidates to each of them.
    wording
        Of the N reasonings: the 10 nearest in other words about something else are taken too.

    Returns
    -------
    (m, 2) int64, ``a < b``, sorted, each pair once.
    """
    n = len(vectors)
    if n < 2:
        return np.zeros((0, 2), dtype=np.int64)
    near = compute_knn(vectors, min(LOOKED_AT + 1, n), seed).indices[:, 1:].astype(np.int64)
    taken = np.zeros(near.shape, dtype=bool)
    for start in range(0, n, 1024):
        rows = slice(start, start + 1024)
        cosines = np.einsum("ne,nke->nk", semantic[rows], semantic[near[rows]])
        is_far = cosines <= limit
        taken[rows] = is_far & (np.cumsum(is_far, axis=1) <= PER_TRACE)
        if wording is not None:
            own = np.repeat(np.arange(n)[rows], near.shape[1])
            alike = wording.compute_pairs(own, near[rows].ravel()).reshape(near[rows].shape)
            is_other = is_far & (alike <= wording.limit)
            taken[rows] |= is_other & (np.cumsum(is_other, axis=1) <= PER_TRACE_OTHER_WORDS)
    taken[:, :ANY_TOPIC] = True
    alive = np.any(vectors != 0, axis=1)
    taken &= alive[:, None] & alive[near]
    left = np.broadcast_to(np.arange(n)[:, None], near.shape)[taken]
    return _unique_pairs(np.concatenate([np.stack([left, near[taken]], axis=1), _share_rare(bags)]))


def find_twins(
    spans: TracedSpans,
    scale: MatchScale,
    seed: int = 0,
    *,
    top: int = 1_000,
    pairs: np.ndarray | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> TwinSearch:
    """Rank pairs by ``z(structural) − z(semantic)`` among those whose questions are no closer than the median.

    Mean, spread and median are those of up to 4,000 random pairs. p stands against tested pairs of questions that far
    apart and of about the same length, with their spans in shuffled order, pooled; q is Benjamini and Hochberg's over
    all tested pairs of far questions; for ``rewordings`` both are over those in other words. At most 10 twins have one
    cluster pattern (patterns of noise alone say nothing and are not counted), so that one procedure does not fill the
    list.

    Parameters
    ----------
    spans
        Without texts ``rewordings`` is empty.
    scale
        Of `compute_match_scale`.
    top
        Most twins, and most rewordings.
    pairs
        (m, 2) to test in place of `find_candidates` (brute force).
    """
    traces, n = spans.traces, len(spans.traces.ids)
    semantic = _to_unit(spans.questions)
    random, _ = _score(spans, scale, semantic, _draw_pairs(n, N_RANDOM, seed))
    limit = float(np.median(random.semantic)) if len(random.pairs) else 1.0
    words = make_wording(spans.texts, traces.owners()) if spans.texts is not None else None
    wording = make_wording(spans.join_texts(), np.arange(n)) if spans.texts is not None else None
    if pairs is None:
        vectors = compute_trace_vectors(spans.directions, traces)
        pairs = find_candidates(vectors, semantic, spans.list_clusters(), limit, seed, wording)
    n_shuffles = int(np.clip(-(-_NULL_SIZE // max(len(pairs), 1)), _FEWEST_SHUFFLES, _MOST_SHUFFLES))
    shuffles = make_shuffles(traces, n_shuffles, seed + 1)
    tested, shuffled = _score(spans, scale, semantic, pairs, shuffles, on_progress)

    ranking = _Ranking(spans, scale, words, tested, random, top)
    is_far, is_aligned = tested.semantic <= limit, tested.structural > 0
    sizes = np.diff(traces.offsets)
    # Only far pairs can be twins: near ones would be tests for nothing, and their shuffles align better.
    twins = ranking.walk(is_far & is_aligned, ranking.scores, *_judge(tested, shuffled, is_far, sizes))
    # Pairs in other words are a question of their own: few of them align at all, their shuffles score less, and a far
    # question must not make up for reasoning that hardly aligns.
    is_other = np.zeros(len(pairs), dtype=bool)
    rewordings: list[Twin] = []
    if wording is not None and words is not None:
        is_other = is_far & (wording.compute_pairs(*pairs.T) <= wording.limit)
        judged = _judge(tested, shuffled, is_other, sizes)
        rewordings = ranking.walk(is_other & is_aligned, tested.structural, *judged, words.limit)
    info = {
        "n_pairs_tested": len(pairs),
        "n_pairs_eligible": int((is_far & is_aligned).sum()),
        "n_shuffles": n_shuffles,
        "semantic_median": limit,
        "n_pairs_other_words": int(is_other.sum()),
        "other_words_null_p95": float(np.quantile(shuffled[is_other], 0.95)) if is_other.any() else None,
        "words_limit": words.limit if words is not None else None,
        **scale._asdict(),
        "per_pattern": PER_PATTERN,
        "structural_null_p95": float(np.quantile(shuffled, 0.95)) if shuffled.size else None,
    }
    return TwinSearch(twins, rewordings, tested, random, info)


def _score(
    spans: TracedSpans,
    scale: MatchScale,
    semantic: np.ndarray,
    pairs: np.ndarray,
    shuffles: np.ndarray | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[ScoredPairs, np.ndarray]:
    """Both similarities of ``pairs`` (m, 2), and the structural one in shuffled orders (m, R)."""
    found, shuffled = compute_pair_scores(spans.directions, spans.traces, pairs, *scale, shuffles, on_progress)
    return ScoredPairs(pairs, found, compute_pair_cosines(semantic, pairs[:, 0], semantic, pairs[:, 1])), shuffled


def _judge(
    tested: ScoredPairs, shuffled: np.ndarray, is_judged: np.ndarray, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """p and q (m,) of some pairs among themselves, 1 for the others; ``sizes`` (N,) are the traces' numbers of spans.

    A pair stands against the shuffles of pairs of about its own length: two matches by chance weigh more in short
    traces than in long ones.
    """
    p_values, q_values = np.ones((2, len(is_judged)))
    rows = np.flatnonzero(is_judged)
    if not len(rows):
        return p_values, q_values
    lengths = sizes[tested.pairs[rows]].prod(axis=1)
    n_groups = int(np.clip(shuffled[rows].size // _LEAST_NULL, 1, _MOST_LENGTHS))
    borders = np.unique(np.quantile(lengths, np.arange(1, n_groups) / n_groups))
    groups = np.searchsorted(borders, lengths, side="right")
    for group in np.unique(groups):
        own = rows[groups == group]
        p_values[own], _ = compute_q_values(tested.structural[own], shuffled[own].ravel())
    q_values[rows] = adjust_p_values(p_values[rows])
    return p_values, q_values


class _Ranking:
    """Tested pairs on their way to twins; ``scores`` (m,) z(structural) − z(semantic)."""

    def __init__(
        self,
        spans: TracedSpans,
        scale: MatchScale,
        words: Wording | None,
        tested: ScoredPairs,
        random: ScoredPairs,
        top: int,
    ) -> None:
        self._spans, self._scale, self._words, self._tested, self._top = spans, scale, words, tested, top
        self._z_structural = _standardise(tested.structural, random.structural)
        self._z_semantic = _standardise(tested.semantic, random.semantic)
        self.scores = self._z_structural - self._z_semantic

    def walk(
        self,
        is_eligible: np.ndarray,
        by: np.ndarray,
        p_values: np.ndarray,
        q_values: np.ndarray,
        most_alike: float = 1.1,
    ) -> list[Twin]:
        """The best eligible pairs, a few for each cluster pattern, whose aligned spans' words are alike up to
        ``most_alike``."""
        pairs, eligible = self._tested.pairs, np.flatnonzero(is_eligible)
        ranked = eligible[np.lexsort((pairs[eligible, 1], pairs[eligible, 0], -by[eligible]))]
        chosen: list[Twin] = []
        held: dict[str, int] = {}
        for at in ranked[:MOST_WALKED]:
            a, b = int(pairs[at, 0]), int(pairs[at, 1])
            aligned = align_pair(self._spans.directions, self._spans.traces, a, b, *self._scale)
            alike = _compare_words(self._words, self._spans.traces, a, b, aligned)
            if alike > most_alike:
                continue
            pattern = _name_pattern(self._spans, a, b, aligned)
            if held.get(pattern, 0) >= PER_PATTERN and pattern.strip("·-"):
                continue
            held[pattern] = held.get(pattern, 0) + 1
            numbers = {
                "structural": self._tested.structural,
                "semantic": self._tested.semantic,
                "z_structural": self._z_structural,
                "z_semantic": self._z_semantic,
                "p_value": p_values,
                "q_value": q_values,
            }
            values = {name: float(column[at]) for name, column in numbers.items()}
            chosen.append(Twin(a, b, **values, aligned=aligned, pattern=pattern, wording=alike))
            if len(chosen) == self._top:
                break
        return chosen


def align_pair(
    directions: Rows, traces: Traces, a: int, b: int, threshold: float, gap: float
) -> list[tuple[int, int, float]]:
    """``(k_a, k_b, cosine)`` of the best run of two traces, by place in the trace; ``directions`` in
    ``traces.order``."""
    rows_a, rows_b = (directions[traces.offsets[t] : traces.offsets[t + 1]] for t in (a, b))
    cosines = np.asarray(rows_a, dtype=np.float32) @ np.asarray(rows_b, dtype=np.float32).T
    _, aligned = compute_local_alignment(cosines - np.float32(threshold), gap)
    return [(i, j, float(cosines[i, j])) for i, j in aligned]


def _compare_words(
    words: Wording | None, traces: Traces, a: int, b: int, aligned: list[tuple[int, int, float]]
) -> float:
    """Mean cosine of the aligned spans' words."""
    if words is None or not aligned:
        return float("nan")
    left, right = (np.array([pair[side] for pair in aligned]) + traces.offsets[t] for side, t in ((0, a), (1, b)))
    return float(words.compute_pairs(left, right).mean())


def _to_unit(rows: np.ndarray) -> np.ndarray:
    rows = np.asarray(rows, dtype=np.float32)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(norms > 1e-6, rows / np.where(norms > 1e-6, norms, 1), np.float32(0))


def _unique_pairs(pairs: np.ndarray) -> np.ndarray:
    pairs = np.sort(pairs.astype(np.int64), axis=1)
    return np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)


def _draw_pairs(n: int, size: int, seed: int) -> np.ndarray:
    """(r, 2) different pairs of 0 … n-1, all of them where there are no more than ``size``."""
    if n * (n - 1) // 2 <= size:
        return np.stack(np.triu_indices(n, 1), axis=1).astype(np.int64)
    random = np.random.default_rng(seed)
    # More than wanted, since equal and repeated ones go; what is kept is a random part of the rest.
    drawn = _unique_pairs(random.integers(0, n, size=(3 * size, 2)))
    return drawn[np.sort(random.permutation(len(drawn))[:size])]


def _standardise(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """z against ``reference``, or against ``values`` themselves where that has no spread (few short traces: no run
    at all)."""
    for scale in (reference, values):
        spread = float(np.std(scale)) if len(scale) else 0.0
        if spread > 1e-6:
            return (values - float(np.mean(scale))) / spread
    return np.zeros(len(values), dtype=np.float32)


def _share_rare(bags: list[np.ndarray]) -> np.ndarray:
    """(m, 2) traces that share pairs of clusters which few traces hold; for each trace those with most in common."""
    owners, keys = [], []
    base = 1 + max((int(bag.max()) for bag in bags if len(bag)), default=0)
    for trace, bag in enumerate(bags):
        first, second = np.triu_indices(len(bag), 1)
        keys.append(bag[first].astype(np.int64) * base + bag[second])
        owners.append(np.full(len(first), trace, dtype=np.int64))
    flat, rows = np.concatenate(keys), np.concatenate(owners)
    if not len(flat):
        return np.zeros((0, 2), dtype=np.int64)
    _, columns, counts = np.unique(flat, return_inverse=True, return_counts=True)
    is_rare = (counts[columns] >= 2) & (counts[columns] <= RARE_UP_TO)
    weights = np.sqrt(np.log(len(bags) / counts[columns[is_rare]]))  # squared by the product: the rarer, the more
    held = sparse.csr_array((weights, (rows[is_rare], columns[is_rare])), shape=(len(bags), len(counts)))
    shared = (held @ held.T).tocsr()
    pairs = []
    for trace in range(len(bags)):
        part = slice(shared.indptr[trace], shared.indptr[trace + 1])
        others, weight = shared.indices[part], shared.data[part]
        order = np.lexsort((others, -weight))
        best = others[order][others[order] != trace][:PER_TRACE_RARE]
        pairs.append(np.stack([np.full(len(best), trace), best], axis=1))
    return np.concatenate(pairs).astype(np.int64)


def _name_pattern(spans: TracedSpans, a: int, b: int, aligned: list[tuple[int, int, float]]) -> str:
    """The clusters of the aligned spans in ``a``, or in ``b`` where those are noise: ``3-7-·-1``."""
    names = []
    for i, j, _ in aligned:
        left, right = (spans.clusters[spans.traces.offsets[t] + k] for t, k in ((a, i), (b, j)))
        cluster = left if left >= 0 else right
        names.append(str(int(cluster)) if cluster >= 0 else "·")
    return "-".join(names)
