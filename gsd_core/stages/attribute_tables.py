"""From an attributed trace to the rows that ``gsd attribute`` stores.

Work           one trace with its sample, answer and texts
tabulate       rows of ``segments``, ``traces`` and ``removals``
tabulate_checks   rows of ``curves`` and ``baselines``
tells_answer   whether a text holds an answer as a word
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import sacrebleu

from gsd_core.attribution.answer_checks import compare_baselines, measure_curve
from gsd_core.attribution.answer_values import AnswerValues, measure_removals, measure_segments
from gsd_core.attribution.integrated import AnswerGradients, AnswerTrace, Attribution
from gsd_core.comparison.segment_choice import compute_strengths, rank_masses, score_segments
from gsd_core.types import TokenizedSample, join_span

MOST_COMPARED = 200  # segments of a trace that each segment's BLEU is measured against


class Work(NamedTuple):
    """``texts`` are those of the sample's spans."""

    sample: TokenizedSample
    answer: str
    trace: AnswerTrace
    texts: list[str]

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """Half-open token ranges of the segments."""
        return [(span.start, span.end) for span in self.sample.spans]

    @property
    def spans(self) -> list[str]:
        """Their ids."""
        return [join_span(self.sample.id, span.index) for span in self.sample.spans]


def tabulate(work: Work, found: Attribution, values: AnswerValues, seed: int) -> dict[str, pd.DataFrame]:
    """What is stored of every trace; the model is asked for values without gradients."""
    own = score_segments(found.scores, work.ranges)
    one = np.zeros(len(work.ranges), dtype=np.int64)
    strengths = compute_strengths(own.absolute, own.n_tokens, one)
    masses = rank_masses(strengths, one)
    told = measure_segments(values, work.trace, work.ranges)
    segments = pd.DataFrame(
        {
            "span": work.spans,
            "sample": work.sample.id,
            "n_tokens": own.n_tokens,
            "absolute": own.absolute,
            "signed": own.signed,
            "strength": strengths,
            "consistency": own.consistency,
            "mass": masses,
            "loss": told.losses,
            "entropy": told.entropies,
            "gain": told.gains,
            "repeats": _compute_repeats(work.texts),
            "tells_answer": [tells_answer(text, work.answer) for text in work.texts],
        }
    )
    removals = measure_removals(values, work.trace, work.ranges, masses, own.consistency, seed)
    row = {
        "sample": work.sample.id,
        "answer": work.answer,
        "value": found.value,
        "baseline_value": found.baseline_value,
        "residual": found.residual,
        "n_points": found.n_points,
        "n_values": found.n_values,
        "n_tokens": len(work.trace.token_ids),
        "scores": [found.scores.tolist()],
    }
    left = pd.DataFrame(
        [(work.sample.id, each.choice, each.tau, each.beta, each.value, each.share) for each in removals],
        columns=["sample", "choice", "tau", "beta", "value", "share"],
    )
    return {"segments": segments, "traces": pd.DataFrame(row), "removals": left}


def tabulate_checks(
    work: Work, gradients: AnswerGradients, say: Callable[[str], None] = lambda _: None
) -> dict[str, pd.DataFrame]:
    """What is measured of a few traces only: it costs several times the attribution. ``say`` gets what was done."""
    rows = []
    for nodes, n_points, residual in measure_curve(gradients, work.trace):
        rows.append((work.sample.id, nodes, n_points, residual))
        say(f"checked with {n_points} {nodes} nodes")
    curves = pd.DataFrame(rows, columns=["sample", "nodes", "n_points", "residual"])
    parts = []
    for name, strengths in compare_baselines(gradients, work.trace, work.ranges):
        told = {"span": work.spans, "sample": work.sample.id, "baseline": name, "strength": strengths}
        parts.append(pd.DataFrame(told))
        say(f"checked with baseline {name}")
    baselines = pd.concat(parts)
    return {"curves": curves, "baselines": baselines.reset_index(drop=True)}


def tells_answer(text: str, answer: str) -> bool:
    """Whether ``text`` holds ``answer`` as a word."""
    return bool(answer.strip()) and bool(re.search(rf"(?<!\w){re.escape(answer.strip())}(?!\w)", text))


def _compute_repeats(texts: Sequence[str]) -> list[float]:
    """BLEU of each segment with the others as references, as in self-BLEU (Zhu et al. 2018)."""
    found = []
    for at, text in enumerate(texts):
        others = [*texts[:at], *texts[at + 1 :]][:MOST_COMPARED]
        told = sacrebleu.sentence_bleu(text, others, use_effective_order=True).score / 100 if others else 0.0
        found.append(min(1.0, float(told)))
    return found
