"""Centring: what all spans share is removed before any two are compared.

Vectors             directions as captured: an array, or anything that reads its rows as they are asked for
Centring            what is removed: the mean of the unit vectors, and the top principal directions on request
compute_centring    the centring of a corpus
compute_mean        the mean alone, of batches
compute_directions  a corpus centred by its own centring
Rows                centred directions: an array that is held, or `CentredRows`
CentredRows         centred directions that are not held: read and centred as they are asked for
HELD_BYTES          what of centred directions may be held at once
is_small            whether a corpus may be held
find_alive          which rows have a direction
check_finite        ValueError that names the first row with NaN or infinity

Shapes: n spans, P sketch width, m removed principal directions. All directions are unit norm or exactly zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy.linalg import eigh

HELD_BYTES = 2**30  # of centred directions that are held at once: 262,144 spans at P = 1,024
BATCH = 8192  # rows read at a time: 32 MiB of float32 at P = 1,024
PIECE = 2**20  # values computed on at a time: 4 MiB, which a processor's cache holds
TINY = 1e-5  # below this a difference of unit vectors is rounding, not direction


class Vectors(Protocol):
    """(n, P) rows that are read by slices and by row numbers, in the way of an array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, P)``."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> np.ndarray: ...


class Centring(NamedTuple):
    """``mean`` (P,) float32 of the corpus's unit vectors; ``top`` (m, P) float32 orthonormal. Source: methods §1.4,
    "ours"."""

    mean: np.ndarray
    top: np.ndarray = np.zeros((0, 0), dtype=np.float32)

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """(n, P) float32 directions of ``vectors`` (n, P), any length: unit norm or zero.

        A row of zeros has no direction and stays zero; so does a vector that equals the mean. Raises ``ValueError``
        for another width and for a row with NaN or infinity.
        """
        if vectors.shape[1] != len(self.mean):
            raise ValueError(f"vectors have width {vectors.shape[1]}, the mean has {len(self.mean)}")
        out = np.empty(vectors.shape, dtype=np.float32)
        for piece in _slice(out):
            out[piece] = vectors[piece]
            rows = out[piece]
            rows /= self.subtract(rows, piece.start)[:, None]
        return out

    def subtract(self, rows: np.ndarray, first: int = 0) -> np.ndarray:
        """Turn ``rows`` (m, P) float32 in place into unit vectors less the mean and the top directions.

        Returns (m,) float32 their lengths, by which they are still to be divided; a row without direction is zero and
        has length 1. ``first`` is the number of the first row, for the error message.
        """
        is_alive = _scale_to_unit(rows, first)
        rows -= np.asarray(self.mean, dtype=np.float32)
        if len(self.top):
            rows -= (rows @ self.top.T) @ self.top
        lengths = np.linalg.norm(rows, axis=1)
        is_empty = ~(is_alive & (lengths > TINY))
        rows[is_empty], lengths[is_empty] = 0.0, 1.0
        return lengths

    def compute_cosines(self, rows: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """(m,) or (m, q) float32 cosines of ``rows`` (m, P) float32 as captured, which are overwritten, with unit
        ``targets`` (P,) or (P, q), which are centred already. 0 where one has no direction."""
        lengths = self.subtract(rows)
        cosines = rows @ targets
        return np.clip(cosines / (lengths if cosines.ndim == 1 else lengths[:, None]), -1.0, 1.0)

    def center(self, vectors: Vectors) -> Rows:
        """Directions of a corpus: of an array an array, of other `Vectors` their `CentredRows`."""
        return self.apply(vectors) if isinstance(vectors, np.ndarray) else CentredRows(vectors, self)


class CentredRows:
    """(n, P) float32 directions of a corpus that is not held: ``Centring.apply`` of the rows that are asked for."""

    def __init__(self, vectors: Vectors, centring: Centring, order: np.ndarray | None = None) -> None:
        self._vectors, self._centring, self._order = vectors, centring, order

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, P)``."""
        return len(self), *self._vectors.shape[1:]

    def __len__(self) -> int:
        return len(self._vectors if self._order is None else self._order)

    def __getitem__(self, rows: Any, /) -> np.ndarray:
        rows = rows if self._order is None else self._order[rows]
        found = self._centring.apply(np.atleast_2d(self._vectors[rows]))
        return found[0] if np.ndim(rows) == 0 and not isinstance(rows, slice) else found

    def reorder(self, order: np.ndarray) -> CentredRows:
        """The rows ``order`` (m,), still unread."""
        held = order if self._order is None else self._order[order]
        return CentredRows(self._vectors, self._centring, held)

    @cached_property
    def alive(self) -> np.ndarray:
        """(n,) bool: which rows are not zero. One pass over all, once."""
        return np.concatenate([np.zeros(0, dtype=bool), *(np.any(batch != 0, axis=1) for batch in _iter_batches(self))])


Rows = np.ndarray | CentredRows


def is_small(vectors: Vectors) -> bool:
    """Whether the centred directions of ``vectors`` (n, P) may be held."""
    return 4 * len(vectors) * vectors.shape[1] <= HELD_BYTES


def find_alive(directions: Rows) -> np.ndarray:
    """(n,) bool: which rows of ``directions`` (n, P) are not zero, hence have a direction."""
    if isinstance(directions, CentredRows):
        return directions.alive
    return np.any(directions != 0, axis=1) if len(directions) else np.zeros(0, dtype=bool)


def check_finite(vectors: np.ndarray, name: str = "vectors", first: int = 0) -> None:
    """Raise a ValueError that names the first row of ``vectors`` (n, P) holding NaN or infinity.

    ``first`` is the number of its first row.
    """
    if len(vectors.shape) != 2:
        raise ValueError(f"{name} must have two axes (n, P), not shape {vectors.shape}")
    for piece in _slice(vectors):
        is_bad = ~np.isfinite(vectors[piece]).all(axis=1)
        if is_bad.any():
            row = first + piece.start + int(np.argmax(is_bad))
            raise ValueError(f"{name} row {row} holds NaN or infinity; capture that span again")


def compute_centring(vectors: Vectors, n_top: int = 0) -> Centring:
    """What all spans of a corpus share. Source: methods §1.4, "ours".

    Template tokens give all spans a common part that otherwise dominates every cosine. Vectors are taken at unit norm,
    so a long gradient weighs no more than a short one; all-zero rows have no direction and count in no mean.

    Parameters
    ----------
    vectors
        (n, P) float16 or float32, finite; n may be 0. Read in batches, so it need not be held.
    n_top
        How many principal directions to remove besides the mean, 0 to P; fewer are found where the rank is smaller.

    Raises
    ------
    ValueError
        A row holds NaN or infinity, or ``n_top`` does not fit.
    """
    if len(vectors.shape) != 2:
        raise ValueError(f"vectors must have two axes (n, P), not shape {vectors.shape}")
    width = vectors.shape[1]
    if not 0 <= n_top <= width:
        raise ValueError(f"n_top is {n_top}; it must lie between 0 and the width {width}")
    mean = compute_mean(_iter_batches(vectors), width)
    top = np.zeros((0, width), dtype=np.float32)
    if n_top and len(vectors):
        top = _compute_principal(vectors, mean, n_top)
    return Centring(mean, top)


def compute_mean(batches: Iterable[np.ndarray], width: int) -> np.ndarray:
    """(P,) float32 mean of the unit vectors in ``batches`` (m, P); rows of zeros do not count."""
    total, count = np.zeros(width, dtype=np.float64), 0
    for rows, is_alive in _iter_unit(batches):
        total += rows.sum(axis=0, dtype=np.float64)
        count += int(is_alive.sum())
    return (total / max(count, 1)).astype(np.float32)


def compute_directions(vectors: np.ndarray, n_top: int = 0) -> np.ndarray:
    """(n, P) float32: ``vectors`` (n, P) centred by their own `compute_centring`."""
    return compute_centring(vectors, n_top).apply(vectors)


def _slice(rows: np.ndarray) -> Iterator[slice]:
    """Slices of ``rows`` (n, P) of about `PIECE` values each."""
    n, width = rows.shape
    size = max(1, PIECE // max(width, 1))
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def _iter_batches(vectors: Vectors) -> Iterator[np.ndarray]:
    return (vectors[start : start + BATCH] for start in range(0, len(vectors), BATCH))


def _iter_unit(batches: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pieces of ``batches`` as unit rows (m, P) float32, and which of them have a direction (m,)."""
    first = 0
    for batch in batches:
        for piece in _slice(batch):
            rows = np.array(batch[piece], dtype=np.float32)
            yield rows, _scale_to_unit(rows, first + piece.start)
        first += len(batch)


