"""Everything the map needs of one checkpoint, in one pure function.

Analysis              layout, clusters, names, mean, null and a summary; as arrays and as tables
analyze_directions    vectors → Analysis
STAGES                names that ``on_progress`` reports, in order

Memory: vectors in an array are held once more, centred (float32); others (`Vectors`) are read and centred in batches,
several times, and what is held is the fitted sample and some numbers a span: 1.5 GB at 1,000,000 × 1,024.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gsd_core.analysis.clusters import N_NEIGHBORS, compute_clusters, default_min_cluster_size
from gsd_core.analysis.labels import compute_cluster_labels, compute_exemplars
from gsd_core.analysis.layout import compute_layout
from gsd_core.analysis.manifold import FEW, compute_knn
from gsd_core.analysis.placing import PLACED_ABOVE, fit_sample
from gsd_core.comparison.centring import Centring, Vectors, compute_centring, find_alive
from gsd_core.comparison.nulls import compute_null_cosines, compute_window_null, describe_null

STAGES = ("centre", "neighbours", "layout", "clusters", "labels", "null")
LAYOUT_NEIGHBORS = 15


@dataclass(frozen=True)
class Analysis:
    """What `analyze_directions` found for n spans. All arrays are in the order of its input.

    ``layout`` (n, 2) float32; ``labels`` (n,) int32, -1 is noise; ``probabilities`` (n,) float32; ``names``
    cluster → (label, terms); ``exemplars`` cluster → row numbers; ``centring`` of the directions;
    ``null`` sorted cross-sample cosines float32, ``null_windows`` the same of spans with
    windows at random places (empty where there are none); ``info`` plain numbers for the
    manifest.
    """

    layout: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    names: dict[int, tuple[str, list[str]]]
    exemplars: dict[int, list[int]]
    centring: Centring
    null: np.ndarray
    null_windows: np.ndarray
    info: dict[str, Any]

    def points(self, spans: Sequence[str]) -> pd.DataFrame:
        """Table ``span, x, y, cluster, probability``; ``spans`` (n,) are the span ids."""
        if len(spans) != len(self.labels):
            raise ValueError(f"{len(self.labels)} spans were analysed, {len(spans)} ids were given")
        return pd.DataFrame(
            {
                "span": list(spans),
                "x": self.layout[:, 0],
                "y": self.layout[:, 1],
                "cluster": self.labels,
                "probability": self.probabilities,
            }
        )

    def clusters(self, spans: Sequence[str]) -> pd.DataFrame:
        """Table ``cluster, size, label, terms, exemplars`` (span ids), largest first; noise has no row."""
        rows = [
            {
                "cluster": cluster,
                "size": int(np.count_nonzero(self.labels == cluster)),
                "label": label,
                "terms": terms,
                "exemplars": [spans[row] for row in self.exemplars[cluster]],
            }
            for cluster, (label, terms) in sorted(self.names.items())
        ]
        return pd.DataFrame(rows, columns=["cluster", "size", "label", "terms", "exemplars"])

    def arrays(self) -> dict[str, np.ndarray]:
        """``mean`` (P,), ``top`` (m, P), ``null`` and ``null_windows`` (N,) sorted, as the store keeps them."""
        return {**self.centring._asdict(), "null": self.null, "null_windows": self.null_windows}


def analyze_directions(
    vectors: Vectors,
    samples: Sequence[str] | np.ndarray,
    texts: Sequence[str],
    seed: int = 0,
    on_progress: Callable[[str, int, int], None] | None = None,
    *,
    n_top: int = 0,
    min_cluster_size: int | None = None,
    n_null_pairs: int = 200_000,
    placed_above: int = PLACED_ABOVE,
    windows: tuple[np.ndarray, np.ndarray] | None = None,
) -> Analysis:
    """Centre, lay out, cluster, name and calibrate the directions of one checkpoint. Source: methods §1.4,
    "ours".

    Parameters
    ----------
    vectors
        (n, P) float16 or float32 as captured; zero rows are spans without gradient: noise, at the origin. n
        may be 0. An array, or `Vectors` that are read as they are asked for.
    samples, texts
        (n,) sample id and text of each span.
    seed
        Of layout, clusters and null. Same input and seed: same result, byte for byte on one machine.
    on_progress
        Called as ``on_progress(stage, done, total)`` around each of `STAGES`; an exception it raises ends the
        work.
    n_top
        Principal directions removed besides the mean.
    placed_above
        With more directions than this, layout and clusters are fitted on a seeded sample of so many, and every other
        span is placed among its nearest fitted ones (`placing`); labels and exemplars are then of the sample.
    windows
        Directions (m, P) as captured and sample ids (m,) of windows at random places: a second null.

    Raises
    ------
    ValueError
        NaN or infinity in a row, or lengths that differ.
    """
    n = len(vectors)
    if len(samples) != n or len(texts) != n:
        raise ValueError(
            f"{n} vectors, {len(samples)} sample ids and {len(texts)} texts; give one of each per span"
        )
    report = on_progress or (lambda stage, done, total: None)
    samples = np.asarray(samples)

    report("centre", 0, 1)
    centring = compute_centring(vectors, n_top)
    directions = centring.center(vectors)
    report("centre", 1, 1)

    report("neighbours", 0, 1)
    n_alive = int(find_alive(directions).sum())
    knn, sample = None, None
    if n_alive > placed_above:
        sample = fit_sample(
            directions,
            placed_above,
            N_NEIGHBORS,
            seed,
            lambda done, all_: report("neighbours", done, all_ + 1),
        )
    elif n_alive >= FEW:
        rows = np.asarray(directions[:])
        knn = compute_knn(rows if n_alive == n else rows[find_alive(directions)], N_NEIGHBORS, seed)
    report("neighbours", 1, 1)

    report("layout", 0, 1)
    if sample is None:
        layout = compute_layout(directions[:], seed, LAYOUT_NEIGHBORS, knn=knn)
    else:
        layout = sample.placing.place(compute_layout(sample.rows, seed, LAYOUT_NEIGHBORS, knn=sample.knn))
    report("layout", 1, 1)

    report("clusters", 0, 1)
    size = default_min_cluster_size(n) if min_cluster_size is None else min_cluster_size
    labels, probabilities = compute_clusters(directions, seed, size, knn=knn, sample=sample)
    report("clusters", 1, 1)

    report("labels", 0, 1)
    shown = np.arange(n) if sample is None else _choose_shown(sample.placing.fitted, labels)
    named = compute_cluster_labels([texts[row] for row in shown.tolist()], labels[shown])
    names = {c: (found.label, found.terms) for c, found in named.items()}
    nearest = compute_exemplars(directions[shown], labels[shown], 3, samples[shown])
    exemplars = {c: [int(shown[row]) for row in rows] for c, rows in nearest.items()}
    report("labels", 1, 1)

    report("null", 0, 1)
    null = compute_null_cosines(directions, samples, n_null_pairs, seed)
    null_windows = np.zeros(0, dtype=np.float32)
    if windows is not None and len(windows[0]):
        centred = centring.apply(windows[0])
        null_windows = compute_window_null(directions, samples, centred, windows[1], n_null_pairs, seed)
    report("null", 1, 1)
    info = {
        "n_spans": n,
        "n_without_direction": n - n_alive,
        "n_fitted": n_alive if sample is None else len(sample.rows),
        "n_clusters": len(names),
        "noise_share": float(np.mean(labels < 0)) if n else 0.0,
        "seed": seed,
        "n_top": len(centring.top),
        "min_cluster_size": size,
        "mean_length": float(np.linalg.norm(centring.mean)),
        "null": describe_null(null),
        "null_windows": describe_null(null_windows),
    }
    return Analysis(layout, labels, probabilities, names, exemplars, centring, null, null_windows, info)


def _choose_shown(fitted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(s,) the fitted spans and the first 20 members of every cluster: what names it and stands for it."""
    order = np.argsort(labels, kind="stable")
    _, first = np.unique(labels[order], return_index=True)
    starts = np.repeat(first, np.diff([*first, len(order)]))
    return np.union1d(fitted, order[np.arange(len(order)) - starts < 20])
