"""Families, spans with all spans aligned with them beyond chance: a step of ``gsd analyze``, and ``gsd families``.

store_families     find and store the families of an analysed checkpoint, unless they are stored already
run_families       the largest families with their members
compute_family_table, compute_member_table   the same as tables for export
describe_families  the result as text

The mathematics is in ``gsd_core.analysis.families``.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gsd_core import __version__
from gsd_core.analysis.families import MOST_SPANS, STRENGTHS, Family, find_families, find_levels, measure_agreement
from gsd_core.analysis.phrases import compute_phrases
from gsd_core.comparison.wording import make_wording
from gsd_core.console.output import format_table, format_text
from gsd_core.console.progress import Progress
from gsd_core.methods.analyze_method import FAMILIES
from gsd_core.methods.structure_method import FamiliesOptions
from gsd_core.stages.run_reading import find_kept, get_checkpoint, read_analysed, read_directions, report_step
from gsd_core.store import load_centring

if TYPE_CHECKING:
    from gsd_core.store import Run, RunReader, Workspace

COUNTS = ("n_families", "n_tentative")
STEPS = ("levels", "pairs", "names")
SHOWN_MEMBERS = 5
LABEL_CHARS = 48


def store_families(
    run: Run, reader: RunReader, checkpoint: str, *, seed: int, again: bool, progress: Progress, title: str
) -> dict[str, Any]:
    """Find and store the families of ``checkpoint``, which is analysed; ``reader`` is the moment that was.

    Kept where seed, spans and version are the same, unless ``again``. Returns ``n_families`` (confirmed),
    ``n_tentative`` and ``seconds`` (0.0 where they were kept).
    """
    started = time.monotonic()
    spans = reader.read_spans(checkpoint, columns=["span", "sample", "text"])
    same = {"seed": seed, "n_spans": len(spans), "gsd_version": __version__}
    if kept := find_kept(run, FAMILIES, same, again, checkpoint):
        return {**{key: kept[key] for key in COUNTS}, "seconds": 0.0}
    stage = progress.stage(f"families {title}", unit="steps")
    report = partial(report_step, stage, STEPS)
    rows = np.arange(len(spans))
    if len(spans) > MOST_SPANS:
        rows = np.sort(np.random.default_rng(seed).choice(len(spans), MOST_SPANS, replace=False))
    spans = spans.iloc[rows].reset_index(drop=True)
    samples = pd.factorize(spans["sample"])[0].astype(np.int64)
    directions = load_centring(run, checkpoint).apply(np.asarray(read_directions(reader, checkpoint)[rows]))
    levels = find_levels(directions, samples, seed)
    report("levels", 1, 1)
    found = find_families(directions, samples, levels, on_progress=partial(report, "pairs"))
    report("pairs", 1, 1)
    tables = _tabulate(found, spans, samples, measure_agreement(directions, found, samples, seed))
    strengths = [each.strength for each in found]
    covered = {each for family in found for each in family.members.tolist()}
    info = {
        **same,
        **dict(zip(COUNTS, map(strengths.count, STRENGTHS), strict=True)),
        "n_searched": len(spans),
        "covered_share": len(covered) / max(1, len(spans)),
        "levels": {name: value if np.isfinite(value) else None for name, value in levels._asdict().items()},
        "seconds": time.monotonic() - started,
    }
    run.results.write(FAMILIES, tables, info, checkpoint)
    report("names", 1, 1)
    return {key: info[key] for key in (*COUNTS, "seconds")}


def _tabulate(
    found: list[Family], spans: pd.DataFrame, samples: np.ndarray, agreements: np.ndarray
) -> dict[str, pd.DataFrame]:
    ids, texts = spans["span"].to_numpy(dtype=object), spans["text"].tolist()
    phrases = compute_phrases(
        texts, samples, {number: np.append(each.members, each.prototype) for number, each in enumerate(found)}
    )
    wording = make_wording(texts, samples)
    families = []
    for number, each in enumerate(found):
        words, n_other = float("nan"), 0
        if wording is not None:
            pairs = wording.compute_pairs(np.full(len(each.members), each.prototype), each.members)
            words, n_other = float(pairs.mean()), int((pairs <= wording.limit).sum())
        own = phrases[number]
        families.append(
            {
                "family": number,
                "strength": each.strength,
                "prototype": ids[each.prototype],
                "size": len(each.members),
                "n_samples": len(np.unique(samples[each.members])),
                "cosine": float(each.cosines.mean()),
                "chance": float(each.chance),
                "agreement": float(agreements[number]),
                "wording": words,
                "n_other_words": n_other,
                "label": " · ".join(own[:2]) or _shorten(texts[each.prototype]),
                "phrases": own,
            }
        )
    members = [
        pd.DataFrame({"family": number, "span": ids[each.members], "cosine": each.cosines})
        for number, each in enumerate(found)
    ]
    return {
        "families": pd.DataFrame(families, columns=[each.name for each in FAMILIES.tables["families"]]),
        "members": pd.concat(members, ignore_index=True)
        if members
        else pd.DataFrame({"family": np.zeros(0, np.int64), "span": [], "cosine": np.zeros(0, np.float32)}),
    }


def _shorten(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= LABEL_CHARS else words[: LABEL_CHARS - 1].rstrip() + "…"


def run_families(workspace: Workspace, options: FamiliesOptions, progress: Progress) -> dict[str, Any]:
    """The ``top`` families of a run, confirmed ones first.

    Returns ``run, checkpoint, n_families, n_tentative, covered_share, levels`` and ``families: [{family, strength,
    label, prototype, text, size, n_samples, cosine, chance, agreement, wording, members: [{span, cosine, text}]}]``
    with the best five members. Raises ``UserError`` for an unknown run or checkpoint and for one that is not analysed.
    """
    run = workspace.open_run(options.run)
    at = get_checkpoint(run, options.checkpoint)
    table = compute_family_table(run, at).head(options.top)
    members = run.results.read(FAMILIES, "members", at)
    texts = run.read_spans(at, columns=["span", "text"]).set_index("span")["text"]
    info = run.results.info(FAMILIES, at)
    shown = []
    for row in table.drop(columns=["checkpoint", "phrases"]).to_dict("records"):
        own = members[members["family"] == row["family"]].head(SHOWN_MEMBERS)
        best = [
            {"span": span, "cosine": float(cosine), "text": str(texts[span])}
            for span, cosine in zip(own["span"], own["cosine"], strict=True)
        ]
        words = None if pd.isna(row["wording"]) else row["wording"]
        shown.append({**row, "wording": words, "text": str(texts[row["prototype"]]), "members": best})
    known = {key: info[key] for key in (*COUNTS, "covered_share", "levels")}
    return {"run": options.run, "checkpoint": at, **known, "families": shown}


def compute_family_table(run: Run, checkpoint: str) -> pd.DataFrame:
    """One row a family. Raises ``UserError`` where the checkpoint is not analysed."""
    return read_analysed(run, FAMILIES, "families", checkpoint, "families")


def compute_member_table(run: Run, checkpoint: str) -> pd.DataFrame:
    """One row a member of a family. Raises ``UserError`` where the checkpoint is not analysed."""
    return read_analysed(run, FAMILIES, "members", checkpoint, "families")


def describe_families(result: dict[str, Any]) -> str:
    """``gsd families``: each family with its prototype and its best members."""
    if not result["families"]:
        return f"no families at checkpoint {result['checkpoint']}: no two spans are aligned beyond chance"
    lines = []
    for each in result["families"]:
        lines.append(
            f"{each['family']} · {each['label']} ({each['strength']}: {each['size']} spans of {each['n_samples']} "
            f"samples, cosine {each['cosine']:.2f}, {each['chance']:.0%} by chance)"
        )
        rows = [["", "", each["text"]], *([m["cosine"], m["span"], m["text"]] for m in each["members"])]
        lines.append(
            format_table(("cosine", "span", "text"), [[a, b, format_text(c, 90)] for a, b, c in rows], wide="text")
        )
    lines.append(
        f"{result['n_families']:,} confirmed and {result['n_tentative']:,} tentative families hold "
        f"{result['covered_share']:.0%} of the spans"
    )
    return "\n".join(lines)
