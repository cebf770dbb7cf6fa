"""What capture asks of the implementation of a tier.

CaptureConfig   how to capture
SKETCH_RANK     rank of a module's projection where none is given
Wanted          what is computed beside the vectors of spans
ALL_LOSSES      losses of all tokens, and no more
SpanBatch       the vectors of a batch of samples
TierCapture     protocol: a tier made ready for one model
ModuleTier      base of implementations that project the gradients of modules
make_tier       the implementation that the list of tiers names
check_tier      refuses a model that lacks what a tier needs
get_pad_id      the token id that fills rows up

Shapes: S spans of a sample, T its tokens, P sketch width.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from gsd_core.capture.modules import ModuleSelection, find_fused_experts, select_modules
from gsd_core.capture.sketch import Calibration, Sketch
from gsd_core.errors import UserError
from gsd_core.models.devices import input_device
from gsd_core.tiers import DEFAULT_TIER, NEEDS, TIERS, Tier, join_tiers
from gsd_core.types import TokenizedSample

SKETCH_RANK = 32
SUPPORTED_ATTENTION = {"full_attention", "sliding_attention"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is computed beside the vectors of spans: losses of tokens outside them, and gradients by token."""

    all_token_losses: bool = True
    token_gradients: bool = False

    @property
    def after_spans(self) -> bool:
        """Whether the forward pass goes on after the last span."""
        return self.all_token_losses or self.token_gradients


ALL_LOSSES = Wanted()


@dataclass(frozen=True, slots=True)
class CaptureConfig:
    """How to capture."""

    tier: str = DEFAULT_TIER
    """Name in ``gsd_core.tiers.TIERS``."""
    window: int | None = None
    """Spans before the span through which the gradient still flows; None: all, the exact gradient. Only for a tier that
    has a window."""
    sketch_width: int = 2048
    """Requested width P of a direction, in numbers."""
    sketch_rank: int = SKETCH_RANK
    """p = q of the two-sided projection of each module."""
    calibration: Calibration | None = None
    """What the sketch knows of the model's gradients, where it is not random; it decides width and rank."""
    seed: int = 0
    """Seed of the sketch and of the choice of audited samples."""
    batch_tokens: int = 4096
    """Padded tokens a batch."""
    audit_share: float = 0.02
    """Share of samples captured at the full window too, to report the window's cosine to the exact gradient."""
    lora: str = "adapters"
    """For peft models: ``adapters`` or ``base``."""
    with_head: bool = True
    """Tiers with an optional head: the output head's weight gradient is a block of its own in every direction."""
    measures: bool = False
    """Also take spectral strength and the GRACE-like score of every span, from the gradients at the head's input."""
    all_token_losses: bool = True
    """Also compute losses of tokens outside spans (one forward pass more over the text after the last span)."""
    gradient_checkpointing: bool = False
    """Compute every layer again in each backward pass instead of keeping its graph, where the tier has such passes."""

    @property
    def wanted(self) -> Wanted:
        """What is computed beside the vectors of spans."""
        return Wanted(self.all_token_losses, self.measures)


@dataclass(frozen=True, slots=True)
class SpanBatch:
    """``gradients[i]`` (S_i, P) float32, ``coherence[i]`` (S_i,), ``token_losses[i]`` (T_i,) float32 nats.

    With ``CaptureConfig.measures`` also ``token_gradients[i]`` (T_i - 1, D) float32: row t is the gradient of token
    t + 1's own loss at the head's input, at least for tokens of spans and after the last one.
    """

    gradients: list[np.ndarray]
    coherence: list[np.ndarray]
    token_losses: list[np.ndarray]
    token_gradients: list[torch.Tensor] | None = None


