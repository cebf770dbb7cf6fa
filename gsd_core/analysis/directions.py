"""Centring: what all spans share is removed before any two are compared.

Centred            result of centring: directions, mean, top
compute_centred    centre a corpus; unit-norm directions, its mean, its top principal directions
apply_centring     the same centring for further vectors (a query, another checkpoint)
check_finite       ValueError that names the first row with NaN or infinity

Shapes: n spans, P sketch width, m removed principal directions. All directions are unit norm or exactly zero.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh

BATCH = 8192  # rows converted to float32 at a time: 32 MiB at P = 1,024
TINY = 1e-5  # below this a difference of unit vectors is rounding, not direction


class Centred(NamedTuple):
    """``directions`` (n, P) float32 unit norm or zero; ``mean`` (P,) float32; ``top`` (m, P) float32, orthonormal."""

    directions: np.ndarray
    mean: np.ndarray
    top: np.ndarray


def check_finite(vectors: np.ndarray, name: str = "vectors") -> None:
    """Raise a ValueError that names the first row of ``vectors`` (n, P) holding NaN or infinity."""
    if vectors.ndim != 2:
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
    return Centred(apply_centring(vectors, mean, top), mean, top)


def _principal_directions(vectors: np.ndarray, mean: np.ndarray, n_top: int) -> np.ndarray:
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
