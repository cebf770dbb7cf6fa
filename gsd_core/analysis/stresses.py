"""Aligned sequential stresses of a corpus: cluster sequences that recur across traces more often than by chance.

Sequences              clusters of each trace in order, noise left out
make_sequences         clusters and traces → Sequences
find_stresses          frequent patterns with support, lift, p and q; near-identical ones merged
Stress                 one of them, with every occurrence
default_min_support    the smallest support, from the number of samples

Methods §1.5, "ours". A pattern is 2 to 6 clusters in order, with at most one span skipped between two of them; noise
spans are no items and break nothing. Support is the number of samples that hold it. Chance is the within-trace
shuffle: the same clusters in each trace, in random order.

Mining is our own (level-wise pattern growth, Agrawal and Srikant 1995, on a trie): the libraries that we know for
sequential patterns report patterns and support, but neither every occurrence nor support under shuffles, and
counting the same patterns in a hundred shuffled corpora is the larger part of the work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np
from scipy.stats import binom, chi2

from gsd_core.analysis.align import Traces
from gsd_core.comparison.nulls import adjust_p_values

LONGEST, SKIPPED = 6, 1
SAME = 0.8  # Jaccard index of samples from which two overlapping patterns are one
MOST_A_LEVEL = 5_000  # frequent patterns of one length that are kept, by support
MOST_WALKED = 5_000  # patterns whose occurrences are listed and compared, best first
_SHUFFLED_SPANS = 3_000_000  # spans in all shuffles together


class Sequences(NamedTuple):
    """``codes`` (s,) int32 clusters 0 … C-1 trace by trace, ``places`` (s,) number of the span within its trace,
    ``offsets`` (N + 1,), ``clusters`` (C,) what each code was called."""

    codes: np.ndarray
    places: np.ndarray
    offsets: np.ndarray
    clusters: np.ndarray


@dataclass(frozen=True)
class Stress:
    """``pattern`` clusters in order; ``traces`` (o,) and ``places`` (o, length) of every occurrence (spans counted
    within their trace); ``support`` traces that hold it; ``expected`` that support in shuffled order."""

    pattern: tuple[int, ...]
    support: int
    expected: float
    p_value: float
    q_value: float
    traces: np.ndarray
    places: np.ndarray

    @property
    def lift(self) -> float:
        """Support over its expectation in shuffled order."""
        return self.support / self.expected


def make_sequences(clusters: np.ndarray, traces: Traces) -> Sequences:
    """Sequences of ``traces``; ``clusters`` (n,) are those of the rows, -1 is noise and left out."""
    ordered = np.asarray(clusters)[traces.order]
    owners = traces.owners()
    kept = np.flatnonzero(ordered >= 0)
    known, codes = np.unique(ordered[kept], return_inverse=True)
    sizes = np.bincount(owners[kept], minlength=len(traces.ids))
    return Sequences(
        codes.astype(np.int32),
        (kept - traces.offsets[owners[kept]]).astype(np.int32),
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        known,
    )


def default_min_support(n_traces: int) -> int:
    """1 % of the traces, at least 3."""
    return max(3, -(-n_traces // 100))


def find_stresses(
    sequences: Sequences,
    seed: int = 0,
    min_support: int | None = None,
    top: int = 200,
    n_shuffles: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Stress], dict[str, int]]:
    """The ``top`` patterns, significant ones (q < 0.05) first, then by ``support · ln(lift)``. Methods §1.5, "ours".

    ``min_support`` None is `default_min_support`; ``n_shuffles`` None is 100 to 1,000, more for a small corpus. The
    number of traces that hold a pattern in shuffled order is a sum of independent draws, whose upper tail a binomial
    of the same mean bounds (Hoeffding 1956): p is that tail, over the traces that have the pattern's clusters in any
    order, at the upper 95 % bound of the mean that the shuffles showed. q is Benjamini and Hochberg's for each
    length over *all* patterns of that length that the frequent clusters can make: mining sees only those whose
    beginnings were frequent, which in a shuffled corpus are the lucky ones, so the unseen count as tests with p = 1.
    Per start one occurrence is listed, the tightest.

    Of near-identical patterns one is kept: same samples (Jaccard at least 0.8), and half of the shorter one's
    clusters in common, in order. It is the longer, then the one that skips fewer spans, then the better ranked.

    Returns
    -------
    The stresses, and ``n_items`` (frequent clusters), ``n_frequent`` (patterns), ``n_cut`` (frequent patterns beyond
    5,000 a length), ``min_support``, ``n_shuffles``.
    """
    least = default_min_support(len(sequences.offsets) - 1) if min_support is None else max(1, min_support)
    if n_shuffles is None:
        n_shuffles = int(np.clip(_SHUFFLED_SPANS // max(len(sequences.codes), 1), 100, 1_000))
    patterns, supports, n_items, n_cut = _mine(sequences, least)
    info = {
        "n_items": n_items,
        "n_frequent": len(patterns),
        "n_cut": n_cut,
        "min_support": least,
        "n_shuffles": n_shuffles,
    }
    if not patterns:
        return [], info
    counted = _count_shuffled(sequences, patterns, n_shuffles, seed, on_progress)
    # A pattern that no shuffle shows is not impossible: once among them for lift, the upper bound for p.
    expected = np.maximum(counted, 1) / n_shuffles
    upper = chi2.ppf(0.95, 2 * (counted + 1)) / 2 / n_shuffles
    possible = _count_possible(sequences, patterns)
    p_values = binom.sf(supports - 1, possible, np.minimum(upper / possible, 1.0))
    q_values = np.ones(len(patterns))
    lengths = np.array([len(pattern) for pattern in patterns])
    for length in np.unique(lengths):
        mine = lengths == length
        q_values[mine] = adjust_p_values(p_values[mine], float(n_items) ** int(length))
    weight = supports * np.log(supports / expected)
    ranked = np.lexsort((np.arange(len(patterns)), -weight, q_values >= 0.05))[:MOST_WALKED]
    kept: list[_Kept] = []
    for at in ranked:
        traces, places = _list_occurrences(sequences, patterns[at])
        pattern = tuple(int(sequences.clusters[code]) for code in patterns[at])
        numbers = (float(expected[at]), float(p_values[at]), float(q_values[at]))
        _merge(kept, Stress(pattern, int(supports[at]), *numbers, traces, places))
        if len(kept) > top:
            break
    return [each.stress for each in kept[:top]], info


def _mine(sequences: Sequences, least: int) -> tuple[list[tuple[int, ...]], np.ndarray, int, int]:
    """Frequent patterns of two clusters or more, their support, how many clusters are frequent, how many were cut."""
    frontier: list[tuple[int, ...]] = [(code,) for code in range(len(sequences.clusters))]
    followers: dict[int, list[int]] = {}
    kept: list[tuple[int, ...]] = []
    counts: list[int] = []
    n_items = n_cut = 0
    for length in range(1, LONGEST + 1):
        if length > 1:
            # What follows the last item must follow it often by itself: a part of a frequent pattern is frequent.
            frontier = [(*pattern, code) for pattern in frontier for code in followers.get(pattern[-1], [])]
        support = _count_patterns(sequences, frontier)
        enough = np.flatnonzero(support >= least)
        if len(enough) > MOST_A_LEVEL:
            n_cut += len(enough) - MOST_A_LEVEL
            enough = np.sort(enough[np.argsort(-support[enough], kind="stable")[:MOST_A_LEVEL]])
        frontier = [frontier[at] for at in enough]
        if length == 1:
            n_items = len(frontier)
            followers = {pattern[0]: [other[0] for other in frontier] for pattern in frontier}
        else:
            if length == 2:
                followers = {}
                for first, second in frontier:
                    followers.setdefault(first, []).append(second)
            kept += frontier
            counts += support[enough].tolist()
        if not frontier:
            break
    return kept, np.array(counts, dtype=np.int64), n_items, n_cut


def _make_trie(patterns: list[tuple[int, ...]], n_codes: int) -> tuple[np.ndarray, np.ndarray]:
    """``child`` (inner nodes, C): next node or -1, inner nodes first and the root at 0; the node of each pattern."""
    inner: dict[tuple[int, ...], int] = {(): 0}
    for pattern in patterns:
        for length in range(1, len(pattern)):
            inner.setdefault(pattern[:length], len(inner))
    nodes = np.empty(len(patterns), dtype=np.int64)
    child = np.full((len(inner), n_codes), -1, dtype=np.int32)
    for prefix, node in inner.items():
        if prefix:
            child[inner[prefix[:-1]], prefix[-1]] = node
    n_nodes = len(inner)
    for at, pattern in enumerate(patterns):
        parent = inner[pattern[:-1]]
        if child[parent, pattern[-1]] < 0:
            child[parent, pattern[-1]] = n_nodes
            n_nodes += 1
        nodes[at] = child[parent, pattern[-1]]
    return child, nodes


def _count_patterns(sequences: Sequences, patterns: list[tuple[int, ...]]) -> np.ndarray:
    if not patterns:
        return np.zeros(0, dtype=np.int64)
    child, nodes = _make_trie(patterns, len(sequences.clusters))
    support = np.zeros(int(max(child.max(), nodes.max())) + 1, dtype=np.int64)
    _count(sequences.codes, sequences.offsets, child, support)
    return support[nodes]


def _count_shuffled(
    sequences: Sequences,
    patterns: list[tuple[int, ...]],
    n_shuffles: int,
    seed: int,
    on_progress: Callable[[int, int], None] | None,
) -> np.ndarray:
    """Support of each pattern, summed over shuffled orders."""
    child, nodes = _make_trie(patterns, len(sequences.clusters))
    support = np.zeros(int(child.max()) + 1, dtype=np.int64)
    random = np.random.default_rng(seed)
    owners = np.repeat(np.arange(len(sequences.offsets) - 1), np.diff(sequences.offsets))
    for done in range(n_shuffles):
        order = np.argsort(owners + random.random(len(owners)), kind="stable")
        _count(sequences.codes[order], sequences.offsets, child, support)
        if on_progress:
            on_progress(done + 1, n_shuffles)
    return support[nodes]


def _count_possible(sequences: Sequences, patterns: list[tuple[int, ...]]) -> np.ndarray:
    """For each pattern the number of traces that hold its clusters in any order."""
    n_traces = len(sequences.offsets) - 1
    # Only of clusters in patterns: a hundredth of the traces holds each of them, so they are few beside the traces.
    used = np.unique(np.concatenate([np.array(pattern) for pattern in patterns]))
    row_of = np.full(len(sequences.clusters), -1)
    row_of[used] = np.arange(len(used))
    held = np.zeros((len(used), n_traces), dtype=np.int32)
    owners = np.repeat(np.arange(n_traces), np.diff(sequences.offsets))
    is_used = row_of[sequences.codes] >= 0
    np.add.at(held, (row_of[sequences.codes[is_used]], owners[is_used]), 1)
    sets: dict[tuple[int, ...], int] = {}  # many patterns are orders of the same clusters
    for pattern in patterns:
        key = tuple(sorted(pattern))
        if key not in sets:
            enough = np.ones(n_traces, dtype=bool)
            for code in set(key):
                enough &= held[row_of[code]] >= key.count(code)
            sets[key] = int(enough.sum())
    return np.array([sets[tuple(sorted(pattern))] for pattern in patterns], dtype=np.int64)


def _list_occurrences(sequences: Sequences, pattern: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Traces (o,) and places within the trace (o, length) of every occurrence, in order of the corpus."""
    steps = np.array(
        sorted(np.ndindex(*[SKIPPED + 1] * (len(pattern) - 1)), key=lambda skips: (sum(skips), skips)),
        dtype=np.int64,
    )
    at = _find(sequences.codes, sequences.offsets, np.array(pattern, dtype=np.int32), steps)
    traces = np.searchsorted(sequences.offsets, at[:, 0], side="right") - 1
    return traces, sequences.places[at]


