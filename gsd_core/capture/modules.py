"""Which modules of a model are captured, and in which layer each is.

CapturedModule     one linear module: name, layer, sizes
ModuleSelection    the captured modules, and those left out with the reason
select_modules     the selection for a model
compute_coverage   how many of a model's parameters the selection holds, and what it leaves out
describe_coverage  the same as one line
check_coverage     refuses a selection that holds too few
OUTPUT_HEAD        name of the output head's layer
LAYER_INDEX        pattern of a layer's name at the start of a module's
get_sizes          sizes of a linear module
find_fused_experts  the weight that all experts of a layer share, where there is one

The ``nn.Linear`` and GPT-2 ``Conv1D`` modules of the decoder layers and the output head are captured. The head shows
most clearly which words were expected instead of those said (docs/structure-benchmark.md). Of a head that shares its
weight with the token embedding, the head's part of that weight's gradient is captured. The token embedding, norms,
biases, convolutions and other parameters without an (input, output) pair per token are left out, and listed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from gsd_core.errors import UserError

OUTPUT_HEAD = "output head"
LORA_LEAF = re.compile(r"\.lora_[AB]\.")
LORA_ANY = re.compile(r"\.lora_")
NO_HEAD = "output head (left out by --no-head)"
FROZEN = "base weight under adapters (choose --lora base to capture it)"
LAYER_INDEX = re.compile(r"^(.*?\.\d+)\.")


@dataclass(frozen=True, slots=True)
class CapturedModule:
    """A linear module. ``layer`` is the dotted name of the layer that holds it."""

    name: str
    layer: str
    module: nn.Module
    d_out: int
    d_in: int


@dataclass(frozen=True, slots=True)
class ModuleSelection:
    """``captured`` in model order; ``skipped`` maps a module with parameters to the reason why it is left out."""

    captured: tuple[CapturedModule, ...]
    skipped: dict[str, str]


def get_sizes(module: nn.Module) -> tuple[int, int] | None:
    """(d_out, d_in) of a linear module, None for any other."""
    if isinstance(module, Conv1D):
        d_in, d_out = module.weight.shape
        return int(d_out), int(d_in)
    if isinstance(module, nn.Linear):
        return int(module.out_features), int(module.in_features)
    return None


def select_modules(model: PreTrainedModel, lora: str = "adapters", with_head: bool = True) -> ModuleSelection:
    """Choose the modules whose weight gradients make a direction.

    Parameters
    ----------
    model
        A causal language model, or a peft model around one.
    lora
        For peft LoRA models: ``"adapters"`` captures the low-rank factors, ``"base"`` the frozen weights below
        them. It has no effect on models without adapters.
    with_head
        Whether the output head is captured too, as a layer of its own.

    Raises
    ------
    UserError
        No linear module is left to capture.
    """
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    has_lora = any(LORA_LEAF.search(name + ".") for name, _ in model.named_modules())
    captured: list[CapturedModule] = []
    skipped: dict[str, str] = {}
    for name, module in model.named_modules():
        own_parameters = list(module.parameters(recurse=False))
        if not own_parameters:
            continue
        sizes = get_sizes(module)
        dotted = name + "."
        if module is head and not with_head:
            skipped[name] = NO_HEAD
        elif sizes is None:
            skipped[name] = f"{type(module).__name__} has no weight matrix that acts on each token"
        elif has_lora and lora == "adapters" and not LORA_LEAF.search(dotted):
            skipped[name] = FROZEN
        elif has_lora and lora == "base" and LORA_ANY.search(dotted):
            skipped[name] = "adapter weight (choose --lora adapters to capture it)"
        else:
            match = LAYER_INDEX.match(dotted)
            layer = OUTPUT_HEAD if module is head else match.group(1) if match else "outside layers"
            captured.append(CapturedModule(name, layer, module, *sizes))
            if getattr(module, "bias", None) is not None:
                skipped[f"{name}.bias"] = "bias"
    if not captured:
        raise UserError(
            "no linear module to capture was found",
            f"model {type(model).__name__}",
            "use --tier hidden, which needs the output head only",
        )
    return ModuleSelection(tuple(captured), skipped)


def compute_coverage(model: PreTrainedModel, selection: ModuleSelection) -> dict[str, Any]:
    """How much of `model` the directions hold, as JSON.

    Returns ``n_captured`` and ``n_parameters`` (each parameter once, also where modules share it); ``share``, of the
    parameters outside the token embedding, the frozen weights under adapters and a head that was left out on purpose;
    ``left_out: [{reason, n_modules, n_parameters, example}]``, most parameters first.
    """
    weights: list[Any] = [each.module.weight for each in selection.captured]
    captured = {id(each): int(each.numel()) for each in weights}
    embedding = model.get_input_embeddings()
    is_adapted = FROZEN in selection.skipped.values()
    groups: dict[str, list[Any]] = {}
    seen, expected = set(captured), sum(captured.values())
    for name, reason in selection.skipped.items():
        owner: Any = model.get_submodule(name.removesuffix(".bias") if reason == "bias" else name)
        own = [owner.bias] if reason == "bias" else owner.parameters(recurse=False)
        new = [p for p in own if id(p) not in seen]
        seen.update(id(p) for p in new)
        size = sum(p.numel() for p in new)
        is_trained = not is_adapted or LORA_ANY.search(name)
        if is_trained and owner is not embedding and reason != NO_HEAD:
            expected += size
        if new:
            group = groups.setdefault(reason, [0, 0, name])
            group[0], group[1] = group[0] + 1, group[1] + size
    n_captured = sum(captured.values())
    left_out = [
        {"reason": reason, "n_modules": n_modules, "n_parameters": size, "example": name}
        for reason, (n_modules, size, name) in groups.items()
    ]
    return {
        "n_captured": n_captured,
        "n_parameters": n_captured + sum(each["n_parameters"] for each in left_out),
        "share": n_captured / expected,
        "left_out": sorted(left_out, key=lambda each: -each["n_parameters"]),
    }


def describe_coverage(coverage: dict[str, Any]) -> str:
    """The result of ``compute_coverage`` as one line."""
    n_captured, n_parameters = coverage["n_captured"], coverage["n_parameters"]
    parts = [
        f"{each['reason']} ({each['n_modules']}, {each['n_parameters'] / n_parameters:.2%})"
        for each in coverage["left_out"]
    ]
    rest = f"; left out: {'; '.join(parts)}" if parts else ""
    return f"{n_captured:,} of {n_parameters:,} parameters are captured ({n_captured / n_parameters:.1%}){rest}"


def check_coverage(coverage: dict[str, Any], least: float) -> None:
    """Raises ``UserError`` where the share of captured parameters is below `least` (0 … 1)."""
    if coverage["share"] < least:
        raise UserError(
            f"only {coverage['share']:.0%} of the trained parameters would be captured: {describe_coverage(coverage)}",
            f"--min-coverage {least:g}",
            "use --tier hidden, or accept it with a lower --min-coverage",
        )


def find_fused_experts(model: PreTrainedModel) -> str:
    """Name of a weight that holds all experts of a layer, so that no module sees each token's values; "" for none."""
    for name, module in model.named_modules():
        fused = [key for key, value in module.named_parameters(recurse=False) if value.ndim == 3]
        if fused and "expert" in f"{name} {type(module).__name__}".lower():
            return f"{name}.{fused[0]}"
    return ""
