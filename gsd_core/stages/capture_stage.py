"""``gsd capture``: read samples, cut them into spans, compute span gradients, store them batch by batch.

run_capture       the stage; a run that was stopped continues after its last whole batch
describe_capture  the result as text
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import Any

from gsd_core.capture.embeddings import SentenceEncoder, load_sentence_encoder
from gsd_core.capture.modules import check_coverage, describe_coverage
from gsd_core.capture.sketch import Calibration
from gsd_core.console.output import format_bytes, format_count, format_seconds
from gsd_core.console.progress import Progress
from gsd_core.dataset.segmenters import make_segmenter
from gsd_core.driver.capture_memory import fit_memory, leave_out_longest
from gsd_core.driver.capture_plan import (
    CaptureOptions,
    check_resumable,
    make_manifest,
    make_resume_line,
    make_run_name,
)
from gsd_core.driver.capture_run import (
    RunSamples,
    create_run,
    describe_skipped,
    list_skipped,
    make_config,
    measure_window_cosine,
    tokenize_samples,
)
from gsd_core.driver.capture_sketch import find_calibration
from gsd_core.driver.capture_work import Crew, Work, capture_checkpoints, make_executor
from gsd_core.driver.capture_worker import DescribeModel, DescribeSketch, ModelFacts
from gsd_core.driver.stored_data import resolve_dataset
from gsd_core.errors import Interrupted, UserError
from gsd_core.models.loading import pick_device
from gsd_core.models.sources import resolve_checkpoints
from gsd_core.store import Run, Workspace


def run_capture(workspace: Workspace, options: CaptureOptions, progress: Progress) -> dict[str, Any]:
    """Capture span gradients of a data set under one or more checkpoints of a model.

    Returns ``run, model, tier, window, window_cosine, n_samples, n_spans, n_skipped, skipped, sketch_width, seconds,
    tokens_per_s, peak_memory_bytes, estimated_memory_bytes, checkpoints, coverage, notes``. Raises ``UserError`` for an
    unknown data set or model, a tier that cannot serve the architecture, an existing run, and nothing to capture;
    ``Interrupted`` where a signal stops it: finished batches are stored, and the exception carries the line that goes
    on.
    """
    started = time.monotonic()
    if not 0 <= options.min_coverage <= 1:
        raise UserError(f"{options.min_coverage} is no share", "--min-coverage", "give a number from 0 to 1")
    segmenter = make_segmenter(options.segmenter)
    checkpoints = resolve_checkpoints(options.model, options.checkpoints)
    dataset = resolve_dataset(workspace, options.dataset, map_flag=options.map, progress=progress)
    name = make_run_name(options, dataset)
    exists = any(run.name == name for run in workspace.list_runs())
    if exists and not options.resume:
        raise UserError("the run exists already", f"run {name}", "add --resume to go on, or choose another --run name")
    if options.baseline_of:
        workspace.open_run(options.baseline_of)  # a name that is not there is told before the work
    info = workspace.open_dataset(dataset)
    stored = workspace.read_samples(dataset, head=options.limit)
    with make_executor(options) as executor:
        crew = Crew(executor, options)
        with progress.stage("loading model", 100, "%") as stage:
            model = crew.ask(checkpoints[0], DescribeModel(), stage)
        for note in model.description["notes"]:
            progress.note(note)
        samples = tokenize_samples(stored, model.tokenizer, segmenter, model.max_tokens, options, progress)
        config = make_config(options, samples.tokenized)
        existing = workspace.open_run(name) if exists else None
        asks = [partial(crew.ask, each) for each in sorted(checkpoints, key=lambda each: each.step or 0)]
        calibration = find_calibration(workspace, asks, config, options, samples.tokenized, existing, progress)
        config = replace(config, calibration=calibration)
        with progress.stage("preparing directions", 100, "%") as stage:
            sketch = crew.ask(checkpoints[0], DescribeSketch(config), stage)
        if sketch["coverage"]:
            check_coverage(sketch["coverage"], options.min_coverage)
            progress.note(describe_coverage(sketch["coverage"]))
        with progress.stage("loading sentence encoder", 1, "model"):
            encoder = load_sentence_encoder(options.encoder, device=_encoder_device(options, model))
        kept = existing.manifest if existing else None
        kind = model.description["device"].split(":")[0]
        memory = fit_memory(crew, checkpoints[0], kind, config, options, samples, kept, progress)
        samples = leave_out_longest(samples, memory)
        config = replace(config, batch_tokens=memory["batch_tokens"])
        options = replace(options, batch_tokens=memory["batch_tokens"])
        manifest = make_manifest(
            options,
            dataset=info,
            n_samples=len(stored),
            model={"source": options.model, **model.description},
            tier=config.tier,
            window=config.window,
            sketch=sketch,
            encoder=encoder,
        )
        manifest["memory"] = memory
        with _open_run(workspace, name, manifest, encoder, samples, calibration, exists, progress) as run:
            resume_line = make_resume_line(workspace.uri, options, name)
            work = Work(run, crew, config, samples, model.description["hash"])
            try:
                capture_checkpoints(work, checkpoints, progress, resume_line, not options.no_controls)
            except KeyboardInterrupt:
                run.flush()
                raise Interrupted(resume_line) from None
            return _finish(work, started, sketch)


def _encoder_device(options: CaptureOptions, model: ModelFacts) -> str:
    """The model's own device where it is in this process, else what this process has."""
    own = model.description["device"]
    if options.executor == "local" and "," not in own:
        return str(own)
    return str(pick_device("auto"))


