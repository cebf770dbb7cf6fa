"""Tier ``hidden``: the gradient with respect to the final normed hidden state, from a forward pass alone.

HiddenSketch           the one block of this tier: identity, or a random projection where the model is wider
compute_hidden_batch   a batch of samples → mean gradient of every span's tokens

For token ``t`` the gradient is ``W_Uᵀ(softmax(z_t) − onehot(x_t))`` (``methods`` §1.1). It is taken by autograd over
the output head only, so that heads with a scale or a soft cap are exact too.

Shapes: B batch, T tokens, D model width, S spans, P sketch width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from gsd_core.capture.accumulate import token_losses_of
from gsd_core.capture.position import forward_whole, span_rows, unpad_losses
from gsd_core.capture.sketch import LayerBlock, compute_projection
from gsd_core.capture.span import SpanBatch
from gsd_core.errors import UserError
from gsd_core.types import TokenizedSample


class HiddenSketch:
    """Direction of tier ``hidden``: D numbers as they are, or a random projection onto `width` where D is larger."""

    def __init__(self, model_width: int, width: int, seed: int, device: torch.device | str = "cpu") -> None:
        matrix = compute_projection(width, model_width, seed, "hidden")
        self.matrix = None if matrix is None else matrix.to(device)
        self.width = min(model_width, width)
        self.blocks = [LayerBlock("final hidden state", 0, self.width)]

    def project(self, gradients: torch.Tensor) -> torch.Tensor:
        """(…, D) → (…, P) float32."""
        gradients = gradients.to(torch.float32)
        return gradients if self.matrix is None else gradients @ self.matrix.T


class _HeadInput:
    """Context: the output head's input becomes the root of the graph, and is kept."""

    def __init__(self, model: Any) -> None:
        self.head: nn.Module | None = model.get_output_embeddings()
        if self.head is None:
            raise UserError(
                "it has no output head, so no token loss can be computed",
                f"model {type(model).__name__}",
                "load a causal language model",
            )
        self.tensor: torch.Tensor | None = None

    def __enter__(self) -> _HeadInput:
        assert self.head is not None
        self._handle = self.head.register_forward_pre_hook(self._hook)
        return self

    def __exit__(self, *details: object) -> None:
        self._handle.remove()

    def _hook(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        self.tensor = args[0].detach().requires_grad_(True)
        return (self.tensor, *args[1:])


def compute_hidden_batch(
    model: PreTrainedModel,
    sketch: HiddenSketch,
    samples: Sequence[TokenizedSample],
    pad_id: int = 0,
    padding: str = "right",
) -> SpanBatch:
    """Mean hidden-state gradient of every span's tokens; coherence over the tokens' exact gradients.

    Call it inside ``FrozenModel(model)``: with every parameter frozen, only the head is differentiated.
    """
    with _HeadInput(model) as head:
        with torch.enable_grad():
            chunk, logits = forward_whole(model, samples, pad_id, padding)
            losses = token_losses_of(logits, chunk.targets)
        assert head.tensor is not None
        (per_token,) = torch.autograd.grad(losses.sum(), [head.tensor])
    rows, real = span_rows(chunk, samples)
    batch, n_spans, longest = rows.shape
    per_token = per_token.to(torch.float32)
    index = rows.flatten(1)[:, :, None].expand(-1, -1, per_token.shape[-1])
    of_span = per_token.gather(1, index).view(batch, n_spans, longest, -1) * real[..., None]
    total = of_span.sum(2)
    mean = total / real.sum(2).clamp_min(1)[..., None]
    norms = of_span.norm(dim=-1).sum(2).clamp_min(1e-30)
    coherence = (total.norm(dim=-1) / norms).clamp(0, 1).cpu().numpy()
    projected = sketch.project(mean).cpu().numpy()
    return SpanBatch(
        [projected[i, : len(s.spans)] for i, s in enumerate(samples)],
        [coherence[i, : len(s.spans)] for i, s in enumerate(samples)],
        unpad_losses(chunk, losses, samples),
    )
