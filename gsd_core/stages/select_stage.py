"""``gsd select``: which samples or spans to train on, as JSONL with masks.

run_select          score, pick within the budget, write; all other measures beside it at the same budget
describe_selection  the result as text

A measure correlates with what training does to a model. It does not show that training on the chosen spans is better.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gsd_core.analysis.selection import compute_agreement, compute_sample_means, compute_target_scores, pick
from gsd_core.comparison.centring import Centring
from gsd_core.comparison.meta_labels import find_text
from gsd_core.console.output import format_table
from gsd_core.console.progress import Progress
from gsd_core.driver.capture_plan import describe_directions
from gsd_core.errors import UserError
from gsd_core.methods.select_method import BY_SEGMENTS, MEASURES, SelectOptions
from gsd_core.stages.representations import match_checkpoint, read_question_rows
from gsd_core.stages.run_reading import get_checkpoint
from gsd_core.stages.run_tables import compute_span_table
from gsd_core.stages.select_segments import select_by_segments
from gsd_core.stages.selection_file import write_selection
from gsd_core.store import load_centring

if TYPE_CHECKING:
    from gsd_core.store import Run, Workspace

BY_SPAN = ("spectral", "grace")  # measures of steps; the others are of samples
NEED_TARGET = ("alignment", "semantic")


def run_select(workspace: Workspace, options: SelectOptions, progress: Progress) -> dict[str, Any]:
    """Select from a run and write one JSON line a chosen sample.

    A line has ``sample, question, reasoning, answer, score, mask`` (one boolean a span), ``spans`` (their character
    ranges in the reasoning), ``kept`` (what is kept of the reasoning), ``kept_tokens`` (the same in tokens of the
    model's input) and ``meta``. By segments there is a line for every attributed sample, also where nothing is kept.

    Returns ``run, checkpoint, by, unit, n_samples, n_spans_kept, n_spans, token_share, score_kept, score_all,
    agreement: [{by, tokens_shared}], out, seconds``. Raises ``UserError`` for an unknown run, checkpoint, target or
    measure, and for a measure that the run does not hold.
    """
    started = time.monotonic()
    run = workspace.open_run(options.run)
    at = get_checkpoint(run, options.checkpoint)
    if options.by in BY_SEGMENTS:
        return select_by_segments(run, at, options, progress)
    if options.budget is None:
        raise UserError(f"{options.by} needs a budget", "--budget", "give a share of the tokens, such as 0.3")
    if not 0 < options.budget <= 1:
        raise UserError(f"a budget of {options.budget} is no share", "--budget", "give a number above 0, up to 1")
    unit = options.unit or ("span" if options.by in BY_SPAN else "sample")
    if unit == "span" and options.by in NEED_TARGET:
        raise UserError(f"{options.by} is measured by sample", "--unit span", "use --unit sample")
    stage = progress.stage("selecting", len(MEASURES), "measures")
    table, _ = compute_span_table(run, at)
    sizes = (table["token_end"] - table["token_start"]).to_numpy(np.int64)
    owners, samples = pd.factorize(table["sample"])
    ids = list(samples)
    target = _find_target(workspace, run, table, ids, options) if options.target else None
    spans = _Spans(run, at, table, sizes, owners, ids, target)
    scores: dict[str, np.ndarray] = {}
    chosen: dict[str, np.ndarray] = {}
    for measure in MEASURES:
        found = _score(spans, measure, options.seed)
        stage.advance()
        if found is None:
            if measure == options.by:
                raise _explain_missing(run, at, measure, options)
            continue
        by_span = unit == "span" and found.shape == (len(table),)
        scores[measure], chosen[measure] = _pick(found, by_span, spans, options.budget, options.seed)
    kept = chosen[options.by]
    if not kept.any():
        raise UserError(f"the budget of {options.budget:g} holds not one {unit}", "--budget", "give a larger share")
    score = scores[options.by]
    n_samples = write_selection(run, table.assign(kept=kept, score=score), options.out)
    return {
        "run": options.run,
        "checkpoint": at,
        "by": options.by,
        "unit": unit,
        "n_samples": n_samples,
        "n_spans_kept": int(kept.sum()),
        "n_spans": len(table),
        "token_share": float(sizes[kept].sum() / sizes.sum()),
        "score_kept": float(np.nanmean(score[kept])),
        "score_all": float(np.nanmean(score)),
        "agreement": [
            {"by": other, "tokens_shared": compute_agreement(kept, chosen[other], sizes)}
            for other in chosen
            if other != options.by
        ],
        "out": str(options.out),
        "seconds": time.monotonic() - started,
    }


def _find_target(
    workspace: Workspace, run: Run, table: pd.DataFrame, ids: list[str], options: SelectOptions
) -> tuple[np.ndarray, Run | None]:
    """(N,) bool of target samples in this run, or all False and the run that is the target."""
    assert options.target is not None
    field, sign, value = options.target.partition("=")
    if not sign:
        other = workspace.open_run(options.target)
        own, its = (describe_directions(each.manifest.get("sketch") or {}) for each in (run, other))
        if own != its:
            raise UserError(
                f"its sketch is another than that of run {run.name}",
                f"--target {other.name}",
                f"capture one of them again, with --sketch-of {run.name}, the same tier, model and --seed",
            )
        return np.zeros(len(ids), dtype=bool), other
    if field not in table.columns:
        known = ", ".join(column for column in table.columns if column.startswith("meta."))
        raise UserError(f"no field {field!r}", "--target", f"run {run.name} has {known or 'no meta fields'}")
    held = set(table.loc[find_text(table[field], value), "sample"])
    if not held:
        raise UserError(f"no sample has {options.target}", "--target", f"look at gsd export {run.name} --what spans")
    return np.array([sample in held for sample in ids]), None


@dataclass(frozen=True)
class _Spans:
    """The run's spans: their ``table`` (n rows), ``sizes`` (n,) in tokens, ``owners`` (n,) number of each one's sample
    among ``ids`` (N). ``target`` is what the selection should be like: (N,) bool of samples of this run, and another
    run; None where nothing is asked for."""

    run: Run
    checkpoint: str
    table: pd.DataFrame
    sizes: np.ndarray
    owners: np.ndarray
    ids: list[str]
    target: tuple[np.ndarray, Run | None] | None = None


def _score(spans: _Spans, measure: str, seed: int) -> np.ndarray | None:
    """Scores by span (n,) or by sample (N,); None where the run does not hold the measure."""
    run, checkpoint = spans.run, spans.checkpoint
    if measure in BY_SPAN:
        values = spans.table[measure].to_numpy(np.float64)
        return None if np.isnan(values).all() else values
    if measure == "random":
        return np.random.default_rng(seed).random(len(spans.ids))
    if spans.target is None:
        return None
    is_target, other = spans.target
    if measure == "semantic":
        rows = read_question_rows(run, spans.ids)
        more = read_question_rows(other, other.read_samples()["sample"].tolist()) if other else rows[:0]
        if more.shape[1] != rows.shape[1]:
            return None  # another sentence encoder
    else:
        centring = load_centring(run, checkpoint)
        directions = centring.apply(run.read_vectors(checkpoint))
        rows = compute_sample_means(directions, spans.owners, spans.sizes)
        more = _read_rows(other, checkpoint, centring) if other else rows[:0]
    marks = np.concatenate([is_target, np.ones(len(more), dtype=bool)])
    scored = compute_target_scores(np.concatenate([rows, more]), marks)[: len(rows)]
    return None if not np.any(rows) else scored


def _read_rows(run: Run, checkpoint: str, centring: Centring) -> np.ndarray:
    """Rows of another run's samples, centred as the first run's are."""
    at = match_checkpoint(run, checkpoint)
    spans = run.read_spans(at, columns=["sample", "token_start", "token_end"])
    sizes = (spans["token_end"] - spans["token_start"]).to_numpy(np.int64)
    return compute_sample_means(centring.apply(run.read_vectors(at)), pd.factorize(spans["sample"])[0], sizes)


def _pick(values: np.ndarray, by_span: bool, spans: _Spans, budget: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores and choice, both by span (n,)."""
    sizes, owners = spans.sizes, spans.owners
    is_target = spans.target[0] if spans.target else np.zeros(len(spans.ids), dtype=bool)
    if by_span:
        scores = np.where(is_target[owners], np.nan, values)
        return scores, pick(scores, sizes, budget, seed)
    if len(values) == len(owners) and len(values) != len(is_target):
        values = compute_sample_means(values, owners, sizes)
    scores = np.where(is_target, np.nan, values)
    held = np.bincount(owners, sizes, minlength=len(scores))
    return scores[owners], pick(scores, held, budget, seed)[owners]


def _explain_missing(run: Run, checkpoint: str, measure: str, options: SelectOptions) -> UserError:
    if measure in NEED_TARGET and options.target is None:
        return UserError(
            f"{measure} needs a target",
            "--target",
            "give --target meta.FIELD=VALUE, or a run captured from the target's samples",
        )
    return UserError(
        f"{measure} was not captured",
        f"run {run.name}, checkpoint {checkpoint}",
        "capture it again without --no-measures" if measure in BY_SPAN else "use the same --encoder for both runs",
    )


def describe_selection(result: dict[str, Any]) -> str:
    """``gsd select``: what was kept, and how much of it the other measures would keep too."""
    rows = [[each["by"], f"{each['tokens_shared']:.0%}"] for each in result["agreement"]]
    lines = [
        f"{result['n_spans_kept']:,} of {result['n_spans']:,} spans of {result['n_samples']:,} samples, "
        f"{result['token_share']:.1%} of the tokens, in {result['out']}",
        f"mean {result['by']} score {result['score_kept']:.3f}, of all {result['score_all']:.3f}",
    ]
    if rows:
        lines.append(format_table(("at the same budget", "tokens shared"), rows))
    lines.append("The score correlates with what training does; it does not promise a better model.")
    return "\n".join(lines)
