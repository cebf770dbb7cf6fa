"""What a worker of a capture does: load a checkpoint's model once, then describe it and capture batches.

CaptureWorker    a loaded model that does jobs
load_worker      loads a model and makes its worker
Job              protocol: something that a worker does
ModelFacts, Captured   answers of jobs
DescribeModel    job → ``ModelFacts``: tokenizer, context length, the model's part of the manifest
SumSides, TakeNumbers   jobs → what a sketch is calibrated with
DescribeSketch   job → the directions' part of the manifest
EstimateNeed     job → the memory that batches need
CaptureSamples   job → ``Captured``: one batch, as results or, with a writer, as what was written
CaptureControls  job → the controls of a few samples
describe_model, describe_sketch, describe_calibration   their parts of the manifest
peak_memory_bytes   largest memory that this process has used

Jobs and answers are plain data, so that a worker can be a process on another machine. The process that plans, commits
and reports needs no copy of the model.
"""

from __future__ import annotations

import resource
import sys
from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import psutil
import torch
from transformers import PreTrainedModel

from gsd_core.capture.calibration import Numbers, SideSums, sum_sides, take_numbers
from gsd_core.capture.capture import CaptureConfig, Capturer, capture_batch
from gsd_core.capture.controls import Control, iter_controls
from gsd_core.capture.memory import Need, estimate_need
from gsd_core.capture.sketch import Calibration
from gsd_core.console.report import Report, ignore
from gsd_core.models.devices import describe_device
from gsd_core.models.loading import LoadedModel, compute_model_hash, max_positions, open_model
from gsd_core.store import FragmentWriter, WrittenBatch
from gsd_core.types import SampleRecords, Skipped, TokenizedSample

AnswerT = TypeVar("AnswerT", covariant=True)


class Job(Protocol[AnswerT]):
    """Something that a worker does."""

    def run(self, worker: CaptureWorker, report: Report) -> AnswerT:
        """Do it with the worker's model; `report` gets the share of the job that is done."""
        ...


class CaptureWorker:
    """A loaded model; calling it does a job."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self.model, self.tokenizer = loaded.model, loaded.tokenizer
        self._capturer: Capturer | None = None

    def __call__(self, job: Job[AnswerT], report: Report) -> AnswerT:
        return job.run(self, report)

    def make_ready(self, config: CaptureConfig) -> Capturer:
        """The capturer of a configuration. It is made once, because its projections take time."""
        if self._capturer is None or self._capturer.config != config:
            self._capturer = Capturer(self.model, config)
        return self._capturer


def load_worker(source: str, **choices: Any) -> CaptureWorker:
    """The worker of a model; arguments and errors are those of ``open_model``."""
    return CaptureWorker(open_model(source, **choices))


def describe_model(model: PreTrainedModel, report: Report = ignore) -> dict[str, Any]:
    """A model's part of the manifest: architecture, size, dtype, device, attention kernel, hash of the weights.

    `report` gets the share of the weights that is hashed.
    """
    return {
        "architecture": type(model).__name__,
        "n_parameters": sum(p.numel() for p in model.parameters()),
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
        "device": describe_device(model),
        "attention": getattr(model.config, "_attn_implementation", None),
        "hash": compute_model_hash(model, report),
    }


def describe_sketch(capturer: Capturer) -> dict[str, Any]:
    """The directions' part of the manifest: width, rank, seed, layer slices and modules."""
    selection, calibration = capturer.selection, capturer.config.calibration
    return {
        "width": capturer.width,
        "rank": capturer.config.sketch_rank if calibration is None else list(calibration.ranks),
        "calibration": None if calibration is None else describe_calibration(calibration),
        "seed": capturer.config.seed,
        "layers": [[b.layer, b.start, b.stop] for b in capturer.blocks],
        "modules": [m.name for m in selection.captured] if selection else [],
        "coverage": capturer.coverage,
    }


