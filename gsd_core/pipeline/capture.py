"""``gsd capture``: read samples → cut and tokenize → span gradients, a batch at a time, into the store.

run_capture  the stage; whole batches are stored as they come, and a killed run goes on where it stopped

Parts that a training's tracking shares (``gsd_core.pipeline.tracking``):

tokenize_samples   samples → tokenized ones, and those left out
describe_model, describe_sketch   what a manifest says of them
create_run         a run with its static tables
measure_window_cosine   mean cosine of a run's window to the exact gradient
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from gsd_core.capture.batches import plan_batches
from gsd_core.capture.capture import CaptureConfig, Capturer, capture_batch, choose_audited
from gsd_core.capture.embeddings import SentenceEncoder, load_sentence_encoder
from gsd_core.capture.models import (
    Checkpoint,
    compute_model_hash,
    load_model,
    max_positions,
    resolve_checkpoints,
)
from gsd_core.dataset.segmenters import make_segmenter
from gsd_core.dataset.tokenization import check_tokenizer, tokenize_sample
from gsd_core.errors import Interrupted, UserError
from gsd_core.execution.local import LocalExecutor
from gsd_core.pipeline.capture_plan import (
    DEFAULT_SKETCH_WIDTH,
    CaptureOptions,
    check_resumable,
    make_manifest,
    make_resume_line,
    make_run_name,
    resolve_tier,
)
from gsd_core.pipeline.datasets import resolve_dataset
from gsd_core.pipeline.progress import Progress
from gsd_core.pipeline.sentences import embed_texts, read_known_vectors
from gsd_core.store import Run, RunSample, Workspace
from gsd_core.types import Sample, SampleRecords, Skipped, TokenizedSample


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
    if options.executor != "local":
        raise UserError(
            f"executor {options.executor!r} is not part of this version",
            "--executor",
            "leave it out for local",
        )
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
    with progress.stage("loading model", len(checkpoints), "checkpoints"):
        model, tokenizer = _load(options, checkpoints[0])
    check_tokenizer(tokenizer)
    tokenized, skipped = tokenize_samples(
        samples, tokenizer, segmenter, max_positions(model), options, progress
    )
    if not tokenized:
        reason = f"; the first: {skipped[0].sample}: {skipped[0].reason}" if skipped else ""
        raise UserError(
            f"no sample is left to capture{reason}",
            f"data set {dataset}",
            "check --segmenter, --truncate and the model",
        )
    tier, window = resolve_tier(options.tier, options.window, tokenized)
    config = CaptureConfig(
        tier=tier,
        window=window,
        sketch_width=options.sketch_width or DEFAULT_SKETCH_WIDTH,
        seed=options.seed,
        batch_tokens=options.batch_tokens,
        lora=options.lora,
        with_head=not options.no_head,
    )
    capturer = Capturer(model, config)
    encoder = load_sentence_encoder(options.encoder, device=str(capturer.device))
    manifest = make_manifest(
        options,
        dataset={
            "name": dataset,
            "source": info.source,
            "data_hash": info.data_hash,
            "n_samples": len(samples),
        },
        model=describe_model(options, model),
        tier=tier,
        window=window,
        sketch=describe_sketch(capturer),
        encoder={"name": encoder.name, "source": encoder.source, "weights_hash": encoder.weights_hash},
    )
    run = _open_run(workspace, name, manifest, capturer.width, encoder, exists, tokenized, samples, progress)
    n_tokens = sum(len(s.token_ids) for s in tokenized)
    try:
        seconds = _capture_checkpoints(
            run, checkpoints, capturer, tokenized, skipped, options, progress, n_tokens
        )
    except KeyboardInterrupt:
        run.flush()
        raise Interrupted(make_resume_line(workspace.uri, options, name)) from None
    return _finish(run, started, seconds, n_tokens * len(checkpoints), capturer, progress)


def _load(options: CaptureOptions, checkpoint: Checkpoint) -> tuple[PreTrainedModel, Any]:
    return load_model(
        options.model,
        checkpoint=checkpoint,
        dtype=options.dtype,
        device=options.device,
        trust_remote_code=options.trust_remote_code,
    )


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


def describe_model(options: CaptureOptions, model: PreTrainedModel) -> dict[str, Any]:
    """Source, architecture, size, dtype, device, attention kernel and hash of the weights."""
    return {
        "source": options.model,
        "architecture": type(model).__name__,
        "n_parameters": sum(p.numel() for p in model.parameters()),
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
        "device": str(next(model.parameters()).device),
        "attention": getattr(model.config, "_attn_implementation", None),
        "hash": compute_model_hash(model),
    }


def describe_sketch(capturer: Capturer) -> dict[str, Any]:
    """Width, rank, seed, layer slices and modules of the directions."""
    selection = capturer.selection
    return {
        "width": capturer.width,
        "rank": capturer.config.sketch_rank,
        "seed": capturer.config.seed,
        "layers": [[b.layer, b.start, b.stop] for b in capturer.blocks],
        "modules": [m.name for m in selection.captured] if selection else [],
        "skipped_modules": capturer.skipped_modules,
    }


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


def _capture_checkpoints(
    run: Run,
    checkpoints: Sequence[Checkpoint],
    capturer: Capturer,
    tokenized: list[TokenizedSample],
    skipped: list[Skipped],
    options: CaptureOptions,
    progress: Progress,
    n_tokens: int,
) -> float:
    """Capture every checkpoint's unfinished batches; seconds of work."""
    started = time.monotonic()
    plan = plan_batches(tokenized, options.batch_tokens)
    audited = choose_audited(tokenized, capturer.config.audit_share, capturer.config.seed)
    described = [dict(c) for c in run.manifest.get("checkpoints", [])]
    for position, checkpoint in enumerate(checkpoints):
        current = capturer if position == 0 else None
        if all(c["name"] != checkpoint.name for c in described):
            if current is None:
                current = Capturer(_load(options, checkpoint)[0], capturer.config)
            model_hash = compute_model_hash(current.model)
            described.append({"name": checkpoint.name, "step": checkpoint.step, "hash": model_hash})
            run.update_manifest(checkpoints=described)
        done = run.finished_batches(checkpoint.name)
        stage = progress.stage(f"capturing {checkpoint.name}", n_tokens, "tokens")

        def make_worker(
            ready: Capturer | None = current, of: Checkpoint = checkpoint
        ) -> Callable[[list[TokenizedSample]], list[SampleRecords | Skipped]]:
            worker = ready or Capturer(_load(options, of)[0], capturer.config)
            return lambda batch: capture_batch(worker, batch, audited)

        def batches(
            finished: set[int] = done, bar: Any = stage
        ) -> Iterator[tuple[int, list[TokenizedSample]]]:
            for index, members in enumerate(plan):
                batch = [tokenized[i] for i in members]
                if index in finished:
                    bar.advance(sum(len(s.token_ids) for s in batch))
                else:
                    yield index, batch

        for index, results in LocalExecutor().run_batches(make_worker, batches()):
            run.append_batch(checkpoint.name, checkpoint.step, index, results)
            stage.advance(sum(len(tokenized[i].token_ids) for i in plan[index]))
        if skipped and len(plan) not in done:
            run.append_batch(checkpoint.name, checkpoint.step, len(plan), skipped)
        run.flush()
        stage.finish()
    return time.monotonic() - started


