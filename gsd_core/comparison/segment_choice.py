"""Segments of traces: how strongly and how evenly each bears on the answer, and which are chosen (methods §2).

SegmentScores      sums of token scores over segments
score_segments     token scores of one trace → its segments
compute_strengths  share of each segment in its trace
rank_masses        strength of all segments of a trace that rank before each
choose_segments    the published choice: strong, and not of one sign
choose_tokens      as many tokens of the largest scores
draw_segments      as many segments at random, the control
sweep_choices      shares that are kept for many pairs of thresholds
TAU, BETA          published thresholds
AGAINST            consistency from which a segment that lowers the answer's probability is strongly negative

Everything follows from sums that are stored once, so thresholds can be moved without a new gradient. Source: arXiv
2602.00425, §3; `sweep_choices` and `draw_segments` are ours. Shapes: n segments of all traces together, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

TAU, BETA = 0.7, 0.8
AGAINST = 0.5
ROUNDING = 1e-9  # a prefix that sums to the threshold but for rounding reaches it


class SegmentScores(NamedTuple):
    """``absolute`` Σ|score|, ``signed`` Σ score and ``n_tokens`` of each segment, (n,) each."""

    absolute: np.ndarray
    signed: np.ndarray
    n_tokens: np.ndarray

    @property
    def consistency(self) -> np.ndarray:
        """(n,) |Σ score| / Σ|score| in [0, 1]: 1 where all tokens pull the same way, 0 where a segment has no score."""
        return np.minimum(np.abs(self.signed) / np.where(self.absolute > 0, self.absolute, 1), 1.0)


def score_segments(scores: np.ndarray, ranges: Sequence[tuple[int, int]]) -> SegmentScores:
    """Sums over half-open token ranges of one trace's ``scores`` (T,)."""
    starts, ends = (np.array([each[side] for each in ranges], dtype=np.int64) for side in (0, 1))
    absolute, signed = (np.concatenate([[0.0], np.cumsum(each)]) for each in (np.abs(scores), scores))
    return SegmentScores(absolute[ends] - absolute[starts], signed[ends] - signed[starts], ends - starts)


def compute_strengths(absolute: np.ndarray, n_tokens: np.ndarray, traces: np.ndarray) -> np.ndarray:
    """(n,) Σ|score| / √tokens, scaled to sum 1 over the segments of each trace; 0 in a trace without scores.

    ``traces`` (n,) int numbers the trace of each segment.
    """
    raw = absolute / np.sqrt(np.maximum(n_tokens, 1))
    sums = np.bincount(traces, raw)
    return np.asarray(raw / np.where(sums > 0, sums, 1)[traces])


def rank_masses(strengths: np.ndarray, traces: np.ndarray) -> np.ndarray:
    """(n,) strength of the segments that come before each one in its trace, strongest first, ties in order of the text.

    A segment belongs to the smallest set that reaches a threshold exactly if this is below the threshold. Infinite in a
    trace without any strength.
    """
    order = np.lexsort((np.arange(len(strengths)), -strengths, traces))
    ranked, owner = strengths[order], traces[order]
    before = np.cumsum(ranked) - ranked
    firsts = np.flatnonzero(np.diff(owner, prepend=-1))
    before -= np.repeat(before[firsts], np.diff(np.append(firsts, len(owner))))
    masses = np.empty(len(strengths))
    masses[order] = before
    totals = np.bincount(traces, strengths) if len(traces) else np.zeros(0)
    return np.where(totals[traces] > 0, masses, np.inf)


def choose_segments(
    masses: np.ndarray,
    consistency: np.ndarray,
    tau: float = TAU,
    beta: float = BETA,
    signed: np.ndarray | None = None,
) -> np.ndarray:
    """(n,) bool: the smallest set, strongest first, whose strengths sum to at least ``tau``, and of it the segments
    whose consistency is at most ``beta``.

    Where the sums ``signed`` (n,) are given, segments that clearly lower the answer's probability go too: those below
    zero with a consistency of at least ``AGAINST`` [ours].
    """
    chosen = np.asarray((masses < tau - ROUNDING) & (consistency <= beta))
    return chosen if signed is None else chosen & ~((signed < 0) & (consistency >= AGAINST))


def draw_segments(chosen: np.ndarray, traces: np.ndarray, seed: int = 0) -> np.ndarray:
    """(n,) bool: in every trace as many segments at random as are ``chosen`` (n,) there."""
    order = np.lexsort((np.random.default_rng(seed).random(len(chosen)), traces))
    owner = traces[order]
    firsts = np.flatnonzero(np.diff(owner, prepend=-1))
    places = np.arange(len(owner)) - np.repeat(firsts, np.diff(np.append(firsts, len(owner))))
    wanted = np.bincount(traces, chosen) if len(traces) else np.zeros(0)
    drawn = np.zeros(len(chosen), dtype=bool)
    drawn[order] = places < wanted[owner]
    return drawn


def choose_tokens(scores: np.ndarray, n_chosen: int) -> np.ndarray:
    """(T,) bool: the ``n_chosen`` tokens with the largest absolute ``scores`` (T,), earlier ones first among equals."""
    chosen = np.zeros(len(scores), dtype=bool)
    chosen[np.argsort(-np.abs(scores), kind="stable")[: max(0, n_chosen)]] = True
    return chosen


def sweep_choices(
    masses: np.ndarray, consistency: np.ndarray, weights: np.ndarray, taus: np.ndarray, betas: np.ndarray
) -> np.ndarray:
    """(len(taus), len(betas)) share of the ``weights`` (n,) that each pair of thresholds keeps.

    Weights of 1 give the share of segments, numbers of tokens that of tokens.
    """
    total = float(weights.sum())
    found = np.zeros((len(taus), len(betas)))
    if total > 0:
        for row, tau in enumerate(taus):
            strong = masses < tau - ROUNDING
            order = np.argsort(consistency[strong], kind="stable")
            summed = np.concatenate([[0.0], np.cumsum(weights[strong][order])])
            found[row] = summed[np.searchsorted(consistency[strong][order], betas, side="right")] / total
    return found
