"""The structure of one checkpoint, in one pure function: stresses, twins and the tables that pages draw.

Structure            tables by name and a summary
Corpus               centred directions, clusters, questions and texts of the spans
analyze_structure    Corpus → Structure
STAGES               names that ``on_progress`` reports, in order

Methods §1.4–1.6, "ours". Clusters are found in the same directions: that spans of one cluster are aligned is so by
construction, and ``cosines`` shows by how much; what it is worth is for labels to say. Shapes: n spans, P sketch
width, N samples, E embedding width, C clusters.

Directions that are not held (`CentredRows`) are read in batches. Twins need both traces of a pair at hand: beyond 1 GiB
of directions they are searched for among a seeded draw of whole traces, and ``info["twins"]`` says how many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from gsd_core.analysis.align import TracedSpans, Traces, compute_match_scale, group_traces
from gsd_core.analysis.stresses import find_stresses, make_sequences
from gsd_core.analysis.structure_tables import (
    make_frame,
    tabulate_occurrences,
    tabulate_pairs,
    tabulate_stresses,
    tabulate_twins,
)
from gsd_core.analysis.twins import find_twins
from gsd_core.comparison.centring import HELD_BYTES, CentredRows, Rows, find_alive
from gsd_core.comparison.nulls import compute_null_cosines

STAGES = ("stresses", "twins", "tables")
SIGNIFICANT = 0.05
_SHOWN_COSINES, _LAYER_PAIRS, _RESAMPLES = 3_000, 2_000, 200
_MOST_EDGES = 100_000  # more than any run has below 22,000 spans
_BATCH = 8192


@dataclass(frozen=True)
class Structure:
    """``tables`` name → frame with the columns that ``STRUCTURE`` declares; ``info`` plain numbers, among
    them ``n_stresses``, ``n_twins`` and ``n_rewordings`` (all with q < 0.05)."""

    tables: dict[str, pd.DataFrame]
    info: dict[str, Any]


@dataclass(frozen=True)
class Corpus:
    """n spans of N samples.

    ``directions`` (n, P) float32 centred, unit norm or zero: an array, or `CentredRows`. ``samples``, ``indices`` and
    ``clusters`` (n,) are each span's sample id, index within its sample and cluster (-1 is noise). ``questions`` (N, E)
    are embeddings, a row for each sample in the order in which samples first appear; a zero row is unknown. ``texts``
    (n) are what the spans say: with them, twins in other words are sought too.
    """

    directions: Rows
    samples: Sequence[str] | np.ndarray
    indices: Sequence[int] | np.ndarray
    clusters: np.ndarray
    questions: np.ndarray
    texts: Sequence[str] | None = None
    groups: np.ndarray | None = None
    """(n,) what stresses are sequences of where it is not the clusters: families, say; -1 is none."""


def analyze_structure(
    corpus: Corpus,
    seed: int = 0,
    on_progress: Callable[[str, int, int], None] | None = None,
    *,
    layer_slices: Sequence[tuple[str, int, int]] = (),
    names: dict[int, str] | None = None,
    null: np.ndarray | None = None,
    controls: dict[str, tuple[np.ndarray, np.ndarray]] | None = None,
) -> Structure:
    """Stresses, twins, and what stands beside them.

    Parameters
    ----------
    layer_slices
        ``(name, start, stop)`` of each layer's block of a direction.
    names
        Cluster, or other group that stresses are sequences of, → its name.
    null
        Cosines of random spans of different samples; None: drawn here.
    controls
        Kind → centred directions (m, P) and sample ids (m,) of what was captured beside the spans: their pairs of
        different samples join table ``cosines``.

    Raises
    ------
    ValueError
        Lengths that differ.
    """
    report = on_progress or (lambda stage, done, total: None)
    spans, indices = _order(corpus)
    if null is None:
        samples = np.asarray(corpus.samples, dtype=object)
        null = compute_null_cosines(corpus.directions, samples, seed=seed)
    traces = spans.traces
    sequences = make_sequences(corpus.clusters if corpus.groups is None else corpus.groups, traces)
    stresses, mined = find_stresses(sequences, seed, on_progress=lambda done, total: report("stresses", done, total))
    report("stresses", 1, 1)
    searched, held = _draw_traces(spans, HELD_BYTES // (4 * spans.directions.shape[1]), seed)
    search = find_twins(
        searched,
        compute_match_scale(null),
        seed,
        on_progress=lambda done, total: report("twins", done, total),
    )
    report("twins", 1, 1)
    kinds = controls or {}
    tables = {
        "twins": tabulate_twins(search.twins, searched.traces, indices[held]),
        "rewordings": tabulate_twins(search.rewordings, searched.traces, indices[held]),
        "pairs": tabulate_pairs(search, searched.traces, seed),
        "stresses": tabulate_stresses(stresses, names or {}),
        "occurrences": tabulate_occurrences(stresses, traces, indices),
        "edges": _compute_edges(spans),
        **_compare_cosines(spans, layer_slices, seed, kinds),
        "best": _compare_best(spans, kinds, seed),
    }
    report("tables", 1, 1)
    counts = {
        f"n_{name}": int((tables[name]["q_value"] < SIGNIFICANT).sum()) for name in ("stresses", "twins", "rewordings")
    }
    n_traces = {
        "n_traces": len(searched.traces.ids),
        "n_traces_left_out": len(traces.ids) - len(searched.traces.ids),
    }
    info = {"n_samples": len(traces.ids), **counts, "seed": seed, "stresses": mined}
    return Structure(tables, {**info, "twins": {**search.info, **n_traces}})


def _order(corpus: Corpus) -> tuple[TracedSpans, np.ndarray]:
    """Spans trace by trace, as they mostly stand already, and their indices (n,)."""
    clusters = np.asarray(corpus.clusters, dtype=np.int64)
    traces = group_traces(np.asarray(corpus.samples, dtype=object), np.asarray(corpus.indices))
    directions, order = corpus.directions, traces.order
    if not len(directions) == len(clusters) == len(order):
        raise ValueError(
            f"{len(directions)} directions, {len(clusters)} labels and {len(order)} sample ids; "
            "give one of each per span"
        )
    if len(corpus.questions) != len(traces.ids):
        raise ValueError(f"{len(corpus.questions)} question embeddings for {len(traces.ids)} samples")
    is_ordered = np.array_equal(order, np.arange(len(order)))
    if isinstance(directions, CentredRows):
        rows: Rows = directions if is_ordered else directions.reorder(order)
    else:
        rows = np.asarray(directions if is_ordered else directions[order], dtype=np.float32)
    texts = None if corpus.texts is None else [corpus.texts[row] for row in order.tolist()]
    indices = np.asarray(corpus.indices, dtype=np.int64)[order]
    return TracedSpans(rows, traces, clusters[order], corpus.questions, texts), indices


def _draw_traces(spans: TracedSpans, most: int, seed: int) -> tuple[TracedSpans, np.ndarray]:
    """Whole traces of at most ``most`` spans together, their directions held; and which rows these are."""
    traces = spans.traces
    if len(traces.order) <= most:
        return replace(spans, directions=spans.directions[:]), np.arange(len(traces.order))
    sizes = np.diff(traces.offsets)
    drawn = np.random.default_rng(seed).permutation(len(sizes))
    drawn = np.sort(drawn[np.cumsum(sizes[drawn]) <= most])
    rows = np.concatenate([np.arange(*traces.offsets[t : t + 2]) for t in drawn])
    offsets = np.concatenate([[0], np.cumsum(sizes[drawn])])
    texts = None if spans.texts is None else [spans.texts[row] for row in rows.tolist()]
    return TracedSpans(
        spans.directions[rows],
        Traces(traces.ids[drawn], np.arange(len(rows)), offsets),
        spans.clusters[rows],
        spans.questions[drawn],
        texts,
    ), rows


def _compute_edges(spans: TracedSpans) -> pd.DataFrame:
    """Mean centred cosine of all pairs of spans of two clusters (or one) that are of different samples.

    Of more than 100,000 pairs of clusters the most aligned are kept.
    """
    rows = spans.directions
    clusters, codes = np.unique(spans.clusters, return_inverse=True)
    first = int(np.searchsorted(clusters, 0))  # noise sorts before the clusters
    clusters, codes = clusters[first:], codes - first
    count = len(clusters)
    sums = np.zeros((count, rows.shape[1]), dtype=np.float64)
    within, pairs = np.zeros((count, count)), np.zeros((count, count))
    for start, stop, members in _iter_traces(rows, spans.traces):
        held = codes[start:stop]
        alive = held >= 0
        here, inverse, sizes = np.unique(held[alive], return_inverse=True, return_counts=True)
        part = np.zeros((len(here), rows.shape[1]), dtype=np.float32)
        np.add.at(part, inverse, members[alive])
        sums[here] += part
        within[np.ix_(here, here)] += part @ part.T
        pairs[np.ix_(here, here)] += np.outer(sizes, sizes)
    sizes = np.bincount(codes[codes >= 0], minlength=count)
    n_pairs = np.outer(sizes, sizes) - pairs
    mean = (sums @ sums.T - within) / np.maximum(n_pairs, 1)
    a, b = np.nonzero(np.triu(n_pairs > 0))
    if len(a) > _MOST_EDGES:
        best = np.sort(np.argsort(-mean[a, b], kind="stable")[:_MOST_EDGES])
        a, b = a[best], b[best]
    # Pairs of one cluster with itself were counted in both directions.
    n = np.where(a == b, n_pairs[a, b] / 2, n_pairs[a, b])
    frame = pd.DataFrame(
        {"cluster_a": clusters[a], "cluster_b": clusters[b], "cosine": mean[a, b], "n": n.astype(np.int64)}
    )
    return frame.astype({"cluster_a": "int64", "cluster_b": "int64"})


def _iter_traces(rows: Rows, traces: Traces) -> Iterator[tuple[int, int, np.ndarray]]:
    """``(start, stop, rows[start:stop])`` of each trace; rows are read some thousand at a time."""
    base, block = 0, rows[:0]
    for at, (start, stop) in enumerate(zip(traces.offsets[:-1], traces.offsets[1:], strict=True)):
        if stop > base + len(block):
            last = np.searchsorted(traces.offsets, start + _BATCH, side="right") - 1
            base, block = start, rows[start : traces.offsets[max(last, at + 1)]]
        yield start, stop, block[start - base : stop - base]


def _compare_cosines(
    spans: TracedSpans,
    layer_slices: Sequence[tuple[str, int, int]],
    seed: int,
    controls: dict[str, tuple[np.ndarray, np.ndarray]],
) -> dict[str, pd.DataFrame]:
    """Tables ``layers`` and ``cosines`` from seeded pairs of spans of different samples.

    "shuffled" are pairs that share a cluster after clusters were permuted over the spans: the size of
    clusters without their content.
    """
    random = np.random.default_rng(seed)
    rows, owners = spans.directions, spans.traces.owners()
    alive = find_alive(rows)
    one = np.where(alive, 0, -1)
    same = np.where(alive, spans.clusters, -1)
    permuted = same.copy()
    permuted[same >= 0] = random.permutation(same[same >= 0])
    kinds = {"spans": one, "same cluster": same, "shuffled": permuted}
    drawn = {kind: _draw_within(held, owners, _SHOWN_COSINES, random) for kind, held in kinds.items()}
    parts = [
        pd.DataFrame({"kind": [kind] * len(pairs), "cosine": _cosines(rows, pairs)}) for kind, pairs in drawn.items()
    ]
    for kind, (vectors, samples) in controls.items():
        held = np.where(np.any(vectors != 0, axis=1), 0, -1)
        pairs = _draw_within(held, pd.factorize(samples)[0], _SHOWN_COSINES, random)
        parts.append(pd.DataFrame({"kind": [kind] * len(pairs), "cosine": _cosines(vectors, pairs)}))
    cosines = pd.concat(parts, ignore_index=True).astype({"kind": object, "cosine": "float64"})
    layers = []
    for name, start, stop in layer_slices:
        block = slice(start, stop)
        for kind, pairs in (("same cluster", drawn["same cluster"]), ("random", drawn["spans"])):
            pairs = pairs[:_LAYER_PAIRS]
            if len(pairs):
                mean, low, high = _mean_with_band(_cosines(rows, pairs, block), owners[pairs[:, 0]], random)
                numbers = {"mean": mean, "ci_low": low, "ci_high": high, "n": len(pairs)}
                layers.append({"layer": str(name), "set": kind, **numbers})
    return {
        "layers": make_frame("layers", layers),
        "cosines": cosines,
    }


def _compare_best(spans: TracedSpans, controls: dict[str, tuple[np.ndarray, np.ndarray]], seed: int) -> pd.DataFrame:
    """Every unit's cosine with its best partner of another sample, for controls and the spans of the same samples.

    Random pairs of a corpus with many procedures hardly ever share one, whatever is cut; the best partner tells
    whether units of a kind find their like. A larger pool has better partners, so all kinds are drawn to one size.
    """
    if not controls:
        return make_frame("best", [])
    sampled = set().union(*(samples for _, samples in controls.values()))
    owners = spans.traces.ids[spans.traces.owners()]
    inside = np.flatnonzero([owner in sampled for owner in owners])
    pools = {**controls, "spans": (spans.directions[inside], owners[inside])}
    pools = {kind: (x[(x != 0).any(axis=1)], o[(x != 0).any(axis=1)]) for kind, (x, o) in pools.items()}
    size = min(len(vectors) for vectors, _ in pools.values())
    random = np.random.default_rng(seed)
    parts = []
    for kind, (vectors, samples) in pools.items():
        drawn = random.permutation(len(vectors))[:size]
        cosines = vectors[drawn] @ vectors[drawn].T
        codes = pd.factorize(samples[drawn])[0]
        cosines[codes[:, None] == codes[None]] = -np.inf
        best = cosines.max(axis=1) if size else np.zeros(0)
        parts.append(pd.DataFrame({"kind": kind, "cosine": best[np.isfinite(best)]}))
    return pd.concat(parts, ignore_index=True).astype({"kind": object, "cosine": "float64"})


def _draw_within(groups: np.ndarray, owners: np.ndarray, size: int, random: np.random.Generator) -> np.ndarray:
    """(r, 2) random rows of one group and different samples, r <= ``size``; group -1 is left out."""
    held = np.flatnonzero(groups >= 0)
    if not len(held):
        return np.zeros((0, 2), dtype=np.int64)
    held = held[np.argsort(groups[held], kind="stable")]
    _, first, sizes = np.unique(groups[held], return_index=True, return_counts=True)
    left = random.integers(0, len(held), 4 * size)
    group = np.searchsorted(first, left, side="right") - 1
    right = first[group] + (random.random(len(left)) * sizes[group]).astype(np.int64)
    pairs = np.stack([held[left], held[right]], axis=1)
    return pairs[owners[pairs[:, 0]] != owners[pairs[:, 1]]][:size]


def _cosines(rows: Rows, pairs: np.ndarray, block: slice | None = None) -> np.ndarray:
    """(r,) cosines of pairs (r, 2) of rows, or of a block of their columns."""
    left, right = (rows[pairs[:, side]][:, block or slice(None)].astype(np.float64) for side in (0, 1))
    size = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return np.einsum("pd,pd->p", left, right) / np.where(size > 0, size, 1.0)


def _mean_with_band(values: np.ndarray, owners: np.ndarray, random: np.random.Generator) -> tuple[float, float, float]:
    """Mean and its 95 % bootstrap interval over samples (``owners`` of the pairs' first spans)."""
    _, codes = np.unique(owners, return_inverse=True)
    sums, counts = np.bincount(codes, values), np.bincount(codes)
    weights = random.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=_RESAMPLES)
    means = (weights @ sums) / (weights @ counts)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(values.mean()), float(low), float(high)
