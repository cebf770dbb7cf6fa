"""Directions of a run that is too big for memory: rows are read when asked for, the store finds neighbours.

LARGEST_BYTES   size of centred directions above which they stay in the store
StoredRows      supports ``len`` and indexing by rows like the (n, P) matrix
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
    """Centred unit directions of one checkpoint; ``centre`` computes them from (m, P) float32 stored rows."""

    def __init__(
        self, reader: RunReader, checkpoint: str, mean: np.ndarray, centre: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        self._reader, self._checkpoint = reader, checkpoint
        self._vectors = LazyVectors(reader, checkpoint)
        self._mean, self._centre = mean, centre

    def __len__(self) -> int:
        return len(self._vectors)

    def __getitem__(self, rows: Sequence[int] | np.ndarray | int) -> np.ndarray:
        """(m, P) directions in ``rows``, or (P,) for one row."""
        wanted = np.atleast_1d(np.asarray(rows, dtype=np.int64))
        found = self._centre(self._vectors[wanted].astype(np.float32))
        return found[0] if np.ndim(rows) == 0 else found

    def search(self, row: int, top: int, own_sample: str) -> pd.DataFrame:
        """``span, sample, cosine`` of the best ``top`` spans of other samples."""
        return self._reader.search(self._vectors[row], top, self._checkpoint, own_sample, self._mean)


def read_sample(reader: RunReader, checkpoint: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows (m,) in blocks spread over the checkpoint, and their directions (m, P) float32 as stored."""
    starts = np.linspace(0, max(0, n - BLOCK), SAMPLED_BLOCKS).astype(np.int64)
    rows = np.unique(np.concatenate([np.arange(start, min(n, start + BLOCK)) for start in starts]))
    return rows, reader.take_vectors(rows, checkpoint).astype(np.float32)
