"""Which samples or spans to train on: scores, and what a budget of tokens holds of the best.

compute_target_scores   cosine of rows to the mean of a target set (LESS-like)
compute_sample_means    values or rows of spans → those of their samples, by tokens
pick                    the best units within a share of all tokens
compute_agreement       how much two selections share

Methods §1.8, "ours". A score correlates with what training does; whether training on the chosen is better is for a
training run to say. Shapes: n spans, N samples, P width.
"""

from __future__ import annotations

import numpy as np


def compute_target_scores(rows: np.ndarray, is_target: np.ndarray) -> np.ndarray:
    """(N,) mean cosine of each row to the rows of a target set, as in LESS (Xia et al. 2024) without its warm-up.

    Parameters
    ----------
    rows
        (N, P) any length; a zero row has cosine 0 to everything.
    is_target
        (N,) bool. A target row is not compared with itself.

    Raises
    ------
    ValueError
        Without a target row.
    """
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = rows / np.where(lengths > 0, lengths, 1.0)
    count = int(is_target.sum())
    if not count:
        raise ValueError("no row is a target")
    total = unit[is_target].sum(0)
    own = np.where(is_target, (unit * unit).sum(1), 0.0)
    return (unit @ total - own) / np.maximum(count - is_target, 1)


def compute_sample_means(values: np.ndarray, owners: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(N,) or (N, P) mean of spans' values by sample, weighted by tokens; missing ones (NaN) do not count.

    `owners` (n,) number the samples from 0, `sizes` (n,) are tokens. NaN where a sample has no value.
    """
    n_samples = int(owners.max()) + 1 if len(owners) else 0
    known = ~np.isnan(values) if values.ndim == 1 else np.ones(len(values), bool)
    weights = np.where(known, sizes, 0).astype(np.float64)
    filled = np.where(known, values, 0.0) if values.ndim == 1 else values
    totals = np.zeros((n_samples, *values.shape[1:]))
    np.add.at(totals, owners, (filled.T * weights).T)
    held = np.bincount(owners, weights, minlength=n_samples)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (totals.T / held).T


def pick(scores: np.ndarray, sizes: np.ndarray, budget: float, seed: int = 0) -> np.ndarray:
    """(n,) bool: the longest run of best units whose tokens stay within `budget` of all tokens.

    Units without a score (NaN) are never picked; equal scores are in a seeded order. A larger budget holds all that a
    smaller one does. Raises ``ValueError`` for a budget outside (0, 1].
    """
    if not 0 < budget <= 1:
        raise ValueError(f"a budget of {budget} is not in (0, 1]")
    order = np.random.default_rng(seed).permutation(len(scores))
    order = order[np.argsort(-np.nan_to_num(scores[order], nan=-np.inf), kind="stable")]
    order = order[~np.isnan(scores[order])]
    fits = np.cumsum(sizes[order]) <= budget * sizes.sum() + 1e-9
    chosen = np.zeros(len(scores), dtype=bool)
    chosen[order[fits]] = True
    return chosen


def compute_agreement(a: np.ndarray, b: np.ndarray, sizes: np.ndarray) -> float:
    """Tokens in both selections over tokens in either, in [0, 1]; NaN where both are empty. (n,) bool, (n,) tokens."""
    either = float(sizes[a | b].sum())
    return float(sizes[a & b].sum()) / either if either else float("nan")
