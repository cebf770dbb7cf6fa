"""``gsd timeline``: the same spans at every checkpoint of a run.

run_timeline       curves, drift and aligned layouts of a run with several checkpoints; stored, or read if stored
update_timeline    the same after an analysis, if the run can have a timeline
describe_timeline  the result as text

Only spans that every checkpoint has are compared. The mathematics is in ``gsd_core.analysis.timeline`` and
``aligned_layouts``.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gsd_core import __version__
from gsd_core.comparison.centring import HELD_BYTES, compute_centring
from gsd_core.comparison.meta_labels import compute_meta_columns, to_text
from gsd_core.console.output import format_table
from gsd_core.console.progress import Progress
from gsd_core.errors import UserError
from gsd_core.methods.timeline_method import TIMELINE, TimelineOptions
from gsd_core.stages.numba_threads import keep_threads, use_numba_cache
from gsd_core.stages.run_reading import find_kept, read_directions
from gsd_core.store import load_centring

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gsd_core.analysis.timeline import Moment
    from gsd_core.store import Run, RunReader, Workspace

MAX_MAPPED = 1_500
MAX_LABELS = 4
_NUMBERS = ("coherence", "norm", "loss")


@keep_threads()
def run_timeline(workspace: Workspace, options: TimelineOptions, progress: Progress) -> dict[str, Any]:
    """Curves, drift and aligned layouts of a run over its checkpoints.

    ``label`` are meta fields whose values are followed too; None takes those that label steps (at most four).
    ``reference`` is the checkpoint whose clusters are followed; None takes the one with most clustered spans. A
    timeline of the same analyses and choices is kept unless ``again``.

    Returns ``run, reference, n_spans, n_mapped, labels, seconds`` and ``checkpoints: [{checkpoint, step, measures:
    {name: {value, ci_low, ci_high, n, chance}}}]``. Raises ``UserError`` for an unknown run, checkpoint or field, for
    one checkpoint only, and where nothing is analysed.
    """
    started = time.monotonic()
    label, reference, seed = options.label, options.reference, options.seed
    run = workspace.open_run(options.run)
    reader = run.snapshot()
    names = [each for each in run.checkpoints if reader.count_spans(each)]
    _check(run, names, reference)
    wanted = None if label is None else sorted(set(label))
    same = {
        "seed": seed,
        "gsd_version": __version__,
        "asked": {"labels": wanted, "reference": reference},
        "source": _fingerprint(run, reader, names),
    }
    if kept := find_kept(run, TIMELINE, same, options.again):
        return _describe(run, kept, seconds=0.0)

    order, has_steps = _order(reader, names)
    spans = _draw_samples(_common_spans(reader, list(order)), HELD_BYTES // (4 * run.sketch_width), seed)
    chosen = reference or _choose_reference(run, list(order))
    codes = _read_labels(run, spans, wanted)
    tables = _compute_tables(run, reader, order, spans, chosen, codes, seed, progress)
    seconds = time.monotonic() - started
    info = {
        **same,
        "reference": chosen,
        "checkpoints": list(order),
        "has_steps": has_steps,
        "n_spans": len(spans),
        "n_samples": int(spans["sample"].nunique()),
        "n_left_out": max(reader.count_spans(each) for each in order) - len(spans),
        "n_mapped": tables["layouts"]["span"].nunique(),
        "labels": list(codes),
        "seconds": seconds,
    }
    run.results.write(TIMELINE, tables, info)
    return _describe(run, info, seconds)


def _compute_tables(
    run: Run,
    reader: RunReader,
    order: dict[str, int],
    spans: pd.DataFrame,
    reference: str,
    codes: dict[str, np.ndarray],
    seed: int,
    progress: Progress,
) -> dict[str, pd.DataFrame]:
    """Tables ``curves``, ``drift`` and ``layouts`` of ``spans`` at the checkpoints in ``order`` (name → step)."""
    stage = progress.stage("timeline", len(order) + 1, "checkpoints")
    use_numba_cache()
    # Only here: the layout's compiler costs seconds that a kept timeline need not pay.
    from gsd_core.analysis.aligned_layouts import compute_aligned_layouts
    from gsd_core.analysis.timeline import compute_timeline

    points = run.read_points(reference).set_index("span").loc[spans["span"]]
    mapped: list[np.ndarray] = []
    rows = _draw(len(spans), seed)

    def keep(moment: Moment) -> None:
        mapped.append(moment.directions[rows])
        stage.advance(1, checkpoint=moment.checkpoint)

    ids = spans["span"].to_numpy(dtype=object)
    curves, drift = compute_timeline(
        _iter_moments(run, reader, order, ids),
        ids,
        spans["sample"].to_numpy(dtype=object),
        points["cluster"].to_numpy(),
        codes,
        seed,
        keep,
    )
    # A span without direction somewhere has no neighbours there: it has no coordinates on a map that all share.
    alive = np.all([np.any(each != 0, axis=1) for each in mapped], axis=0)
    rows = rows[alive]
    start = points[["x", "y"]].to_numpy(dtype=np.float32)[rows]
    coordinates = compute_aligned_layouts(np.stack([each[alive] for each in mapped]), start, seed)
    stage.advance(1)
    layouts = [
        pd.DataFrame({"checkpoint": at, "step": step, "span": ids[rows], "x": xy[:, 0], "y": xy[:, 1]})
        for (at, step), xy in zip(order.items(), coordinates, strict=True)
    ]
    return {"curves": curves, "drift": drift, "layouts": pd.concat(layouts, ignore_index=True)}


def update_timeline(workspace: Workspace, name: str, *, seed: int, progress: Progress) -> bool:
    """The timeline after an analysis, with the choices of the former one; False where the run cannot have one.

    That is: one checkpoint only, one that is not analysed, or no span in common.
    """
    run = workspace.open_run(name)
    if len(run.checkpoints) < 2 or not all(run.has_analysis(each) for each in run.checkpoints):
        return False
    asked = run.results.info(TIMELINE)["asked"] if run.results.has(TIMELINE) else {}
    try:
        options = TimelineOptions(name, asked.get("labels"), asked.get("reference"), seed)
        run_timeline(workspace, options, progress)
    except UserError as error:
        progress.note(f"no timeline: {error}")
        return False
    return True


def _check(run: Run, names: list[str], reference: str | None) -> None:
    where = f"run {run.name}"
    if len(names) < 2:
        raise UserError(
            "a timeline needs several checkpoints",
            f"{where} has {', '.join(names) or 'none with spans'}",
            "capture with --checkpoints PATH PATH … (or all)",
        )
    if reference is not None and reference not in names:
        raise UserError(f"no checkpoint {reference!r}", where, f"it has {', '.join(names)}")
    if not run.has_analysis(reference) if reference else not any(run.has_analysis(each) for each in names):
        raise UserError("no clusters to follow yet", where, f"gsd analyze {run.name}")


def _fingerprint(run: Run, reader: RunReader, names: list[str]) -> str:
    """Changes with every analysis and captured span that the timeline was made from."""
    analyses = run.results.infos("map")
    held = [[each, reader.count_spans(each), analyses.get(each)] for each in names]
    return hashlib.sha256(json.dumps(held, sort_keys=True, default=str).encode()).hexdigest()


def _order(reader: RunReader, names: list[str]) -> tuple[dict[str, int], bool]:
    """Checkpoint → step, in training order; where a step is unknown, its position in capture order stands for it."""
    steps = {each: reader.read_spans(each, columns=["step"])["step"].iloc[0] for each in names}
    if any(pd.isna(step) for step in steps.values()):
        return {each: position for position, each in enumerate(names)}, False
    return {each: int(steps[each]) for each in sorted(names, key=lambda each: steps[each])}, True


def _common_spans(reader: RunReader, names: list[str]) -> pd.DataFrame:
    """``span, sample, index`` of the spans that every checkpoint holds, in the first one's order."""
    spans = reader.read_spans(names[0], columns=["span", "sample", "index"])
    for each in names[1:]:
        spans = spans[spans["span"].isin(reader.read_spans(each, columns=["span"])["span"])]
    if spans.empty:
        raise UserError(
            "no span was captured at every checkpoint",
            f"run {reader.name}",
            f"gsd capture --run {reader.name} --resume goes on with it",
        )
    return spans.reset_index(drop=True)


