"""``gsd neighbors``: the spans of other samples best aligned with one span, with their null.

run_neighbors       the stage
list_neighbors      the best centred cosines of one span with spans of other samples, with q-values
describe_neighbors  the result as text

A cosine is judged against two nulls: random pairs of spans from different samples and, where the run has controls,
pairs of spans with random windows. q (Benjamini–Hochberg, ``methods`` §1.4) comes from the stricter null, over all
candidates. z is in standard deviations of the windows' null.
"""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gsd_core.comparison.nearest import find_neighbors
from gsd_core.comparison.wording import MOST_WORDED, Wording, make_wording
from gsd_core.console.output import format_table, format_text
from gsd_core.console.progress import Progress
from gsd_core.errors import UserError
from gsd_core.methods.neighbors_method import NeighborsOptions
from gsd_core.stages.run_reading import get_checkpoint
from gsd_core.store import load_directions
from gsd_core.types import split_span

if TYPE_CHECKING:
    import pandas as pd

    from gsd_core.store import Workspace


def run_neighbors(workspace: Workspace, options: NeighborsOptions, progress: Progress) -> dict[str, Any]:
    """The result of `list_neighbors`; with ``options.exact`` ranked anew by `exact_stage.rank_exactly`."""
    if not options.exact:
        return list_neighbors(workspace, options)
    from gsd_core.stages.exact_stage import POOL, check_exact, rank_exactly  # loads torch

    run = workspace.open_run(options.run)
    check_exact(run)
    result = list_neighbors(workspace, replace(options, top=POOL * options.top))
    return rank_exactly(run, result, options.top, progress)


def list_neighbors(workspace: Workspace, options: NeighborsOptions) -> dict[str, Any]:
    """The ``top`` spans of other samples by centred cosine with ``span``; with ``other_words`` those that say it in
    other words (`gsd_core.comparison.wording`).

    Returns ``run, checkpoint, span, sample, text, null_p95, windows_p95`` (None without controls), ``n_candidates,
    neighbors: [{span, sample, cosine, effect, z, q_value, text}]``; ``effect`` is the cosine less the null's mean.
    Raises ``UserError`` for an unknown run, checkpoint or span, and where words cannot be compared.
    """
    name, span, other_words = options.run, options.span, options.other_words
    run = workspace.open_run(name)
    at = get_checkpoint(run, options.checkpoint)
    reader = run.snapshot()
    spans = reader.read_spans(at, columns=["span", "sample", "text"])
    ids = spans["span"].to_numpy(dtype=object)
    rows = np.flatnonzero(ids == span)
    if not len(rows):
        raise UserError(f"no span {span!r}", f"run {name}, checkpoint {at}", _describe_near(span, spans))
    query = int(rows[0])
    samples = spans["sample"].to_numpy(dtype=object)
    wording = _make_wording(name, spans) if other_words else None
    directions = load_directions(reader, at, samples, seed=options.seed)
    found = find_neighbors(directions, query, samples, options.top, wording)
    null = directions.null
    yardstick = null.windows if len(null.windows) else null.values
    middle, spread = (float(yardstick.mean()), float(yardstick.std())) if len(yardstick) else (np.nan, np.nan)
    texts = spans["text"].to_numpy(dtype=object)
    return {
        "run": name,
        "checkpoint": at,
        "span": span,
        "sample": str(samples[query]),
        "text": str(texts[query]),
        "null_p95": null.p95 if null.n else None,
        "windows_p95": null.windows_p95 if len(null.windows) else None,
        "n_candidates": found.n_candidates,
        "neighbors": [
            {
                "span": str(ids[row]),
                "sample": str(samples[row]),
                "cosine": float(cosine),
                "effect": float(cosine) - middle,
                "z": (float(cosine) - middle) / spread if spread > 0 else None,
                "q_value": float(q_value),
                "text": str(texts[row]),
            }
            for row, cosine, q_value in zip(found.rows, found.cosines, found.q_values, strict=True)
        ],
    }


def _make_wording(name: str, spans: pd.DataFrame) -> Wording:
    """How alike the texts of ``spans`` are; ``UserError`` where that cannot be said."""
    wording = None
    if len(spans) > MOST_WORDED:
        what = f"the words of more than {MOST_WORDED:,} spans cannot be compared yet"
    else:
        what = "there are no words to compare"
        wording = make_wording(spans["text"].tolist(), spans["sample"].to_numpy(dtype=object))
    if wording is None:
        raise UserError(what, f"run {name}", "leave --other-words out")
    return wording


def _describe_near(span: str, spans: pd.DataFrame) -> str:
    """What to write instead of a span id that is not there."""
    sample, _ = split_span(span)
    own = spans.loc[spans["sample"] == sample, "span"]
    if len(own):
        return f"sample {sample!r} has {own.iloc[0]} to {own.iloc[-1]}"
    near = difflib.get_close_matches(span, spans["span"].head(5000).tolist(), n=1)
    example = near[0] if near else spans["span"].iloc[0] if len(spans) else "SAMPLE#K"
    return f"a span is SAMPLE#K, for example {example!r}; gsd export RUN --what spans lists them"


def describe_neighbors(result: dict[str, Any]) -> str:
    """``gsd neighbors``: a row a neighbour, and the null that its cosine stands beside."""
    is_exact = "sketch_error" in result
    exact = {"exact": "cosine_exact"} if is_exact else {}
    columns = {"span": "span", **exact, "cosine": "cosine", "z": "z", "q": "q_value"}
    rows = [[*(each[key] for key in columns.values()), format_text(each["text"], 200)] for each in result["neighbors"]]
    table = format_table((*columns, "text"), rows, wide="text")
    lines = [f"{result['span']}: {format_text(result['text'], 200)}", table]
    if is_exact and result["sketch_error"] is not None:
        lines.append(f"the sketch is off by {result['sketch_error']:.3f} (root mean square, not centred)")
    if result["null_p95"] is not None:
        lines.append(f"95 % of random pairs of different samples lie below {result['null_p95']:.3f}")
    if result["windows_p95"] is not None:
        lines.append(f"95 % of spans with windows at random positions lie below {result['windows_p95']:.3f}")
    return "\n".join(lines)
