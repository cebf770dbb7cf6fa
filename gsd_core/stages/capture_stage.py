"""``gsd capture``: read samples → cut and tokenize → span gradients, a batch at a time, into the store.

run_capture  the stage; whole batches are stored as they come, and a killed run goes on where it stopped

Parts that a training's tracking shares (``gsd_core.driver.tracking``):

tokenize_samples   samples → tokenized ones, and those left out
describe_model, describe_sketch   what a manifest says of them
create_run         a run with its static tables
measure_window_cosine   mean cosine of a run's window to the exact gradient
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from gsd_core.capture.capture import CaptureConfig
from gsd_core.capture.embeddings import SentenceEncoder, load_sentence_encoder
from gsd_core.capture.models import pick_device, resolve_checkpoints
from gsd_core.console.progress import Progress
from gsd_core.dataset.segmenters import make_segmenter
from gsd_core.dataset.tokenization import check_tokenizer, tokenize_sample
from gsd_core.driver.capture_plan import (
    DEFAULT_SKETCH_WIDTH,
    CaptureOptions,
    check_resumable,
    make_manifest,
    make_resume_line,
    make_run_name,
    resolve_tier,
)
from gsd_core.driver.capture_work import Crew, Work, capture_checkpoints, make_executor
from gsd_core.driver.capture_worker import DescribeModel, DescribeSketch, ModelFacts, SketchFacts
from gsd_core.driver.run_sentences import embed_texts, read_known_vectors
from gsd_core.errors import Interrupted, UserError
from gsd_core.stages.datasets_stage import resolve_dataset
from gsd_core.store import Run, RunSample, Workspace
from gsd_core.types import Sample, Skipped, TokenizedSample


def run_capture(workspace: Workspace, options: CaptureOptions, progress: Progress) -> dict[str, Any]:
    """Capture span gradients of a data set under one or more checkpoints of a model.

    Returns
    -------
    dict
        ``run, model, tier, window, window_cosine, n_samples, n_spans, n_skipped, skipped, sketch_width, seconds,
        tokens_per_s, peak_memory_bytes, checkpoints, skipped_modules``.

    Raises
    ------
    UserError
        Unknown data set or model, a tier that cannot serve the architecture, an existing run, nothing to capture.
    Interrupted
        Stopped by a signal; finished batches are stored, and the exception carries the line that goes on.
    """
    started = time.monotonic()
    segmenter = make_segmenter(options.segmenter)
    checkpoints = resolve_checkpoints(options.model, options.checkpoints)
    dataset = resolve_dataset(workspace, options.dataset, map_flag=options.map, progress=progress)
    name = make_run_name(options, dataset)
    exists = any(run.name == name for run in workspace.list_runs())
    if exists and not options.resume:
        raise UserError(
            "the run exists already", f"run {name}", "add --resume to go on, or choose another --run name"
        )
    info = workspace.open_dataset(dataset)
    samples = workspace.read_samples(dataset, head=options.limit)
    with make_executor(options) as executor:
        crew = Crew(executor, options)
        with progress.stage("loading model", len(checkpoints), "checkpoints"):
            model = crew.ask(checkpoints[0], DescribeModel())
        check_tokenizer(model.tokenizer)
        tokenized, skipped = tokenize_samples(
            samples, model.tokenizer, segmenter, model.max_tokens, options, progress
        )
        if not tokenized:
            reason = f"; the first: {skipped[0].sample}: {skipped[0].reason}" if skipped else ""
            raise UserError(
                f"no sample is left to capture{reason}",
                f"data set {dataset}",
                "check --segmenter, --truncate and the model",
            )
        tier, window = resolve_tier(options.tier, options.window, tokenized, options.gradient_checkpointing)
        config = CaptureConfig(
            tier=tier,
            window=window,
            sketch_width=options.sketch_width or DEFAULT_SKETCH_WIDTH,
            seed=options.seed,
            batch_tokens=options.batch_tokens,
            lora=options.lora,
            with_head=not options.no_head,
            measures=not options.no_measures,
            gradient_checkpointing=options.gradient_checkpointing,
        )
        sketch = crew.ask(checkpoints[0], DescribeSketch(config))
        encoder = load_sentence_encoder(options.encoder, device=_encoder_device(options, model))
        manifest = make_manifest(
            options,
            dataset={
                "name": dataset,
                "source": info.source,
                "data_hash": info.data_hash,
                "n_samples": len(samples),
            },
            model={"source": options.model, **model.description},
            tier=tier,
            window=window,
            sketch=sketch.description,
            encoder={"name": encoder.name, "source": encoder.source, "weights_hash": encoder.weights_hash},
        )
        with _open_run(
            workspace, name, manifest, sketch.width, encoder, exists, tokenized, samples, progress
        ) as run:
            resume_line = make_resume_line(workspace.uri, options, name)
            work = Work(run, crew, config, tokenized, skipped, model.description["hash"])
            try:
                capture_checkpoints(work, checkpoints, progress, resume_line, not options.no_controls)
            except KeyboardInterrupt:
                run.flush()
                raise Interrupted(resume_line) from None
            return _finish(work, started, config, sketch, progress)


def _encoder_device(options: CaptureOptions, model: ModelFacts) -> str:
    """The model's own device where it is in this process, else what this process has."""
    own = model.description["device"]
    if options.executor == "local" and "," not in own:
        return str(own)
    return str(pick_device("auto"))


