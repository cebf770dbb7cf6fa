"""The capture backend: a model and tokenized samples go in, gradient records come out.

Capturer            one model made ready: modules, sketch, refusals; captures batches
capture_batch       one planned batch; where memory runs out it is halved
capture_with_less   the same for samples that all have spans
is_out_of_memory    whether an exception says that memory ran out
iter_captured       all samples in planned batches, with the audit, leaving out those that are done
choose_audited      the seeded share of samples captured at full window too
rank_by_hash        sample ids in a seeded order that does not depend on how a run is cut up

    capturer = Capturer(model, CaptureConfig(tier="span", window=1))
    for batch, results in iter_captured(capturer, samples):
        ...                                   # results: SampleRecords or Skipped, in the plan's order

``CaptureConfig`` is defined in ``tier_capture`` and can be imported from here.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from gsd_core.capture.accumulate import make_record
from gsd_core.capture.batches import plan_batches
from gsd_core.capture.checkpointing import CheckpointedLayers
from gsd_core.capture.hooks import FrozenModel
from gsd_core.capture.measures import StepMeasures, compute_measures
from gsd_core.capture.modules import ModuleSelection, compute_coverage
from gsd_core.capture.pulse import Pulse
from gsd_core.capture.sketch import LayerBlock
from gsd_core.capture.tier_capture import CaptureConfig, SpanBatch, get_pad_id, make_tier
from gsd_core.console.report import Report, ignore, report_part
from gsd_core.errors import UserError
from gsd_core.models.devices import input_device
from gsd_core.tiers import TIERS, get_tier, join_tiers
from gsd_core.types import SampleRecords, Skipped, TokenizedSample


class Capturer:
    """A model made ready for one configuration.

    Raises
    ------
    UserError
        On construction or first use, where the tier cannot serve the architecture; it names the tiers that can.
    """

    def __init__(self, model: PreTrainedModel, config: CaptureConfig) -> None:
        self.tier = get_tier(config.tier)
        self.model, self.config = model, config
        self.device, self.pad_id = input_device(model), get_pad_id(model)
        self._layers: AbstractContextManager[Any] = nullcontext()
        if config.gradient_checkpointing:
            if not self.tier.needs_backward:
                others = join_tiers(tier for tier in TIERS.values() if tier.needs_backward)
                raise UserError(
                    f"tier {config.tier} keeps no graph of the layers",
                    "--gradient-checkpointing",
                    f"leave the flag out, or choose --tier {others}",
                )
            self._layers = CheckpointedLayers(model)
        self.implementation = make_tier(self.tier, model, config)

    @property
    def sketch(self) -> Any:
        """How directions are laid out; for tiers that project modules a ``Sketch``."""
        return self.implementation.sketch

    @property
    def selection(self) -> ModuleSelection | None:
        """The modules whose gradients a direction holds, None for tiers without any."""
        return self.implementation.selection

    @property
    def width(self) -> int:
        """P, the length of a direction."""
        return int(self.sketch.width)

    @property
    def blocks(self) -> list[LayerBlock]:
        """Which slice of a direction belongs to which layer."""
        return list(self.sketch.blocks)

    @property
    def coverage(self) -> dict[str, Any] | None:
        """How much of the model is captured (``compute_coverage``); None for tiers that read a layer's output."""
        return compute_coverage(self.model, self.selection) if self.selection else None

    def capture(
        self, samples: Sequence[TokenizedSample], audited: Collection[str] = (), report: Report = ignore
    ) -> list[SampleRecords | Skipped]:
        """Capture one batch; every sample must have at least one span. One whose gradient overflows is skipped.

        `audited` names samples whose exact gradient is taken beside the windowed one. `report` gets, inside the batch,
        the share of it that is done.
        """
        window = self.config.window if self.tier.has_window else None
        to_audit = [s for s in samples if s.id in audited] if window is not None else []
        cosines: dict[str, np.ndarray] = {}
        measures: list[StepMeasures] | None = None
        with Pulse(self.model, self._count_passes(samples, window, to_audit), report):
            batch = self.compute_gradients(samples, window)
            if to_audit:
                own = {s.id: batch.gradients[i] for i, s in enumerate(samples)}
                exact = self.compute_gradients(to_audit)
                for sample, reference in zip(to_audit, exact.gradients, strict=True):
                    cosines[sample.id] = _row_cosines(own[sample.id], reference)
            if batch.token_gradients is not None:
                measures = compute_measures(batch.token_gradients, samples)
        results: list[SampleRecords | Skipped] = []
        for i, sample in enumerate(samples):
            if not np.isfinite(batch.gradients[i]).all():
                results.append(Skipped(sample.id, "its gradient is not finite; try --dtype float32"))
                continue
            losses = batch.token_losses[i]
            audit = cosines.get(sample.id)
            records = tuple(
                make_record(
                    span,
                    batch.gradients[i][k],
                    float(losses[span.start : span.end].mean()),
                    float(batch.coherence[i][k]),
                    None if audit is None else float(audit[k]),
                    None if measures is None else float(measures[i].spectral[k]),
                    None if measures is None else float(measures[i].grace[k]),
                )
                for k, span in enumerate(sample.spans)
            )
            results.append(SampleRecords(sample, records, losses))
        return results

    def only_directions(self) -> Capturer:
        """The same model and sketch without measures and without losses of tokens outside spans, which cost passes."""
        light = copy.copy(self)
        light.config = replace(self.config, measures=False, all_token_losses=False)
        light.implementation = copy.copy(self.implementation)
        light.implementation.config = light.config
        return light

    def compute_gradients(self, samples: Sequence[TokenizedSample], window: int | None = None) -> SpanBatch:
        """Sketched gradients before normalisation, float32 (S_i, P) a sample; window None: exact."""
        with FrozenModel(self.model), self._layers:
            return self.implementation(samples, window if self.tier.has_window else None)

    def _count_passes(
        self, samples: Sequence[TokenizedSample], window: int | None, to_audit: Sequence[TokenizedSample]
    ) -> float:
        passes = self.implementation.count_passes(samples, window)
        return passes + (self.implementation.count_passes(to_audit, None) if to_audit else 0)


