"""Selections that follow from an attribution (``gsd attribute``): the published choice of segments and its controls.

select_by_segments   one of ``BY_SEGMENTS`` → a file, and the result of ``gsd select``
choose_by            segments with their scores → which of them
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gsd_core.analysis.selection import compute_agreement, pick
from gsd_core.comparison.segment_choice import choose_segments, choose_tokens, draw_segments
from gsd_core.comparison.selection_lines import TokenChoice
from gsd_core.console.progress import Progress
from gsd_core.errors import UserError
from gsd_core.methods.attribute_method import ATTRIBUTION
from gsd_core.methods.select_method import SelectOptions
from gsd_core.stages.attribute_stage import compute_segment_table, compute_trace_table
from gsd_core.stages.run_tables import compute_span_table
from gsd_core.stages.selection_file import write_selection

if TYPE_CHECKING:
    from gsd_core.store import Run

BESIDE = ("spectral", "grace")  # measures of spans that are compared at the same share of tokens


def select_by_segments(run: Run, checkpoint: str, options: SelectOptions, progress: Progress) -> dict[str, Any]:
    """Choose, write, and compare with other measures. Raises ``UserError`` where the checkpoint is not attributed."""
    started = time.monotonic()
    if options.budget is not None:
        raise UserError("the thresholds decide how much is kept", "--budget", "leave it out; set --tau and --beta")
    if not run.results.has(ATTRIBUTION, checkpoint):
        raise UserError(
            f"{options.by} needs an attribution",
            f"run {run.name}, checkpoint {checkpoint}",
            f"gsd attribute --run {run.name} --checkpoint {checkpoint}",
        )
    stage = progress.stage("selecting", len(BESIDE) + 1, "measures")
    table = _read_segments(run, checkpoint)
    chosen = choose_by(table, options)
    sizes = table["n_tokens"].to_numpy(np.int64)
    tokens, n_tokens = None, sizes * chosen
    if options.by == "top-tokens":
        tokens, n_tokens = _choose_tokens(
            run, checkpoint, table, chosen, compute_trace_table(run, checkpoint).set_index("sample")["scores"]
        )
        chosen = n_tokens > 0
    stage.advance()
    if not n_tokens.any():
        raise UserError("the thresholds keep nothing", f"--tau {options.tau:g} --beta {options.beta:g}", "raise them")
    frame = table.assign(kept=chosen, score=table["strength"])
    n_samples = write_selection(run, frame, options.out, tokens=tokens, has_empty=True)
    share = float(n_tokens.sum() / sizes.sum())
    agreement = []
    for measure in BESIDE:
        values = table[measure].to_numpy(np.float64) if measure in table else np.full(len(table), np.nan)
        if not np.isnan(values).all():
            other = pick(values, sizes, min(1.0, share), options.seed)
            agreement.append({"by": measure, "tokens_shared": compute_agreement(chosen, other, sizes)})
        stage.advance()
    return {
        "run": run.name,
        "checkpoint": checkpoint,
        "by": options.by,
        "unit": "token" if tokens is not None else "span",
        "n_samples": n_samples,
        "n_spans_kept": int(chosen.sum()),
        "n_spans": len(table),
        "token_share": share,
        "score_kept": float(table["strength"][chosen].mean()),
        "score_all": float(table["strength"].mean()),
        "agreement": agreement,
        "out": str(options.out),
        "seconds": time.monotonic() - started,
    }


def _read_segments(run: Run, checkpoint: str) -> pd.DataFrame:
    """Attributed segments in the order of the text, with their ranges and measures."""
    spans, _ = compute_span_table(run, checkpoint)
    wanted = ["span", "index", "text", "char_start", "char_end", "token_start", "token_end", *BESIDE]
    table = compute_segment_table(run, checkpoint).merge(spans[[name for name in wanted if name in spans]], on="span")
    order = {name: at for at, name in enumerate(dict.fromkeys(spans["sample"]))}
    return table.sort_values(
        ["sample", "index"], key=lambda each: each.map(order) if each.name == "sample" else each
    ).reset_index(drop=True)


def choose_by(table: pd.DataFrame, options: SelectOptions) -> np.ndarray:
    """(n,) bool. ``table`` has ``sample, mass, consistency, signed, tells_answer``, segments in order."""
    traces = pd.factorize(table["sample"])[0]
    masses, consistency, signed = (table[name].to_numpy(np.float64) for name in ("mass", "consistency", "signed"))
    chosen = choose_segments(masses, consistency, options.tau, options.beta, signed if options.no_against else None)
    if options.by == "random-segments":
        return draw_segments(chosen, traces, options.seed)
    if options.by == "rest-segments":
        return ~chosen
    if options.by == "first-solution":
        return _find_first_solutions(table)
    return chosen


def _find_first_solutions(table: pd.DataFrame) -> np.ndarray:
    """Segments up to the first of their trace that tells the answer; all where none does."""
    kept = np.zeros(len(table), dtype=bool)
    for _, rows in table.groupby("sample", sort=False):
        found = np.flatnonzero(rows["tells_answer"].to_numpy(bool))
        kept[rows.index[: found[0] + 1 if len(found) else len(rows)]] = True
    return kept


def _choose_tokens(
    run: Run, checkpoint: str, table: pd.DataFrame, chosen: np.ndarray, scores: pd.Series
) -> tuple[dict[str, TokenChoice], np.ndarray]:
    """Of every trace as many tokens with the largest scores as its chosen segments have, and how many of a segment."""
    choices: dict[str, TokenChoice] = {}
    n_kept = np.zeros(len(table), dtype=np.int64)
    groups = {str(sample): rows for sample, rows in table.groupby("sample", sort=False)}
    begins = run.read_samples(list(groups), columns=["sample", "reasoning_start"]).set_index("sample")
    for sample, rows in groups.items():
        own = run.read_tokens(sample, checkpoint)
        ranges = list(zip(rows.index, rows["token_start"].astype(int), rows["token_end"].astype(int), strict=True))
        places = np.concatenate([np.arange(start, end) for _, start, end in ranges])
        n_wanted = int(rows["n_tokens"][chosen[rows.index]].sum())
        picked = places[choose_tokens(np.asarray(scores[sample], dtype=float)[places], n_wanted)]
        picked.sort()
        chars = own[["start", "end"]].to_numpy()[picked] - int(begins["reasoning_start"][sample])
        chars = np.maximum(chars, 0)
        choices[sample] = TokenChoice(
            [(int(start), int(end)) for start, end in chars if start < end],
            [(int(at), int(at) + 1) for at in picked],
        )
        for row, start, end in ranges:
            n_kept[row] = int(((picked >= start) & (picked < end)).sum())
    return choices, n_kept
