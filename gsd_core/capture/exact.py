"""Gradients without a sketch, for a few spans: the second stage after a search among sketched directions.

DenseGradient        one span's gradient in the captured modules' weights, without projection
compute_dense        a span's dense gradient, one forward and one backward pass
compute_products     ⟨gradient of every token's loss, a dense gradient⟩ of a sample, one forward-mode pass

``⟨g_span, q⟩`` for one query direction and every span of a sample is computed exactly by one JVP (``methods`` §1.2):
the forward pass also computes its derivative along q, so no gradient of a candidate is ever formed. Hooks add ``V a``
to the tangent of each captured module's output. This holds for shared weights, low-rank adapters and transposed
layouts, and only for the modules that the sketch has.

Shapes: T tokens, M modules.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.autograd.forward_ad as fwd
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedModel

from gsd_core.capture.accumulate import token_losses_of
from gsd_core.capture.hooks import FrozenModel, hook_captured
from gsd_core.capture.modules import ModuleSelection
from gsd_core.capture.position import forward_whole
from gsd_core.errors import UserError
from gsd_core.types import TokenizedSample, TokenSpan


@dataclass(frozen=True, slots=True)
class DenseGradient:
    """``weights``: (d_out, d_in) a captured module, in the selection's order; ``norm`` over all of them."""

    weights: list[torch.Tensor]
    norm: float

    def dot(self, other: DenseGradient) -> float:
        """Inner product with another one of the same modules."""
        return float(sum((a.double() * b.double()).sum() for a, b in zip(self.weights, other.weights, strict=True)))


def compute_dense(
    model: PreTrainedModel,
    selection: ModuleSelection,
    sample: TokenizedSample,
    span: TokenSpan,
    pad_id: int = 0,
) -> DenseGradient:
    """Gradient of the span's mean loss in every captured weight, with all of its context (window ``all``)."""
    calls: list[tuple[int, torch.Tensor, torch.Tensor]] = []

    def watch(index: int) -> Any:
        def hook(module: Any, args: tuple[Any, ...], output: torch.Tensor) -> None:
            calls.append((index, args[0].detach(), output))

        return hook

    with FrozenModel(model), hook_captured(selection, watch), torch.enable_grad():
        chunk, logits = forward_whole(model, [sample], pad_id)
        loss = token_losses_of(logits, chunk.targets)[0, span.start - 1 : span.end - 1].mean()
        deltas = torch.autograd.grad(loss, [output for _, _, output in calls], allow_unused=True)
    weights = [
        torch.zeros(c.d_out, c.d_in, dtype=torch.float32, device=next(c.module.parameters()).device)
        for c in selection.captured
    ]
    for (index, inputs, _), delta in zip(calls, deltas, strict=True):
        if delta is not None:
            weights[index] += delta.flatten(0, -2).to(torch.float32).T @ inputs.flatten(0, -2).to(torch.float32)
    return DenseGradient(weights, math.sqrt(sum(float(w.double().square().sum()) for w in weights)))


def compute_products(
    model: PreTrainedModel,
    selection: ModuleSelection,
    samples: Sequence[TokenizedSample],
    direction: DenseGradient,
    pad_id: int = 0,
) -> list[torch.Tensor]:
    """Per sample (T,) float32: ``⟨∇ loss of token t, direction⟩``; 0 for the first token. About three forward passes.

    The mean over a span's tokens is the product of the span's gradient with the direction.

    Raises
    ------
    UserError
        Where a part of the model has no forward-mode derivative.
    """

    def push(index: int) -> Any:
        def hook(module: Any, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
            primal = fwd.unpack_dual(args[0]).primal
            tangent = (primal.to(torch.float32) @ direction.weights[index].T).to(output.dtype)
            value, known = fwd.unpack_dual(output)
            return fwd.make_dual(value, tangent if known is None else known + tangent)

        return hook

    try:
        with (
            FrozenModel(model),
            torch.no_grad(),
            fwd.dual_level(),
            hook_captured(selection, push),
            sdpa_kernel(SDPBackend.MATH),  # fused attention has no forward-mode derivative
        ):
            chunk, logits = forward_whole(model, samples, pad_id)
            # Cross entropy by hand: its fused form has no forward-mode derivative.
            log_p = torch.log_softmax(logits.to(torch.float32), dim=-1)
            losses = -log_p.gather(-1, chunk.targets.clamp_min(0)[..., None])[..., 0]
            tangents = fwd.unpack_dual(losses).tangent
    except NotImplementedError as problem:
        raise UserError(
            f"a part of it has no forward-mode derivative ({str(problem).splitlines()[0][:160]})",
            f"model {type(model).__name__}",
            "use the sketched cosines",
        ) from problem
    if tangents is None:  # no weight of the direction affects the loss
        tangents = torch.zeros_like(chunk.targets, dtype=torch.float32)
    found = []
    for row, sample in enumerate(samples):
        own = tangents[row][chunk.valid[row]]
        found.append(torch.cat([own.new_zeros(1), own[: len(sample.token_ids) - 1]]))
    return found