def _row_cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.where(norms > 0, (a * b).sum(1) / np.maximum(norms, 1e-30), np.nan)


def rank_by_hash(samples: Sequence[TokenizedSample], seed: int) -> list[str]:
    """Sample ids in the order of their seeded hash."""
    return sorted((s.id for s in samples), key=lambda i: hashlib.sha256(f"{seed}\x00{i}".encode()).digest())


def choose_audited(samples: Sequence[TokenizedSample], share: float, seed: int) -> set[str]:
    """Ids of the ⌈share · n⌉ samples that come first by hash: the same set however the run is cut up."""
    return set(rank_by_hash(samples, seed)[: math.ceil(max(share, 0) * len(samples))])


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether an exception says that memory ran out, on a GPU or on the CPU."""
    if isinstance(problem, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return isinstance(problem, RuntimeError) and (
        "out of memory" in str(problem).lower() or "can't allocate memory" in str(problem).lower()
    )


def capture_with_less(
    capturer: Capturer, samples: Sequence[TokenizedSample], audited: Collection[str], report: Report = ignore
) -> list[SampleRecords | Skipped]:
    """Capture a batch; where memory runs out, halve it and go on, down to one sample, which is then skipped."""
    try:
        return list(capturer.capture(samples, audited, report))
    except Exception as problem:
        if not is_out_of_memory(problem):
            raise
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if len(samples) == 1:
        n_tokens = len(samples[0].token_ids)
        reason = f"out of memory at {n_tokens} tokens, alone in its batch"
        config = capturer.config
        if get_tier(config.tier).needs_backward and not config.gradient_checkpointing:
            reason += "; try --gradient-checkpointing"
        return [Skipped(samples[0].id, reason)]
    middle = len(samples) // 2
    return [
        *capture_with_less(capturer, samples[:middle], audited, report_part(report, 0.0, 0.5)),
        *capture_with_less(capturer, samples[middle:], audited, report_part(report, 0.5, 1.0)),
    ]


def capture_batch(
    capturer: Capturer,
    samples: Sequence[TokenizedSample],
    audited: Collection[str] = (),
    report: Report = ignore,
) -> list[SampleRecords | Skipped]:
    """Capture one planned batch, one result a sample in its order; a sample without spans is reported as skipped."""
    with_spans = [s for s in samples if s.spans]
    captured = iter(capture_with_less(capturer, with_spans, audited, report) if with_spans else [])
    return [next(captured) if s.spans else Skipped(s.id, "no span holds a token") for s in samples]


def iter_captured(
    capturer: Capturer, samples: Sequence[TokenizedSample], done: Collection[int] = ()
) -> Iterator[tuple[int, list[SampleRecords | Skipped]]]:
    """Yield ``(batch index, results)`` for every planned batch that is not in `done`.

    The plan and the audited samples depend on all of `samples`, so a resumed run computes the same batches.
    """
    audited = choose_audited(samples, capturer.config.audit_share, capturer.config.seed)
    for index, members in enumerate(plan_batches(samples, capturer.config.batch_tokens)):
        if index not in done:
            yield index, capture_batch(capturer, [samples[i] for i in members], audited)
