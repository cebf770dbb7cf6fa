"""Loading causal language models and listing their checkpoints.

load_model            ``demo`` | folder | hub id → (model, tokenizer)
resolve_checkpoints   the checkpoints of one fine-tune, in training order
Checkpoint            name, optimizer step, where it is loaded from
pick_device           a device by name, ``auto`` included
compute_model_hash    SHA-256 over all weights
max_positions         context length in tokens
demo_folder           folder of the bundled demo model
HUB_ID                pattern of a hub id

Only safetensors weights are read, as a pickled checkpoint can run code. Code that comes with a model runs only where
``trust_remote_code`` is given.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from gsd_core.capture.devices import parse_device_map, read_state_tensor
from gsd_core.capture.pulse import Report, ignore
from gsd_core.errors import UserError

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(@[\w./-]+)?")
TRAILING_NUMBER = re.compile(r"(\d+)$")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def demo_folder() -> Path:
    """Folder of the bundled demo model; its step folders share one tokenizer."""
    return Path(__file__).resolve().parents[1] / "assets" / "demo_model"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Weights at a step. ``step`` is the optimizer step, None where the name has no number."""

    name: str
    step: int | None
    source: str


def _checkpoint_of(folder: Path) -> Checkpoint:
    number = TRAILING_NUMBER.search(folder.name)
    return Checkpoint(folder.name, int(number.group(1)) if number else None, str(folder))


def _is_model_folder(folder: Path) -> bool:
    return (folder / "config.json").is_file() or (folder / "adapter_config.json").is_file()


def _checkpoints_in(folder: Path) -> list[Checkpoint]:
    found = [_checkpoint_of(f) for f in sorted(folder.iterdir()) if f.is_dir() and _is_model_folder(f)]
    return sorted(found, key=lambda c: (c.step is None, c.step or 0, c.name))


def resolve_checkpoints(source: str, checkpoints: list[str] | tuple[str, ...] = ()) -> list[Checkpoint]:
    """Which weights to capture.

    Parameters
    ----------
    source
        ``demo``, a folder or a hub id.
    checkpoints
        Folders, or names of folders inside `source`, or ``all`` for every one inside it. Empty: the source itself. For
        a folder that holds only checkpoints, as trainers write it, the last one; for ``demo`` the base.

    Raises
    ------
    UserError
        A checkpoint that does not exist, with those that do.
    """
    folder = demo_folder() if source == "demo" else Path(source).expanduser()
    inside = _checkpoints_in(folder) if folder.is_dir() else []
    if not checkpoints:
        if folder.is_dir() and not _is_model_folder(folder) and inside:
            # The demo's later checkpoints have learned the demo corpus and lost ordinary text.
            return inside[:1] if source == "demo" else inside[-1:]
        return [_checkpoint_of(folder)] if folder.is_dir() else [Checkpoint(source, None, source)]
    if list(checkpoints) == ["all"]:
        if not inside:
            raise UserError(
                "it holds no checkpoint folders", f"--model {source}", "name the folders after --checkpoints"
            )
        return inside
    by_name = {c.name: c for c in inside}
    resolved = []
    for wanted in checkpoints:
        if wanted in by_name:
            resolved.append(by_name[wanted])
        elif Path(wanted).is_dir() and _is_model_folder(Path(wanted)):
            resolved.append(_checkpoint_of(Path(wanted)))
        elif not Path(wanted).exists() and HUB_ID.fullmatch(wanted) and "/" in wanted and not wanted.startswith("."):
            resolved.append(Checkpoint(wanted, None, wanted))
        else:
            known = f"one of {', '.join(by_name)}, or all" if by_name else "a folder with config.json"
            raise UserError(f"no checkpoint {wanted!r}", "--checkpoints", f"give {known}")
    names = [c.name for c in resolved]
    if len(set(names)) < len(names):
        raise UserError("two checkpoints have the same folder name", "--checkpoints", "rename one of the folders")
    return resolved


def _check_folder(folder: Path) -> None:
    if not _is_model_folder(folder):
        inside = _checkpoints_in(folder)
        hint = f"; it holds {', '.join(c.name for c in inside)}" if inside else ""
        raise UserError(
            f"the folder is not a model: neither config.json nor adapter_config.json is in it{hint}",
            f"--model {folder}",
            "give the folder that save_pretrained wrote",
        )
    if not any(folder.glob("*.safetensors")):
        raise UserError(
            "the folder holds no .safetensors weights (pickled weights are not loaded: they can run code)",
            f"--model {folder}",
            "save the model again with save_pretrained",
        )


def _pick_dtype(name: str, device: torch.device, config: Any) -> torch.dtype:
    if name != "auto":
        if name not in DTYPES:
            raise UserError(f"unknown dtype {name!r}", "--dtype", f"choose auto, {', '.join(DTYPES)}")
        return DTYPES[name]
    stored = getattr(config, "dtype", None)
    return torch.bfloat16 if device.type == "cuda" and stored == torch.bfloat16 else torch.float32


