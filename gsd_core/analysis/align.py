"""Local alignment of two traces: runs of spans that point the same way in the same order.

Traces                     rows of each trace, in span order
group_traces               sample ids and span indices → Traces
TracedSpans                spans in that order with all that is compared of them
MatchScale                 what a match must exceed, and what a skipped span costs
compute_match_scale        what a match must exceed and what a skipped span costs, from the null
compute_local_alignment    best run of one score matrix and its aligned spans
compute_pair_scores        structural similarity of many pairs, and of the same pairs in shuffled order
make_shuffles              seeded orders of the spans within each trace

Smith and Waterman (1981) on the span-by-span matrix of centred cosines minus the 95th percentile of cosines of
random spans of different samples, read from their lower half (methods §1.5, "ours"). A pair of spans counts as aligned
where it exceeds that; a run has at least two. Shapes: n spans, P sketch width, N traces, S_a and S_b spans of two
traces, R shuffles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np

from gsd_core.comparison.centring import Rows

SMALLEST_GAP = 0.01  # a null without spread must not make skipping free
NORMAL_P95 = 1.645  # standard deviations from the median to the 95th percentile of a normal distribution
_PAIRS_A_CALL = 20_000  # between two reports of progress


class Traces(NamedTuple):
    """``ids`` (N,) sample ids in order of appearance; ``order`` (n,) rows, trace by trace in span order; ``offsets``
    (N + 1,): ``order[offsets[t]:offsets[t + 1]]`` are the rows of trace t."""

    ids: np.ndarray
    order: np.ndarray
    offsets: np.ndarray

    def rows(self, trace: int) -> np.ndarray:
        """Rows of one trace in span order."""
        return self.order[self.offsets[trace] : self.offsets[trace + 1]]

    def owners(self) -> np.ndarray:
        """(n,) trace of each place in ``order``."""
        return np.repeat(np.arange(len(self.ids)), np.diff(self.offsets))


def group_traces(samples: np.ndarray, indices: np.ndarray) -> Traces:
    """Rows by trace. ``samples`` (n,) sample ids and ``indices`` (n,) span indices may come in any order."""
    samples, indices = np.asarray(samples, dtype=object), np.asarray(indices, dtype=np.int64)
    if len(samples) != len(indices):
        raise ValueError(f"{len(samples)} sample ids but {len(indices)} span indices; give one of each per span")
    places: dict[str, int] = {}
    codes = np.array([places.setdefault(each, len(places)) for each in samples], dtype=np.int64)
    order = np.lexsort((indices, codes))
    sizes = np.bincount(codes, minlength=len(places)) if len(codes) else np.zeros(0, np.int64)
    ids = np.empty(len(places), dtype=object)
    ids[:] = list(places)
    return Traces(ids, order, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64))


@dataclass(frozen=True)
class TracedSpans:
    """Spans in ``traces.order``: rows of one trace stand together.

    ``directions`` (n, P) float32, centred, unit norm or zero; ``clusters`` (n,) int, -1 is noise; ``questions`` (N, E)
    embeddings of the traces' questions, a zero row (unknown) has cosine 0 with all; ``texts`` (n) what the spans say,
    or None.
    """

    directions: Rows
    traces: Traces
    clusters: np.ndarray
    questions: np.ndarray
    texts: Sequence[str] | None = None

    def list_clusters(self) -> list[np.ndarray]:
        """The clusters of each trace, ascending, without noise."""
        borders = zip(self.traces.offsets[:-1], self.traces.offsets[1:], strict=True)
        held = (self.clusters[start:stop] for start, stop in borders)
        return [np.unique(each[each >= 0]) for each in held]

    def join_texts(self) -> list[str]:
        """(N) what the traces say; ``texts`` must be known."""
        assert self.texts is not None
        borders = zip(self.traces.offsets[:-1], self.traces.offsets[1:], strict=True)
        return ["\n".join(self.texts[start:stop]) for start, stop in borders]


class MatchScale(NamedTuple):
    """``threshold``: what a match's cosine must exceed; ``gap``: what a skipped span costs."""

    threshold: float
    gap: float


def compute_match_scale(null: np.ndarray) -> MatchScale:
    """The scale of matches from cosines of random spans of different samples. Methods §1.5, "ours".

    The threshold is the 95th percentile of the null, the gap its standard deviation, both read from the null's lower
    half, mirrored (the empirical null of Efron 2004): random pairs of a corpus with few kinds of step hold so many
    aligned ones that the upper tail would make true alignment its own yardstick. Never above the plain 95th
    percentile, never below 0. The gap follows the null's spread, so that both mean the same at every sketch width.
    An empty null knows nothing: the threshold is then 1, which no cosine exceeds.
    """
    if not len(null):
        return MatchScale(1.0, SMALLEST_GAP)
    low, middle, high = (float(value) for value in np.quantile(null, (0.05, 0.5, 0.95)))
    threshold = max(0.0, min(high, 2 * middle - low))
    return MatchScale(threshold, max((middle - low) / NORMAL_P95, SMALLEST_GAP))


