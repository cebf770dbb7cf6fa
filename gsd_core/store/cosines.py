"""Cosines to stored directions, centred alike on every way of searching.

compute_unit      what a search asks for: the query less the centre, at unit norm
compute_cosines   cosines of a piece of stored directions to it
"""

from __future__ import annotations

import numpy as np


def compute_unit(query: np.ndarray, center: np.ndarray | None) -> np.ndarray | None:
    """(P,) float32 ``query − center`` at unit norm; None where the query is zero or the centre itself."""
    target = query if center is None else query - center
    length = float(np.linalg.norm(target))
    return target / length if length and np.any(query) else None


def compute_cosines(piece: np.ndarray, targets: np.ndarray, center: np.ndarray | None) -> np.ndarray:
    """Cosines of ``piece`` (m, P) float32, which is centred in place, to unit ``targets`` (P,) or (P, q).

    (m,) or (m, q) float32. A stored zero gradient points nowhere, before and after centring: 0.
    """
    is_empty = ~piece.any(axis=1)
    if center is not None:
        piece -= center
    norms = np.sqrt(np.einsum("np,np->n", piece, piece))
    is_empty |= norms == 0
    norms[is_empty] = 1.0
    products = piece @ targets
    products[is_empty] = 0.0
    scale = norms if products.ndim == 1 else norms[:, None]
    return np.clip(products / scale, -1.0, 1.0)
