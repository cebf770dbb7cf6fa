"""Directions of a checkpoint as pages and stages compare them.

load_centring     centring of the analysis, or of the stored directions, of which only the mean is removed
load_directions   centred directions with their null, in memory or read on demand

Mean and null are those of the analysis, if there is one. Otherwise they come from all directions up to 1 GiB, and from
about 4,000 spread spans beyond.
"""

from __future__ import annotations

import numpy as np

from gsd_core.comparison.centring import Centring, Vectors, compute_centring, is_small
from gsd_core.comparison.nearest import Directions
from gsd_core.comparison.nulls import Null, compute_null_cosines
from gsd_core.store.lazy import LazyVectors
from gsd_core.store.reading import RunReader

SAMPLED_BLOCKS, BLOCK = 16, 256


def load_centring(reader: RunReader, checkpoint: str) -> Centring:
    """What is removed from the directions of ``checkpoint``."""
    return _choose_centring(_read_arrays(reader, checkpoint), LazyVectors(reader, checkpoint))


def load_directions(
    reader: RunReader, checkpoint: str, samples: np.ndarray, *, seed: int = 0, hold: bool = True
) -> Directions:
    """Centred directions of the first n spans of ``checkpoint``, with their null.

    Parameters
    ----------
    reader
        A ``snapshot()``.
    samples
        (n,) sample of each span in capture order; a running capture may have stored more.
    seed
        Seed of the null, if the analysis has none.
    hold
        Whether directions up to 1 GiB are read into memory. False if only a few rows are needed.
    """
    arrays = _read_arrays(reader, checkpoint)
    stored = LazyVectors(reader, checkpoint, len(samples))
    can_hold, is_known = is_small(stored), {"mean", "null"} <= arrays.keys()
    vectors: Vectors = stored[:] if can_hold and (hold or not is_known) else stored
    centring = _choose_centring(arrays, vectors)
    rows = centring.center(vectors)
    if "null" in arrays:
        null = Null.of(arrays["null"], arrays.get("null_windows"))
    else:
        drawn = slice(None) if can_hold else _draw_rows(len(stored))
        null = Null.of(compute_null_cosines(rows[drawn], samples[: len(stored)][drawn], seed=seed))

    def search(row: int, top: int) -> tuple[np.ndarray, np.ndarray]:
        found = reader.search(stored[row], top, checkpoint, str(samples[row]), centring.mean)
        # The cosine of what has no direction is 0.
        found = found[(found.index < len(stored)) & (found["cosine"] != 0)]
        return found.index.to_numpy(), found["cosine"].to_numpy()

    # The index knows only the mean. Directions in memory are all compared: as fast, and q is sharper.
    by_index = not can_hold and reader.has_index(checkpoint)
    return Directions(rows, null, search if by_index else None)


def _read_arrays(reader: RunReader, checkpoint: str) -> dict[str, np.ndarray]:
    return reader.read_arrays(checkpoint) if reader.has_analysis(checkpoint) else {}


def _choose_centring(arrays: dict[str, np.ndarray], vectors: Vectors) -> Centring:
    if "mean" in arrays:
        return Centring(arrays["mean"], arrays["top"]) if "top" in arrays else Centring(arrays["mean"])
    return compute_centring(vectors if is_small(vectors) else vectors[_draw_rows(len(vectors))])


def _draw_rows(n: int) -> np.ndarray:
    """(m,) ascending rows, in blocks spread over all n."""
    starts = np.linspace(0, max(0, n - BLOCK), SAMPLED_BLOCKS).astype(np.int64)
    return np.unique(np.concatenate([np.arange(start, min(n, start + BLOCK)) for start in starts]))
