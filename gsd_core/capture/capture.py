"""The capture backend: a model and tokenized samples go in, gradient records come out.

CaptureConfig     tier, window, sketch and batch size
Capturer          one model made ready: modules, sketch, refusals; captures batches
capture_batch     one planned batch; where memory runs out it is halved
iter_captured     all samples in planned batches, with the audit, leaving out those that are done
choose_audited    the seeded share of samples captured at full window too
rank_by_hash      sample ids in a seeded order that does not depend on how a run is cut up

    capturer = Capturer(model, CaptureConfig(tier="span", window=1))
    for batch, results in iter_captured(capturer, samples):
        ...                                   # results: SampleRecords or Skipped, in the plan's order
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from gsd_core.capture.accumulate import make_record, token_losses_of
from gsd_core.capture.batches import plan_batches
from gsd_core.capture.checkpointing import CheckpointedLayers
from gsd_core.capture.devices import input_device
from gsd_core.capture.hidden import (
    HeadSketch,
    HiddenSketch,
    compute_head_batch,
    compute_hidden_batch,
    compute_state_batch,
    get_head_sizes,
)
from gsd_core.capture.hooks import FrozenModel, ModuleTap
from gsd_core.capture.measures import StepMeasures, compute_measures
from gsd_core.capture.modules import ModuleSelection, select_modules
from gsd_core.capture.position import compute_position_batch, forward_whole, unpad_losses
from gsd_core.capture.sketch import LayerBlock, Sketch
from gsd_core.capture.span import SpanBatch, check_span_tier, compute_span_batch
from gsd_core.capture.window import check_windows, compute_window_batch
from gsd_core.errors import UserError
from gsd_core.types import SampleRecords, Skipped, TokenizedSample

CHECKPOINTABLE = ("position", "span")
TIERS = ("hidden", "head", "position", "span", "state")
SKETCH_RANK = 32
SELF_CHECK_TOLERANCE = {torch.float32: 2e-3, torch.float64: 1e-6}


@dataclass(frozen=True, slots=True)
class CaptureConfig:
    """How to capture."""

    tier: str = "span"
    """``hidden``, ``position`` or ``span`` (methods §1.1), or ``head`` [ours]; ``state`` is no gradient but the
    baseline of methods §5."""
    window: int | None = None
    """Spans before the span through which the gradient still flows; None: all, the exact gradient. Tier span only."""
    sketch_width: int = 2048
    """Wished width P of a direction, in numbers."""
    sketch_rank: int = SKETCH_RANK
    """p = q of the two-sided projection of each module."""
    seed: int = 0
    """Seed of the sketch and of the audit's choice."""
    batch_tokens: int = 4096
    """Padded tokens a batch."""
    audit_share: float = 0.02
    """Share of samples captured at the full window too, to report the window's cosine to the exact gradient."""
    lora: str = "adapters"
    """For peft models: ``adapters`` or ``base``."""
    with_head: bool = True
    """Tiers span and position: the output head's weight gradient is a block of its own in every direction."""
    measures: bool = False
    """Also take spectral strength and the GRACE-like score of every span (one forward pass more)."""
    all_token_losses: bool = True
    """Also compute losses of tokens outside spans (one forward pass more over the text after the last span)."""
    gradient_checkpointing: bool = False
    """Tiers span and position: compute every layer again in each backward pass instead of keeping its graph."""


