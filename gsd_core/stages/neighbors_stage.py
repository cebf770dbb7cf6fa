"""``gsd neighbors``: the spans of other samples best aligned with one span, each beside its null.

run_neighbors   the stage
find_neighbors  the best centred cosines of one span with the spans of other samples, with q-values

A cosine alone says little: its nulls are random pairs of spans from different samples and, where the run has controls,
pairs of spans with windows at random places. q (Benjamini–Hochberg, ``methods`` §1.4) is that of the stricter null,
over all candidates and not only those that are shown; z is in standard deviations of the windows' null.
"""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gsd_core.comparison.centring import apply_centring, compute_centred
from gsd_core.comparison.nearest import compute_neighbors
from gsd_core.comparison.nulls import compute_joint_q_values, compute_null_cosines
from gsd_core.comparison.wording import make_wording
from gsd_core.console.output import format_table, format_text
from gsd_core.console.progress import Progress
from gsd_core.errors import UserError
from gsd_core.methods.neighbors_method import NeighborsOptions
from gsd_core.stages.run_reading import get_checkpoint

if TYPE_CHECKING:
    import pandas as pd

    from gsd_core.store import RunReader, Workspace


def run_neighbors(workspace: Workspace, options: NeighborsOptions, progress: Progress) -> dict[str, Any]:
    """The result of `find_neighbors`; with ``options.exact`` ranked anew by `exact_stage.rank_exactly`."""
    if not options.exact:
        return find_neighbors(workspace, options)
    from gsd_core.stages.exact_stage import POOL, check_exact, rank_exactly  # loads torch

    run = workspace.open_run(options.run)
    check_exact(run)
    result = find_neighbors(workspace, replace(options, top=POOL * options.top))
    return rank_exactly(run, result, options.top, progress)


def find_neighbors(workspace: Workspace, options: NeighborsOptions) -> dict[str, Any]:
    """The ``top`` spans of other samples by centred cosine with ``span``; with ``other_words`` those that say it in
    other words (`gsd_core.comparison.wording`).

    Returns ``run, checkpoint, span, sample, text, null_p95, windows_p95`` (None without controls), ``n_candidates,
    neighbors: [{span, sample, cosine, effect, z, q_value, text}]``; ``effect`` is the cosine less the null's mean.
    Raises ``UserError`` for an unknown run, checkpoint or span, and where words cannot be compared.
    """
    name, span, top, other_words = options.run, options.span, options.top, options.other_words
    run = workspace.open_run(name)
    at = get_checkpoint(run, options.checkpoint)
    reader = run.snapshot()
    spans = reader.read_spans(at, columns=["span", "sample", "text"])
    ids = spans["span"].to_numpy(dtype=object)
    place = np.flatnonzero(ids == span)
    if not len(place):
        raise UserError(f"no span {span!r}", f"run {name}, checkpoint {at}", _describe_near(span, spans))
    query = int(place[0])
    samples = spans["sample"].to_numpy(dtype=object)
    if run.has_analysis(at) and reader.has_index(at):
        if other_words:
            raise UserError(
                "the words of so many spans cannot be compared yet",
                "--other-words",
                "leave --other-words out",
            )
        return _search(reader, name, at, spans, query, top)
    if run.has_analysis(at):  # the same centring and null as on the map
        arrays = run.read_arrays(at)
        directions = apply_centring(reader.read_vectors(at), arrays["mean"], arrays.get("top"))
        null, windows = arrays["null"], arrays.get("null_windows", np.zeros(0))
    else:
        directions = compute_centred(reader.read_vectors(at)).directions
        null, windows = compute_null_cosines(directions, samples, seed=options.seed), np.zeros(0)
    indices, cosines = compute_neighbors(directions, query, samples, top=len(ids))
    if other_words:
        wording = make_wording(spans["text"].tolist(), samples)
        if wording is None:
            raise UserError("there are no words to compare", f"run {name}", "leave --other-words out")
        is_other = wording.compute_cosines([query])[0, indices] <= wording.limit
        indices, cosines = indices[is_other], cosines[is_other]
    q_values = compute_joint_q_values(cosines, [null, windows])
    texts = spans["text"].to_numpy(dtype=object)
    best = zip(indices[:top], cosines[:top], q_values[:top], strict=True)
    found = [(ids[i], samples[i], cosine, q, texts[i]) for i, cosine, q in best]
    return _describe(name, at, spans.iloc[query], null, windows, len(indices), found)


