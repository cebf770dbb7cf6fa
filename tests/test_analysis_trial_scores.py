"""Comparison of trainings: planted differences, intervals that hold, and what cannot be compared."""

from __future__ import annotations

import numpy as np
import pytest

from gsd_core.analysis.trial_scores import compare_trials


def test_means_and_differences_are_those_of_the_arrays() -> None:
    full = np.array([[1.0, 0, 1, 0], [0, 0, 1, 1]])
    other = np.array([[1.0, 1, 1, 0], [1, 1, 1, 1]])
    first, second = compare_trials({"full": full, "other": other})
    assert (first["mean"], first["difference"]) == (0.5, 0)
    assert first["difference_low"] == first["difference_high"] == 0
    assert second["mean"] == 0.875
    assert second["difference"] == pytest.approx(0.375)
    assert second["difference_low"] <= 0.375 <= second["difference_high"]


def test_a_difference_within_questions_is_sharper_than_the_means() -> None:
    rng = np.random.default_rng(0)
    hardness = rng.random((1, 200)) * 100
    full = hardness + rng.normal(size=(3, 200))
    rows = compare_trials({"full": full, "shifted": full - 5 + rng.normal(size=(3, 200))})
    width = rows[1]["high"] - rows[1]["low"]
    assert rows[1]["difference_high"] - rows[1]["difference_low"] < width / 5
    assert rows[1]["difference_high"] < 0


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for at in range(60):
        right = (rng.random((3, 80)) < 0.4).astype(float)
        row = compare_trials({"full": right}, seed=at)[0]
        held += row["low"] <= 0.4 <= row["high"]
    assert held >= 50


def test_other_numbers_of_seeds_are_compared_on_those_in_common() -> None:
    full = np.array([[0.0, 0], [1, 1], [1, 1]])
    rows = compare_trials({"full": full, "one": np.array([[1.0, 1]])})
    assert rows[1]["difference"] == 1


def test_other_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="same questions"):
        compare_trials({"a": np.ones((2, 3)), "b": np.ones((2, 4))})
    with pytest.raises(ValueError, match="same questions"):
        compare_trials({"a": np.ones((0, 3))})