def _finish(
    run: Run, started: float, seconds: float, n_tokens: int, capturer: Capturer, progress: Progress
) -> dict[str, Any]:
    spans = run.read_spans(run.default_checkpoint, columns=["span"])
    skipped = run.read_skipped()
    window_cosine, n_audited = measure_window_cosine(run, capturer.config)
    n_samples = len(run.read_samples())
    timing = {
        "seconds": time.monotonic() - started,
        "capture_seconds": seconds,
        "tokens_per_s": n_tokens / seconds if seconds > 0 else None,
        "peak_memory_bytes": peak_memory_bytes(),
    }
    run.update_manifest(status="captured", window_cosine=window_cosine, timing=timing)
    if capturer.skipped_modules:
        kinds = sorted({reason.split(" (")[0] for reason in capturer.skipped_modules.values()})
        progress.note(f"{len(capturer.skipped_modules)} parameters are not captured: {'; '.join(kinds)}")
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
        "sketch_width": capturer.width,
        "skipped_modules": capturer.skipped_modules,
        **{key: timing[key] for key in ("seconds", "tokens_per_s", "peak_memory_bytes")},
    }


def measure_window_cosine(run: Run, config: CaptureConfig) -> tuple[float | None, int]:
    """Mean cosine of the windowed directions to the exact ones (None: not audited), and over how many spans."""
    audited = run.read_spans(run.default_checkpoint, columns=["window_cosine"])["window_cosine"].dropna()
    if config.tier == "span" and config.window is None:
        return 1.0, len(audited)  # the exact gradient is its own reference
    return (float(audited.mean()) if len(audited) else None), len(audited)


def peak_memory_bytes() -> int:
    """Largest memory this process has held: on the GPU where one was used, else resident."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated() > 0:
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
