"""Do segments that bear on the answer lie together in gradient direction? (ours)

AnswerLink            the strengths of segments beside those of their best aligned segments
compute_answer_link   directions, strengths → `AnswerLink`
LEAST, MOST           segments below which nothing is said, and above which a draw is taken

A segment's strength is compared with the mean strength of the ten segments of other traces whose directions are nearest
to its own. Two things could make them alike without any gradient: segments of like place in the trace, so the same is
asked of the ten nearest by place; and chance, so strengths are dealt anew within each trace. Shapes: n segments.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.stats import rankdata

LEAST, MOST = 30, 5000
N_NEAREST, N_DRAWS = 10, 400


class AnswerLink(NamedTuple):
    """``rows`` (m,) of the segments that were used; ``near`` (m,) mean strength of each one's nearest; ``rho`` the rank
    correlation of both with its 95 % interval over traces, ``by_position`` the same for the nearest by place, and
    ``null`` the 95 % interval where strengths are dealt anew."""

    rows: np.ndarray
    near: np.ndarray
    rho: float
    interval: tuple[float, float]
    by_position: float
    null: tuple[float, float]

    def describe(self) -> dict[str, Any]:
        """Numbers as JSON."""
        return {
            "rho": self.rho,
            "low": self.interval[0],
            "high": self.interval[1],
            "by_position": self.by_position,
            "null_low": self.null[0],
            "null_high": self.null[1],
            "n": len(self.rows),
        }


def compute_answer_link(
    directions: np.ndarray, traces: np.ndarray, positions: np.ndarray, strengths: np.ndarray, seed: int = 0
) -> AnswerLink | None:
    """None where there are too few segments or traces to say anything.

    Parameters
    ----------
    directions
        (n, P) centred, unit norm or zero.
    traces
        (n,) int number of each segment's trace.
    positions
        (n,) place in the trace, 0 first to 1 last.
    strengths
        (n,) strength over what an even share of the trace would be.
    """
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(np.any(directions != 0, axis=1))
    if len(rows) > MOST:
        rows = np.sort(rng.choice(rows, MOST, replace=False))
    traces = np.unique(traces[rows], return_inverse=True)[1]
    if len(rows) < LEAST or traces.max(initial=0) < N_NEAREST:
        return None
    units, place, values = np.asarray(directions[rows], dtype=np.float32), positions[rows], strengths[rows]
    is_own = traces[:, None] == traces[None, :]
    nearest = _find_nearest(units @ units.T, is_own)
    jitter = rng.random((len(rows), len(rows))) * 1e-6  # equal places must not go by row
    by_place = _find_nearest(-np.abs(place[:, None] - place[None, :]) + jitter, is_own)
    near = values[nearest].mean(axis=1)
    dealt = []
    order = np.argsort(traces, kind="stable")
    for _ in range(N_DRAWS):
        shuffled = np.empty_like(values)
        shuffled[order] = values[np.lexsort((rng.random(len(values)), traces))]
        dealt.append(_correlate(shuffled, shuffled[nearest].mean(axis=1)))
    groups = [np.flatnonzero(traces == number) for number in range(int(traces.max()) + 1)]
    drawn = []
    for _ in range(N_DRAWS):
        own = np.concatenate([groups[at] for at in rng.integers(len(groups), size=len(groups))])
        drawn.append(_correlate(values[own], near[own]))
    return AnswerLink(
        rows,
        near,
        _correlate(values, near),
        _interval(drawn),
        _correlate(values, values[by_place].mean(axis=1)),
        _interval(dealt),
    )


def _find_nearest(likeness: np.ndarray, is_own: np.ndarray) -> np.ndarray:
    """(n, N_NEAREST) columns of other traces with the largest likeness."""
    masked = np.where(is_own, -np.inf, likeness)
    return np.argpartition(-masked, N_NEAREST, axis=1)[:, :N_NEAREST]


def _correlate(a: np.ndarray, b: np.ndarray) -> float:
    ranks = [rankdata(each) for each in (a, b)]
    if any(np.ptp(each) == 0 for each in ranks):
        return 0.0
    return float(np.corrcoef(*ranks)[0, 1])


def _interval(values: list[float]) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
