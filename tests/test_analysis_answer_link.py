"""Whether strong segments lie together: planted, absent, and only by place in the trace."""

from __future__ import annotations

import numpy as np

from gsd_core.analysis.answer_link import compute_answer_link

N_TRACES, N_SEGMENTS, WIDTH = 60, 6, 32


def make(seed: int) -> tuple[np.random.Generator, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    traces = np.repeat(np.arange(N_TRACES), N_SEGMENTS)
    positions = np.tile(np.linspace(0, 1, N_SEGMENTS), N_TRACES)
    return rng, traces, positions


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_strong_segments_with_a_direction_of_their_own_are_found() -> None:
    rng, traces, positions = make(0)
    strengths = rng.permuted(np.tile([3.0, 1, 0.5, 0.5, 0.5, 0.5], (N_TRACES, 1)), axis=1).ravel()
    rows = rng.standard_normal((len(traces), WIDTH))
    rows[:, 0] += 3 * (strengths > 2)
    found = compute_answer_link(unit(rows), traces, positions, strengths)
    assert found is not None
    assert found.interval[0] > 0.3 > found.null[1]
    assert abs(found.by_position) < 0.2
    assert found.interval[0] <= found.rho <= found.interval[1]


def test_without_structure_the_correlation_is_within_the_null() -> None:
    rng, traces, positions = make(1)
    inside = []
    for _ in range(10):
        rows = unit(rng.standard_normal((len(traces), WIDTH)))
        found = compute_answer_link(rows, traces, positions, rng.random(len(traces)))
        assert found is not None
        inside.append(found.null[0] <= found.rho <= found.null[1])
    assert sum(inside) >= 8


def test_strength_that_follows_the_place_shows_in_the_control_too() -> None:
    rng, traces, positions = make(2)
    strengths = positions + 0.05 * rng.random(len(traces))
    rows = rng.standard_normal((len(traces), WIDTH))
    rows[:, 0] += 4 * positions
    found = compute_answer_link(unit(rows), traces, positions, strengths)
    assert found is not None
    assert found.by_position > found.rho > 0.3


def test_too_little_says_nothing() -> None:
    assert compute_answer_link(np.eye(8), np.arange(8), np.zeros(8), np.ones(8)) is None
    assert compute_answer_link(np.zeros((90, 4)), np.arange(90), np.zeros(90), np.ones(90)) is None
