"""``gsd_core.open_run``: a captured run from Python.

open_run   a run by name
OpenedRun  its spans (pandas frame), vectors (lazily read) and manifest
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsd_core.console.workspace_choice import choose_workspace
from gsd_core.stages.run_reading import get_checkpoint
from gsd_core.stages.run_tables import compute_span_table
from gsd_core.store import LazyVectors, Workspace

if TYPE_CHECKING:
    import pandas as pd

    from gsd_core.store import Run


class OpenedRun:
    """A captured run at one checkpoint. Made by :func:`open_run`.

    Attributes
    ----------
    name, checkpoint, checkpoints, manifest
        The run's name, the checkpoint looked at, all of them, and how the run was made.
    """

    def __init__(self, run: Run, checkpoint: str) -> None:
        self.name, self.checkpoint, self.checkpoints = run.name, checkpoint, list(run.checkpoints)
        self.manifest: dict[str, Any] = run.manifest
        self._run = run

    @cached_property
    def spans(self) -> pd.DataFrame:
        """One row a span: the columns of ``gsd export --what spans``."""
        return compute_span_table(self._run, self.checkpoint)[0]

    @cached_property
    def vectors(self) -> LazyVectors:
        """Directions in the order of ``spans``; the layers' slices are ``manifest["sketch"]["layers"]``."""
        return LazyVectors(self._run, self.checkpoint)

    def at(self, checkpoint: str) -> OpenedRun:
        """The same run at another checkpoint. Raises ``UserError`` for one it does not have."""
        return OpenedRun(self._run, get_checkpoint(self._run, checkpoint))

    def __repr__(self) -> str:
        return f"OpenedRun({self.name!r}, checkpoint={self.checkpoint!r}, checkpoints={self.checkpoints})"


def open_run(name: str, workspace: str | Path | None = None, checkpoint: str | None = None) -> OpenedRun:
    """Open run ``name``.

    ``workspace`` is a folder or URI; by default ``$GSD_WORKSPACE``, else ``./gsd-workspace``. ``checkpoint``
    None is the one to look at first. Raises ``UserError`` for an unknown workspace, run or checkpoint.
    """
    run = Workspace.open(choose_workspace(workspace), create=False).open_run(name)
    return OpenedRun(run, get_checkpoint(run, checkpoint))