def _open_run(
    workspace: Workspace,
    name: str,
    manifest: dict[str, Any],
    encoder: SentenceEncoder,
    samples: RunSamples,
    calibration: Calibration | None,
    exists: bool,
    progress: Progress,
) -> Run:
    """Make the run with its static tables, or open it for going on. A run without its tables starts over."""
    if exists:
        run = workspace.open_run(name)
        if run.manifest.get("has_tables"):
            check_resumable(run.manifest, manifest, name)
            run.repair()
            return run
        workspace.remove_run(name)
    # Skipped samples are stored as a batch behind the last.
    return create_run(workspace, name, manifest, encoder, replace(samples, skipped=[]), progress, calibration)


def _finish(work: Work, started: float, sketch: dict[str, Any]) -> dict[str, Any]:
    run = work.run
    window_cosine, n_audited = measure_window_cosine(run, work.config)
    timing = {
        "seconds": time.monotonic() - started,
        "capture_seconds": work.seconds,
        "tokens_per_s": work.n_tokens / work.seconds if work.n_tokens and work.seconds > 0 else None,
        "peak_memory_bytes": work.peak_memory_bytes,
    }
    run.update_manifest(status="captured", window_cosine=window_cosine, timing=timing)
    return {
        "run": run.name,
        "model": run.manifest["model"]["source"],
        "checkpoints": [c["name"] for c in run.manifest["checkpoints"]],
        "tier": run.manifest["tier"],
        "window": run.manifest["window"],
        "window_cosine": window_cosine,
        "n_audited_spans": n_audited,
        "n_samples": len(run.read_samples()),
        "n_spans": run.count_spans(run.default_checkpoint),
        **list_skipped(run),
        "sketch_width": sketch["width"],
        "coverage": sketch["coverage"],
        "estimated_memory_bytes": run.manifest.get("memory", {}).get("estimated_bytes"),
        "notes": run.manifest["model"].get("notes", []),
        **{key: timing[key] for key in ("seconds", "tokens_per_s", "peak_memory_bytes")},
    }


def describe_capture(result: dict[str, Any]) -> str:
    """``gsd capture``: counts, the window's cosine to exact, speed, skipped samples."""
    window = "" if result.get("window") is None else f", window {result['window']}"
    cosine = result.get("window_cosine")
    rate = f"{format_count(result['tokens_per_s'])} tokens/s, " if result["tokens_per_s"] else ""
    lines = [
        f"run {result['run']}: {result['n_spans']:,} spans of {result['n_samples']:,} samples at tier "
        f"{result['tier']}{window}, sketch width {result['sketch_width']:,}"
        + (f", cosine of the window to exact {cosine:.3f}" if isinstance(cosine, float) else ""),
        f"{format_seconds(result['seconds'])}, {rate}peak memory {format_bytes(result['peak_memory_bytes'] or 0)}",
        *describe_skipped(result),
        f"next: gsd analyze {result['run']}",
    ]
    return "\n".join(lines)