def _search(
    reader: RunReader, name: str, at: str, spans: pd.DataFrame, query: int, top: int
) -> dict[str, Any]:
    """The same from the store's index, for runs that are too big to be read whole."""
    arrays = reader.read_arrays(at)
    mean, removed = arrays["mean"], arrays.get("top")
    if removed is not None and len(removed):
        raise UserError(
            "its directions were analysed without their top directions, which the index does not know",
            f"run {name}, checkpoint {at}",
            "analyse it again with the mean removed only",
        )
    null, windows = arrays["null"], arrays.get("null_windows", np.zeros(0))
    own = spans.iloc[query]
    found = reader.search(reader.read_vectors(at, query, query + 1)[0], top, at, own["sample"], mean)
    n_others = int((spans["sample"] != own["sample"]).sum())
    # The rest were no better than these: as p = 1 they make q larger, never smaller.
    q_values = compute_joint_q_values(found["cosine"].to_numpy(), [null, windows], n_others)
    texts = spans.set_index("span")["text"]
    rows = zip(found["span"], found["sample"], found["cosine"], q_values, strict=True)
    return _describe(name, at, own, null, windows, n_others, [(s, o, c, q, texts[s]) for s, o, c, q in rows])


def _describe(
    name: str,
    at: str,
    own: pd.Series,
    null: np.ndarray,
    windows: np.ndarray,
    n_candidates: int,
    found: list[tuple[str, str, float, float, str]],
) -> dict[str, Any]:
    """The result; `found` are (span, sample, cosine, q, text), best first."""
    yardstick = windows if len(windows) else null
    middle, spread = (float(yardstick.mean()), float(yardstick.std())) if len(yardstick) else (np.nan, np.nan)
    return {
        "run": name,
        "checkpoint": at,
        "span": str(own["span"]),
        "sample": str(own["sample"]),
        "text": str(own["text"]),
        "null_p95": float(np.quantile(null, 0.95)) if len(null) else None,
        "windows_p95": float(np.quantile(windows, 0.95)) if len(windows) else None,
        "n_candidates": n_candidates,
        "neighbors": [
            {
                "span": str(span),
                "sample": str(sample),
                "cosine": float(cosine),
                "effect": float(cosine) - middle,
                "z": (float(cosine) - middle) / spread if spread > 0 else None,
                "q_value": float(q_value),
                "text": str(text),
            }
            for span, sample, cosine, q_value, text in found
        ],
    }


def _describe_near(span: str, spans: pd.DataFrame) -> str:
    """What to write instead of a span id that is not there."""
    sample = span.rsplit("#", 1)[0]
    own = spans.loc[spans["sample"] == sample, "span"]
    if len(own):
        return f"sample {sample!r} has {own.iloc[0]} to {own.iloc[-1]}"
    near = difflib.get_close_matches(span, spans["span"].head(5000).tolist(), n=1)
    example = near[0] if near else spans["span"].iloc[0] if len(spans) else "SAMPLE#K"
    return f"a span is SAMPLE#K, for example {example!r}; gsd export RUN --what spans lists them"


def describe_neighbors(result: dict[str, Any]) -> str:
    """``gsd neighbors``: a row a neighbour, and the null that its cosine stands beside."""
    is_exact = "sketch_error" in result
    rows = [
        [
            each["span"],
            *([each["cosine_exact"]] if is_exact else []),
            each["cosine"],
            each["z"],
            each["q_value"],
            format_text(each["text"], 200),
        ]
        for each in result["neighbors"]
    ]
    columns = ("span", *(["exact"] if is_exact else []), "cosine", "z", "q", "text")
    lines = [
        f"{result['span']}: {format_text(result['text'], 200)}",
        format_table(columns, rows, wide="text"),
    ]
    if is_exact and result["sketch_error"] is not None:
        lines.append(f"the sketch is off by {result['sketch_error']:.3f} (root mean square, not centred)")
    if result["null_p95"] is not None:
        lines.append(f"95 % of random pairs of different samples lie below {result['null_p95']:.3f}")
    if result["windows_p95"] is not None:
        lines.append(f"95 % of spans with windows at random places lie below {result['windows_p95']:.3f}")
    return "\n".join(lines)
