"""Where a model comes from: the checkpoints of one fine-tune, and a folder or hub id to load.

resolve_checkpoints  the checkpoints of one fine-tune, in training order
Checkpoint           name, optimizer step, where it is loaded from
find_source          what a checkpoint is loaded from: a folder, or a hub id
find_hub_gguf        the GGUF file of a hub id whose repository holds nothing else to load
check_folder         refuses a folder without whole weights
Source               folder or hub id, and what its weights were dequantised from
demo_folder          folder of the bundled demo model
HUB_ID               pattern of a hub id
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from gsd_core.errors import UserError
from gsd_core.models.gguf_files import PACKAGED, Origin, dequantise, find_gguf, find_packaged
from gsd_core.models.weight_files import check_weight_files

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(@[\w./-]+)?")
HUB_FILE = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)/([A-Za-z0-9][\w./-]*\.gguf)(?:@([\w./-]+))?", re.I)
STEP_NUMBER = re.compile(r"(?:^|[-_.]|step|checkpoint|epoch)(\d+)$", re.I)  # not the 2 of "smollm2"


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
    number = STEP_NUMBER.search(folder.name)
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
        ``demo``, ``smollm2``, a folder, a GGUF file or a hub id.
    checkpoints
        Folders, or names of folders inside `source`, or ``all`` for every one inside it. Empty: the source itself. For
        a folder that holds only checkpoints, as trainers write it, the last one; for ``demo`` the base.

    Raises
    ------
    UserError
        A checkpoint that does not exist, with those that do.
    """
    if source in PACKAGED and not checkpoints:
        return [Checkpoint(source, None, source)]
    folder = demo_folder() if source == "demo" else Path(source).expanduser()
    inside = _checkpoints_in(folder) if folder.is_dir() else []
    if not checkpoints:
        if folder.is_dir() and not _is_model_folder(folder) and inside:
            # The demo's later checkpoints have learned the demo corpus and lost ordinary text.
            return inside[:1] if source == "demo" else inside[-1:]
        if folder.is_file():
            return [Checkpoint(folder.stem, None, source)]
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


@dataclass(frozen=True, slots=True)
class Source:
    """What is loaded: ``folder``, or a hub id with its revision. ``origin`` is given where weights were dequantised."""

    name: str
    folder: Path | None
    revision: str = ""
    origin: Origin | None = None


def find_source(given: str, chosen: str) -> Source:
    """What the checkpoint source ``chosen`` of ``--model given`` is loaded from. GGUF files are dequantised here.

    Raises
    ------
    UserError
        No model is there, its weights are pickled, cut or a pointer, or a GGUF file cannot be read.
    """
    if chosen in PACKAGED:
        return _dequantised(find_packaged(chosen))
    path = Path(chosen).expanduser()
    if path.is_file():
        if path.suffix.lower() == ".gguf":
            return _dequantised(path)
        raise UserError("it is a file, not a model folder", f"--model {chosen}", "give the folder, or a GGUF file")
    if path.is_dir():
        gguf = find_gguf(path)
        if gguf is not None:
            return _dequantised(gguf)
        check_folder(path)
        return Source(str(path), path)
    if given == "demo":
        raise UserError("the bundled demo model is missing", str(path), "install from a full checkout")
    hub_file = HUB_FILE.fullmatch(chosen)
    if hub_file:
        return _dequantised(_download(chosen, *hub_file.groups()))
    if not HUB_ID.fullmatch(chosen) or chosen.startswith("."):
        raise UserError("neither a folder nor a hub id", f"--model {chosen}", "check the path")
    name, _, revision = chosen.partition("@")
    return Source(name, None, revision)


def find_hub_gguf(source: Source) -> Source | None:
    """The same for a hub id whose repository has no safetensors, but one GGUF file; None where it has none.

    Raises
    ------
    UserError
        The repository has several GGUF files.
    """
    from huggingface_hub import HfApi  # noqa: PLC0415 - only for models that are not on this machine

    try:
        files = HfApi().list_repo_files(source.name, revision=source.revision or None)
    except (OSError, ValueError):
        return None  # without a network the first error tells more
    found = sorted(each for each in files if each.lower().endswith(".gguf"))
    if any(each.endswith(".safetensors") for each in files) or not found:
        return None
    if len(found) > 1:
        shown = ", ".join(found[:6]) + (" …" if len(found) > 6 else "")
        raise UserError(
            f"it holds several GGUF files ({shown})", f"--model {source.name}", f"give one: {source.name}/{found[0]}"
        )
    return _dequantised(_download(f"{source.name}/{found[0]}", source.name, found[0], source.revision or None))


def _download(source: str, name: str, file: str, revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download  # noqa: PLC0415

    try:
        return Path(hf_hub_download(name, file, revision=revision))
    except (OSError, ValueError) as problem:
        reason = " ".join(str(problem).split())[:160]
        found = f"the GGUF file cannot be had from the hub ({reason})"
        raise UserError(found, f"--model {source}", "check the id") from problem


def _dequantised(file: Path) -> Source:
    folder, origin = dequantise(file)
    return Source(str(folder), folder, origin=origin)


def check_folder(folder: Path) -> None:
    """Raises ``UserError`` for a folder that holds no model, pickled weights only, or weights that are not whole."""
    if not _is_model_folder(folder):
        inside = _checkpoints_in(folder)
        hint = f"; it holds {', '.join(c.name for c in inside)}" if inside else ""
        raise UserError(
            f"the folder is not a model: neither config.json nor adapter_config.json is in it{hint}",
            f"--model {folder}",
            "give the folder that save_pretrained wrote, or a GGUF file",
        )
    if not any(folder.glob("*.safetensors")):
        raise UserError(
            "the folder holds no .safetensors weights (pickled weights are not loaded: they can run code)",
            f"--model {folder}",
            "save the model again with save_pretrained",
        )
    check_weight_files(folder)