class _Kept(NamedTuple):
    stress: Stress
    samples: np.ndarray
    quality: tuple[int, float]


def _merge(kept: list[_Kept], stress: Stress) -> None:
    """Add ``stress`` to ``kept``, or put it in the place of what it is near-identical with and better than, or drop
    it."""
    skipped = np.diff(stress.places, axis=1).mean() - 1
    mine = _Kept(stress, np.unique(stress.traces), (len(stress.pattern), -round(float(skipped), 1)))
    same = [at for at, other in enumerate(kept) if _is_same(mine, other)]
    if any(kept[at].quality >= mine.quality for at in same):
        return
    if not same:
        kept.append(mine)
        return
    kept[same[0]] = mine
    for at in same[:0:-1]:
        del kept[at]


def _is_same(one: _Kept, other: _Kept) -> bool:
    low, high = sorted((one.stress.support, other.stress.support))
    if low < SAME * high:
        return False
    a, b = one.stress.pattern, other.stress.pattern
    shorter = min(len(a), len(b))
    if _count_common(a, b) < max(2, -(-shorter // 2)):
        return False
    shared = len(np.intersect1d(one.samples, other.samples, assume_unique=True))
    return shared >= SAME * (low + high - shared)


def _count_common(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """Length of the longest common subsequence."""
    if not set(a) & set(b):
        return 0
    before = [0] * (len(b) + 1)
    for item in a:
        row = [0]
        for at, other in enumerate(b):
            row.append(before[at] + 1 if item == other else max(before[at + 1], row[at]))
        before = row
    return before[-1]


@numba.njit(cache=True)
def _count(codes, offsets, child, support):
    """Add to ``support`` of every node of the trie the number of traces that hold its pattern."""
    n_inner = len(child)
    last = np.full(len(support), -1, dtype=np.int64)
    node_stack = np.empty(64, dtype=np.int64)
    place_stack = np.empty(64, dtype=np.int64)
    for t in range(len(offsets) - 1):
        end = offsets[t + 1]
        for start in range(offsets[t], end):
            if child[0, codes[start]] < 0:
                continue
            node_stack[0], place_stack[0] = child[0, codes[start]], start
            depth = 1
            while depth:
                depth -= 1
                node, place = node_stack[depth], place_stack[depth]
                if last[node] != t:
                    last[node] = t
                    support[node] += 1
                if node >= n_inner:
                    continue
                for step in range(1, SKIPPED + 2):
                    if place + step < end and child[node, codes[place + step]] >= 0:
                        node_stack[depth] = child[node, codes[place + step]]
                        place_stack[depth] = place + step
                        depth += 1


@numba.njit(cache=True)
def _find(codes, offsets, pattern, steps):
    """(o, length) places in ``codes``: for each start the first of ``steps`` (skips between items) that fits."""
    length = len(pattern)
    rows = []
    for t in range(len(offsets) - 1):
        for start in range(offsets[t], offsets[t + 1]):
            if codes[start] != pattern[0]:
                continue
            for s in range(len(steps)):
                place, item = start, 1
                while item < length:
                    place += 1 + steps[s, item - 1]
                    if place >= offsets[t + 1] or codes[place] != pattern[item]:
                        break
                    item += 1
                if item == length:
                    rows.append((start, s))
                    break
    out = np.empty((len(rows), length), dtype=np.int64)
    for at in range(len(rows)):
        place, s = rows[at]
        out[at, 0] = place
        for item in range(1, length):
            place += 1 + steps[s, item - 1]
            out[at, item] = place
    return out
