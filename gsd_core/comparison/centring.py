"""Centring: what all spans share is removed before any two are compared.

Vectors            what a corpus may be: an array, or anything that reads its rows as they are asked for
Centred            result of centring: directions, mean, top
CentredRows        directions of a corpus that is not held: centred as they are read
compute_centred    centre a corpus; unit-norm directions, its mean, its top principal directions
compute_centring   the mean and the top principal directions alone
apply_centring     the same centring for further vectors (a query, another checkpoint)
center_directions  the same, at once for an array and row by row for what is not held
find_alive         which spans have a direction
HELD_BYTES         what of centred directions may be held at once
check_finite       ValueError that names the first row with NaN or infinity

Shapes: n spans, P sketch width, m removed principal directions. All directions are unit norm or exactly zero.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy.linalg import eigh

HELD_BYTES = 2**30  # of centred directions that are held at once: 262,144 spans at P = 1,024
BATCH = 8192  # rows converted to float32 at a time: 32 MiB at P = 1,024
TINY = 1e-5  # below this a difference of unit vectors is rounding, not direction


class Vectors(Protocol):
    """(n, P) rows that are read by slices and by row numbers, in the way of an array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, P)``."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> np.ndarray: ...


class CentredRows:
    """(n, P) float32 directions of a corpus that is too big to be held: `apply_centring` of the rows asked for."""

    def __init__(
        self,
        vectors: Vectors,
        mean: np.ndarray,
        top: np.ndarray | None = None,
        order: np.ndarray | None = None,
    ) -> None:
        self._vectors, self._mean, self._top = vectors, mean, top
        self._order = order

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, P)``."""
        return len(self), *self._vectors.shape[1:]

    def __len__(self) -> int:
        return len(self._vectors if self._order is None else self._order)

    def __getitem__(self, rows: Any, /) -> np.ndarray:
        rows = rows if self._order is None else self._order[rows]
        return apply_centring(self._vectors[rows], self._mean, self._top)

    def reorder(self, order: np.ndarray) -> CentredRows:
        """The rows ``order`` (m,), still unread."""
        held = order if self._order is None else self._order[order]
        return CentredRows(self._vectors, self._mean, self._top, held)

    @cached_property
    def alive(self) -> np.ndarray:
        """(n,) bool: which rows are not zero. One pass over all, once."""
        return np.concatenate(
            [np.any(self[start : start + BATCH] != 0, axis=1) for start in range(0, len(self), BATCH)]
            or [np.zeros(0, dtype=bool)]
        )


Rows = np.ndarray | CentredRows


class Centred(NamedTuple):
    """``directions`` (n, P) float32 unit norm or zero; ``mean`` (P,) float32; ``top`` (m, P) float32, orthonormal."""

    directions: np.ndarray
    mean: np.ndarray
    top: np.ndarray


def find_alive(directions: Rows) -> np.ndarray:
    """(n,) bool: which rows of ``directions`` (n, P) are not zero, hence have a direction."""
    if isinstance(directions, CentredRows):
        return directions.alive
    return np.any(directions != 0, axis=1) if len(directions) else np.zeros(0, dtype=bool)


def check_finite(vectors: Vectors, name: str = "vectors") -> None:
    """Raise a ValueError that names the first row of ``vectors`` (n, P) holding NaN or infinity."""
    if len(vectors.shape) != 2:
        raise ValueError(f"{name} must have two axes (n, P), not shape {vectors.shape}")
    for start in range(0, len(vectors), BATCH):
        bad = ~np.isfinite(vectors[start : start + BATCH]).all(axis=1)
        if bad.any():
            row = start + int(np.argmax(bad))
            raise ValueError(f"{name} row {row} holds NaN or infinity; capture that span again")


def _unit(rows: np.ndarray, floor: float = 0.0) -> np.ndarray:
    """Rows at unit norm in float32; rows with norm at or below ``floor`` become exactly zero."""
    rows = np.asarray(rows, dtype=np.float32)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    safe = np.where(norms > floor, norms, 1.0)
    return np.where(norms > floor, rows / safe, np.float32(0.0))


def apply_centring(vectors: np.ndarray, mean: np.ndarray, top: np.ndarray | None = None) -> np.ndarray:
    """Centre ``vectors`` as a corpus was centred before. Source: methods §1.4, "ours".

    Parameters
    ----------
    vectors
        (n, P) float16 or float32, any length; a row of zeros has no direction and stays zero.
    mean
        (P,) mean of the corpus's unit vectors.
    top
        (m, P) orthonormal principal directions to remove, or None.

    Returns
    -------
    (n, P) float32, unit norm or zero. A vector that equals the mean has no direction left: zero.
    """
    check_finite(vectors)
    mean = np.asarray(mean, dtype=np.float32)
    if vectors.shape[1] != mean.shape[0]:
        raise ValueError(f"vectors have width {vectors.shape[1]}, the mean has {mean.shape[0]}")
    out = np.empty(vectors.shape, dtype=np.float32)
    for start in range(0, len(vectors), BATCH):
        unit = _unit(vectors[start : start + BATCH])
        rest = np.where(unit.any(axis=1, keepdims=True), unit - mean, np.float32(0.0))
        if top is not None and len(top):
            rest -= (rest @ top.T) @ top
        out[start : start + BATCH] = _unit(rest, floor=TINY)
    return out


def center_directions(vectors: Vectors, mean: np.ndarray, top: np.ndarray | None = None) -> Rows:
    """`apply_centring` of a corpus: of an array an array, of other `Vectors` their `CentredRows`."""
    if isinstance(vectors, np.ndarray):
        return apply_centring(vectors, mean, top)
    return CentredRows(vectors, mean, top)


def compute_centred(vectors: np.ndarray, mean: np.ndarray | None = None, n_top: int = 0) -> Centred:
    """Remove the corpus mean and, on request, the ``n_top`` principal directions. Source: methods §1.4,
    "ours".

    Template tokens give all spans a common part that otherwise dominates every cosine. Vectors are taken at
    unit norm, so a long gradient weighs no more than a short one; all-zero rows have no direction, count in
    no mean and stay zero.

    Parameters
    ----------
    vectors
        (n, P) float16 or float32, finite; n may be 0.
    mean
        (P,) a mean to use instead of the corpus's own.
    n_top
        How many principal directions to remove, 0 to P.

    Returns
    -------
    Centred; read in batches of 8,192 rows, so besides input and output only a (P, P) matrix is held (with
    ``n_top``).

    Raises
    ------
    ValueError
        A row holds NaN or infinity, or ``n_top`` does not fit.
    """
    mean, top = compute_centring(vectors, mean, n_top)
    return Centred(apply_centring(vectors, mean, top), mean, top)


def compute_centring(
    vectors: Vectors, mean: np.ndarray | None = None, n_top: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """``mean`` (P,) and ``top`` (m, P) of `compute_centred`, in batches: ``vectors`` (n, P) need not be held."""
    check_finite(vectors)
    n, width = vectors.shape
    if not 0 <= n_top <= width:
        raise ValueError(f"n_top is {n_top}; it must lie between 0 and the width {width}")
    if mean is None:
        total, count = np.zeros(width, dtype=np.float64), 0
        for start in range(0, n, BATCH):
            unit = _unit(vectors[start : start + BATCH])
            total += unit.sum(axis=0, dtype=np.float64)
            count += int(unit.any(axis=1).sum())
        mean = total / max(count, 1)
    mean = np.asarray(mean, dtype=np.float32)
    top = np.zeros((0, width), dtype=np.float32)
    if n_top and n:
        top = _principal_directions(vectors, mean, n_top)
    return mean, top


def _principal_directions(vectors: Vectors, mean: np.ndarray, n_top: int) -> np.ndarray:
    """(m, P) leading eigenvectors of the covariance of the centred rows; m < n_top where the rank is smaller."""
    width = vectors.shape[1]
    gram = np.zeros((width, width), dtype=np.float64)
    for start in range(0, len(vectors), BATCH):
        unit = _unit(vectors[start : start + BATCH])
        rest = np.where(unit.any(axis=1, keepdims=True), unit - mean, np.float32(0.0))
        gram += rest.T @ rest
    values, columns = eigh(gram, subset_by_index=[width - n_top, width - 1])
    kept = values[::-1] > TINY**2 * len(vectors)
    top = columns.T[::-1][kept]
    if not len(top):
        return np.zeros((0, width), dtype=np.float32)
    # An eigenvector's sign is arbitrary: its largest entry is made positive, so that a run repeats bit for
    # bit.
    signs = np.sign(top[np.arange(len(top)), np.abs(top).argmax(axis=1)])
    return (top * signs[:, None]).astype(np.float32)
