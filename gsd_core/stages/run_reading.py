"""What several stages read of a run, and how they report a step.

get_checkpoint   the checkpoint that is asked for, or the default
list_checkpoints  the one that is asked for, or all
find_entry       what the manifest says of a checkpoint
get_layers       layer blocks of a run's directions
find_kept        a stored result that need not be computed again
read_analysed    a table of an analysis
read_directions  directions of a checkpoint, held or not
read_controls    windows and tokens captured beside the spans, by kind
CONTROL_NAMES    what figures and tables call these kinds
report_step      progress of one of a stage's named steps
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gsd_core.comparison.centring import is_small
from gsd_core.errors import UserError
from gsd_core.store import LazyVectors

if TYPE_CHECKING:
    import pandas as pd

    from gsd_core.console.progress import Stage
    from gsd_core.registry.result_kind import ResultKind
    from gsd_core.store import Run, RunReader

CONTROL_NAMES = {"windows": "random windows", "tokens": "single tokens"}


def get_checkpoint(run: RunReader, name: str | None) -> str:
    """``name`` if the run has it, the default for None. Raises ``UserError`` naming those it has."""
    if not run.checkpoints:
        raise UserError("nothing is captured yet", f"run {run.name}", f"gsd capture --run {run.name} --resume")
    if name is None:
        return run.default_checkpoint
    if name not in run.checkpoints:
        raise UserError(f"no checkpoint {name!r}", f"run {run.name}", f"it has {', '.join(run.checkpoints)}")
    return name


def list_checkpoints(run: RunReader, name: str | None) -> list[str]:
    """Every checkpoint for "all", else that of `get_checkpoint`, whose errors it raises."""
    return run.checkpoints if name == "all" else [get_checkpoint(run, name)]


def find_entry(run: RunReader, checkpoint: str) -> dict[str, Any]:
    """What the manifest says of ``checkpoint``: ``name, step, hash``; empty where it says nothing."""
    entries = run.manifest.get("checkpoints") or []
    return next((each for each in entries if each.get("name") == checkpoint), {})


def get_layers(run: RunReader) -> list[tuple[str, int, int]]:
    """(layer, start, stop) of each layer block of a direction."""
    return [
        (str(each[0]), int(each[1]), int(each[2])) for each in (run.manifest.get("sketch") or {}).get("layers") or []
    ]


def find_kept(
    run: Run, kind: ResultKind, same: dict[str, Any], again: bool, checkpoint: str | None = None
) -> dict[str, Any]:
    """The info of the stored result of ``kind`` if it has all values of ``same``; empty where there is none, or
    ``again`` asks for a new one."""
    info = run.results.info(kind, checkpoint) if not again and run.results.has(kind, checkpoint) else {}
    return info if all(info.get(key) == value for key, value in same.items()) else {}


def read_analysed(run: Run, kind: ResultKind, table: str, checkpoint: str, what: str) -> pd.DataFrame:
    """A table of an analysis, its ``checkpoint`` in front. ``UserError`` where there is no ``what`` yet."""
    if not run.results.has(kind, checkpoint):
        raise UserError(f"no {what} yet", f"run {run.name}, checkpoint {checkpoint}", f"gsd analyze {run.name}")
    frame = run.results.read(kind, table, checkpoint)
    frame.insert(0, "checkpoint", checkpoint)
    return frame


def read_directions(reader: RunReader, checkpoint: str) -> np.ndarray | LazyVectors:
    """(n, P) float16 as captured: an array up to 1 GiB once centred, else read as it is asked for."""
    lazy = LazyVectors(reader, checkpoint)
    return np.asarray(lazy) if is_small(lazy) else lazy


def read_controls(reader: RunReader, checkpoint: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Controls of a checkpoint by kind: directions (m, P) float16 as captured, and their samples (m,)."""
    frame, vectors = reader.read_controls(checkpoint)
    kinds = frame["kind"].to_numpy(dtype=object)
    samples = frame["sample"].to_numpy(dtype=object)
    return {kind: (vectors[kinds == kind], samples[kinds == kind]) for kind in dict.fromkeys(kinds)}


def report_step(stage: Stage, steps: Sequence[str], step: str, done: int, total: int) -> None:
    """Show that ``done`` of ``total`` of one of the named ``steps`` is finished; a long one with its share."""
    share = f" {100 * done // total} %" if 0 < done < total else ""
    stage.update(steps.index(step) + (1 if done >= total else 0), len(steps), step=step + share)