class TierCapture(Protocol):
    """A tier made ready for one model: ``Tier.implementation`` is a class that is called with (model, config).

    ``sketch`` has the ``width`` P of its vectors and their ``blocks``, a ``LayerBlock`` for each layer; ``selection``
    are the modules whose gradients they hold, None where no module's are.
    """

    config: CaptureConfig

    @property
    def sketch(self) -> Any: ...

    @property
    def selection(self) -> ModuleSelection | None: ...

    def __call__(self, samples: Sequence[TokenizedSample], window: int | None) -> SpanBatch:
        """Vectors of all spans of a batch, before they are scaled to unit length.

        * Every sample has at least one span. The model is frozen (``FrozenModel``) while it is called.
        * A sample's result depends on that sample alone, whatever shares its batch, up to the order of sums.
        * `window` counts the spans through which the gradient still flows, None for all; it is None for a tier without
          window.
        * Nothing is left behind in the model: no hook, no gradient, no flag, whatever happens.
        * ``UserError`` where the model cannot be served after all. Memory that runs out raises what torch raises; the
          caller tries again with fewer samples.
        """
        ...

    def count_passes(self, samples: Sequence[TokenizedSample], window: int | None) -> float:
        """About how many padded columns a call takes through the model, forward and backward passes added up.

        Progress is computed from it (``pulse.py``); no result depends on it.
        """
        ...


class ModuleTier:
    """Base of implementations that project the gradients of linear modules."""

    def __init__(self, model: PreTrainedModel, config: CaptureConfig) -> None:
        self.model, self.config = model, config
        self.pad_id = get_pad_id(model)
        self.selection = select_modules(model, config.lora, config.with_head)
        self.sketch = Sketch(
            [(c.name, c.layer, c.d_out, c.d_in) for c in self.selection.captured],
            config.sketch_width,
            config.sketch_rank,
            config.seed,
            input_device(model),
            config.calibration,
        )


def get_pad_id(model: PreTrainedModel) -> int:
    """Token id that fills rows up; 0 where the model names none."""
    config: Any = model.config
    pad_id = getattr(config.get_text_config(), "pad_token_id", None)
    return pad_id if isinstance(pad_id, int) and pad_id >= 0 else 0


def make_tier(tier: Tier, model: PreTrainedModel, config: CaptureConfig) -> TierCapture:
    """The tier's implementation for a model. Raises ``UserError`` as ``check_tier`` and the implementation do."""
    check_tier(tier, model)
    module, _, name = tier.implementation.partition(":")
    made: TierCapture = getattr(importlib.import_module(module), name)(model, config)
    return made


def check_tier(tier: Tier, model: PreTrainedModel) -> None:
    """Refuse a model that lacks what the tier needs.

    Raises
    ------
    UserError
        What the tier needs, what the model has instead, and the tiers that serve it.
    """
    lacking = {need: found for need, find in _LACKS.items() if (found := find(model))}
    for need in tier.needs:
        if need in lacking:
            others = [t for t in TIERS.values() if t.is_gradient and not lacking.keys() & set(t.needs)]
            raise UserError(
                f"tier {tier.name} needs {NEEDS[need]}, and this model has none ({lacking[need]})",
                f"model {type(model).__name__}",
                f"use --tier {join_tiers(others)}",
            )


def _find_lack_of_cache(model: Any) -> str:
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ()) - SUPPORTED_ATTENTION
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    takes_cache = "past_key_values" in inspect.signature(inner.forward).parameters
    if kinds or getattr(model, "_is_stateful", False) or not takes_cache:
        return ", ".join(sorted(kinds)) or "its state is not a key-value cache"
    return ""


def _find_lack_of_modules(model: Any) -> str:
    fused = find_fused_experts(model)
    return f"the experts are fused into one weight, {fused}" if fused else ""


def _find_lack_of_linear_head(model: Any) -> str:
    head = model.get_output_embeddings()
    return "" if isinstance(head, nn.Linear) else f"its output head is a {type(head).__name__}"


_LACKS = {
    "cache": _find_lack_of_cache,
    "modules": _find_lack_of_modules,
    "linear head": _find_lack_of_linear_head,
}
