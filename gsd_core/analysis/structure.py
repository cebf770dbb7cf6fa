"""The structure of one checkpoint, in one pure function: stresses, twins and the tables that pages draw.

Structure            tables by name and a summary
analyze_structure    centred directions, clusters, question embeddings → Structure
STAGES               names that ``on_progress`` reports, in order
TABLES               columns of each table

Methods §1.4–1.6, "ours". Clusters are found in the same directions: that spans of one cluster are aligned is so by
construction, and ``cosines`` shows by how much; what it is worth is for labels to say. Shapes: n spans, P sketch
width, N samples, E embedding width, C clusters.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gsd_core.analysis.align import Traces, compute_match_scale, group_traces
from gsd_core.analysis.nulls import compute_null_cosines
from gsd_core.analysis.stresses import Stress, find_stresses, make_sequences
from gsd_core.analysis.twins import Twin, TwinSearch, find_twins

STAGES = ("stresses", "twins", "tables")
_TWIN_COLUMNS = (
    *("rank", "a", "b", "structural", "semantic", "z_structural", "z_semantic", "score", "p_value"),
    *("q_value", "n_aligned", "aligned", "pattern", "wording"),
)
TABLES = {
    "twins": _TWIN_COLUMNS,
    "rewordings": _TWIN_COLUMNS,  # twins whose reasonings are in other words
    "pairs": ("a", "b", "structural", "semantic", "is_candidate"),
    "stresses": (
        *("stress", "pattern", "labels", "length", "support", "n_occurrences", "lift", "p_value", "q_value"),
    ),
    "occurrences": ("stress", "sample", "indices"),
    "edges": ("cluster_a", "cluster_b", "cosine", "n"),
    "layers": ("layer", "set", "mean", "ci_low", "ci_high", "n"),
    "cosines": ("kind", "cosine"),
    "best": ("kind", "cosine"),
}
SIGNIFICANT = 0.05
_SHOWN_PAIRS, _SHOWN_COSINES, _LAYER_PAIRS, _RESAMPLES = 2_000, 3_000, 2_000, 200


@dataclass(frozen=True)
class Structure:
    """``tables`` name → frame with the columns of `TABLES`, nested values as JSON text; ``info`` plain numbers, among
    them ``n_stresses``, ``n_twins`` and ``n_rewordings`` (all with q < 0.05)."""

    tables: dict[str, pd.DataFrame]
    info: dict[str, Any]


def analyze_structure(
    directions: np.ndarray,
    samples: Sequence[str] | np.ndarray,
    indices: Sequence[int] | np.ndarray,
    labels: np.ndarray,
    question_embeddings: np.ndarray,
    layer_slices: Sequence[tuple[str, int, int]] = (),
    seed: int = 0,
    on_progress: Callable[[str, int, int], None] | None = None,
    *,
    names: dict[int, str] | None = None,
    null: np.ndarray | None = None,
    controls: dict[str, tuple[np.ndarray, np.ndarray]] | None = None,
    texts: Sequence[str] | None = None,
) -> Structure:
    """Stresses, twins, and what stands beside them.

    Parameters
    ----------
    directions
        (n, P) float32 centred, unit norm or zero.
    samples, indices, labels
        (n,) sample id, number of the span within its sample, cluster (-1 is noise).
    question_embeddings
        (N, E), one row a sample in the order in which samples first appear; a zero row is unknown.
    layer_slices
        ``(name, start, stop)`` of each layer's block of a direction.
    names
        Cluster → label.
    null
        Cosines of random spans of different samples; None: drawn here.
    controls
        Kind → centred directions (m, P) and sample ids (m,) of what was captured beside the spans: their pairs of
        different samples join table ``cosines``.
    texts
        (n) what the spans say. With them, twins in other words are sought too.

    Raises
    ------
    ValueError
        Lengths that differ.
    """
    labels = np.asarray(labels, dtype=np.int64)
    traces = group_traces(np.asarray(samples, dtype=object), np.asarray(indices))
    if not len(directions) == len(labels) == len(traces.order):
        raise ValueError(
            f"{len(directions)} directions, {len(labels)} labels and {len(traces.order)} sample ids; "
            "give one of each per span"
        )
    if len(question_embeddings) != len(traces.ids):
        raise ValueError(f"{len(question_embeddings)} question embeddings for {len(traces.ids)} samples")
    report = on_progress or (lambda stage, done, total: None)
    if null is None:
        null = compute_null_cosines(directions, np.asarray(samples, dtype=object), seed=seed)
    threshold, gap = compute_match_scale(null)
    # From here on rows stand trace by trace, as they mostly do already.
    is_ordered = np.array_equal(traces.order, np.arange(len(labels)))
    rows = np.asarray(directions if is_ordered else directions[traces.order], dtype=np.float32)
    numbers = np.asarray(indices, dtype=np.int64)[traces.order]
    ordered = labels[traces.order]

    sequences = make_sequences(labels, traces)
    stresses, mined = find_stresses(
        sequences, seed, on_progress=lambda done, total: report("stresses", done, total)
    )
    report("stresses", 1, 1)
    search = find_twins(
        rows,
        traces,
        ordered,
        question_embeddings,
        threshold,
        gap,
        seed,
        texts=None if texts is None else [texts[at] for at in traces.order],
        on_progress=lambda done, total: report("twins", done, total),
    )
    report("twins", 1, 1)
    tables = {
        "twins": _tabulate_twins(search.twins, traces, numbers),
        "rewordings": _tabulate_twins(search.rewordings, traces, numbers),
        "pairs": _tabulate_pairs(search, traces, seed),
        "stresses": _tabulate_stresses(stresses, names or {}),
        "occurrences": _tabulate_occurrences(stresses, traces, numbers),
        "edges": _compute_edges(rows, traces, ordered),
        **_compare_cosines(rows, traces.owners(), ordered, layer_slices, seed, controls or {}),
        "best": _compare_best(rows, traces.ids[traces.owners()], controls or {}, seed),
    }
    report("tables", 1, 1)
    info = {
        "n_samples": len(traces.ids),
        "n_stresses": int((tables["stresses"]["q_value"] < SIGNIFICANT).sum()),
        "n_twins": int((tables["twins"]["q_value"] < SIGNIFICANT).sum()),
        "n_rewordings": int((tables["rewordings"]["q_value"] < SIGNIFICANT).sum()),
        "seed": seed,
        "stresses": mined,
        "twins": search.info,
    }
    return Structure(tables, info)


def _frame(name: str, rows: list[dict[str, Any]], kinds: dict[str, str]) -> pd.DataFrame:
    """A table whose columns have their kinds also where it is empty; text is the default."""
    frame = pd.DataFrame(rows, columns=list(TABLES[name]))
    return frame.astype({column: kinds.get(column, "object") for column in TABLES[name]})


def _tabulate_twins(twins: list[Twin], traces: Traces, numbers: np.ndarray) -> pd.DataFrame:
    rows = []
    for rank, twin in enumerate(twins, start=1):
        start_a, start_b = traces.offsets[twin.a], traces.offsets[twin.b]
        aligned = [
            [int(numbers[start_a + i]), int(numbers[start_b + j]), round(cosine, 4)]
            for i, j, cosine in twin.aligned
        ]
        rows.append(
            {
                "rank": rank,
                "a": traces.ids[twin.a],
                "b": traces.ids[twin.b],
                **{key: getattr(twin, key) for key in TABLES["twins"][3:10]},
                "n_aligned": len(aligned),
                "aligned": json.dumps(aligned),
                "pattern": twin.pattern,
                "wording": twin.wording,
            }
        )
    return _frame(
        "twins",
        rows,
        {"rank": "int64", "n_aligned": "int64", "wording": "float64", **_floats("twins", 3, 10)},
    )


def _floats(name: str, start: int, stop: int) -> dict[str, str]:
    return dict.fromkeys(TABLES[name][start:stop], "float64")


def _tabulate_pairs(search: TwinSearch, traces: Traces, seed: int) -> pd.DataFrame:
    """Twins, a random part of the other candidates, and random pairs."""
    twins = {(twin.a, twin.b) for twin in search.twins[: _SHOWN_PAIRS // 2]}
    is_twin = np.array([(int(a), int(b)) in twins for a, b in search.pairs], dtype=bool)
    others = np.random.default_rng(seed).permutation(np.flatnonzero(~is_twin))
    shown = np.concatenate([np.flatnonzero(is_twin), others])[:_SHOWN_PAIRS].astype(np.int64)
    random = np.arange(min(len(search.random_pairs), _SHOWN_PAIRS))
    if (
        len(search.random_pairs) > _SHOWN_PAIRS
    ):  # they are sorted by trace: the first would be of a few traces
        random = np.random.default_rng(seed + 1).permutation(len(search.random_pairs))[:_SHOWN_PAIRS]
    parts = [
        (search.pairs[shown], search.structural[shown], search.semantic[shown], True),
        (
            search.random_pairs[random],
            search.random_structural[random],
            search.random_semantic[random],
            False,
        ),
    ]
    frames = [
        pd.DataFrame(
            {
                "a": traces.ids[pairs[:, 0]] if len(pairs) else [],
                "b": traces.ids[pairs[:, 1]] if len(pairs) else [],
                "structural": structural.astype(np.float64),
                "semantic": semantic.astype(np.float64),
                "is_candidate": np.full(len(pairs), is_candidate),
            }
        ).astype({"a": object, "b": object})
        for pairs, structural, semantic, is_candidate in parts
    ]
    return pd.concat(frames, ignore_index=True)


def _tabulate_stresses(stresses: list[Stress], names: dict[int, str]) -> pd.DataFrame:
    rows = [
        {
            "stress": number,
            "pattern": json.dumps(each.pattern),
            "labels": json.dumps([names.get(cluster, f"cluster {cluster}") for cluster in each.pattern]),
            "length": len(each.pattern),
            "support": each.support,
            "n_occurrences": len(each.traces),
            "lift": each.lift,
            "p_value": each.p_value,
            "q_value": each.q_value,
        }
        for number, each in enumerate(stresses)
    ]
    counts = dict.fromkeys(("stress", "length", "support", "n_occurrences"), "int64")
    return _frame("stresses", rows, {**counts, **_floats("stresses", 6, 9)})


def _tabulate_occurrences(stresses: list[Stress], traces: Traces, numbers: np.ndarray) -> pd.DataFrame:
    stress, sample, indices = [], [], []
    for number, each in enumerate(stresses):
        found = numbers[traces.offsets[each.traces][:, None] + each.places]
        stress += [number] * len(found)
        sample += traces.ids[each.traces].tolist()
        indices += [json.dumps(row) for row in found.tolist()]
    frame = pd.DataFrame({"stress": stress, "sample": sample, "indices": indices})
    return frame.astype({"stress": "int64", "sample": object, "indices": object})


def _compute_edges(rows: np.ndarray, traces: Traces, labels: np.ndarray) -> pd.DataFrame:
    """Mean centred cosine of all pairs of spans of two clusters (or one) that are of different samples."""
    clusters, codes = np.unique(labels, return_inverse=True)
    first = int(np.searchsorted(clusters, 0))  # noise sorts before the clusters
    clusters, codes = clusters[first:], codes - first
    count = len(clusters)
    sums = np.zeros((count, rows.shape[1]), dtype=np.float64)
    within, pairs = np.zeros((count, count)), np.zeros((count, count))
    for start, stop in zip(traces.offsets[:-1], traces.offsets[1:], strict=True):
        held = codes[start:stop]
        alive = held >= 0
        here, inverse, sizes = np.unique(held[alive], return_inverse=True, return_counts=True)
        part = np.zeros((len(here), rows.shape[1]), dtype=np.float32)
        np.add.at(part, inverse, rows[start:stop][alive])
        sums[here] += part
        within[np.ix_(here, here)] += part @ part.T
        pairs[np.ix_(here, here)] += np.outer(sizes, sizes)
    sizes = np.bincount(codes[codes >= 0], minlength=count)
    n_pairs = np.outer(sizes, sizes) - pairs
    mean = (sums @ sums.T - within) / np.maximum(n_pairs, 1)
    a, b = np.nonzero(np.triu(n_pairs > 0))
    # Pairs of one cluster with itself were counted in both directions.
    n = np.where(a == b, n_pairs[a, b] / 2, n_pairs[a, b])
    frame = pd.DataFrame(
        {"cluster_a": clusters[a], "cluster_b": clusters[b], "cosine": mean[a, b], "n": n.astype(np.int64)}
    )
    return frame.astype({"cluster_a": "int64", "cluster_b": "int64"})


def _compare_cosines(
    rows: np.ndarray,
    owners: np.ndarray,
    labels: np.ndarray,
    layer_slices: Sequence[tuple[str, int, int]],
    seed: int,
    controls: dict[str, tuple[np.ndarray, np.ndarray]],
) -> dict[str, pd.DataFrame]:
    """Tables ``layers`` and ``cosines`` from seeded pairs of spans of different samples.

    "shuffled" are pairs that share a cluster after clusters were permuted over the spans: the size of
    clusters without their content.
    """
    random = np.random.default_rng(seed)
    alive = np.any(rows != 0, axis=1)
    one = np.where(alive, 0, -1)
    same = np.where(alive, labels, -1)
    permuted = same.copy()
    permuted[same >= 0] = random.permutation(same[same >= 0])
    kinds = {"spans": one, "same cluster": same, "shuffled": permuted}
    drawn = {kind: _draw_within(held, owners, _SHOWN_COSINES, random) for kind, held in kinds.items()}
    parts = [
        pd.DataFrame({"kind": [kind] * len(pairs), "cosine": _cosines(rows, pairs)})
        for kind, pairs in drawn.items()
    ]
    for kind, (vectors, samples) in controls.items():
        held = np.where(np.any(vectors != 0, axis=1), 0, -1)
        pairs = _draw_within(held, pd.factorize(samples)[0], _SHOWN_COSINES, random)
        parts.append(pd.DataFrame({"kind": [kind] * len(pairs), "cosine": _cosines(vectors, pairs)}))
    cosines = pd.concat(parts, ignore_index=True).astype({"kind": object, "cosine": "float64"})
    layers = []
    for name, start, stop in layer_slices:
        block = rows[:, start:stop]
        for kind, pairs in (("same cluster", drawn["same cluster"]), ("random", drawn["spans"])):
            pairs = pairs[:_LAYER_PAIRS]
            if len(pairs):
                mean, low, high = _mean_with_band(_cosines(block, pairs), owners[pairs[:, 0]], random)
                numbers = {"mean": mean, "ci_low": low, "ci_high": high, "n": len(pairs)}
                layers.append({"layer": str(name), "set": kind, **numbers})
    return {"layers": _frame("layers", layers, {**_floats("layers", 2, 5), "n": "int64"}), "cosines": cosines}


def _compare_best(
    rows: np.ndarray, owners: np.ndarray, controls: dict[str, tuple[np.ndarray, np.ndarray]], seed: int
) -> pd.DataFrame:
    """Every unit's cosine with its best partner of another sample, for controls and the spans of the same samples.

    Random pairs of a corpus with many procedures hardly ever share one, whatever is cut; the best partner tells
    whether units of a kind find their like. A larger pool has better partners, so all kinds are drawn to one size.
    """
    if not controls:
        return _frame("best", [], _floats("best", 1, 2))
    sampled = set().union(*(samples for _, samples in controls.values()))
    inside = np.array([owner in sampled for owner in owners], dtype=bool)
    pools = {**controls, "spans": (rows[inside], owners[inside])}
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


def _draw_within(
    groups: np.ndarray, owners: np.ndarray, size: int, random: np.random.Generator
) -> np.ndarray:
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


def _cosines(rows: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    left, right = rows[pairs[:, 0]].astype(np.float64), rows[pairs[:, 1]].astype(np.float64)
    size = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return np.einsum("pd,pd->p", left, right) / np.where(size > 0, size, 1.0)


def _mean_with_band(
    values: np.ndarray, owners: np.ndarray, random: np.random.Generator
) -> tuple[float, float, float]:
    """Mean and its 95 % bootstrap interval over samples (``owners`` of the pairs' first spans)."""
    _, codes = np.unique(owners, return_inverse=True)
    sums, counts = np.bincount(codes, values), np.bincount(codes)
    weights = random.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=_RESAMPLES)
    means = (weights @ sums) / (weights @ counts)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(values.mean()), float(low), float(high)
