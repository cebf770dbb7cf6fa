"""Trainings on several choices of the same traces, compared: right answers, lengths, intervals.

compare_trials   values by choice, seed and question → means with intervals, and differences from the first choice
N_DRAWS          resamplings of an interval

Seeds and questions are resampled together, so an interval holds what another draw of both would give; a difference is
taken within the same seeds and questions. Source: ours, the bootstrap is Efron's percentile interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

N_DRAWS = 4000


def compare_trials(values: Mapping[str, np.ndarray], seed: int = 0) -> list[dict[str, Any]]:
    """One row a choice: ``choice, mean, low, high, difference, difference_low, difference_high``, 95 % intervals.

    Parameters
    ----------
    values
        (S, Q) for each choice, seeds by questions, the same questions in the same order. The first choice is what the
        others are compared with; choices with fewer seeds are compared on those that they have.

    Raises
    ------
    ValueError
        For arrays of different numbers of questions, or empty ones.
    """
    names = list(values)
    arrays = {name: np.asarray(values[name], dtype=np.float64) for name in names}
    widths = {each.shape[1] for each in arrays.values()}
    if len(widths) != 1 or not all(each.size for each in arrays.values()):
        raise ValueError("every choice needs the same questions, at least one")
    rng = np.random.default_rng(seed)
    questions = rng.integers(widths.pop(), size=(N_DRAWS, arrays[names[0]].shape[1]))
    means: dict[str, np.ndarray] = {}
    for n_seeds in sorted({len(each) for each in arrays.values()}):
        seeds = rng.integers(n_seeds, size=(N_DRAWS, n_seeds))
        for name in names:
            if len(arrays[name]) == n_seeds:
                means[name] = _draw_means(arrays[name], seeds, questions)
    first, rows = names[0], []
    for name in names:
        low, high = np.quantile(means[name], [0.025, 0.975])
        n_shared = min(len(arrays[name]), len(arrays[first]))
        shared = arrays[name][:n_shared] - arrays[first][:n_shared]
        seeds = rng.integers(n_shared, size=(N_DRAWS, n_shared))
        apart = np.quantile(_draw_means(shared, seeds, questions), [0.025, 0.975])
        rows.append(
            {
                "choice": name,
                "mean": float(arrays[name].mean()),
                "low": float(low),
                "high": float(high),
                "difference": float(shared.mean()),
                "difference_low": float(apart[0]),
                "difference_high": float(apart[1]),
            }
        )
    return rows


def _draw_means(array: np.ndarray, seeds: np.ndarray, questions: np.ndarray) -> np.ndarray:
    """(N_DRAWS,) mean over drawn rows and columns of ``array`` (S, Q)."""
    weights = np.zeros((len(seeds), len(array)))
    np.add.at(weights, (np.arange(len(seeds))[:, None], seeds), 1.0 / seeds.shape[1])
    counts = np.zeros((len(questions), array.shape[1]))
    np.add.at(counts, (np.arange(len(questions))[:, None], questions), 1.0 / questions.shape[1])
    return np.asarray(np.einsum("ds,sq,dq->d", weights, array, counts, optimize=True))
