"""``gsd_core.open_run``: a captured run from Python.

open_run     a run by name
OpenedRun    its spans (pandas frame), vectors (lazily read) and manifest
LazyVectors  (n, P) float16 array that is read from the store when it is indexed
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gsd_core.pipeline.analyze import get_checkpoint
from gsd_core.pipeline.tables import compute_span_table
from gsd_core.store import Workspace

if TYPE_CHECKING:
    import pandas as pd

    from gsd_core.store import Run


class LazyVectors:
    """Span directions of one checkpoint, (n, P) float16, unit norm, in the order of the spans.

    ``vectors[a:b]`` reads only those rows; ``numpy.asarray(vectors)`` reads all. One index a time (rows).
    """

    def __init__(self, run: Run, checkpoint: str, n_rows: int, width: int) -> None:
        self._run, self._checkpoint = run, checkpoint
        self.shape = (n_rows, width)
        self.dtype = np.dtype(np.float16)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        if isinstance(rows, int | np.integer):
            at = int(rows) + (len(self) if rows < 0 else 0)
            if not 0 <= at < len(self):
                raise IndexError(f"row {rows} of {len(self)}")
            return self._read(at, at + 1)[0]
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step == 1:
                return self._read(start, max(start, stop))
            rows = np.arange(start, stop, step)
        picked = np.arange(len(self))[rows]
        if not picked.size:
            return np.empty((0, self.shape[1]), dtype=self.dtype)
        low = int(picked.min())
        return self._read(low, int(picked.max()) + 1)[picked - low]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self._read(0, len(self)).astype(dtype or self.dtype, copy=False)

    def __repr__(self) -> str:
        return f"LazyVectors(shape={self.shape}, dtype={self.dtype}, checkpoint={self._checkpoint!r})"

    def _read(self, start: int, stop: int) -> np.ndarray:
        if stop <= start:
            return np.empty((0, self.shape[1]), dtype=self.dtype)
        return np.asarray(self._run.read_vectors(self._checkpoint, start, stop))


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
        n_rows = len(self._run.read_spans(self.checkpoint, columns=["span"]))
        return LazyVectors(self._run, self.checkpoint, n_rows, int(self.manifest["sketch"]["width"]))

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
    uri = workspace or os.environ.get("GSD_WORKSPACE") or "./gsd-workspace"
    run = Workspace.open(uri, create=False).open_run(name)
    return OpenedRun(run, get_checkpoint(run, checkpoint))
