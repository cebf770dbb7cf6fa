"""Structural twins: samples whose reasoning is aligned while their questions speak of different things.

Twin                     one such pair with its scores and aligned spans
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

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from gsd_core.analysis.align import (
    Traces,
    compute_local_alignment,
    compute_pair_scores,
    make_shuffles,
)
from gsd_core.analysis.manifold import compute_knn
from gsd_core.comparison.nulls import compute_q_values
from gsd_core.comparison.wording import Wording, make_wording

PER_TRACE = 40  # candidates a trace brings from the index
PER_TRACE_OTHER_WORDS = 10  # of those whose reasoning is in other words
ANY_TOPIC = 10  # of its nearest, whatever their questions
LOOKED_AT = 160  # nearest traces among which those are found
RARE_UP_TO, PER_TRACE_RARE = 50, 10  # traces that hold a rare pair of clusters; candidates it brings to each
N_RANDOM = 4_000
PER_PATTERN = 10
MOST_WALKED = 20_000  # pairs whose cluster pattern is looked at, best first
_NULL_SIZE, _FEWEST_SHUFFLES, _MOST_SHUFFLES = 200_000, 5, 100
_BLOCK = 50_000


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


@dataclass(frozen=True)
class TwinSearch:
    """``twins`` by descending score, ``rewordings`` those of them in other words, and more such, by descending
    ``structural``; ``pairs`` (m, 2) tested with ``structural``, ``semantic``, ``p_values`` and
    ``q_values`` (m,); ``random_pairs`` (r, 2) with theirs; ``info`` plain numbers."""

    twins: list[Twin]
    rewordings: list[Twin]
    pairs: np.ndarray
    structural: np.ndarray
    semantic: np.ndarray
    p_values: np.ndarray
    q_values: np.ndarray
    random_pairs: np.ndarray
    random_structural: np.ndarray
    random_semantic: np.ndarray
    info: dict[str, Any]


def compute_trace_vectors(directions: np.ndarray, traces: Traces) -> np.ndarray:
    """(N, P) float32 mean direction of each trace at unit norm, zero where it has none. ``directions`` (n, P) in
    ``traces.order``."""
    if not len(traces.ids):
        return np.zeros((0, directions.shape[1]), dtype=np.float32)
    return _to_unit(np.add.reduceat(directions, traces.offsets[:-1], axis=0))


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
    directions: np.ndarray,
    traces: Traces,
    labels: np.ndarray,
    semantic: np.ndarray,
    threshold: float,
    gap: float,
    seed: int = 0,
    *,
    top: int = 1_000,
    texts: Sequence[str] | None = None,
    pairs: np.ndarray | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> TwinSearch:
    """Rank pairs by ``z(structural) − z(semantic)`` among those whose questions are no closer than the median.

    Mean, spread and median are those of up to 4,000 random pairs. p stands against all tested pairs with their spans in
    shuffled order, pooled; q is Benjamini and Hochberg's over all tested pairs; for ``rewordings`` both are over the
    tested pairs in other words. At most 10 twins have one
    cluster pattern (patterns of noise alone say nothing and are not counted), so that one procedure does not fill
    the list.

    Parameters
    ----------
    directions, labels
        (n, P) and (n,) in ``traces.order``; label -1 is noise.
    semantic
        (N, E) embeddings of the questions, unit norm; a zero row (unknown) has cosine 0 with all.
    texts
        (n) what the spans say, in ``traces.order``: without them ``rewordings`` is empty.
    pairs
        (m, 2) to test in place of `find_candidates` (brute force).
    """
    n = len(traces.ids)
    semantic = _to_unit(semantic)
    random_pairs = _draw_pairs(n, N_RANDOM, seed)
    random_semantic = _pair_cosines(semantic, random_pairs)
    limit = float(np.median(random_semantic)) if len(random_pairs) else 1.0
    words = make_wording(texts, traces.owners()) if texts is not None else None
    wording = make_wording(_join(texts, traces), np.arange(n)) if texts is not None else None
    if pairs is None:
        vectors = compute_trace_vectors(directions, traces)
        bags = [
            np.unique(labels[a:b][labels[a:b] >= 0])
            for a, b in zip(traces.offsets[:-1], traces.offsets[1:], strict=True)
        ]
        pairs = find_candidates(vectors, semantic, bags, limit, seed, wording)
    n_shuffles = int(np.clip(-(-_NULL_SIZE // max(len(pairs), 1)), _FEWEST_SHUFFLES, _MOST_SHUFFLES))
    shuffles = make_shuffles(traces, n_shuffles, seed + 1)
    structural, shuffled = compute_pair_scores(
        directions, traces, pairs, threshold, gap, shuffles, on_progress
    )
    random_structural, _ = compute_pair_scores(directions, traces, random_pairs, threshold, gap)
    p_values, q_values = compute_q_values(structural, shuffled.ravel())
    found = _pair_cosines(semantic, pairs)
    z_structural, z_semantic = (
        _standardise(structural, random_structural),
        _standardise(found, random_semantic),
    )
    score = z_structural - z_semantic

    def walk(
        eligible: np.ndarray, by: np.ndarray, p_of: np.ndarray, q_of: np.ndarray, most_alike: float = 1.1
    ) -> list[Twin]:
        """The best of ``eligible`` rows of ``pairs``, a few for each cluster pattern."""
        ranked = eligible[np.lexsort((pairs[eligible, 1], pairs[eligible, 0], -by[eligible]))]
        chosen: list[Twin] = []
        held: dict[str, int] = {}
        for at in ranked[:MOST_WALKED]:
            a, b = int(pairs[at, 0]), int(pairs[at, 1])
            aligned = align_pair(directions, traces, a, b, threshold, gap)
            alike = _compare_words(words, traces, a, b, aligned)
            if alike > most_alike:
                continue
            pattern = _name_pattern(labels, traces, a, b, aligned)
            if held.get(pattern, 0) >= PER_PATTERN and pattern.strip("·-"):
                continue
            held[pattern] = held.get(pattern, 0) + 1
            chosen.append(
                Twin(
                    a,
                    b,
                    structural=float(structural[at]),
                    semantic=float(found[at]),
                    z_structural=float(z_structural[at]),
                    z_semantic=float(z_semantic[at]),
                    p_value=float(p_of[at]),
                    q_value=float(q_of[at]),
                    aligned=aligned,
                    pattern=pattern,
                    wording=alike,
                )
            )
            if len(chosen) == top:
                break
        return chosen

    is_far = found <= limit
    eligible = np.flatnonzero(is_far & (structural > 0))
    twins = walk(eligible, score, p_values, q_values)
    # Pairs in other words are a question of their own: few of them align at all, their shuffles score less, and a far
    # question must not make up for reasoning that hardly aligns.
    is_other = np.zeros(len(pairs), dtype=bool)
    rewordings: list[Twin] = []
    if wording is not None and words is not None:
        is_other = is_far & (wording.compute_pairs(*pairs.T) <= wording.limit)
        own_p, own_q = np.ones((2, len(pairs)))
        own_p[is_other], own_q[is_other] = compute_q_values(structural[is_other], shuffled[is_other].ravel())
        rewordings = walk(np.flatnonzero(is_other & (structural > 0)), structural, own_p, own_q, words.limit)
    info = {
        "n_pairs_tested": len(pairs),
        "n_pairs_eligible": len(eligible),
        "n_shuffles": n_shuffles,
        "semantic_median": limit,
        "n_pairs_other_words": int(is_other.sum()),
        "other_words_null_p95": float(np.quantile(shuffled[is_other], 0.95)) if is_other.any() else None,
        "words_limit": words.limit if words is not None else None,
        "threshold": threshold,
        "gap": gap,
        "per_pattern": PER_PATTERN,
        "structural_null_p95": float(np.quantile(shuffled, 0.95)) if shuffled.size else None,
    }
    return TwinSearch(
        twins,
        rewordings,
        pairs,
        structural,
        found,
        p_values,
        q_values,
        random_pairs,
        random_structural,
        random_semantic,
        info,
    )


def align_pair(
    directions: np.ndarray, traces: Traces, a: int, b: int, threshold: float, gap: float
) -> list[tuple[int, int, float]]:
    """``(k_a, k_b, cosine)`` of the best run of two traces, by place in the trace; ``directions`` in
    ``traces.order``."""
    rows_a, rows_b = (directions[traces.offsets[t] : traces.offsets[t + 1]] for t in (a, b))
    cosines = np.asarray(rows_a, dtype=np.float32) @ np.asarray(rows_b, dtype=np.float32).T
    _, aligned = compute_local_alignment(cosines - np.float32(threshold), gap)
    return [(i, j, float(cosines[i, j])) for i, j in aligned]


def _join(texts: Sequence[str], traces: Traces) -> list[str]:
    """(N) what the traces say."""
    borders = zip(traces.offsets[:-1], traces.offsets[1:], strict=True)
    return ["\n".join(texts[start:stop]) for start, stop in borders]


def _compare_words(
    words: Wording | None, traces: Traces, a: int, b: int, aligned: list[tuple[int, int, float]]
) -> float:
    """Mean cosine of the aligned spans' words."""
    if words is None or not aligned:
        return float("nan")
    left, right = (
        np.array([pair[side] for pair in aligned]) + traces.offsets[t] for side, t in ((0, a), (1, b))
    )
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


def _pair_cosines(unit: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    out = np.empty(len(pairs), dtype=np.float32)
    for start in range(0, len(pairs), _BLOCK):
        part = pairs[start : start + _BLOCK]
        out[start : start + _BLOCK] = np.einsum("me,me->m", unit[part[:, 0]], unit[part[:, 1]])
    return out


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
    weights = np.sqrt(
        np.log(len(bags) / counts[columns[is_rare]])
    )  # squared by the product: the rarer, the more
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


def _name_pattern(
    labels: np.ndarray, traces: Traces, a: int, b: int, aligned: list[tuple[int, int, float]]
) -> str:
    """The clusters of the aligned spans in ``a``, or in ``b`` where those are noise: ``3-7-·-1``."""
    names = []
    for i, j, _ in aligned:
        left, right = labels[traces.offsets[a] + i], labels[traces.offsets[b] + j]
        label = left if left >= 0 else right
        names.append(str(int(label)) if label >= 0 else "·")
    return "-".join(names)
