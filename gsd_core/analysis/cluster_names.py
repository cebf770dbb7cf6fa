"""Names for clusters: the words that set them apart, and spans that stand for them.

ClusterName              name and terms of one cluster
compute_cluster_names    class-based TF-IDF over the texts of each cluster's spans
compute_exemplars        the spans nearest to each cluster's mean direction

A name says which words are common there, not what the model does there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer

MAX_CHARS = 2_000  # of one span: a runaway span must not name a cluster
MAX_TERM_CHARS = 24
SEPARATOR = " · "
N_TERMS, EXTRA_TERMS = 4, 3  # of a name; added at most to tell two clusters apart

# A word of letters, inner apostrophes kept; numbers are no words. An operator counts only between operands,
# so that hyphens and bullets do not.
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
OPERATOR = re.compile(r"(?<=[\d)\s])[+*/=×÷−<>^%-](?=[\s\d($])")

# Function words only. Usual lists also hold "each", "find", "give", "call" or "three", which are what
# reasoning steps are about.
_FUNCTION_WORDS = """
a an the this that these those there here it its it's i i'm i'll i'd me my we we're we'll us our you
your he him his she her they them their who whom whose which what when where why how is are was were be
been being am do does did doing done has have had having will would shall should can could may might
must isn't aren't wasn't weren't don't doesn't didn't can't won't and or but nor so if then than as at
by for from in into of off on onto out over to up down with within about after before again also any
because just let's let only own same some such very too while during through until not no yes okay ok s
t re ve ll d m that's there's here's what's he's she's they're you're i've we've
"""
STOP_WORDS = frozenset(_FUNCTION_WORDS.split())


@dataclass(frozen=True, slots=True)
class ClusterName:
    """``name`` such as ``"divide · each · share"``, no two alike; ``terms`` its words, best first."""

    name: str
    terms: list[str]


def compute_cluster_names(texts: Sequence[str], clusters: np.ndarray) -> dict[int, ClusterName]:
    """Name each cluster by class-based TF-IDF (c-TF-IDF; Grootendorst 2022, BERTopic, arXiv 2203.05794).

    W(term, cluster) = share of the term in the cluster × log(1 + A / f), A the mean number of words in a
    cluster, f the term's count over all clusters. Noise counts as a cluster, so that words common everywhere
    weigh little, but gets no name. Words are case-folded; numbers, function words and inflections of a better
    term are left out; where words do not suffice, arithmetic operators fill up.

    Parameters
    ----------
    texts
        (n,) text of each span; the first 2,000 characters count.
    clusters
        (n,) cluster of each span; -1 is noise.

    Returns
    -------
    cluster → ClusterName; names are plain text and differ from one another.
    """
    clusters = np.asarray(clusters)
    if len(texts) != len(clusters):
        raise ValueError(f"{len(texts)} texts but {len(clusters)} clusters; give one text per span")
    numbers = [int(c) for c in np.unique(clusters)]
    if not numbers or numbers == [-1]:
        return {}
    documents = {
        c: " \n ".join(texts[i][:MAX_CHARS] for i in np.flatnonzero(clusters == c).tolist()).casefold() for c in numbers
    }
    rankings = [_rank_terms(documents, find) for find in (_find_words, _find_any_words, OPERATOR.findall)]
    named: dict[int, ClusterName] = {}
    taken: set[str] = set()
    for cluster in (c for c in numbers if c >= 0):
        # Function words and operators only where proper words are wanting.
        ranked = _without_inflections([*rankings[0][cluster], *rankings[2][cluster]])
        ranked = ranked or rankings[1][cluster] or ["no words"]
        sizes = range(N_TERMS, N_TERMS + EXTRA_TERMS + 1)
        size = next((size for size in sizes if SEPARATOR.join(ranked[:size]) not in taken), N_TERMS)
        terms = ranked[:size]
        base, count = SEPARATOR.join(terms), 1
        name = base
        while name in taken:
            count += 1
            name = f"{base} ({count})"
        taken.add(name)
        named[cluster] = ClusterName(name, terms)
    return named


def compute_exemplars(
    directions: np.ndarray, clusters: np.ndarray, n: int = 3, samples: np.ndarray | None = None
) -> dict[int, list[int]]:
    """The ``n`` spans nearest to each cluster's mean direction. Source: "ours".

    ``directions`` (n_spans, P); ``clusters`` (n_spans,), -1 is noise; ``samples`` (n_spans,) sample ids: a
    second span of one sample is taken only when there are fewer samples than ``n``. Returns cluster → row
    numbers, nearest first (fewer than ``n`` in a smaller cluster).
    """
    clusters = np.asarray(clusters)
    chosen: dict[int, list[int]] = {}
    for cluster in np.unique(clusters[clusters >= 0]):
        rows = np.flatnonzero(clusters == cluster)
        members = np.asarray(directions[rows], dtype=np.float32)
        ranked: list[int] = rows[np.argsort(-(members @ members.mean(axis=0)), kind="stable")].tolist()
        first_of: dict[str, int] = {}
        for row in ranked:
            first_of.setdefault(str(row if samples is None else samples[row]), row)
        picked = list(first_of.values())[:n]
        chosen[int(cluster)] = [*picked, *(row for row in ranked if row not in picked)][:n]
    return chosen


def _find_any_words(text: str) -> list[str]:
    return [word.replace("’", "'") for word in WORD.findall(text) if len(word) <= MAX_TERM_CHARS]


def _find_words(text: str) -> list[str]:
    return [word for word in _find_any_words(text) if word not in STOP_WORDS and len(word) > 1]


def _rank_terms(documents: dict[int, str], find: Callable[[str], list[str]]) -> dict[int, list[str]]:
    """cluster → its terms by falling c-TF-IDF (ties: alphabetical), at most 40."""
    try:
        vectorizer = CountVectorizer(analyzer=find, dtype=np.float64)
        counts = vectorizer.fit_transform(documents.values()).tocsr()
    except ValueError:  # not a single term anywhere
        return {cluster: [] for cluster in documents}
    terms = vectorizer.get_feature_names_out()
    total = np.asarray(counts.sum(axis=0)).ravel()
    weight = np.log1p(counts.sum() / counts.shape[0] / total)
    ranked: dict[int, list[str]] = {}
    for row, cluster in enumerate(documents):
        line = counts[[row]]
        scores = line.data / max(line.data.sum(), 1.0) * weight[line.indices]
        order = np.lexsort((line.indices, -np.round(scores, 12)))[:40]  # terms are in alphabetical order
        ranked[cluster] = [str(terms[line.indices[i]]) for i in order]
    return ranked


def _without_inflections(terms: list[str]) -> list[str]:
    """Terms without those that share their stem with a better one: "divided" after "divide" adds nothing."""
    kept: list[str] = []
    for term in terms:
        stem = term[: max(4, len(term) - 3)]
        if not any(
            len(term) > 3
            and len(better) > 3
            and (better.startswith(stem) or term.startswith(better[: max(4, len(better) - 3)]))
            and abs(len(term) - len(better)) <= 3
            for better in kept
        ):
            kept.append(term)
    return kept
