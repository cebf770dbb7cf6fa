"""How far an attribution can be trusted: its residual against the number of gradients, and other baselines.

measure_curve       residuals for published and for Gauss nodes
compare_baselines   strengths of segments under every baseline
CURVE_POINTS, BASELINE_POINTS, NOISE_SEEDS   what they try

Both are asked for by the reviewers of arXiv 2602.00425; how they are measured is ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from gsd_core.attribution.integrated import BASELINES, AnswerGradients, AnswerTrace
from gsd_core.comparison.segment_choice import compute_strengths, score_segments

CURVE_POINTS = {"gauss": (5, 10, 20, 50), "published": (5, 10, 20, 50, 100)}
BASELINE_POINTS = 20  # Gauss nodes
NOISE_SEEDS = (0, 1, 2)


def measure_curve(gradients: AnswerGradients, trace: AnswerTrace) -> Iterator[tuple[str, int, float]]:
    """Nodes, their number, and the share of the answer's gain that they leave unexplained."""
    for nodes, numbers in CURVE_POINTS.items():
        for n_points in numbers:
            found = AnswerGradients(
                gradients.model, gradients.pad_id, replace(gradients.settings, nodes=nodes, points=n_points)
            ).attribute(trace)
            yield nodes, n_points, found.residual / max(abs(found.value - found.baseline_value), 1e-12)


def compare_baselines(
    gradients: AnswerGradients, trace: AnswerTrace, ranges: Sequence[tuple[int, int]]
) -> Iterator[tuple[str, np.ndarray]]:
    """Name of a baseline, and the strength (n,) of each segment under it; noise once a seed."""
    one = np.zeros(len(ranges), dtype=np.int64)
    for baseline in BASELINES:
        for seed in NOISE_SEEDS if baseline == "noise" else (0,):
            settings = replace(gradients.settings, baseline=baseline, nodes="gauss", points=BASELINE_POINTS, seed=seed)
            scores = AnswerGradients(gradients.model, gradients.pad_id, settings).attribute(trace).scores
            own = score_segments(scores, ranges)
            name = f"noise {seed}" if baseline == "noise" else baseline
            yield name, compute_strengths(own.absolute, own.n_tokens, one)
