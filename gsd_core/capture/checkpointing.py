"""Layers that keep what they were given and compute the rest again when a backward pass comes by.

CheckpointedLayers   context: the decoder layers of a model are computed again in every backward pass

Memory is then that of one layer's graph and of each layer's input, whatever the length of a trace; each backward pass
costs a forward pass more. transformers' own switch works in training mode only, where dropout is on, and forbids the
cache; this one keeps the model as ``FrozenModel`` made it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from gsd_core.errors import UserError


class CheckpointedLayers:
    """Checkpoint the decoder layers of `model`, and undo it on exit.

    Results are those without it, but for the order of sums. What looks at a layer's modules sees them called again in
    a backward pass.

    Raises
    ------
    UserError
        On construction, where the model does not say what its layers are.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._layers = _find_layers(model)
        if not self._layers:
            raise UserError(
                "its layers cannot be computed again: none is a checkpointing layer of transformers",
                f"model {type(model).__name__}",
                "leave out --gradient-checkpointing; a smaller --batch-tokens needs less memory too",
            )
        self._kept: list[Any] = []

    def __enter__(self) -> CheckpointedLayers:
        # An instance may hold a forward of its own: what moves weights between devices puts it there.
        self._kept = [vars(layer).get("forward") for layer in self._layers]
        for layer in self._layers:
            layer.forward = _compute_again(layer.forward)
        return self

    def __exit__(self, *details: object) -> None:
        for layer, kept in zip(self._layers, self._kept, strict=True):
            if kept is None:
                del layer.forward
            else:
                layer.forward = kept
        self._kept = []


def _find_layers(model: nn.Module) -> list[nn.Module]:
    """Outermost checkpointing layers, in the model's order."""
    found: list[nn.Module] = []
    waiting = [model]
    while waiting:
        module = waiting.pop()
        if isinstance(module, GradientCheckpointingLayer):
            found.append(module)
        else:
            waiting.extend(reversed(list(module.children())))
    return found


def _compute_again(forward: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(forward)
    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        # Frozen models draw no random numbers.
        return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

    return checkpointed
