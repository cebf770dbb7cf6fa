"""What ``gsd capture``, a tracked training and ``gsd import`` share: samples, settings, the run's static tables.

RunSamples             the samples of a run: as stored, and as the model reads them
tokenize_samples       samples → ``RunSamples``
make_config            flags → the configuration of a capture
create_run             a new run with its static tables
write_tables           the static tables alone
list_skipped           the samples that a run left out, for a result
describe_skipped       the same as lines of text
measure_window_cosine  mean cosine of a run's window to the exact gradient
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gsd_core.capture.capture import CaptureConfig
from gsd_core.capture.embeddings import SentenceEncoder
from gsd_core.capture.sketch import Calibration
from gsd_core.console.output import SHOWN_ROWS, format_table
from gsd_core.console.progress import Progress
from gsd_core.dataset.segmenters import Segmenter
from gsd_core.dataset.tokenization import check_tokenizer, tokenize_sample
from gsd_core.driver.capture_plan import DEFAULT_SKETCH_WIDTH, MOST_BATCH_TOKENS, CaptureOptions, resolve_tier
from gsd_core.driver.capture_sketch import store_calibration
from gsd_core.driver.run_sentences import embed_texts, read_known_vectors
from gsd_core.errors import UserError
from gsd_core.store import Run, RunSample, Workspace
from gsd_core.tiers import get_tier
from gsd_core.types import Sample, Skipped, TokenizedSample, join_span


@dataclass(frozen=True, slots=True)
class RunSamples:
    """``read`` from the data set; ``tokenized``: those that can be captured, in order; ``skipped``: the others."""

    read: list[Sample]
    tokenized: list[TokenizedSample]
    skipped: list[Skipped] = field(default_factory=list)


def tokenize_samples(
    samples: list[Sample],
    tokenizer: Any,
    segmenter: Segmenter,
    max_tokens: int | None,
    options: CaptureOptions,
    progress: Progress,
) -> RunSamples:
    """Cut samples into spans and tokenize them; one that cannot be captured is kept with the reason.

    Raises ``UserError`` for a tokenizer without offsets, and where no sample can be captured.
    """
    check_tokenizer(tokenizer)
    found = RunSamples(samples, [])
    with progress.stage("tokenizing", len(samples), "samples") as stage:
        for sample in samples:
            result = tokenize_sample(
                sample,
                tokenizer,
                segmenter,
                max_tokens=max_tokens,
                truncate=options.truncate,
                control_tokens=options.control_tokens,
            )
            if isinstance(result, Skipped):
                found.skipped.append(result)
            elif not result.spans:
                found.skipped.append(Skipped(sample.id, "no span holds a token"))
            else:
                found.tokenized.append(result)
            stage.advance()
    n_spelled = sum(each.n_control > 0 for each in found.tokenized)
    if n_spelled:
        how = "as text" if options.control_tokens == "text" else "as such"
        progress.note(f"{n_spelled:,} samples spell control tokens in their reasoning; they are read {how}")
    if not found.tokenized:
        first = next(iter(found.skipped), None)
        raise UserError(
            "no sample is left to capture" + (f"; the first: {first.sample}: {first.reason}" if first else ""),
            f"data set {options.dataset}",
            "check the segmenter and the model, or let samples be cut with --truncate (truncate=True)",
        )
    return found


def make_config(options: CaptureOptions, tokenized: Sequence[TokenizedSample]) -> CaptureConfig:
    """The configuration that the flags mean; without a window flag the cost decides the window.

    Raises ``UserError`` as ``resolve_tier``.
    """
    tier, window = resolve_tier(options.tier, options.window, tokenized, options.gradient_checkpointing)
    return CaptureConfig(
        tier=tier,
        window=window,
        sketch_width=options.sketch_width or DEFAULT_SKETCH_WIDTH,
        seed=options.seed,
        batch_tokens=options.batch_tokens or MOST_BATCH_TOKENS,
        lora=options.lora,
        with_head=not options.no_head,
        measures=not options.no_measures,
        gradient_checkpointing=options.gradient_checkpointing,
    )


def create_run(
    workspace: Workspace,
    name: str,
    manifest: dict[str, Any],
    encoder: SentenceEncoder,
    samples: RunSamples,
    progress: Progress,
    calibration: Calibration | None = None,
) -> Run:
    """A new run with its static tables, and what its sketch knows of the model, which is stored before them."""
    run = workspace.create_run(name, manifest, sketch_width=manifest["sketch"]["width"], embedding_width=encoder.width)
    if calibration is not None:
        store_calibration(run, calibration)
    write_tables(run, samples, encoder, read_known_vectors(workspace, name, manifest), progress)
    return run


def write_tables(
    run: Run, samples: RunSamples, encoder: SentenceEncoder, known: dict[str, np.ndarray], progress: Progress
) -> None:
    """Write samples as the model reads them, those skipped, and sentence embeddings of all texts (`known`: by text).

    ``has_tables`` in the manifest says that the tables are whole.
    """
    by_id = {sample.id: sample for sample in samples.read}
    tokenized = samples.tokenized
    texts = [by_id[t.id].question for t in tokenized] + [s.text for t in tokenized for s in t.spans]
    embedded = embed_texts(texts, encoder, known, progress)
    rows = [RunSample(t, by_id[t.id], embedded[i]) for i, t in enumerate(tokenized)]
    run.write_samples(rows, samples.skipped)
    run.write_embeddings([join_span(t.id, s.index) for t in tokenized for s in t.spans], embedded[len(tokenized) :])
    run.update_manifest(has_tables=True)


def list_skipped(run: Run) -> dict[str, Any]:
    """``n_skipped``, and ``skipped: [{sample, reason}]``, each sample once."""
    rows = run.read_skipped().drop_duplicates("sample")
    return {"n_skipped": len(rows), "skipped": rows[["sample", "reason"]].to_dict("records")}


def describe_skipped(result: dict[str, Any]) -> list[str]:
    """Lines of text that say what ``list_skipped`` has found; none where nothing was skipped."""
    if not result["n_skipped"]:
        return []
    rows = [[each["sample"], each["reason"]] for each in result["skipped"][:SHOWN_ROWS]]
    return [f"{result['n_skipped']:,} samples skipped:", format_table(("sample", "reason"), rows, wide="reason")]


def measure_window_cosine(run: Run, config: CaptureConfig) -> tuple[float | None, int]:
    """Mean cosine of the windowed directions to the exact ones (None: not audited), and over how many spans."""
    audited = run.read_spans(run.default_checkpoint, columns=["window_cosine"])["window_cosine"].dropna()
    if get_tier(config.tier).has_window and config.window is None:
        return 1.0, len(audited)  # the exact gradient is its own reference
    return (float(audited.mean()) if len(audited) else None), len(audited)
