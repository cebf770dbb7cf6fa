"""Layers that store their inputs only and compute the rest again in each backward pass.

CheckpointedLayers   context in which the decoder layers of a model are computed again in every backward pass

Memory is then that of one layer's graph and of each layer's input; each backward pass costs one more forward pass.
transformers' own switch works only in training mode, where dropout is on, and forbids the cache; this one keeps the
model as ``FrozenModel`` has it.
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

    Results are equal up to the order of sums. Hooks of a layer's modules are called again in a backward pass.

    Raises
    ------
    UserError
        On construction, where the model has no layers of transformers' checkpointing class.
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
        # An instance may have its own forward: the code that moves weights between devices sets it.
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
    """The outermost checkpointing layers, in the model's order."""
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