def _scale_to_unit(rows: np.ndarray, first: int) -> np.ndarray:
    """Bring ``rows`` (m, P) to unit norm in place; (m,) which have a direction, the others are zero."""
    lengths = np.linalg.norm(rows, axis=1)
    if not np.isfinite(lengths).all():
        check_finite(rows, first=first)
    is_alive = np.isfinite(lengths) & (lengths > 0)
    rows /= np.where(is_alive, lengths, np.float32(1))[:, None]
    return is_alive


def _compute_principal(vectors: Vectors, mean: np.ndarray, n_top: int) -> np.ndarray:
    """(m, P) leading eigenvectors of the covariance of the centred rows; m < n_top where the rank is smaller."""
    width = len(mean)
    gram = np.zeros((width, width), dtype=np.float64)
    for rows, is_alive in _iter_unit(_iter_batches(vectors)):
        rows -= mean
        rows[~is_alive] = 0.0
        gram += rows.T @ rows
    values, columns = eigh(gram, subset_by_index=[width - n_top, width - 1])
    top = columns.T[::-1][values[::-1] > TINY**2 * len(vectors)]
    if not len(top):
        return np.zeros((0, width), dtype=np.float32)
    # An eigenvector's sign is arbitrary: its largest entry is made positive, so that a run repeats bit for bit.
    signs = np.sign(top[np.arange(len(top)), np.abs(top).argmax(axis=1)])
    return (top * signs[:, None]).astype(np.float32)