def _draw_samples(spans: pd.DataFrame, most: int, seed: int) -> pd.DataFrame:
    """Spans of whole samples, seeded, at most ``most``: their directions at one checkpoint are held together."""
    if len(spans) <= most:
        return spans
    sizes = spans["sample"].value_counts(sort=False)
    drawn = sizes.iloc[np.random.default_rng(seed).permutation(len(sizes))]
    kept = spans["sample"].isin(drawn.index[drawn.cumsum() <= most])
    return spans[kept].reset_index(drop=True)


def _choose_reference(run: Run, names: list[str]) -> str:
    """The checkpoint to look at first; where it is not among these, the one with most spans in clusters."""
    if run.default_checkpoint in names and run.has_analysis(run.default_checkpoint):
        return run.default_checkpoint
    counts = {each: int((run.read_points(each)["cluster"] >= 0).sum()) for each in names if run.has_analysis(each)}
    return max(reversed(counts), key=lambda each: counts[each])


def _read_labels(run: Run, spans: pd.DataFrame, wanted: list[str] | None) -> dict[str, np.ndarray]:
    """Field → (n,) codes of its values, −1 for none."""
    samples = run.read_samples(spans["sample"].drop_duplicates().tolist())
    columns, labels_steps = compute_meta_columns(spans[["sample", "index"]], samples)
    for name in wanted or []:
        if name not in columns:
            known = ", ".join(columns) or "none"
            raise UserError(f"no field {name!r}", f"run {run.name}", f"its samples have {known}")
    out: dict[str, np.ndarray] = {}
    for name in labels_steps if wanted is None else wanted:
        codes, values = pd.factorize(np.array([to_text(each) or None for each in columns[name]], dtype=object))
        if wanted is not None or 2 <= len(values) <= len(spans) / 4:
            out[name] = codes.astype(np.int64)
    return out if wanted is not None else dict(list(out.items())[:MAX_LABELS])


