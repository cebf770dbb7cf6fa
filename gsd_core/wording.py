"""What counts as other words: the one rule for the command line, the pages and the structure benchmark.

Wording        unit embeddings of texts, and how alike two may be to count as other words
make_wording   from sentence embeddings and the samples they belong to

Two texts are in other words where the cosine of their centred sentence embeddings is at most the median of random pairs
of different samples [ours]. It stands beside ``types`` because both the stages and the pages use it, and neither may
import the other. Shapes: n texts, E embedding width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

N_PAIRS, SEED = 20_000, 0


@dataclass(frozen=True, slots=True)
class Wording:
    """``rows`` (n, E) float32, centred, unit norm or zero (no text, no embedding); ``limit`` the median cosine."""

    rows: np.ndarray
    limit: float

    def compute_cosines(self, row: int) -> np.ndarray:
        """(n,) cosine of every text with text ``row``."""
        return np.asarray(self.rows @ self.rows[row], dtype=np.float32)

    def is_other(self, row: int) -> np.ndarray:
        """(n,) bool: which texts say it in other words than text ``row``."""
        return np.asarray(self.compute_cosines(row) <= self.limit)


def make_wording(embeddings: np.ndarray, samples: np.ndarray) -> Wording | None:
    """Embeddings (n, E) and the sample of each (n,) → Wording; None where two samples cannot be compared."""
    rows = np.array(embeddings, dtype=np.float32)
    is_known = np.any(rows != 0, axis=1)
    if not is_known.any():
        return None
    rows[is_known] -= rows[is_known].mean(axis=0)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    np.divide(rows, norms, out=rows, where=norms > 1e-9)
    known = np.flatnonzero(is_known)
    left, right = known[np.random.default_rng(SEED).integers(0, len(known), (2, N_PAIRS))]
    apart = np.asarray(samples)[left] != np.asarray(samples)[right]
    if not apart.any():
        return None
    cosines = np.einsum("ij,ij->i", rows[left[apart]], rows[right[apart]])
    return Wording(rows, float(np.median(cosines)))
