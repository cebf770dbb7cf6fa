"""Measures of steps from token-level hidden gradients, which related papers use.

StepMeasures             spectral strength and GRACE-like score of every span of one sample
compute_measures         a batch of samples → their measures, from their tokens' gradients
compute_spectral_strength  share of the trace's dominant gradient subspace in a step's tokens
compute_grace            a step's alignment with the answer's gradient and with the trace before it

Both read ``G`` (T, D): every token's gradient at the final normed hidden state, as in tier ``hidden``
(``methods`` §1.1). Spectral strength is that of the ICML 2026 paper in ``methods`` §6. The GRACE-like score is ours,
as the formula of arXiv 2605.13130 is not public.

Shapes: T tokens of a sample, R tokens of its spans, S spans, D model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gsd_core.types import TokenizedSample

ENERGY = 0.95


@dataclass(frozen=True, slots=True)
class StepMeasures:
    """``spectral`` (S,) in [0, 1]; ``grace`` (S,) in [-1, 1], NaN where a step has neither answer nor past."""

    spectral: np.ndarray
    grace: np.ndarray


def compute_measures(token_gradients: Sequence[torch.Tensor], samples: Sequence[TokenizedSample]) -> list[StepMeasures]:
    """Measures of every span; `token_gradients` are those of a ``SpanBatch``."""
    found = []
    for gradients, sample in zip(token_gradients, samples, strict=True):
        bounds = [(span.start - 1, span.end - 1) for span in sample.spans]
        answer = (bounds[-1][1], len(sample.token_ids) - 1)
        found.append(
            StepMeasures(compute_spectral_strength(gradients, bounds), compute_grace(gradients, bounds, answer))
        )
    return found


def compute_spectral_strength(gradients: torch.Tensor, bounds: Sequence[tuple[int, int]]) -> np.ndarray:
    """Mean over a step of ``‖(U_{1:k})_t‖²``, where ``G = U S Vᵀ`` over the tokens of all steps.

    Spectral strength (ICML 2026; ``methods`` §6): k is the smallest rank that holds `ENERGY` of ``Σ s²``. The values of
    all R tokens sum to k, so k/R is the value of a step without preference.

    Parameters
    ----------
    gradients
        (T, D) token-level gradients.
    bounds
        Half-open rows of each step; rows outside all steps are ignored.

    Returns
    -------
    (S,) float32 in [0, 1]; zeros where every gradient vanishes.
    """
    rows = torch.cat([gradients[start:stop] for start, stop in bounds]).to(torch.float64)
    sizes = [stop - start for start, stop in bounds]
    # Left singular vectors from the smaller Gram matrix: exact enough in double precision for leading directions,
    # and far cheaper than an SVD of (R, D).
    if rows.shape[0] <= rows.shape[1]:
        squares, left = torch.linalg.eigh(rows @ rows.T)
    else:
        squares, right = torch.linalg.eigh(rows.T @ rows)
        left = (rows @ right) / squares.clamp_min(1e-300).sqrt()
    squares, left = squares.clamp_min(0).flip(0), left.flip(1)
    total = squares.sum()
    if not total > 0:
        return np.zeros(len(bounds), dtype=np.float32)
    rank = int((squares.cumsum(0) < ENERGY * total).sum()) + 1
    per_token = left[:, :rank].square().sum(1).clamp(0, 1)
    return np.array([float(part.mean()) for part in per_token.split(sizes)], dtype=np.float32)


def compute_grace(gradients: torch.Tensor, bounds: Sequence[tuple[int, int]], answer: tuple[int, int]) -> np.ndarray:
    """Mean of two cosines of a step's mean gradient [ours]: to the answer's, and to that of the trace before it.

    `answer` is the half-open range of rows after the reasoning; where it is empty only the second cosine counts, for
    the first step only the first one. Returns (S,) float32, NaN where a step has neither.
    """
    steps = torch.stack([gradients[start:stop].mean(0) for start, stop in bounds]).to(torch.float64)
    lengths = torch.tensor([stop - start for start, stop in bounds], dtype=steps.dtype, device=steps.device)
    total = (steps * lengths[:, None]).cumsum(0)
    cosines = np.full((2, len(bounds)), np.nan)
    if answer[1] > answer[0]:
        target = gradients[answer[0] : answer[1]].mean(0).to(torch.float64)
        cosines[0] = torch.cosine_similarity(steps, target[None], dim=1).cpu().numpy()
    if len(bounds) > 1:
        cosines[1, 1:] = torch.cosine_similarity(steps[1:], total[:-1], dim=1).cpu().numpy()
    known = ~np.isnan(cosines)
    sums, counts = np.where(known, cosines, 0.0).sum(0), known.sum(0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).astype(np.float32)