def compute_local_alignment(scores: np.ndarray, gap: float) -> tuple[float, list[tuple[int, int]]]:
    """The best run of a score matrix. Smith and Waterman (1981) with linear gaps.

    Parameters
    ----------
    scores
        (S_a, S_b), above 0 where two spans match.
    gap
        Cost of a span skipped on one side, above 0. Two spans may also be passed together at their (negative) score.

    Returns
    -------
    The run's score and its matches ``(i, j)``, both strictly ascending. ``(0.0, [])`` where no run of at least two
    matches exists.
    """
    scores = np.ascontiguousarray(scores, dtype=np.float32)
    if scores.ndim != 2 or not np.isfinite(scores).all():
        raise ValueError("scores must be a finite matrix (S_a, S_b)")
    if not gap > 0:
        raise ValueError(f"gap is {gap}; it must be above 0")
    table = np.zeros((scores.shape[0] + 1, scores.shape[1] + 1), dtype=np.float32)
    best, i, j = _fill(scores, np.float32(gap), table)
    if best <= 0:
        return 0.0, []
    aligned = [(i, j)]  # a run ends with a match
    while table[i, j] > 0:
        # Cell (i, j) of the table is the best run of the first i and j spans that ends there.
        score, here = scores[i - 1, j - 1], table[i, j]
        if here == max(np.float32(table[i - 1, j - 1] + score), np.float32(0)):
            i, j = i - 1, j - 1
            if score > 0:
                aligned.append((i, j))
        elif here == table[i - 1, j] - np.float32(gap):
            i -= 1
        else:
            j -= 1
    return float(best), aligned[::-1]


def make_shuffles(traces: Traces, n_shuffles: int, seed: int) -> np.ndarray:
    """(R, n) int32: for each place in ``traces.order`` the place of the span that stands there after the shuffle."""
    owners = traces.owners()
    random = np.random.default_rng(seed)
    out = np.empty((n_shuffles, len(owners)), dtype=np.int32)
    for at in range(n_shuffles):
        out[at] = np.argsort(owners + random.random(len(owners)), kind="stable")
    return out


def compute_pair_scores(
    directions: Rows,
    traces: Traces,
    pairs: np.ndarray,
    threshold: float,
    gap: float,
    shuffles: np.ndarray | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Structural similarity of pairs: the best run's score over ``sqrt(S_a · S_b)``. Methods §1.5, "ours".

    Parameters
    ----------
    directions
        (n, P) float32 in ``traces.order``: rows of one trace stand together. Unit norm or zero. Read whole.
    pairs
        (m, 2) trace numbers.
    threshold, gap
        Of `compute_match_scale`.
    shuffles
        (R, n) of `make_shuffles`, or None.

    Returns
    -------
    (m,) and (m, R) float32, at least 0; the second with both traces' spans in each shuffled order.
    """
    rows = np.ascontiguousarray(directions[:], dtype=np.float32)
    pairs = np.ascontiguousarray(pairs, dtype=np.int64).reshape(-1, 2)
    if shuffles is None:
        shuffles = np.zeros((0, len(rows)), dtype=np.int32)
    observed = np.empty(len(pairs), dtype=np.float32)
    shuffled = np.empty((len(pairs), len(shuffles)), dtype=np.float32)
    for start in range(0, len(pairs), _PAIRS_A_CALL):
        part = slice(start, start + _PAIRS_A_CALL)
        _score_pairs(
            rows,
            traces.offsets,
            pairs[part],
            np.float32(threshold),
            np.float32(gap),
            shuffles,
            observed[part],
            shuffled[part],
        )
        if on_progress:
            on_progress(min(start + _PAIRS_A_CALL, len(pairs)), len(pairs))
    return observed, shuffled


@numba.njit(cache=True)
def _fill(scores, gap, table):
    """Fill the table; the best run with two matches or more and its last match ``(i, j)``.

    Every prefix of a best run is worth more than nothing, so a match with a positive predecessor on the diagonal is
    exactly the end of a run with at least two.
    """
    best, end_i, end_j = np.float32(0), -1, -1
    for i in range(scores.shape[0]):
        for j in range(scores.shape[1]):
            score, before = scores[i, j], table[i, j]
            value = max(np.float32(0), before + score)
            value = max(value, table[i, j + 1] - gap, table[i + 1, j] - gap)
            table[i + 1, j + 1] = value
            if score > 0 and before > 0 and before + score > best:
                best, end_i, end_j = before + score, i, j
    return best, end_i, end_j


@numba.njit(cache=True)
def _score_pairs(directions, offsets, pairs, threshold, gap, shuffles, observed, shuffled):
    longest = 0
    for t in range(len(offsets) - 1):
        longest = max(longest, offsets[t + 1] - offsets[t])
    table = np.zeros((longest + 1, longest + 1), dtype=np.float32)
    other = np.zeros((longest, longest), dtype=np.float32)
    for at in range(len(pairs)):
        a, b = offsets[pairs[at, 0]], offsets[pairs[at, 1]]
        n_a, n_b = offsets[pairs[at, 0] + 1] - a, offsets[pairs[at, 1] + 1] - b
        scores = np.dot(directions[a : a + n_a], directions[b : b + n_b].T)
        scores -= threshold
        size = np.float32(np.sqrt(n_a * n_b))
        # The table's first row and column stay zero, all else is overwritten: no need to clear it.
        observed[at] = _fill(scores, gap, table[: n_a + 1, : n_b + 1])[0] / size
        for r in range(len(shuffles)):
            for i in range(n_a):
                row = shuffles[r, a + i] - a
                for j in range(n_b):
                    other[i, j] = scores[row, shuffles[r, b + j] - b]
            shuffled[at, r] = _fill(other[:n_a, :n_b], gap, table[: n_a + 1, : n_b + 1])[0] / size
