"""Tiers ``hidden`` and ``head``: gradients that a forward pass alone gives; and ``state``, their baseline.

HiddenSketch           the one block of tier hidden: identity, or a random projection for wider models
compute_token_gradients  a batch of samples → every token's gradient at the final normed hidden state
compute_hidden_batch   the same averaged over every span's tokens
HeadSketch             the one block of tier head: two-sided random projection of the output head's weight gradient
compute_head_batch     a batch of samples → sketched gradient of every span's loss in the output head's weight
compute_state_batch    a batch of samples → mean final normed hidden state of every span's tokens: no gradient
HiddenTier, StateTier, HeadTier   the implementations of the three tiers

For token ``t`` the gradient is ``W_Uᵀ(softmax(z_t) − onehot(x_t))`` (``methods`` §1.1). Autograd over the output head
computes it, so that heads with a scale or a soft cap are exact too. Tier head [ours] takes the outer product
``Σ_t δ_t h_tᵀ``, with ``δ_t`` at the logits and ``h_t`` the head's input. So the words that were expected instead of
those said differ even where their rows of ``W_U`` are similar, and the state in which they were expected counts too.
Where the head shares its weight with the token embedding, this is the head's part of that weight's gradient.

Shapes: B batch, T tokens, D model width, V vocabulary, S spans, n longest span, P sketch width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from gsd_core.capture.batches import PaddedChunk, assign_spans, count_padded, mark_answers, spread_slopes
from gsd_core.capture.deferred_head import DeferredHead, HeadLosses
from gsd_core.capture.hooks import ModuleTap
from gsd_core.capture.modules import OUTPUT_HEAD, CapturedModule, ModuleSelection
from gsd_core.capture.position import forward_whole, gather_rows, make_span_batch, span_rows
from gsd_core.capture.sketch import LayerBlock, compute_projection, make_module_sketch
from gsd_core.capture.tier_capture import ALL_LOSSES, CaptureConfig, SpanBatch, Wanted, get_pad_id
from gsd_core.models.devices import input_device
from gsd_core.types import TokenizedSample


class HiddenSketch:
    """Direction of tier ``hidden``: the D numbers, or a random projection onto `width` where D is larger."""

    def __init__(self, model_width: int, width: int, seed: int, device: torch.device | str = "cpu") -> None:
        self.matrix = compute_projection(width, model_width, seed, "hidden", device)
        self.width = min(model_width, width)
        self.blocks = [LayerBlock("final hidden state", 0, self.width)]

    def project(self, gradients: torch.Tensor) -> torch.Tensor:
        """(…, D) → (…, P) float32."""
        gradients = gradients.to(torch.float32)
        return gradients if self.matrix is None else gradients @ self.matrix.T


class HeadSketch:
    """Direction of tier ``head``: ``(P δ)(Q h)ᵀ``, p = q ≈ √width, flattened; a narrower side is not projected."""

    def __init__(
        self, vocabulary: int, model_width: int, width: int, seed: int, device: torch.device | str = "cpu"
    ) -> None:
        q = min(model_width, max(1, math.isqrt(width)))
        p = min(vocabulary, max(1, width // q))
        self.modules = [make_module_sketch("head", vocabulary, model_width, (p, q), seed, device)]
        self.width = p * q
        self.blocks = [LayerBlock(OUTPUT_HEAD, 0, self.width)]


@torch.no_grad()
def _run_decoder(
    model: Any, head: DeferredHead, samples: Sequence[TokenizedSample], pad_id: int, padding: str
) -> tuple[PaddedChunk, torch.Tensor]:
    """(chunk, the output head's input (B, T, D)), without a graph."""
    chunk, _ = forward_whole(model, samples, pad_id, padding)
    return chunk, head.take_states()


def _differentiate(
    head: DeferredHead,
    states: torch.Tensor,
    chunk: PaddedChunk,
    samples: Sequence[TokenizedSample],
    wanted: Wanted,
    tap: ModuleTap | None = None,
    sketch: HeadSketch | None = None,
) -> tuple[HeadLosses, list[torch.Tensor] | None]:
    """Gradients of the losses of spans' tokens, and what else is `wanted`, at `states`; gradients by token."""
    needed = torch.from_numpy(assign_spans(samples, chunk.positions, chunk.valid)[0] >= 0).to(chunk.ids.device)
    if wanted.token_gradients:
        needed |= mark_answers(samples, chunk.positions, chunk.valid)
    found = head.differentiate(states, chunk.targets, needed.to(torch.float32), tap, sketch)
    if wanted.all_token_losses:
        head.read_rest(states, chunk.targets, found.losses)
    by_token = None
    if wanted.token_gradients:
        by_token = spread_slopes(found.slopes, needed.to(torch.float32), chunk.positions, chunk.valid, samples)
    return found, by_token


def compute_token_gradients(
    model: PreTrainedModel, samples: Sequence[TokenizedSample], pad_id: int = 0, padding: str = "right"
) -> tuple[PaddedChunk, torch.Tensor, torch.Tensor]:
    """(chunk, token losses (B, T), gradients (B, T, D) float32 of each token's own loss); row t predicts token t + 1.

    Call it inside ``FrozenModel(model)``: with every parameter frozen, only the head is differentiated.
    """
    with DeferredHead(model) as head:
        chunk, states = _run_decoder(model, head, samples, pad_id, padding)
        found = head.differentiate(states, chunk.targets, (chunk.targets != -100).to(torch.float32))
    return chunk, found.losses, found.slopes.to(chunk.ids.device, torch.float32)


def compute_hidden_batch(
    model: PreTrainedModel,
    sketch: HiddenSketch,
    samples: Sequence[TokenizedSample],
    pad_id: int = 0,
    padding: str = "right",
    wanted: Wanted = ALL_LOSSES,
) -> SpanBatch:
    """Mean hidden-state gradient of every span's tokens; coherence over the tokens' exact gradients.

    Call it inside ``FrozenModel(model)``.
    """
    with DeferredHead(model) as head:
        chunk, states = _run_decoder(model, head, samples, pad_id, padding)
        found, by_token = _differentiate(head, states, chunk, samples, wanted)
    rows, real = span_rows(chunk, samples)
    of_span = gather_rows(found.slopes.to(rows.device, torch.float32), rows, real)
    return replace(_average_tokens(of_span, real, sketch, chunk, found.losses, samples), token_gradients=by_token)


def compute_head_batch(
    model: PreTrainedModel,
    sketch: HeadSketch,
    samples: Sequence[TokenizedSample],
    pad_id: int = 0,
    padding: str = "right",
    wanted: Wanted = ALL_LOSSES,
) -> SpanBatch:
    """Sketched gradient of every span's mean loss in the output head's weight; coherence over the tokens' sketches.

    Call it inside ``FrozenModel(model)``: with every parameter frozen, only the head is differentiated.
    """
    module: nn.Linear = model.get_output_embeddings()
    only_head = ModuleSelection(
        (CapturedModule(OUTPUT_HEAD, OUTPUT_HEAD, module, module.out_features, module.in_features),), {}
    )
    with DeferredHead(model) as head, ModuleTap(only_head, sketch) as tap:
        chunk, states = _run_decoder(model, head, samples, pad_id, padding)
        found, by_token = _differentiate(head, states, chunk, samples, wanted, tap, sketch)
    ((_, inputs, deltas),) = found.calls
    rows, real = span_rows(chunk, samples)
    n_rows, n_spans, _ = rows.shape
    left, right = (gather_rows(each.to(rows.device), rows, real) for each in (deltas, inputs))
    n_tokens = real.sum(2).clamp_min(1)[..., None]
    total = (left.transpose(2, 3) @ right).view(n_rows, n_spans, -1)
    norms = (left.norm(dim=-1) * right.norm(dim=-1)).sum(2).clamp_min(1e-30)
    return make_span_batch(total / n_tokens, total.norm(dim=-1) / norms, chunk, found.losses, samples, by_token)


def compute_state_batch(
    model: PreTrainedModel,
    sketch: HiddenSketch,
    samples: Sequence[TokenizedSample],
    pad_id: int = 0,
    padding: str = "right",
    wanted: Wanted = ALL_LOSSES,
) -> SpanBatch:
    """Mean final normed hidden state at every span's own tokens: the baseline of gradients (``methods`` §5).

    Coherence is ``‖Σ_t h_t‖ / Σ_t ‖h_t‖``.
    """
    with DeferredHead(model) as head:
        chunk, states = _run_decoder(model, head, samples, pad_id, padding)
        if wanted.token_gradients:
            found, by_token = _differentiate(head, states, chunk, samples, wanted)
            losses = found.losses
        else:
            by_token, losses = None, torch.full(chunk.targets.shape, torch.nan, device=chunk.targets.device)
            needed = assign_spans(samples, chunk.positions, chunk.valid)[0] >= 0
            rest = (chunk.targets != -100) if wanted.all_token_losses else torch.from_numpy(needed).to(losses.device)
            losses[rest] = head.read_losses(states, chunk.targets, rest)
    rows, real = span_rows(chunk, samples)
    hidden = states.to(rows.device, torch.float32)
    of_span = gather_rows(hidden, rows + real.to(rows.dtype), real)
    return replace(_average_tokens(of_span, real, sketch, chunk, losses, samples), token_gradients=by_token)


def _average_tokens(
    of_span: torch.Tensor,
    real: torch.Tensor,
    sketch: HiddenSketch,
    chunk: PaddedChunk,
    losses: torch.Tensor,
    samples: Sequence[TokenizedSample],
) -> SpanBatch:
    """Values of every span's tokens (B, S, n, D), zero where not `real` (B, S, n) → projected mean and coherence."""
    total = of_span.sum(2)
    norms = of_span.norm(dim=-1).sum(2).clamp_min(1e-30)
    mean = total / real.sum(2).clamp_min(1)[..., None]
    return make_span_batch(sketch.project(mean), total.norm(dim=-1) / norms, chunk, losses, samples)


class HiddenTier:
    """Mean gradients at the final hidden state; a ``TierCapture``."""

    selection: ModuleSelection | None = None
    _compute: Callable[..., SpanBatch] = staticmethod(compute_hidden_batch)

    def __init__(self, model: PreTrainedModel, config: CaptureConfig) -> None:
        self.model, self.config, self.pad_id = model, config, get_pad_id(model)
        self.sketch = self._make_sketch(model, config.sketch_width, config.seed, input_device(model))

    @staticmethod
    def _make_sketch(model: Any, width: int, seed: int, device: torch.device) -> Any:
        return HiddenSketch(model.config.get_text_config().hidden_size, width, seed, device)

    def __call__(self, samples: Sequence[TokenizedSample], window: int | None = None) -> SpanBatch:
        """See ``compute_hidden_batch``, ``compute_state_batch`` and ``compute_head_batch``."""
        return self._compute(self.model, self.sketch, samples, self.pad_id, wanted=self.config.wanted)

    def count_passes(self, samples: Sequence[TokenizedSample], window: int | None = None) -> float:
        """One forward pass."""
        return count_padded(samples)


class StateTier(HiddenTier):
    """Mean final hidden states; a ``TierCapture``."""

    _compute = staticmethod(compute_state_batch)


class HeadTier(HiddenTier):
    """Gradients in the output head's weight; a ``TierCapture``."""

    _compute = staticmethod(compute_head_batch)

    @staticmethod
    def _make_sketch(model: Any, width: int, seed: int, device: torch.device) -> Any:
        head = model.get_output_embeddings()
        return HeadSketch(head.out_features, head.in_features, width, seed, device)