class Capturer:
    """A model made ready for one configuration.

    Raises
    ------
    UserError
        On construction or first use, where the tier cannot serve the architecture; it names the tiers that can.
    """

    def __init__(self, model: PreTrainedModel, config: CaptureConfig) -> None:
        if config.tier not in TIERS:
            raise UserError(f"unknown tier {config.tier!r}", "--tier", f"choose one of {', '.join(TIERS)}")
        self.model, self.config = model, config
        self.device = input_device(model)
        model_config: Any = model.config
        pad_id = getattr(model_config.get_text_config(), "pad_token_id", None)
        self.pad_id = pad_id if isinstance(pad_id, int) and pad_id >= 0 else 0
        self.selection: ModuleSelection | None = None
        self.sketch: Sketch | None = None
        self.hidden_sketch: HiddenSketch | None = None
        self.head_sketch: HeadSketch | None = None
        if config.tier in ("hidden", "state"):
            width = model_config.get_text_config().hidden_size
            self.hidden_sketch = HiddenSketch(width, config.sketch_width, config.seed, self.device)
        elif config.tier == "head":
            self.head_sketch = HeadSketch(
                *get_head_sizes(model), config.sketch_width, config.seed, self.device
            )
        else:
            if config.tier == "span":
                check_span_tier(model)
            self.selection = select_modules(model, config.lora, config.with_head)
            self.sketch = Sketch(
                [(c.name, c.layer, c.d_out, c.d_in) for c in self.selection.captured],
                config.sketch_width,
                config.sketch_rank,
                config.seed,
                self.device,
            )
        self._layers: AbstractContextManager[Any] = nullcontext()
        if config.gradient_checkpointing:
            if config.tier not in CHECKPOINTABLE:
                raise UserError(
                    f"tier {config.tier} keeps no graph of the layers",
                    "--gradient-checkpointing",
                    "leave the flag out, or choose --tier span or position",
                )
            self._layers = CheckpointedLayers(model)
        self.shares_passes: bool | None = None
        self._is_chunking_checked = False

    @property
    def width(self) -> int:
        """P, the length of a direction."""
        return self._any_sketch().width

    @property
    def blocks(self) -> list[LayerBlock]:
        """Which slice of a direction belongs to which layer."""
        return self._any_sketch().blocks

    @property
    def skipped_modules(self) -> dict[str, str]:
        """Modules that are not captured, with the reason."""
        return self.selection.skipped if self.selection else {}

    def _any_sketch(self) -> Sketch | HiddenSketch | HeadSketch:
        sketch = self.sketch or self.hidden_sketch or self.head_sketch
        assert sketch is not None
        return sketch

    def capture(
        self, samples: Sequence[TokenizedSample], audited: Collection[str] = ()
    ) -> list[SampleRecords | Skipped]:
        """Capture one batch; every sample must have at least one span. One whose gradient overflows is skipped.

        `audited` names samples whose exact gradient is taken beside the windowed one.
        """
        batch = self._compute(samples, self.config.window)
        cosines: dict[str, np.ndarray] = {}
        to_audit = [s for s in samples if s.id in audited]
        if self.config.tier == "span" and self.config.window is not None and to_audit:
            own = {s.id: batch.gradients[i] for i, s in enumerate(samples)}
            exact = self._compute(to_audit, None)
            for sample, reference in zip(to_audit, exact.gradients, strict=True):
                cosines[sample.id] = _row_cosines(own[sample.id], reference)
        measures: list[StepMeasures] | None = None
        if self.config.measures:
            with FrozenModel(self.model):
                measures = compute_measures(self.model, samples, self.pad_id)
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

    def compute_gradients(self, samples: Sequence[TokenizedSample], window: int | None = None) -> SpanBatch:
        """Sketched gradients before normalisation, float32 (S_i, P) a sample: for tests and audits."""
        return self._compute(samples, window)

    def _compute(self, samples: Sequence[TokenizedSample], window: int | None) -> SpanBatch:
        with FrozenModel(self.model):
            if self.hidden_sketch is not None:
                compute = compute_state_batch if self.config.tier == "state" else compute_hidden_batch
                return compute(self.model, self.hidden_sketch, samples, self.pad_id)
            if self.head_sketch is not None:
                return compute_head_batch(self.model, self.head_sketch, samples, self.pad_id)
            assert self.selection is not None
            assert self.sketch is not None
            with self._layers, ModuleTap(self.selection, self.sketch) as tap:
                if self.config.tier == "position":
                    return compute_position_batch(self.model, tap, self.sketch, samples, self.pad_id)
                everywhere, checkpointed = self.config.all_token_losses, self.config.gradient_checkpointing
                if (checkpointed or window is not None) and self._can_share_passes(tap, samples[0]):
                    return compute_window_batch(
                        self.model, tap, self.sketch, samples, window, self.pad_id, everywhere
                    )
                if checkpointed:
                    raise UserError(
                        "its attention is not ordinary, so spans are captured in chunks, whose layers cannot be "
                        "computed again",
                        f"model {type(self.model).__name__}",
                        "leave out --gradient-checkpointing; a smaller --batch-tokens needs less memory too",
                    )
                self._check_chunked_forward(tap, samples[0])
                return compute_span_batch(
                    self.model, tap, self.sketch, samples, window, self.pad_id, everywhere
                )

    def _can_share_passes(self, tap: ModuleTap, sample: TokenizedSample) -> bool:
        """Whether windows can share backward passes here; found out once, else they are captured in chunks."""
        if self.shares_passes is None:
            assert self.sketch is not None
            plain, tolerance = self._compute_plain_losses(sample)
            self.shares_passes = check_windows(self.model, tap, self.sketch, sample, plain, tolerance)
        return self.shares_passes

    def _compute_plain_losses(self, sample: TokenizedSample) -> tuple[np.ndarray, float]:
        """(T,) token losses of a plain forward pass, and how far another way of computing them may be off."""
        with torch.no_grad():
            chunk, logits = forward_whole(self.model, [sample], self.pad_id)
            plain = unpad_losses(chunk, token_losses_of(logits, chunk.targets), [sample])[0]
        tolerance = SELF_CHECK_TOLERANCE.get(next(self.model.parameters()).dtype, 0.25)
        return plain, tolerance * max(1.0, float(np.nanmax(np.abs(plain), initial=0.0)))

    def _check_chunked_forward(self, tap: ModuleTap, sample: TokenizedSample) -> None:
        """Compare the chunked forward pass with the plain one, once: no tier may be silently wrong."""
        if self._is_chunking_checked:
            return
        assert self.sketch is not None
        name = type(self.model).__name__
        way_out = "use --tier position or --tier hidden"
        try:
            chunked = compute_span_batch(self.model, tap, self.sketch, [sample], 0, self.pad_id)
        except (TypeError, AttributeError, NotImplementedError) as problem:
            raise UserError(
                f"tier span needs a differentiable key-value cache, which this architecture does not take ({problem})",
                f"model {name}",
                way_out,
            ) from problem
        plain, tolerance = self._compute_plain_losses(sample)
        known = ~np.isnan(chunked.token_losses[0])
        gap = np.abs(chunked.token_losses[0][known] - plain[known]).max(initial=0.0)
        if not gap <= tolerance:
            raise UserError(
                f"its forward pass in chunks differs from the plain one (token loss off by {gap:.2g} nats), "
                "so tier span would be wrong",
                f"model {name}",
                way_out,
            )
        self._is_chunking_checked = True


