"""Directions of a run that is too big to be held in memory: rows as they are asked for, neighbours from the store.

LARGEST_BYTES   centred directions above this are not read whole
StoredRows      looks like the (n, P) matrix for ``len`` and indexing by rows
read_sample     a few thousand rows from all over a checkpoint
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from gsd_core.store import LazyVectors, RunReader

LARGEST_BYTES = 2**30
SAMPLED_BLOCKS, BLOCK = 16, 256


class StoredRows:
    """Centred unit directions of one checkpoint, read row by row. ``centre`` makes (m, P) float32 stored rows so."""

    def __init__(
        self,
        reader: RunReader,
        checkpoint: str,
        mean: np.ndarray,
        centre: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        self._reader, self._checkpoint = reader, checkpoint
        self._vectors = LazyVectors(reader, checkpoint)
        self._mean, self._centre = mean, centre

    def __len__(self) -> int:
        return len(self._vectors)

    def __getitem__(self, places: Sequence[int] | np.ndarray | int) -> np.ndarray:
        """(m, P) rows at ``places``, or (P,) for one place."""
        wanted = np.atleast_1d(np.asarray(places, dtype=np.int64))
        rows = self._centre(self._vectors[wanted].astype(np.float32))
        return rows[0] if np.ndim(places) == 0 else rows

    def search(self, place: int, top: int, own_sample: str) -> pd.DataFrame:
        """``span, sample, cosine`` of the best ``top`` spans of other samples."""
        return self._reader.search(self._vectors[place], top, self._checkpoint, own_sample, self._mean)


def read_sample(reader: RunReader, checkpoint: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(places (m,), rows (m, P) float32 as stored) of blocks spread over the checkpoint: for a mean and a null."""
    starts = np.linspace(0, max(0, n - BLOCK), SAMPLED_BLOCKS).astype(np.int64)
    places = np.unique(np.concatenate([np.arange(start, min(n, start + BLOCK)) for start in starts]))
    return places, reader.take_vectors(places, checkpoint).astype(np.float32)
