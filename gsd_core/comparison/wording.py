"""What counts as other words: the one rule for the command line, the pages and the structure benchmark.

Wording        the words of texts as sparse rows, and how alike two may be to count as other words
make_wording   from texts and the samples they belong to
MOST_WORDED    of more spans neighbours in other words are not sought

Two texts are in other words where they share no more words than 95 % of random pairs of different samples do: cosine of
TF-IDF over words, numbers and signs left out [ours]. Words and not sentence embeddings, because those rise with
meaning, which is what must stay free. Shapes: n texts, V words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

N_PAIRS, SEED, SHARE = 20_000, 0, 0.95
MOST_WORDED = 300_000  # spans of which one's neighbours in other words are sought: some ten seconds, once
MOST = 0.5  # where templates make most texts alike, half the words in common is still not other words
_WORD = re.compile(r"[^\W\d_]+")
_BLOCK = 100_000


@dataclass(frozen=True, slots=True)
class Wording:
    """``rows`` (n, V) float32 unit norm, or zero where a text has no word; ``limit`` the largest cosine of other
    words."""

    rows: sp.csr_matrix
    limit: float

    def compute_cosines(self, rows: np.ndarray | Sequence[int]) -> np.ndarray:
        """(m, n) float32 cosines of these texts with all."""
        return np.asarray((self.rows[np.asarray(rows)] @ self.rows.T).toarray(), dtype=np.float32)

    def compute_pairs(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """(m,) float32 cosine of each pair of texts."""
        parts = [
            self.rows[left[at : at + _BLOCK]].multiply(self.rows[right[at : at + _BLOCK]]).sum(axis=1)
            for at in range(0, len(left), _BLOCK)
        ]
        return np.concatenate([np.zeros(0), *(np.asarray(part).ravel() for part in parts)]).astype(np.float32)


def make_wording(texts: Sequence[str], samples: np.ndarray) -> Wording | None:
    """Texts (n) and the sample of each (n,) → Wording; None where two samples cannot be compared, or no text has a
    word."""
    rows = _weigh_words(texts)
    if not rows.nnz:
        return None
    left, right = np.random.default_rng(SEED).integers(0, len(texts), (2, N_PAIRS))
    apart = np.asarray(samples)[left] != np.asarray(samples)[right]
    if not apart.any():
        return None
    cosines = Wording(rows, MOST).compute_pairs(left[apart], right[apart])
    return Wording(rows, min(MOST, float(np.quantile(cosines, SHARE))))


def _weigh_words(texts: Sequence[str]) -> sp.csr_matrix:
    """(n, V) TF-IDF rows at unit norm. Not scikit-learn's, which pages would have to load for this alone."""
    number: dict[str, int] = {}
    columns, lengths = [], np.zeros(len(texts) + 1, dtype=np.int64)
    for at, text in enumerate(texts):
        found = [number.setdefault(word, len(number)) for word in _WORD.findall(text.lower())]
        columns += found
        lengths[at + 1] = len(found)
    counts = sp.csr_matrix(
        (np.ones(len(columns), np.float32), np.array(columns, np.int64), np.cumsum(lengths)),
        shape=(len(texts), len(number)),
    )
    counts.sum_duplicates()
    held = np.bincount(counts.indices, minlength=len(number))
    counts.data *= (np.log((1 + len(texts)) / (1 + held)) + 1).astype(np.float32)[counts.indices]
    norms = np.sqrt(counts.multiply(counts).sum(axis=1)).A1 if len(number) else np.zeros(len(texts))
    counts.data /= np.repeat(np.where(norms > 0, norms, 1), np.diff(counts.indptr)).astype(np.float32)
    return counts
