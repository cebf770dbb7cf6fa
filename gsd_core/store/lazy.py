"""Directions that are read on demand.

LazyVectors   the (n, P) directions of a checkpoint, by slices and rows
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from gsd_core.store.reading import RunReader


class LazyVectors:
    """(n, P) float16 directions of ``checkpoint`` as stored, in the order of ``read_spans``.

    ``vectors[a:b]`` reads only those rows, and so does ``vectors[[7, 3, 7]]``; ``numpy.asarray(vectors)`` reads all.
    Only rows can be indexed. Made by ``OpenedRun.vectors``. During a capture, give it a ``snapshot()``. ``most`` limits
    it to the first rows.
    """

    def __init__(self, reader: RunReader, checkpoint: str, most: int | None = None) -> None:
        self._reader, self._checkpoint = reader, checkpoint
        count = reader.count_spans(checkpoint)
        self.shape = (count if most is None else min(most, count), reader.sketch_width)
        self.dtype = np.dtype(np.float16)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        if isinstance(rows, int | np.integer):
            at = int(rows) + (len(self) if rows < 0 else 0)
            if not 0 <= at < len(self):
                raise IndexError(f"row {rows} of {len(self)}")
            return self._reader.read_vectors(self._checkpoint, at, at + 1)[0]
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step == 1:
                return self._reader.read_vectors(self._checkpoint, start, max(start, stop))
        return self._reader.take_vectors(np.arange(len(self))[rows], self._checkpoint)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def __repr__(self) -> str:
        return f"LazyVectors(shape={self.shape}, dtype={self.dtype}, checkpoint={self._checkpoint!r})"
