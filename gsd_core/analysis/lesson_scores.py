"""How well similarity foretells what a step on one span teaches others: the lesson test (ours, ``methods`` §1.9).

compute_rank_correlations   similarity against what was learned, one Spearman coefficient a taught span
compute_gains               what the nearest spans learned, as a share of the taught span's loss
shuffle_rows                the control: what was foretold, dealt anew over the spans of the pool

Shapes: q taught spans, n spans of the pool.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

LEAST = 11  # spans that are left of the pool; of fewer there is no ten nearest to tell from the others


def compute_rank_correlations(similarity: np.ndarray, learned: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """(q,) Spearman's coefficient of `similarity` (q, n) with `learned` (q, n) over the `allowed` (q, n) bool spans.

    NaN where fewer than ``LEAST`` spans are allowed, or one of the two is constant.
    """
    found = np.full(len(learned), np.nan)
    for at, (alike, drops, may) in enumerate(zip(similarity, learned, allowed, strict=True)):
        if may.sum() < LEAST:
            continue
        a, b = (rankdata(values[may]) for values in (alike, drops))
        a, b = a - a.mean(), b - b.mean()
        norm = float(np.sqrt((a @ a) * (b @ b)))
        if norm > 0:
            found[at] = float(a @ b) / norm
    return found


def compute_gains(
    similarity: np.ndarray, learned: np.ndarray, own: np.ndarray, allowed: np.ndarray, k: int = 10
) -> tuple[np.ndarray, np.ndarray]:
    """(q,) mean drop of the k most similar `allowed` spans as a share of the taught span's loss `own` (q,), and the
    same for all allowed spans, which is what random ones learn. NaN where fewer than ``LEAST`` are allowed."""
    near, everyone = np.full((2, len(learned)), np.nan)
    for at, (alike, drops, may) in enumerate(zip(similarity, learned, allowed, strict=True)):
        if may.sum() < LEAST or own[at] <= 0:
            continue
        # Ties (rows that share no word) must not go by row order.
        noise = np.random.default_rng(at).random(int(may.sum()))
        order = np.lexsort((noise, -alike[may]))[:k]
        near[at], everyone[at] = float(drops[may][order].mean() / own[at]), float(drops[may].mean() / own[at])
    return near, everyone


def shuffle_rows(foretold: np.ndarray, seed: int = 0) -> np.ndarray:
    """`foretold` (q, n) with every row's values dealt anew over the pool."""
    return np.asarray(np.random.default_rng(seed).permuted(foretold, axis=1))
