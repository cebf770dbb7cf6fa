"""Strength, consistency and choice of segments, against examples by hand and a direct implementation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gsd_core.comparison.segment_choice import (
    choose_segments,
    compute_strengths,
    draw_segments,
    rank_masses,
    score_segments,
    sweep_choices,
)


def test_a_trace_by_hand() -> None:
    """Three segments of 4, 1 and 9 tokens: Σ|s| 4, 1, 3 → /√n 2, 1, 1 → strengths 0.5, 0.25, 0.25."""
    scores = np.array([1, -1, 1, -1, 1, *[1 / 3] * 9])
    found = score_segments(scores, [(0, 4), (4, 5), (5, 14)])
    np.testing.assert_allclose(found.absolute, [4, 1, 3])
    np.testing.assert_allclose(found.signed, [0, 1, 3], atol=1e-12)
    np.testing.assert_allclose(found.consistency, [0, 1, 1])
    traces = np.zeros(3, int)
    strengths = compute_strengths(found.absolute, found.n_tokens, traces)
    np.testing.assert_allclose(strengths, [0.5, 0.25, 0.25])
    masses = rank_masses(strengths, traces)
    np.testing.assert_allclose(masses, [0, 0.5, 0.75])  # of two equal ones the earlier ranks first
    # 0.5 < 0.7, so the second is needed to reach it; it is all of one sign, which the second threshold drops.
    assert choose_segments(masses, found.consistency, 0.7, 1.0).tolist() == [True, True, False]
    assert choose_segments(masses, found.consistency, 0.7, 0.8).tolist() == [True, False, False]
    assert choose_segments(masses, found.consistency, 0.5, 0.8).tolist() == [True, False, False]
    assert choose_segments(masses, found.consistency, 0.76, 1.0).all()


def test_one_segment_is_chosen_unless_it_is_consistent_and_a_trace_without_scores_has_none() -> None:
    one = np.zeros(1, int)
    assert choose_segments(rank_masses(np.ones(1), one), np.array([0.1])).tolist() == [True]
    assert choose_segments(rank_masses(np.ones(1), one), np.array([0.9])).tolist() == [False]
    two = np.zeros(2, int)
    strengths = compute_strengths(np.zeros(2), np.array([3, 0]), two)
    assert strengths.tolist() == [0, 0]
    assert not choose_segments(rank_masses(strengths, two), np.zeros(2)).any()
    empty = score_segments(np.ones(4), [(0, 0), (0, 4)])
    assert empty.consistency.tolist() == [0, 1]
    none = np.zeros(0)
    assert len(rank_masses(none, none.astype(int))) == len(draw_segments(none.astype(bool), none.astype(int))) == 0


def choose_directly(strengths: np.ndarray, consistency: np.ndarray, tau: float, beta: float) -> list[bool]:
    """The published rule for one trace, step by step."""
    chosen, total = [False] * len(strengths), 0.0
    for at in sorted(range(len(strengths)), key=lambda each: (-strengths[each], each)):
        if total >= tau - 1e-9:
            break
        total += strengths[at]
        chosen[at] = consistency[at] <= beta
    return chosen


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(0, 2**31), st.sampled_from([0.3, 0.7, 1.0]))
def test_the_choice_is_that_of_the_rule_in_every_trace(sizes: list[int], seed: int, tau: float) -> None:
    random = np.random.default_rng(seed)
    traces = np.repeat(np.arange(len(sizes)), sizes)
    shuffled = random.permutation(len(traces))
    absolute, n_tokens = random.random(len(traces)), random.integers(1, 9, len(traces))
    consistency = random.random(len(traces))
    strengths = compute_strengths(absolute, n_tokens, traces)
    np.testing.assert_allclose(np.bincount(traces, strengths), 1)
    found = choose_segments(rank_masses(strengths, traces), consistency, tau, 0.8)
    for trace in range(len(sizes)):
        own = traces == trace
        assert found[own].tolist() == choose_directly(strengths[own], consistency[own], tau, 0.8)
    # Segments need not stand trace by trace.
    mixed = choose_segments(rank_masses(strengths[shuffled], traces[shuffled]), consistency[shuffled], tau, 0.8)
    distinct = len(np.unique(strengths)) == len(strengths)
    assert not distinct or mixed.tolist() == found[shuffled].tolist()


def test_random_segments_are_as_many_in_every_trace_and_differ_by_seed() -> None:
    random = np.random.default_rng(0)
    traces = np.sort(random.integers(0, 40, 400))
    chosen = random.random(400) < 0.4
    drawn = [draw_segments(chosen, traces, seed) for seed in (0, 0, 1)]
    for each in drawn:
        assert np.bincount(traces, each).tolist() == np.bincount(traces, chosen).tolist()
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_a_sweep_has_the_shares_of_single_choices() -> None:
    random = np.random.default_rng(1)
    traces = np.sort(random.integers(0, 30, 300))
    strengths = compute_strengths(random.random(300), random.integers(1, 50, 300), traces)
    masses, consistency, tokens = rank_masses(strengths, traces), random.random(300), random.integers(1, 50, 300)
    taus, betas = np.array([0.0, 0.5, 0.7, 1.0]), np.array([0.0, 0.3, 0.8, 1.0])
    for weights in (np.ones(300), tokens.astype(float)):
        found = sweep_choices(masses, consistency, weights, taus, betas)
        for row, tau in enumerate(taus):
            for column, beta in enumerate(betas):
                kept = choose_segments(masses, consistency, tau, beta)
                assert found[row, column] == pytest.approx(weights[kept].sum() / weights.sum())
    assert found[0].tolist() == [0, 0, 0, 0]
    assert found[-1, -1] == 1
