"""Models that lie on several devices, or partly on a disk.

DEVICE_MAPS        named ways to lay out a model
parse_device_map   one of these, or a JSON file → the argument of ``from_pretrained``
input_device       the device of a model's token ids and logits
describe_device    the device, or all of them, as text
read_state_tensor  a tensor of the model's state with its values, also where they are on a disk

A model laid over devices (by ``accelerate``) moves activations by itself, forward and backward. Capture works where the
activations are: a module's projections move to its device once, and only sketched gradients, which are small, move to
the input's device, where they are summed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gsd_core.errors import UserError

DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
MAX_MAP_BYTES = 2**20


def parse_device_map(text: str) -> str | dict[str, Any]:
    """A named way to lay out a model, or the layout in a JSON file: ``{"model.layers.0": 0, "lm_head": "cpu", …}``.

    Raises
    ------
    UserError
        Neither a known name nor a readable file of module names and devices.
    """
    if text in DEVICE_MAPS:
        return text
    where = f"--device-map {text}"
    way_out = f"give {', '.join(DEVICE_MAPS)}, or a JSON file of module names and devices"
    file = Path(text).expanduser()
    if not file.is_file():
        raise UserError("no such way to lay out a model, and no such file", where, way_out)
    if file.stat().st_size > MAX_MAP_BYTES:
        raise UserError("the file is larger than a device map can be (1 MiB)", where, way_out)
    try:
        layout = json.loads(file.read_text("utf-8"))
    except ValueError as problem:
        raise UserError(f"the file is not JSON ({problem})", where, way_out) from problem
    if not isinstance(layout, dict) or not layout:
        raise UserError("the file holds no JSON object of module names and devices", where, way_out)
    for module, device in layout.items():
        if isinstance(device, bool) or not isinstance(device, int | str):
            raise UserError(
                f"module {module!r} is given {device!r}, which is not a device",
                where,
                'a device is a number, or a text such as "cuda:1", "cpu" or "disk"',
            )
    return layout


def input_device(model: Any) -> torch.device:
    """Device of the token ids: the embedding's, or the one it computes on while its weight is stored elsewhere."""
    embedding = model.get_input_embeddings()
    weight = next(embedding.parameters(), None)
    if weight is not None and weight.device.type != "meta":
        return weight.device
    target = getattr(getattr(embedding, "_hf_hook", None), "execution_device", None)
    return torch.device(target if target is not None else "cpu")


def describe_device(model: Any) -> str:
    """``cuda:0``; for a model laid over several, all of them: ``cuda:0, cuda:1, cpu``."""
    layout = getattr(model, "hf_device_map", None) or {}
    names = [f"cuda:{each}" if isinstance(each, int) else str(each) for each in layout.values()]
    unique = list(dict.fromkeys(names))
    return ", ".join(unique) if len(unique) > 1 else str(input_device(model))


def read_state_tensor(model: nn.Module, name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Tensor `name` of ``model.state_dict()`` on the CPU, fetched where it is on a disk or offloaded to memory."""
    if tensor.device.type != "meta":
        return tensor.detach().to("cpu")
    # accelerate is installed where a model was laid out; importing it takes a second.
    from accelerate.utils import align_module_device  # noqa: PLC0415

    path, _, leaf = name.rpartition(".")
    module = model.get_submodule(path)
    with align_module_device(module, torch.device("cpu")):
        return getattr(module, leaf).detach().clone()
