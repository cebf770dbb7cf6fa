"""What the page Segments reads: scores of segments and tokens, as ``gsd attribute`` stored them.

Segments           all segments of a checkpoint, with what thresholds need
TraceScores        one trace: its tokens with their scores
load_segments      the segments of a checkpoint
read_trace_scores  one trace
list_attributed    checkpoints that have an attribution
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gsd_core.comparison.segment_choice import choose_segments, draw_segments, sweep_choices
from gsd_core.methods.attribute_method import ATTRIBUTION
from gsd_core.store import Run

STEPS = np.linspace(0.05, 1.0, 20)
"""Thresholds of the map of thresholds, the same on both axes."""


class Segments(NamedTuple):
    """``frame``: a row a segment, with ``code``, the number of its trace; ``traces``: a row a trace, by sample, without
    token scores; ``skipped``: samples without one; ``info``: how they were made."""

    frame: pd.DataFrame
    traces: pd.DataFrame
    skipped: pd.DataFrame
    info: dict[str, Any]

    def choose(self, tau: float, beta: float) -> np.ndarray:
        """(n,) bool: the segments that these thresholds keep."""
        return choose_segments(self.frame["mass"].to_numpy(), self.frame["consistency"].to_numpy(), tau, beta)

    def share_of_tokens(self, chosen: np.ndarray) -> float:
        """Share of all segments' tokens that the ``chosen`` (n,) hold."""
        n_tokens = self.frame["n_tokens"].to_numpy(float)
        return float(n_tokens[chosen].sum() / max(1.0, n_tokens.sum()))

    def draw_random(self, chosen: np.ndarray) -> np.ndarray:
        """(n,) bool: in every trace as many segments at random."""
        return draw_segments(chosen, self.frame["code"].to_numpy())

    def sweep(self) -> np.ndarray:
        """(20, 20) share of tokens kept, for every pair of ``STEPS``: tau down, beta across."""
        masses, consistency, n_tokens = (
            self.frame[name].to_numpy(float) for name in ("mass", "consistency", "n_tokens")
        )
        return sweep_choices(masses, consistency, n_tokens, STEPS, STEPS)


class TraceScores(NamedTuple):
    """``pieces``: (span id or None, tokens) in order, each token its text and score; ``scores`` (T,) of the whole
    input; ``borders``: tokens at which segments begin."""

    pieces: list[tuple[str | None, list[tuple[str, float]]]]
    scores: np.ndarray
    borders: list[int]


def list_attributed(run: Run) -> list[str]:
    """Checkpoints of ``run`` that are attributed, wholly or in part."""
    return [name for name in run.checkpoints if "segments" in run.results.tables(ATTRIBUTION, name)]


def load_segments(run: Run, checkpoint: str) -> Segments:
    """The segments of a checkpoint that ``list_attributed`` lists."""
    frame = run.results.read(ATTRIBUTION, "segments", checkpoint)
    texts = run.read_spans(checkpoint, ["span", "index", "text"]).set_index("span")
    frame = frame.join(texts, on="span")
    frame["code"] = pd.factorize(frame["sample"])[0].astype(np.int64)
    traces = run.results.read(ATTRIBUTION, "traces", checkpoint).drop(columns="scores").set_index("sample")
    stored = run.results.tables(ATTRIBUTION, checkpoint)
    skipped = (
        run.results.read(ATTRIBUTION, "skipped", checkpoint)
        if "skipped" in stored
        else pd.DataFrame(columns=["sample", "reason"])
    )
    return Segments(frame, traces, skipped, run.results.info(ATTRIBUTION, checkpoint))


def read_trace_scores(run: Run, checkpoint: str, sample: str) -> TraceScores:
    """The tokens of an attributed trace's reasoning with their scores."""
    traces = run.results.read(ATTRIBUTION, "traces", checkpoint)
    scores = np.array(traces.loc[traces["sample"] == sample, "scores"].iloc[0], dtype=float)
    spans = run.read_spans(checkpoint, ["span", "sample", "index", "token_start", "token_end"])
    spans = spans[spans["sample"] == sample].sort_values("index")
    texts = run.read_tokens(sample, checkpoint)["text"].tolist()
    starts, ends = spans["token_start"].astype(int).tolist(), spans["token_end"].astype(int).tolist()
    pieces: list[tuple[str | None, list[tuple[str, float]]]] = []
    at = starts[0]
    for span, start, end in zip(spans["span"], starts, ends, strict=True):
        if start > at:  # tokens of a span that was not captured
            pieces.append((None, list(zip(texts[at:start], scores[at:start].tolist(), strict=True))))
        pieces.append((str(span), list(zip(texts[start:end], scores[start:end].tolist(), strict=True))))
        at = end
    return TraceScores(pieces, scores, starts)
