"""The output head, run later and only for the tokens whose loss is needed.

DeferredHead     context in which a forward pass leaves out the head; losses are computed afterwards, block by block
HeadLosses       token losses, their gradients at the head's input, and the calls of captured modules in the head
BLOCK_LOGITS     logits of a block

The logits of all tokens would be the largest tensor of a capture, and a span's loss needs only those of its own tokens.
The rows of a block go through the model's own code after its decoder, so a scale or a soft cap on the logits is
included: the decoder runs on one token, and the head gets the block in place of the decoder's output.

Shapes: B batch, T positions, n rows of a block, D model width, V vocabulary, p, q sketch rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import get_gradient_edge
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from gsd_core.capture.accumulate import token_losses_of
from gsd_core.capture.hooks import ModuleTap
from gsd_core.errors import UserError
from gsd_core.models.devices import input_device

BLOCK_LOGITS = {"cpu": 2**24, "cuda": 2**28}
"""Logits (n, V) of a block; float32 copies come on top."""


@dataclass(frozen=True, slots=True)
class HeadLosses:
    """``losses`` (B, T) float32 nats, NaN where the weight is 0; ``slopes`` (B, T, D), gradient at the head's input.

    ``calls`` are the captured modules in the head: index, projected input (B, T, q) and output gradient (B, T, p).
    """

    losses: torch.Tensor
    slopes: torch.Tensor
    calls: list[tuple[int, torch.Tensor, torch.Tensor]]


class DeferredHead:
    """Make `model` stop before its output head while the context lasts.

    After a forward pass :meth:`take_states` gives the head's input; ``root`` are the token embeddings.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model: Any = model
        self._states: torch.Tensor | None = None
        self.root: torch.Tensor | None = None
        self._block: torch.Tensor | None = None
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> DeferredHead:
        head = self._model.get_output_embeddings()
        if head is not None:  # without one :meth:`take_states` raises
            self._handles.append(head.register_forward_pre_hook(self._swap))
        self._handles.append(self._model.get_input_embeddings().register_forward_hook(self._keep_root))
        return self

    def __exit__(self, *details: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles, self._states, self.root, self._block = [], None, None, None

    def _keep_root(self, module: nn.Module, args: Any, output: torch.Tensor) -> None:
        if self._block is None:
            self.root = output

    def _swap(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        if self._block is None:
            self._states = args[0]
            return (args[0][:, :1].detach(), *args[1:])
        torch.set_grad_enabled(self._block.requires_grad)  # until the caller's no_grad ends
        return (self._block, *args[1:])

    def take_states(self) -> torch.Tensor:
        """The head's input (B, T, D) in the last forward pass, with its graph.

        Raises
        ------
        UserError
            The model has no output head that its forward pass calls.
        """
        states, self._states = self._states, None
        if states is None:
            raise UserError(
                "its forward pass calls no output head, so no token loss can be differentiated",
                f"model {type(self._model).__name__}",
                "load a causal language model",
            )
        return states

    def differentiate(
        self,
        states: torch.Tensor,
        targets: torch.Tensor,
        weights: torch.Tensor,
        tap: ModuleTap | None = None,
        sketch: Any = None,
    ) -> HeadLosses:
        """Gradient of ``Σ weights · losses`` at the head's input `states` (B, T, D); rows of weight 0 are left out.

        Calls of modules that `tap` watches are projected by ``sketch.modules``.
        """
        flat, goals, loads = states.detach().flatten(0, 1), targets.flatten(), weights.flatten()
        losses, slopes = torch.full_like(loads, torch.nan), torch.zeros_like(flat)
        calls: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        for rows in self._iter_blocks(weights != 0):
            at = rows.to(flat.device)  # the states may lie on another device than targets and logits
            block, logits = self._run(flat.index_select(0, at), with_graph=True)
            found = tap.take() if tap else []
            with torch.enable_grad():
                lost = token_losses_of(logits, goals[None, rows])[0]
                total = (lost * loads[rows]).sum()
            wanted = [get_gradient_edge(block), *(call.edge for call in found)]
            slope, *deltas = torch.autograd.grad(total, wanted)
            losses[rows], slopes[at] = lost.detach(), slope[0]
            for call, delta in zip(found, deltas, strict=True):
                left = sketch.modules[call.module].project_output_gradient(delta)[0]
                if call.module not in calls:
                    calls[call.module] = (
                        left.new_zeros(len(goals), call.inputs.shape[-1]),
                        left.new_zeros(len(goals), left.shape[-1]),
                    )
                inputs, outputs = calls[call.module]
                inputs[rows.to(left.device)], outputs[rows.to(left.device)] = call.inputs[0], left
        size = targets.shape
        return HeadLosses(
            losses.view(size),
            slopes.view_as(states),
            [(module, a.view(*size, -1), b.view(*size, -1)) for module, (a, b) in calls.items()],
        )

    def read_losses(self, states: torch.Tensor, targets: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """Losses (n,) of the n targets (B, T) that are `wanted` (B, T) bool, row by row, without a gradient."""
        flat, goals = states.detach().flatten(0, 1), targets.flatten()
        blocks = [
            token_losses_of(self._run(flat.index_select(0, rows.to(flat.device)), False)[1], goals[None, rows])[0]
            for rows in self._iter_blocks(wanted)
        ]
        return torch.cat(blocks) if blocks else torch.zeros(0, device=targets.device)

    def read_rest(self, states: torch.Tensor, targets: torch.Tensor, losses: torch.Tensor) -> None:
        """Write the losses that are NaN in `losses` (B, T) and have a target."""
        rest = losses.isnan() & (targets != -100)
        losses[rest] = self.read_losses(states, targets, rest)

    def _iter_blocks(self, wanted: torch.Tensor) -> Sequence[torch.Tensor]:
        """Flat indices of the `wanted` (B, T), cut so that a block's logits stay within the limit."""
        config: Any = self._model.config.get_text_config()
        limit = BLOCK_LOGITS.get(wanted.device.type, BLOCK_LOGITS["cuda"])
        rows = wanted.flatten().nonzero().flatten()
        return rows.split(max(1, limit // config.vocab_size)) if len(rows) else ()

    def _run(self, rows: torch.Tensor, with_graph: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows (n, D) → the same as a leaf (1, n, D), and their logits (1, n, V)."""
        one_token = torch.zeros(1, 1, dtype=torch.int64, device=input_device(self._model))
        self._block = rows[None].requires_grad_(with_graph)
        try:
            with torch.no_grad():
                logits = self._model(input_ids=one_token, use_cache=False).logits
            return self._block, logits
        finally:
            self._block = None
