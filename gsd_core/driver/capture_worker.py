"""What a worker of a capture does: load a checkpoint's model once, then tell about it and capture batches.

ModelSource      a checkpoint and how to load it; called, it makes the worker
CaptureWorker    a loaded model that does jobs
DescribeModel    job → ``ModelFacts``: tokenizer, context length, what the manifest keeps of the model
DescribeSketch   job → ``SketchFacts``: width and parts of a direction
CaptureSamples   job → ``Captured``: one batch, as results, or as what was written where a writer is given
CaptureControls  job → the controls of a few samples
describe_model, describe_sketch   what the manifest keeps of both
peak_memory_bytes   largest memory that this process has held

Sources, jobs and answers are plain data, so that a worker may be another process on another machine; the process that
plans, commits and reports needs no copy of the model.
"""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from transformers import PreTrainedModel

from gsd_core.capture.capture import CaptureConfig, Capturer, capture_batch
from gsd_core.capture.controls import Control, iter_controls
from gsd_core.capture.devices import describe_device
from gsd_core.capture.models import Checkpoint, compute_model_hash, load_model, max_positions
from gsd_core.store import FragmentWriter, WrittenBatch
from gsd_core.types import SampleRecords, Skipped, TokenizedSample

AnswerT = TypeVar("AnswerT", covariant=True)


class Job(Protocol[AnswerT]):
    """Something a worker can be asked."""

    def run(self, worker: CaptureWorker) -> AnswerT:
        """Do it with the worker's model."""
        ...


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A checkpoint and how to load it; the fields are those of ``load_model``."""

    source: str
    checkpoint: Checkpoint
    dtype: str
    device: str
    device_map: str | None
    trust_remote_code: bool

    def __call__(self) -> CaptureWorker:
        """Load the model. Raises as ``load_model``."""
        return CaptureWorker(
            *load_model(
                self.source,
                checkpoint=self.checkpoint,
                dtype=self.dtype,
                device=self.device,
                device_map=self.device_map,
                trust_remote_code=self.trust_remote_code,
            )
        )


class CaptureWorker:
    """A loaded model; calling it does a job."""

    def __init__(self, model: PreTrainedModel, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer
        self._capturer: Capturer | None = None

    def __call__(self, job: Job[AnswerT]) -> AnswerT:
        return job.run(self)

    def make_ready(self, config: CaptureConfig) -> Capturer:
        """The capturer of a configuration; made once, as its projections cost time."""
        if self._capturer is None or self._capturer.config != config:
            self._capturer = Capturer(self.model, config)
        return self._capturer


def describe_model(model: PreTrainedModel) -> dict[str, Any]:
    """What the manifest keeps of a model: architecture, size, dtype, device, attention kernel, hash of the weights."""
    return {
        "architecture": type(model).__name__,
        "n_parameters": sum(p.numel() for p in model.parameters()),
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
        "device": describe_device(model),
        "attention": getattr(model.config, "_attn_implementation", None),
        "hash": compute_model_hash(model),
    }


def describe_sketch(capturer: Capturer) -> dict[str, Any]:
    """What the manifest keeps of directions: width, rank, seed, layer slices and modules."""
    selection = capturer.selection
    return {
        "width": capturer.width,
        "rank": capturer.config.sketch_rank,
        "seed": capturer.config.seed,
        "layers": [[b.layer, b.start, b.stop] for b in capturer.blocks],
        "modules": [m.name for m in selection.captured] if selection else [],
        "skipped_modules": capturer.skipped_modules,
    }


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """``description`` goes into the manifest; ``max_tokens`` is None where the model names no context length."""

    tokenizer: Any
    max_tokens: int | None
    description: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DescribeModel:
    """Everything that planning needs of the model. ``with_tokenizer`` False leaves it out, to travel light."""

    with_tokenizer: bool = True

    def run(self, worker: CaptureWorker) -> ModelFacts:
        """Hash all weights, too: a resumed run must be of the same."""
        tokenizer = worker.tokenizer if self.with_tokenizer else None
        return ModelFacts(tokenizer, max_positions(worker.model), describe_model(worker.model))


@dataclass(frozen=True, slots=True)
class SketchFacts:
    """``width`` P of a direction; ``description`` goes into the manifest."""

    width: int
    description: dict[str, Any]
    skipped_modules: dict[str, str]


@dataclass(frozen=True, slots=True)
class DescribeSketch:
    """What directions of this configuration are made of."""

    config: CaptureConfig

    def run(self, worker: CaptureWorker) -> SketchFacts:
        """Raises as ``Capturer``, where the tier cannot serve the architecture."""
        capturer = worker.make_ready(self.config)
        return SketchFacts(capturer.width, describe_sketch(capturer), capturer.skipped_modules)


@dataclass(frozen=True, slots=True)
class Captured:
    """One batch: its ``results``, or ``written`` where the worker has stored them itself."""

    results: list[SampleRecords | Skipped]
    written: WrittenBatch | None
    peak_memory_bytes: int


@dataclass(frozen=True, slots=True)
class CaptureSamples:
    """Capture ``samples``, the planned batch ``batch``; ``audited`` names those whose window is audited."""

    config: CaptureConfig
    batch: int
    samples: list[TokenizedSample]
    audited: frozenset[str]
    writer: FragmentWriter | None

    def run(self, worker: CaptureWorker) -> Captured:
        """Raises as ``capture_batch``; and as ``FragmentWriter.write`` where there is a writer."""
        results = capture_batch(worker.make_ready(self.config), self.samples, self.audited)
        if self.writer is None:
            return Captured(results, None, peak_memory_bytes())
        return Captured([], self.writer.write(self.batch, results), peak_memory_bytes())


@dataclass(frozen=True, slots=True)
class CaptureControls:
    """Random windows and single tokens of ``samples``: what the alignment of their spans is compared with."""

    config: CaptureConfig
    samples: list[TokenizedSample]

    def run(self, worker: CaptureWorker) -> list[Control]:
        """Kind by kind; a sample whose controls cannot be captured gives none."""
        return list(iter_controls(worker.make_ready(self.config), self.samples))


def peak_memory_bytes() -> int:
    """Largest memory this process has held: on the GPUs where any were used (their sum), else resident."""
    if torch.cuda.is_available():
        peak = sum(torch.cuda.max_memory_allocated(i) for i in range(torch.cuda.device_count()))
        if peak > 0:
            return int(peak)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
