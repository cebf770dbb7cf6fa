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
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from gsd_core.capture.accumulate import token_losses_of
from gsd_core.capture.batches import PaddedChunk, count_padded
from gsd_core.capture.hooks import hooked
from gsd_core.capture.modules import OUTPUT_HEAD, ModuleSelection
from gsd_core.capture.position import forward_whole, gather_rows, make_span_batch, span_rows
from gsd_core.capture.sketch import LayerBlock, compute_projection, make_module_sketch
from gsd_core.capture.tier_capture import CaptureConfig, SpanBatch, get_pad_id
from gsd_core.errors import UserError
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
        self.module = make_module_sketch("head", vocabulary, model_width, (p, q), seed, device)
        self.width = p * q
        self.blocks = [LayerBlock(OUTPUT_HEAD, 0, self.width)]


def _run_head(
    model: Any, samples: Sequence[TokenizedSample], pad_id: int, padding: str, with_graph: bool = True
) -> tuple[PaddedChunk, torch.Tensor, torch.Tensor, torch.Tensor]:
    """(chunk, token losses (B, T), the output head's input (B, T, D), its output); the graph begins at the input."""
    head: nn.Module | None = model.get_output_embeddings()
    if head is None:
        raise UserError(
            "it has no output head, so no token loss can be computed",
            f"model {type(model).__name__}",
            "load a causal language model",
        )
    seen: dict[str, torch.Tensor] = {}

    def cut(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        seen["input"] = args[0].detach().requires_grad_(True)
        return (seen["input"], *args[1:])

    def keep(module: nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> None:
        seen["output"] = output

    hooks = (head.register_forward_pre_hook(cut), head.register_forward_hook(keep))
    with hooked(hooks), torch.set_grad_enabled(with_graph):
        chunk, logits = forward_whole(model, samples, pad_id, padding)
        losses = token_losses_of(logits, chunk.targets)
    return chunk, losses, seen["input"], seen["output"]


def compute_token_gradients(
    model: PreTrainedModel, samples: Sequence[TokenizedSample], pad_id: int = 0, padding: str = "right"
) -> tuple[PaddedChunk, torch.Tensor, torch.Tensor]:
    """(chunk, token losses (B, T), gradients (B, T, D) float32 of each token's own loss); row t predicts token t + 1.

    Call it inside ``FrozenModel(model)``: with every parameter frozen, only the head is differentiated.
    """
    chunk, losses, states, _ = _run_head(model, samples, pad_id, padding)
    (per_token,) = torch.autograd.grad(losses.sum(), [states])
    return chunk, losses.detach(), per_token.to(chunk.ids.device, torch.float32)


def compute_hidden_batch(
    model: PreTrainedModel,
    sketch: HiddenSketch,
    samples: Sequence[TokenizedSample],
    pad_id: int = 0,
    padding: str = "right",
) -> SpanBatch:
    """Mean hidden-state gradient of every span's tokens; coherence over the tokens' exact gradients.

    Call it inside ``FrozenModel(model)``.
    """
    chunk, losses, per_token = compute_token_gradients(model, samples, pad_id, padding)
    rows, real = span_rows(chunk, samples)
    return _average_tokens(gather_rows(per_token, rows, real), real, sketch, chunk, losses, samples)


def compute_head_batch(
    model: PreTrainedModel,
    sketch: HeadSketch,
    samples: Sequence[TokenizedSample],
    pad_id: int = 0,
    padding: str = "right",
) -> SpanBatch:
    """Sketched gradient of every span's mean loss in the output head's weight; coherence over the tokens' sketches.

    Call it inside ``FrozenModel(model)``: with every parameter frozen, only the head is differentiated.
    """
    chunk, losses, states, output = _run_head(model, samples, pad_id, padding)
    (deltas,) = torch.autograd.grad(losses.sum(), [output])
    rows, real = span_rows(chunk, samples)
    batch, n_spans, _ = rows.shape
    left = gather_rows(sketch.module.project_output_gradient(deltas.to(rows.device)), rows, real)
    right = gather_rows(sketch.module.project_input(states.detach().to(rows.device)), rows, real)
    n_tokens = real.sum(2).clamp_min(1)[..., None]
    total = (left.transpose(2, 3) @ right).view(batch, n_spans, -1)
    norms = (left.norm(dim=-1) * right.norm(dim=-1)).sum(2).clamp_min(1e-30)
    return make_span_batch(total / n_tokens, total.norm(dim=-1) / norms, chunk, losses, samples)


def compute_state_batch(
    model: PreTrainedModel,
    sketch: HiddenSketch,
    samples: Sequence[TokenizedSample],
    pad_id: int = 0,
    padding: str = "right",
) -> SpanBatch:
    """Mean final normed hidden state at every span's own tokens: the baseline of gradients (``methods`` §5).

    Coherence is ``‖Σ_t h_t‖ / Σ_t ‖h_t‖``.
    """
    chunk, losses, states, _ = _run_head(model, samples, pad_id, padding, with_graph=False)
    rows, real = span_rows(chunk, samples)
    hidden = states.detach().to(rows.device, torch.float32)
    of_span = gather_rows(hidden, rows + real.to(rows.dtype), real)
    return _average_tokens(of_span, real, sketch, chunk, losses, samples)


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
        self.model, self.pad_id = model, get_pad_id(model)
        self.sketch = self._make_sketch(model, config.sketch_width, config.seed, input_device(model))

    @staticmethod
    def _make_sketch(model: Any, width: int, seed: int, device: torch.device) -> Any:
        return HiddenSketch(model.config.get_text_config().hidden_size, width, seed, device)

    def __call__(self, samples: Sequence[TokenizedSample], window: int | None = None) -> SpanBatch:
        """See ``compute_hidden_batch``, ``compute_state_batch`` and ``compute_head_batch``."""
        return self._compute(self.model, self.sketch, samples, self.pad_id)

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