def tokenize_samples(
    samples: Sequence[Sample],
    tokenizer: Any,
    segmenter: Any,
    max_tokens: int | None,
    options: CaptureOptions,
    progress: Progress,
) -> tuple[list[TokenizedSample], list[Skipped]]:
    """Cut and tokenize; what cannot be captured is kept with its reason."""
    tokenized: list[TokenizedSample] = []
    skipped: list[Skipped] = []
    with progress.stage("tokenizing", len(samples), "samples") as stage:
        for sample in samples:
            result = tokenize_sample(
                sample, tokenizer, segmenter, max_tokens=max_tokens, truncate=options.truncate
            )
            if isinstance(result, Skipped):
                skipped.append(result)
            elif not result.spans:
                skipped.append(Skipped(sample.id, "no span holds a token"))
            else:
                tokenized.append(result)
            stage.advance()
    return tokenized, skipped


def _open_run(
    workspace: Workspace,
    name: str,
    manifest: dict[str, Any],
    width: int,
    encoder: SentenceEncoder,
    exists: bool,
    tokenized: list[TokenizedSample],
    samples: list[Sample],
    progress: Progress,
) -> Run:
    """Make the run with its static tables, or open it for going on. A run without its tables starts over."""
    if exists:
        run = workspace.open_run(name)
        check_resumable(run.manifest, manifest, name)
        if run.manifest.get("has_tables"):
            run.repair()
            return run
        workspace.remove_run(name)
    return create_run(workspace, name, manifest, width, encoder, tokenized, samples, progress)


def create_run(
    workspace: Workspace,
    name: str,
    manifest: dict[str, Any],
    width: int,
    encoder: SentenceEncoder,
    tokenized: Sequence[TokenizedSample],
    samples: Sequence[Sample],
    progress: Progress,
    skipped: Sequence[Skipped] = (),
) -> Run:
    """Make a run with its static tables: samples as the model reads them, and sentence embeddings of all texts.

    ``has_tables`` in the manifest says that they are whole. `skipped` are samples left out of every batch.
    """
    run = workspace.create_run(name, manifest, sketch_width=width, embedding_width=encoder.width)
    by_id = {sample.id: sample for sample in samples}
    texts = [by_id[t.id].question for t in tokenized] + [s.text for t in tokenized for s in t.spans]
    embedded = embed_texts(texts, encoder, read_known_vectors(workspace, name, manifest), progress)
    run.write_samples([RunSample(t, by_id[t.id], embedded[i]) for i, t in enumerate(tokenized)], skipped)
    ids = [f"{t.id}#{s.index}" for t in tokenized for s in t.spans]
    run.write_embeddings(ids, embedded[len(tokenized) :])
    run.update_manifest(has_tables=True)
    return run


def _finish(
    work: Work, started: float, config: CaptureConfig, sketch: SketchFacts, progress: Progress
) -> dict[str, Any]:
    run = work.run
    spans = run.read_spans(run.default_checkpoint, columns=["span"])
    skipped = run.read_skipped()
    window_cosine, n_audited = measure_window_cosine(run, config)
    n_samples = len(run.read_samples())
    timing = {
        "seconds": time.monotonic() - started,
        "capture_seconds": work.seconds,
        "tokens_per_s": work.n_tokens / work.seconds if work.n_tokens and work.seconds > 0 else None,
        "peak_memory_bytes": work.peak_memory_bytes,
    }
    run.update_manifest(status="captured", window_cosine=window_cosine, timing=timing)
    if sketch.skipped_modules:
        kinds = sorted({reason.split(" (")[0] for reason in sketch.skipped_modules.values()})
        progress.note(f"{len(sketch.skipped_modules)} parameters are not captured: {'; '.join(kinds)}")
    return {
        "run": run.name,
        "model": run.manifest["model"]["source"],
        "checkpoints": [c["name"] for c in run.manifest["checkpoints"]],
        "tier": run.manifest["tier"],
        "window": run.manifest["window"],
        "window_cosine": window_cosine,
        "n_audited_spans": n_audited,
        "n_samples": n_samples,
        "n_spans": len(spans),
        "n_skipped": int(skipped["sample"].nunique()),
        "skipped": skipped.drop_duplicates("sample")[["sample", "reason"]].to_dict("records"),
        "sketch_width": sketch.width,
        "skipped_modules": sketch.skipped_modules,
        **{key: timing[key] for key in ("seconds", "tokens_per_s", "peak_memory_bytes")},
    }


def measure_window_cosine(run: Run, config: CaptureConfig) -> tuple[float | None, int]:
    """Mean cosine of the windowed directions to the exact ones (None: not audited), and over how many spans."""
    audited = run.read_spans(run.default_checkpoint, columns=["window_cosine"])["window_cosine"].dropna()
    if config.tier == "span" and config.window is None:
        return 1.0, len(audited)  # the exact gradient is its own reference
    return (float(audited.mean()) if len(audited) else None), len(audited)
