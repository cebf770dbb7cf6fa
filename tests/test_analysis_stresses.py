"""Stresses: planted sequences come first, everything that is listed is there, and chance is called chance."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from gsd_core.analysis.align import Traces, group_traces
from gsd_core.analysis.stresses import Stress, find_stresses, make_sequences

PLANTED = ((0, 1, 2, 3), (4, 5, 6), (7, 8, 9, 10, 11))


def make_traces(lengths: list[int]) -> Traces:
    samples = np.array([f"s{t}" for t, length in enumerate(lengths) for _ in range(length)], dtype=object)
    return group_traces(samples, np.concatenate([np.arange(length) for length in lengths]))


def make_corpus(seed: int, n: int = 200, shuffled: bool = False) -> tuple[np.ndarray, Traces]:
    """Each trace holds one planted sequence, with noise spans and clusters of any kind around and inside."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        row = list(PLANTED[int(random.integers(len(PLANTED)))])
        row = [*random.integers(0, 16, 2), *row, *random.integers(0, 16, 2)]
        row.insert(int(random.integers(len(row))), -1)
        rows.append(random.permutation(row) if shuffled else np.array(row))
    return np.concatenate(rows), make_traces([len(row) for row in rows])


def find(labels: np.ndarray, traces: Traces, **options: int) -> list[Stress]:
    return find_stresses(make_sequences(labels, traces), **options)[0]


def test_planted_sequences_are_the_top_patterns() -> None:
    labels, traces = make_corpus(0)
    found = find(labels, traces)
    # Neighbours by chance may lengthen a planted sequence; it must be inside one of the first patterns all the same.
    first = [each.pattern for each in found[: 2 * len(PLANTED)]]
    for planted in PLANTED:
        assert any(planted == pattern[at : at + len(planted)] for pattern in first for at in range(len(pattern))), (
            f"{planted} is not among {first}: look at the ranking or at the merging"
        )
    assert all(each.q_value < 1e-6 and each.lift > 3 for each in found[: len(PLANTED)])


def test_every_occurrence_is_listed_once_a_start_with_at_most_one_skip() -> None:
    random = np.random.default_rng(1)
    lengths = random.integers(1, 9, 40).tolist()
    labels, traces = random.integers(0, 3, sum(lengths)), make_traces(lengths)
    for each in find(labels, traces, min_support=2, top=50):
        expected = set()
        for trace in range(len(lengths)):
            row = labels[traces.rows(trace)]
            starts = {
                places[0]
                for places in itertools.combinations(range(len(row)), len(each.pattern))
                if all(b - a <= 2 for a, b in itertools.pairwise(places)) and tuple(row[list(places)]) == each.pattern
            }
            expected |= {(trace, start) for start in starts}
        listed = [(int(t), int(places[0])) for t, places in zip(each.traces, each.places, strict=True)]
        assert sorted(listed) == sorted(expected), each.pattern
        assert each.support == len({trace for trace, _ in expected})
        for trace, places in zip(each.traces, each.places, strict=True):
            assert tuple(labels[traces.rows(int(trace))][places]) == each.pattern
            assert (np.diff(places) <= 2).all()


def test_tightest_occurrence_of_a_start_is_listed() -> None:
    labels = np.array([0, 1, 1] * 4)
    found = find(labels, make_traces([3] * 4), min_support=3)
    pair = next(each for each in found if each.pattern[:2] == (0, 1))
    assert (pair.places[:, :2] == [0, 1]).all()


def test_noise_breaks_nothing_and_is_no_item() -> None:
    rows = [[0, -1, -1, -1, 1], [0, 1, -1], [-1, 0, 1], [0, 1]]
    labels = np.concatenate([np.array(row) for row in rows])
    sequences = make_sequences(labels, make_traces([len(row) for row in rows]))
    (only,) = find_stresses(sequences)[0]
    assert (only.pattern, only.support) == ((0, 1), 4)
    # Places are those of the spans in their trace, noise counted.
    assert only.places.tolist() == [[0, 4], [0, 1], [1, 2], [0, 1]]


def test_near_identical_patterns_are_merged_into_the_longer() -> None:
    random = np.random.default_rng(2)
    rows = [np.array([0, 1, 2, 3, 4]) for _ in range(30)] + [random.permutation(5) + 5 for _ in range(30)]
    found = find(np.concatenate(rows), make_traces([5] * 60))
    planted = [each.pattern for each in found if set(each.pattern) <= set(range(5))]
    assert planted == [(0, 1, 2, 3, 4)], "parts and gapped versions of one sequence stayed beside it"


def test_a_part_that_is_more_frequent_than_the_whole_stays() -> None:
    rows = [[0, 1, 2]] * 20 + [[0, 1]] * 20 + [[2, 1, 0]] * 5
    found = find(np.concatenate([np.array(row) for row in rows]), make_traces([len(row) for row in rows]))
    assert {(0, 1), (0, 1, 2)} <= {each.pattern for each in found}


def test_lift_of_what_always_occurs_is_one() -> None:
    # Two spans of the same cluster are in order whatever the order: no finding, however frequent.
    found = find(np.zeros(40, dtype=int), make_traces([2] * 20))
    (only,) = found
    assert (only.pattern, only.support) == ((0, 0), 20)
    assert only.lift == pytest.approx(1.0)
    assert only.q_value > 0.9


@pytest.mark.parametrize("seed", range(2))
def test_same_seed_same_stresses(seed: int) -> None:
    labels, traces = make_corpus(3)
    one, two = find(labels, traces, seed=seed), find(labels, traces, seed=seed)
    assert [(e.pattern, e.p_value, e.lift) for e in one] == [(e.pattern, e.p_value, e.lift) for e in two]


def test_in_shuffled_corpora_few_reported_patterns_are_significant() -> None:
    n_reported = n_significant = 0
    for seed in range(6):
        labels, traces = make_corpus(seed, shuffled=True)
        found = find(labels, traces, seed=seed)
        n_reported += len(found)
        n_significant += sum(each.q_value < 0.05 for each in found)
    assert n_reported > 100, "nothing was reported, so nothing was tested"
    assert n_significant <= 0.05 * n_reported


@pytest.mark.parametrize("lengths", [[], [1], [1, 1, 1, 1]])
def test_traces_too_short_for_a_pattern_have_none(lengths: list[int]) -> None:
    labels = np.zeros(sum(lengths), dtype=int)
    samples = np.array([f"s{t}" for t in range(len(lengths))], dtype=object)
    traces = group_traces(samples, np.zeros(len(lengths), dtype=int))
    assert find(labels, traces) == []
