"""Representations of spans that gradients have to beat, and the controls that must fail.

Representation             rows to compare by cosine, with a name and a kind
make_gradient              centred directions, or without their top directions
make_sentence_embedding    embeddings of the spans' texts, or of their questions
make_tfidf                 words of the spans' texts
make_number_bag, make_number_order   what the numbers alone tell
make_state                 mean hidden state, raw or with each wording's mean removed
aggregate                  spans → samples: the mean of unit rows

Source: methods §5. Shapes: n spans (or samples), W width.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

from gsd_core.comparison.centring import compute_directions

KINDS = ("gradient", "baseline", "control")
NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Representation:
    """``rows`` (n, W), dense float32 or sparse, unit norm or zero. ``kind`` is one of ``KINDS``."""

    name: str
    kind: str
    rows: np.ndarray | sp.csr_matrix


def make_gradient(name: str, vectors: np.ndarray, n_top: int = 0) -> Representation:
    """Directions (n, W) centred over the corpus, with the `n_top` principal directions removed."""
    suffix = f", without its top {n_top} directions" if n_top else ""
    return Representation(name + suffix, "gradient", compute_directions(vectors, n_top))


def make_sentence_embedding(name: str, embeddings: np.ndarray) -> Representation:
    """Sentence embeddings (n, W), centred over the corpus as directions are."""
    return Representation(name, "baseline", compute_directions(embeddings))


def make_tfidf(texts: Sequence[str]) -> Representation:
    """TF-IDF over lower-case words, numbers and signs of each text."""
    vectorizer = TfidfVectorizer(token_pattern=r"(?u)\w+|[^\w\s]")
    return Representation("TF-IDF of the words", "baseline", _fit(vectorizer, texts))


def make_number_bag(texts: Sequence[str]) -> Representation:
    """TF-IDF over the numbers that occur in each text, as written."""
    documents = [" ".join(NUMBER.findall(text)) for text in texts]
    return Representation("numbers: which occur", "baseline", _fit(TfidfVectorizer(token_pattern=r"\S+"), documents))


def make_number_order(texts: Sequence[str]) -> Representation:
    """How many numbers there are and how each compares with the next two: what order alone gives away [ours]."""
    documents = []
    for text in texts:
        values = [float(found) for found in NUMBER.findall(text)[:12]]
        words = [f"n{len(values)}"]
        for step in (1, 2):
            for i in range(len(values) - step):
                a, b = values[i], values[i + step]
                words.append(f"s{step}i{i}" + ("<" if a < b else ">" if a > b else "="))
        documents.append(" ".join(words))
    return Representation("numbers: their order", "baseline", _fit(TfidfVectorizer(token_pattern=r"\S+"), documents))


def make_state(vectors: np.ndarray, wordings: Sequence[object] | None = None) -> Representation:
    """Mean hidden states (n, W), centred over the corpus or, given each row's wording, over each wording."""
    if wordings is None:
        return Representation("mean hidden state", "baseline", compute_directions(vectors))
    rows = np.zeros(vectors.shape, dtype=np.float32)
    names = np.array([str(each) for each in wordings])
    for name in np.unique(names):
        own = names == name
        rows[own] = compute_directions(vectors[own])
    return Representation("mean hidden state, centred per wording", "baseline", rows)


def aggregate(representation: Representation, owners: np.ndarray, n_groups: int) -> Representation:
    """Rows of spans → one row a sample: the mean of its spans' unit rows, at unit norm.

    ``owners`` (n,) int is the sample of each row, below ``n_groups``.
    """
    n = len(owners)
    gather = sp.csr_matrix((np.ones(n, np.float32), (owners, np.arange(n))), shape=(n_groups, n))
    rows = normalize(gather @ representation.rows)
    return replace(representation, rows=rows.tocsr() if sp.issparse(rows) else np.asarray(rows, dtype=np.float32))


def _fit(vectorizer: TfidfVectorizer, documents: Sequence[str]) -> sp.csr_matrix:
    try:
        return sp.csr_matrix(vectorizer.fit_transform(documents), dtype=np.float32)
    except ValueError:  # no document holds a word: nothing is alike
        return sp.csr_matrix((len(documents), 1), dtype=np.float32)
