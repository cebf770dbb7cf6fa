"""What the page Segments reads: scores of segments and tokens, as ``gsd attribute`` stored them.

Segments           all segments of a checkpoint, with what thresholds need
TraceScores        one trace: its tokens with their scores
load_segments      the segments of a checkpoint
read_trace_scores  one trace
read_selection     a choice as a file of ``gsd select``
list_attributed    checkpoints that have an attribution
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gsd_core.comparison.segment_choice import choose_segments, draw_segments, sweep_choices
from gsd_core.comparison.selection_lines import make_lines
from gsd_core.methods.attribute_method import ATTRIBUTION
from gsd_core.store import Run

MEASURED = {
    "loss": "loss of its tokens, nats",
    "entropy": "entropy of what was expected, nats",
    "gain": "gain of the answer right after it, nats",
    "repeats": "BLEU with the trace's other segments",
    "n_tokens": "tokens",
}
"""Measures of segments beside integrated gradients."""
LEAST_GAP = 0.05  # nats; a trace that gains less than this by its reasoning has no share of it
_MORE = {
    "skipped": ["sample", "reason"],
    "removals": ["sample", "choice", "tau", "beta", "value", "share"],
    "curves": ["sample", "nodes", "n_points", "residual"],
    "baselines": ["span", "sample", "baseline", "strength"],
    "links": ["span", "relative", "near"],
}
STEPS = np.linspace(0.05, 1.0, 20)
"""Thresholds of the map of thresholds, the same on both axes."""


class Segments(NamedTuple):
    """``frame``: a row a segment, with ``code``, the number of its trace; ``traces``: a row a trace, by sample, without
    token scores; ``skipped``: samples without one; ``info``: how they were made. ``removals``, ``curves``,
    ``baselines`` and ``links`` as in `attribute_method.ATTRIBUTION`, empty where they were not measured."""

    frame: pd.DataFrame
    traces: pd.DataFrame
    skipped: pd.DataFrame
    removals: pd.DataFrame
    curves: pd.DataFrame
    baselines: pd.DataFrame
    links: pd.DataFrame
    info: dict[str, Any]

    def choose(self, tau: float, beta: float, no_against: bool = False) -> np.ndarray:
        """(n,) bool: the segments that these thresholds keep; without those that lower the probability on request."""
        masses, consistency, signed = (self.frame[name].to_numpy() for name in ("mass", "consistency", "signed"))
        return choose_segments(masses, consistency, tau, beta, signed if no_against else None)

    def share_of_tokens(self, chosen: np.ndarray) -> float:
        """Share of all segments' tokens that the ``chosen`` (n,) hold."""
        n_tokens = self.frame["n_tokens"].to_numpy(float)
        return float(n_tokens[chosen].sum() / max(1.0, n_tokens.sum()))

    def draw_random(self, chosen: np.ndarray) -> np.ndarray:
        """(n,) bool: in every trace as many segments at random."""
        return draw_segments(chosen, self.frame["code"].to_numpy())

    def contrast(self, kept: np.ndarray) -> pd.DataFrame:
        """A row a measure of segments: ``measure``, mean of the ``kept`` (n,), of the others, weighted by tokens, and
        ``rho``, the rank correlation with strength over all segments."""
        rows = []
        weights = self.frame["n_tokens"].to_numpy(float)
        strength = self.frame["strength"].rank()
        for column, name in MEASURED.items():
            values = self.frame[column].to_numpy(float) if column in self.frame else np.full(len(self.frame), np.nan)
            means = [_mean(values[part], weights[part]) for part in (kept, ~kept)]
            rho = strength.corr(pd.Series(values, index=self.frame.index).rank())
            rows.append((name, *means, float(rho)))
        return pd.DataFrame(rows, columns=["measure", "kept", "left out", "rho"])

    def average_removals(self) -> pd.DataFrame:
        """``choice, tau, beta``: mean ``value`` over traces as a share of what lies between none and all, and mean
        ``share`` of tokens left."""
        if not len(self.removals):
            return self.removals.assign(kept_gain=[])
        ends = self.removals.pivot_table(index="sample", columns="choice", values="value", aggfunc="first")
        gap = (ends["all"] - ends["none"]).where(lambda each: each.abs() > LEAST_GAP)
        at = self.removals["sample"].map(ends["none"]), self.removals["sample"].map(gap)
        frame = self.removals.assign(kept_gain=((self.removals["value"] - at[0]) / at[1]))
        return frame.groupby(["choice", "tau", "beta"], as_index=False)[["kept_gain", "value", "share"]].median()

    def compare_baselines(self) -> pd.DataFrame:
        """Rank correlation of strengths between every two baselines, mean over the traces that were checked."""
        tables = []
        for _, rows in self.baselines.groupby("sample", sort=False):
            wide = rows.pivot_table(index="span", columns="baseline", values="strength")
            if len(wide) > 2:
                tables.append(wide.rank().corr())
        order = list(dict.fromkeys(self.baselines["baseline"]))
        if not tables:
            return pd.DataFrame(index=order, columns=order, dtype=float)
        return pd.concat(tables).groupby(level=0).mean().reindex(index=order, columns=order)

    def sweep(self) -> np.ndarray:
        """(20, 20) share of tokens kept, for every pair of ``STEPS``: tau down, beta across."""
        masses, consistency, n_tokens = (
            self.frame[name].to_numpy(float) for name in ("mass", "consistency", "n_tokens")
        )
        return sweep_choices(masses, consistency, n_tokens, STEPS, STEPS)


def _mean(values: np.ndarray, weights: np.ndarray) -> float:
    known = ~np.isnan(values)
    return float(np.average(values[known], weights=weights[known])) if weights[known].sum() > 0 else float("nan")


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
    order = run.read_samples(columns=["sample"])["sample"]  # that of the data set, not that of the computation
    traces = traces.loc[[sample for sample in order if sample in traces.index]]
    stored = run.results.tables(ATTRIBUTION, checkpoint)
    more = {
        name: run.results.read(ATTRIBUTION, name, checkpoint) if name in stored else pd.DataFrame(columns=columns)
        for name, columns in _MORE.items()
    }
    return Segments(frame, traces, info=run.results.info(ATTRIBUTION, checkpoint), **more)


def read_selection(run: Run, checkpoint: str, segments: Segments, kept: np.ndarray) -> str:
    """The lines of ``gsd select --by segments`` for this choice."""
    columns = ["span", "char_start", "char_end", "token_start", "token_end"]
    table = segments.frame.assign(kept=kept, score=segments.frame["strength"])
    table = table.merge(run.read_spans(checkpoint, columns), on="span").sort_values(["code", "index"])
    samples = run.read_samples(table["sample"].drop_duplicates().tolist())
    return "".join(
        json.dumps(line, ensure_ascii=False, default=str) + "\n" for line in make_lines(table, samples, has_empty=True)
    )


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