def _row_cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.where(norms > 0, (a * b).sum(1) / np.maximum(norms, 1e-30), np.nan)


def rank_by_hash(samples: Sequence[TokenizedSample], seed: int) -> list[str]:
    """Sample ids in the order of their seeded hash."""
    return sorted((s.id for s in samples), key=lambda i: hashlib.sha256(f"{seed}\x00{i}".encode()).digest())


def choose_audited(samples: Sequence[TokenizedSample], share: float, seed: int) -> set[str]:
    """Ids of the ⌈share · n⌉ samples that come first by hash: the same set however the run is cut up."""
    if share <= 0 or not samples:
        return set()
    return set(rank_by_hash(samples, seed)[: math.ceil(share * len(samples))])


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether an exception says that memory ran out, on a GPU or on the CPU."""
    if isinstance(problem, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return isinstance(problem, RuntimeError) and (
        "out of memory" in str(problem).lower() or "can't allocate memory" in str(problem).lower()
    )


def capture_with_less(
    capturer: Capturer, samples: Sequence[TokenizedSample], audited: Collection[str]
) -> list[SampleRecords | Skipped]:
    """Capture a batch; where memory runs out, halve it and go on, down to one sample, which is then skipped."""
    try:
        return list(capturer.capture(samples, audited))
    except Exception as problem:
        if not is_out_of_memory(problem):
            raise
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if len(samples) == 1:
        n_tokens = len(samples[0].token_ids)
        reason = f"out of memory at {n_tokens} tokens, alone in its batch"
        config = capturer.config
        if config.tier in CHECKPOINTABLE and not config.gradient_checkpointing:
            reason += "; try --gradient-checkpointing"
        return [Skipped(samples[0].id, reason)]
    middle = len(samples) // 2
    return [
        *capture_with_less(capturer, samples[:middle], audited),
        *capture_with_less(capturer, samples[middle:], audited),
    ]


def capture_batch(
    capturer: Capturer, samples: Sequence[TokenizedSample], audited: Collection[str] = ()
) -> list[SampleRecords | Skipped]:
    """Capture one planned batch, one result a sample in its order; a sample without spans is reported as skipped."""
    with_spans = [s for s in samples if s.spans]
    captured = iter(capture_with_less(capturer, with_spans, audited) if with_spans else [])
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
