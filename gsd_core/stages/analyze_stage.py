"""``gsd analyze``: layout, clusters, families, names, null, stresses and twins of a run.

run_analyze        analyse each checkpoint of a run and store the results
describe_analysis  the result as text

Each checkpoint has four steps, stored one after the other: the map (layout, clusters, null), the families, the levels
of clusters, then the structure in its clusters. A run with several checkpoints gets its timeline at the end. The
mathematics is in ``gsd_core.analysis``.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from gsd_core import __version__
from gsd_core.console.output import format_seconds, format_table
from gsd_core.console.progress import Progress
from gsd_core.errors import UserError
from gsd_core.methods.analyze_method import MAP, AnalyzeOptions
from gsd_core.methods.timeline_method import TIMELINE
from gsd_core.stages.families_stage import COUNTS as FAMILY_COUNTS
from gsd_core.stages.families_stage import store_families
from gsd_core.stages.levels_stage import store_levels
from gsd_core.stages.numba_threads import keep_threads, use_numba_cache
from gsd_core.stages.run_reading import find_kept, get_checkpoint, read_controls, read_directions, report_step
from gsd_core.stages.structure_stage import COUNTS, store_structure
from gsd_core.stages.timeline_stage import update_timeline

if TYPE_CHECKING:
    from gsd_core.store import Run, RunReader, Workspace

MAP_COUNTS = ("n_spans", "n_clusters", "noise_share")


@keep_threads()
def run_analyze(workspace: Workspace, options: AnalyzeOptions, progress: Progress) -> dict[str, Any]:
    """Analyse a run.

    A checkpoint that is analysed already, with the same seed and spans, is kept unless ``again``.
    Returns ``run, n_spans, n_clusters, noise_share, n_families, n_tentative, n_stresses, n_twins, n_rewordings,
    has_timeline, seconds, checkpoint, checkpoints``: counts are of the run's default checkpoint (or the one asked for),
    ``checkpoints`` has them all; stresses and twins count with q < 0.05. Raises ``UserError`` for an unknown run or
    checkpoint and for a run without spans; an interruption keeps the checkpoints that were finished.
    """
    started = time.monotonic()
    name, checkpoint, seed = options.run, options.checkpoint, options.seed
    run = workspace.open_run(name)
    names = [get_checkpoint(run, checkpoint)] if checkpoint else list(run.checkpoints)
    if not names:
        raise UserError("nothing is captured yet", f"run {name}", f"gsd capture --run {name} --resume goes on with it")
    rows = [
        _analyze_checkpoint(run, each, options, progress, f"{each} ({step}/{len(names)})")
        for step, each in enumerate(names, start=1)
    ]
    # An analysis of one checkpoint leaves the others as they were; a timeline that is there must not grow stale.
    has_timeline = (checkpoint is None or run.results.has(TIMELINE)) and update_timeline(
        workspace, name, seed=seed, progress=progress
    )
    shown = next(row for row in rows if row["checkpoint"] == (checkpoint or run.default_checkpoint))
    return {
        "run": name,
        **{key: shown[key] for key in (*MAP_COUNTS, *FAMILY_COUNTS, *COUNTS)},
        "has_timeline": has_timeline,
        "seconds": time.monotonic() - started,
        "checkpoint": shown["checkpoint"],
        "checkpoints": rows,
    }


def _analyze_checkpoint(
    run: Run, checkpoint: str, options: AnalyzeOptions, progress: Progress, title: str
) -> dict[str, Any]:
    reader = run.snapshot()  # ids and vectors of one moment, also while a capture goes on
    row = _analyze_map(run, reader, checkpoint, options, progress, title)
    use_numba_cache()
    asked: dict[str, Any] = {"seed": options.seed, "again": options.again, "progress": progress, "title": title}
    families = store_families(run, reader, checkpoint, **asked)
    levels = store_levels(run, reader, checkpoint, **asked)
    found = store_structure(run, reader, checkpoint, **asked)
    seconds = sum(each["seconds"] for each in (row, families, levels, found))
    return {**row, **families, **found, "seconds": seconds}


def _analyze_map(
    run: Run, reader: RunReader, checkpoint: str, options: AnalyzeOptions, progress: Progress, title: str
) -> dict[str, Any]:
    started = time.monotonic()
    seed = options.seed
    spans = reader.read_spans(checkpoint, columns=["span", "sample", "text"])
    if not len(spans):
        raise UserError("no span was captured", f"run {run.name}, checkpoint {checkpoint}", "see its skipped samples")
    same = {"seed": seed, "n_spans": len(spans), "gsd_version": __version__}
    if options.remove is not None:
        same["n_top"] = options.remove
    if kept := find_kept(run, MAP, same, options.again, checkpoint):
        return {"checkpoint": checkpoint, **{key: kept.get(key) for key in MAP_COUNTS}, "seconds": 0.0}

    stage = progress.stage(f"analyse {title}", unit="steps")
    use_numba_cache()
    # Only here: the layout's compiler costs seconds that a kept analysis need not pay.
    from gsd_core.analysis.analyze import STAGES, analyze_directions

    analysis = analyze_directions(
        read_directions(reader, checkpoint),
        spans["sample"].to_numpy(dtype=object),
        spans["text"].tolist(),
        seed=seed,
        on_progress=partial(report_step, stage, STAGES),
        n_top=options.remove,
        windows=read_controls(reader, checkpoint).get("windows"),
    )
    ids = spans["span"].tolist()
    info = {**analysis.info, **same, "seconds": time.monotonic() - started}
    run.write_analysis(
        checkpoint, analysis.tabulate_points(ids), analysis.tabulate_clusters(ids), analysis.arrays(), info
    )
    return {"checkpoint": checkpoint, **{key: info[key] for key in (*MAP_COUNTS, "seconds")}}


def describe_analysis(result: dict[str, Any]) -> str:
    """``gsd analyze``: a row a checkpoint."""
    keys = ("checkpoint", *MAP_COUNTS, *FAMILY_COUNTS, *COUNTS)
    rows = [[*(each[key] for key in keys), format_seconds(each["seconds"])] for each in result["checkpoints"]]
    names = (
        *("checkpoint", "spans", "clusters", "noise share", "families", "tentative"),
        *("stresses", "twins", "in other words", "time"),
    )
    lines = [format_table(names, rows), "stresses and twins: those with q < 0.05"]
    if any(each["seconds"] == 0 for each in result["checkpoints"]):
        lines.append("0.0 s: analysed before and kept; --again does it anew")
    return "\n".join([*lines, f"next: gsd serve shows the map of run {result['run']}"])
