"""How much memory is free, and whether a model's weights fit into it.

find_free_bytes  memory that is free: of the control group, the machine or the GPU
check_weights    refuses weights that do not fit, before they are loaded
keep_freed       lets this process use freed memory again without asking the system for it
trim_freed       gives back what it has kept and does not use
"""

from __future__ import annotations

import ctypes
import functools
import json
import math
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import torch

from gsd_core.errors import UserError

CGROUPS = (  # limit, use, statistics and the name of what can be given back, by version of control groups
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
)
CGROUP_ROOT = Path("/sys/fs/cgroup")
# Parameters of glibc's mallopt: take all blocks from the heap, do not give its end back, let it grow in large steps.
MALLOC_SETTINGS = ((-4, 0), (-1, 2**31 - 1), (-2, 256 * 2**20))
MOST_GROWTH = 2**30
_trimmed: dict[str, int] = {}  # resident bytes after the last trim


@functools.cache
def keep_freed() -> bool:
    """Let the C library keep what is freed, once a process; whether it does so.

    On a CPU every large tensor is otherwise mapped anew, and the system fills its pages with zeros first: a fine-tuning
    step of SmolLM2 takes a quarter more time. Blocks of changing sizes leave gaps, so whoever works batch after batch
    calls `trim_freed` now and then. Only with glibc. Source: ours, mallopt(3).
    """
    if not sys.platform.startswith("linux"):
        return False
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        return all(mallopt(name, value) == 1 for name, value in MALLOC_SETTINGS)
    return False


def trim_freed() -> None:
    """Give kept memory that is free back to the system, where `keep_freed` is in force and the process has grown by
    ``MOST_GROWTH`` since it did so last."""
    if not keep_freed.cache_info().currsize or not keep_freed():
        return
    process = psutil.Process()
    if process.memory_info().rss - _trimmed.get("rss", 0) > MOST_GROWTH:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        _trimmed["rss"] = process.memory_info().rss


def find_free_bytes(device: torch.device) -> float:
    """Bytes free on `device`; on a CPU the least of what the machine and its control group have left."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return min(float(psutil.virtual_memory().available), _find_left_in_group())


def _find_left_in_group() -> float:
    """Bytes that this process' control group has left; infinite where there is no limit."""
    for limit_name, use_name, statistics_name, cache in CGROUPS:
        try:
            limit = (CGROUP_ROOT / limit_name).read_text().strip()
            if not limit.isdecimal():
                continue
            use = int((CGROUP_ROOT / use_name).read_text())
            lines = (line.split() for line in (CGROUP_ROOT / statistics_name).read_text().splitlines())
            given_back = next((int(value) for name, value in lines if name == cache), 0)
        except (OSError, ValueError):
            continue
        return float(int(limit) - use + given_back)
    return float("inf")


def check_weights(folder: Path, dtype: torch.dtype, device: torch.device) -> None:
    """Compare the weights of a folder's ``.safetensors`` files with the memory that is free.

    Raises
    ------
    UserError
        They do not fit.
    """
    n_weights = sum(map(_count_weights, folder.glob("*.safetensors")))
    needed, free = n_weights * dtype.itemsize, find_free_bytes(device)
    if needed > free:
        raise UserError(
            f"its {n_weights:,} weights need {needed / 2**30:.1f} GiB as {str(dtype).removeprefix('torch.')}, "
            f"and {free / 2**30:.1f} GiB are free",
            f"--model {folder}",
            "free memory, use --dtype bfloat16, or lay the model out with --device-map auto",
        )


def _count_weights(file: Path) -> int:
    """Numbers in a safetensors file, which ``check_weight_files`` has accepted."""
    with file.open("rb") as opened:
        header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
    return sum(math.prod(each["shape"]) for name, each in header.items() if name != "__metadata__")