def _draw(n: int, seed: int) -> np.ndarray:
    """Rows of the spans that the maps show."""
    if n <= MAX_MAPPED:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, MAX_MAPPED, replace=False))


def _iter_moments(run: Run, reader: RunReader, order: dict[str, int], ids: np.ndarray) -> Iterator[Moment]:
    from gsd_core.analysis.timeline import Moment  # see run_timeline

    for checkpoint, step in order.items():
        spans = reader.read_spans(checkpoint, columns=["span", *_NUMBERS])
        rows = pd.Index(spans["span"]).get_indexer(pd.Index(ids))
        vectors = read_directions(reader, checkpoint)
        clusters, centring = None, None
        if run.has_analysis(checkpoint):  # the same centring as on the map
            centring = load_centring(run, checkpoint)
            found = run.read_points(checkpoint).set_index("span")["cluster"].reindex(ids)
            clusters = found.fillna(-1).to_numpy(dtype=np.int64)
        directions = (centring or compute_centring(vectors)).center(vectors)
        coherence, norm, loss = (spans[name].to_numpy(np.float64)[rows] for name in _NUMBERS)
        yield Moment(checkpoint, step, directions[rows], coherence, norm, loss, clusters)


def _describe(run: Run, info: dict[str, Any], seconds: float) -> dict[str, Any]:
    curves = run.results.read(TIMELINE, "curves")
    checkpoints = []
    for (checkpoint, step), part in curves.groupby(["checkpoint", "step"], sort=False):
        columns = ["value", "ci_low", "ci_high", "n", "chance"]
        measures = part.set_index("measure")[columns].to_dict("index")
        checkpoints.append({"checkpoint": checkpoint, "step": int(step), "measures": measures})
    told = {key: info[key] for key in ("reference", "n_spans", "n_mapped", "labels")}
    return {"run": run.name, **told, "seconds": seconds, "checkpoints": checkpoints}


def describe_timeline(result: dict[str, Any]) -> str:
    """``gsd timeline``: a row a measure, a column a checkpoint."""
    names = list(dict.fromkeys(name for each in result["checkpoints"] for name in each["measures"]))
    rows = [
        [name, *(each["measures"].get(name, {}).get("value", "") for each in result["checkpoints"])] for name in names
    ]
    head = ("measure", *(each["checkpoint"] for each in result["checkpoints"]))
    lines = [
        format_table(head, rows),
        f"{result['n_spans']:,} spans that every checkpoint holds; clusters of {result['reference']}, which flatters "
        "its own alignment; --json has intervals and chance",
    ]
    if result["seconds"] == 0:
        lines.append("computed before and kept; --again does it anew")
    return "\n".join([*lines, f"next: gsd serve shows the timeline of run {result['run']}"])