def describe_calibration(calibration: Calibration) -> dict[str, Any]:
    """A calibration's part of the manifest; the store keeps its arrays."""
    return {
        "digest": calibration.digest,
        "n_kept": len(calibration.kept),
        "n_samples": calibration.n_samples,
        "n_spans": calibration.n_spans,
    }


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """``description`` goes into the manifest; ``max_tokens`` is None where the model names no context length."""

    tokenizer: Any
    max_tokens: int | None
    description: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DescribeModel:
    """Everything that planning needs of the model; without tokenizer where that is known already."""

    with_tokenizer: bool = True

    def run(self, worker: CaptureWorker, report: Report) -> ModelFacts:
        """Also hashes all weights: a resumed run must have the same."""
        tokenizer = worker.tokenizer if self.with_tokenizer else None
        origin = worker.loaded.origin
        description = describe_model(worker.model, report) | {
            "dequantised_from": asdict(origin) if origin else None,
            "notes": list(worker.loaded.notes),
        }
        return ModelFacts(tokenizer, max_positions(worker.model), description)


@dataclass(frozen=True, slots=True)
class SumSides:
    """Look at ``samples`` before the capture, to find the sides of modules."""

    config: CaptureConfig
    samples: list[TokenizedSample]

    def run(self, worker: CaptureWorker, report: Report) -> SideSums | None:
        """None for a tier whose sketch takes no calibration. Raises as ``Capturer``."""
        return sum_sides(worker.model, self.config, self.samples, report)


@dataclass(frozen=True, slots=True)
class TakeNumbers:
    """Look at other ``samples``, to find which of the numbers on the sides matter."""

    config: CaptureConfig
    sides: np.ndarray
    samples: list[TokenizedSample]

    def run(self, worker: CaptureWorker, report: Report) -> Numbers:
        """Raises as ``Capturer``."""
        return take_numbers(worker.model, self.config, self.sides, self.samples, report)


@dataclass(frozen=True, slots=True)
class DescribeSketch:
    """Width and parts of the directions of a configuration."""

    config: CaptureConfig

    def run(self, worker: CaptureWorker, report: Report) -> dict[str, Any]:
        """Raises as ``Capturer``, where the tier cannot serve the architecture."""
        return describe_sketch(worker.make_ready(self.config))


@dataclass(frozen=True, slots=True)
class EstimateNeed:
    """What batches of a configuration need; ``sample`` is a typical one."""

    config: CaptureConfig
    sample: TokenizedSample

    def run(self, worker: CaptureWorker, report: Report) -> tuple[Need, int]:
        """The need, and the bytes that the process has resident."""
        need = estimate_need(worker.make_ready(self.config), self.sample)
        return need, psutil.Process().memory_info().rss


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

    def run(self, worker: CaptureWorker, report: Report) -> Captured:
        """Raises as ``capture_batch``; and as ``FragmentWriter.write`` where there is a writer."""
        results = capture_batch(worker.make_ready(self.config), self.samples, self.audited, report)
        if self.writer is None:
            return Captured(results, None, peak_memory_bytes())
        return Captured([], self.writer.write(self.batch, results), peak_memory_bytes())


@dataclass(frozen=True, slots=True)
class CaptureControls:
    """Random windows and single tokens of ``samples``, with which the alignment of spans is compared."""

    config: CaptureConfig
    samples: list[TokenizedSample]

    def run(self, worker: CaptureWorker, report: Report) -> list[Control]:
        """Kind by kind; a sample whose controls cannot be captured gives none."""
        return list(iter_controls(worker.make_ready(self.config), self.samples, report))


def peak_memory_bytes() -> int:
    """Largest memory that this process has used: on all GPUs together where any were used, else resident."""
    if torch.cuda.is_available():
        peak = sum(torch.cuda.max_memory_allocated(i) for i in range(torch.cuda.device_count()))
        if peak > 0:
            return int(peak)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