def pick_device(name: str) -> torch.device:
    """``auto`` → CUDA where there is one, else CPU; otherwise the device named.

    Raises
    ------
    UserError
        The device does not exist here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as problem:
        raise UserError(f"device {name!r} is not available here", "--device", "use auto or cpu") from problem
    return device


def load_model(
    source: str,
    *,
    checkpoint: Checkpoint | None = None,
    dtype: str = "auto",
    device: str = "auto",
    device_map: str | None = None,
    trust_remote_code: bool = False,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a causal language model with its tokenizer.

    Parameters
    ----------
    source
        ``demo`` (the bundled model), a folder written by ``save_pretrained`` (a peft adapter's too), or a hub id.
    checkpoint
        One of :func:`resolve_checkpoints`; None takes its default.
    dtype
        ``auto`` is float32, except on CUDA for models stored in bfloat16.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:1`` …
    device_map
        ``auto`` or another way of ``parse_device_map`` to lay the model over several devices; None keeps it on one.

    Raises
    ------
    UserError
        No such model, not a causal language model, pickled weights, code that was not allowed, or no connection to a
        hub.
    """
    chosen = checkpoint or resolve_checkpoints(source)[0]
    place = Path(chosen.source).expanduser()
    if place.exists():
        if not place.is_dir():
            raise UserError("it is a file, not a model folder", f"--model {chosen.source}", "give the folder")
        _check_folder(place)
    elif source == "demo":
        raise UserError("the bundled demo model is missing", str(place), "install from a full checkout")
    elif not HUB_ID.fullmatch(chosen.source) or chosen.source.startswith("."):
        raise UserError("neither a folder nor a hub id", f"--model {chosen.source}", "check the path")
    if device_map is not None and device != "auto":
        raise UserError(
            "a model is on one device or laid over several",
            f"--device {device} --device-map {device_map}",
            "leave one of the flags out",
        )
    target = torch.device(pick_device(device))
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    layout = None if device_map is None else parse_device_map(device_map)
    name, _, revision = chosen.source.partition("@") if not place.exists() else (str(place), "", "")
    if revision:
        options["revision"] = revision
    try:
        model = _load_weights(name, place, dtype, target, layout, options)
        tokenizer = _load_tokenizer(source, name, place, model, options)
    except UserError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, TypeError) as problem:
        raise _explain(chosen.source, problem) from problem
    if layout is None:
        model.to(target)  # type: ignore[arg-type]
    model.eval()
    return model, tokenizer


def _load_weights(
    name: str,
    place: Path,
    dtype: str,
    device: torch.device,
    layout: str | dict[str, Any] | None,
    options: dict[str, Any],
) -> PreTrainedModel:
    laid_out = {} if layout is None else {"device_map": layout}
    adapter = place / "adapter_config.json"
    is_adapter = adapter.is_file()
    if is_adapter:
        name = json.loads(adapter.read_text("utf-8")).get("base_model_name_or_path") or ""
        base_place = Path(name).expanduser()
        if base_place.is_dir():
            _check_folder(base_place)
    config = AutoConfig.from_pretrained(name, **options)
    model = AutoModelForCausalLM.from_pretrained(
        name, config=config, dtype=_pick_dtype(dtype, device, config), use_safetensors=True, **laid_out, **options
    )
    if not is_adapter:
        return model
    # peft is an extra second of import that only adapter users pay.
    from peft import PeftModel  # noqa: PLC0415

    return PeftModel.from_pretrained(model, str(place), use_safetensors=True)  # type: ignore[return-value]


def _load_tokenizer(
    source: str, name: str, place: Path, model: PreTrainedModel, options: dict[str, Any]
) -> PreTrainedTokenizerBase:
    """The tokenizer beside the weights, else one folder up (where checkpoints share it), else the source's."""
    candidates = [place, place.parent, Path(source).expanduser()] if place.exists() else []
    for folder in candidates:
        if (folder / "tokenizer_config.json").is_file() or (folder / "tokenizer.json").is_file():
            return AutoTokenizer.from_pretrained(str(folder), **options)
    if place.exists():
        base = getattr(getattr(model, "active_peft_config", None), "base_model_name_or_path", None)
        if base:
            return AutoTokenizer.from_pretrained(base, **options)
        raise UserError("no tokenizer lies in the folder or its parent", f"--model {place}", "save the tokenizer there")
    return AutoTokenizer.from_pretrained(name, **options)


def _explain(source: str, problem: Exception) -> UserError:
    text = " ".join(str(problem).split())
    lower = text.lower()
    if "trust_remote_code" in lower:
        return UserError(
            "the model comes with code of its own",
            f"--model {source}",
            "read it, then add --trust-remote-code",
        )
    if any(word in lower for word in ("couldn't connect", "offline", "connection", "max retries", "resolve")):
        return UserError(
            "it is not in the local hub cache and no hub can be reached",
            f"--model {source}",
            "download it where there is a network, or give a folder",
        )
    if "safetensors" in lower and "no file named" in lower:
        return UserError("it has no .safetensors weights", f"--model {source}", "save it again with save_pretrained")
    if "unrecognized configuration" in lower or "automodelforcausallm" in lower:
        return UserError("it is not a causal language model", f"--model {source}", "choose a decoder-only model")
    return UserError(f"the model cannot be loaded ({text[:200]})", f"--model {source}", "check the folder or id")


def max_positions(model: PreTrainedModel) -> int | None:
    """Context length in tokens; None where the configuration names none."""
    config = model.config.get_text_config()
    length = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    return int(length) if isinstance(length, int) and length > 0 else None


def compute_model_hash(model: PreTrainedModel, report: Report = ignore) -> str:
    """SHA-256 over name, dtype, shape and bytes of every tensor of the state, in name order.

    `report` gets the share of the bytes that is done.
    """
    digest = hashlib.sha256()
    state = sorted(model.state_dict().items())
    total, done = max(1, sum(tensor.nbytes for _, tensor in state)), 0
    for name, tensor in state:
        digest.update(f"{name}\x00{tensor.dtype}\x00{tuple(tensor.shape)}\x00".encode())
        flat = read_state_tensor(model, name, tensor).contiguous().view(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
        done += tensor.nbytes
        report(done / total)
    return digest.hexdigest()
