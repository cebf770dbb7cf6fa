"""Everything the map needs of one checkpoint, in one pure function.

Analysis              layout, clusters, names, mean, null and a summary; as arrays and as tables
analyze_directions    vectors → Analysis
STAGES                names that ``on_progress`` reports, in order

Memory: vectors in an array are held once more, centred (float32); others (`Vectors`) are read and centred in batches,
several times, and what is held is the fitted sample and some numbers a span: 1.5 GB at 1,000,000 × 1,024.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gsd_core.analysis.cluster_names import compute_cluster_names, compute_exemplars
from gsd_core.analysis.clusters import N_NEIGHBORS, compute_clusters, default_min_cluster_size
from gsd_core.analysis.families import choose_n_top
from gsd_core.analysis.manifold import FEW, Knn, compute_knn, compute_manifold
from gsd_core.analysis.placing import PLACED_ABOVE, FittedSample, fit_sample
from gsd_core.comparison.centring import Centring, Rows, Vectors, compute_centring, find_alive
from gsd_core.comparison.nulls import N_PAIRS, compute_null_cosines, compute_window_null, describe_null

STAGES = ("centre", "neighbours", "layout", "clusters", "names", "null")
LAYOUT_NEIGHBORS = 15


@dataclass(frozen=True)
class Analysis:
    """What `analyze_directions` found for n spans. All arrays are in the order of its input.

    ``layout`` (n, 2) float32; ``clusters`` (n,) int32, -1 is noise; ``probabilities`` (n,) float32; ``names``
    cluster → (name, terms); ``exemplars`` cluster → row numbers; ``centring`` of the directions;
    ``null`` sorted cross-sample cosines float32, ``null_windows`` the same of spans with
    windows at random positions (empty where there are none); ``info`` plain numbers for the
    manifest.
    """

    layout: np.ndarray
    clusters: np.ndarray
    probabilities: np.ndarray
    names: dict[int, tuple[str, list[str]]]
    exemplars: dict[int, list[int]]
    centring: Centring
    null: np.ndarray
    null_windows: np.ndarray
    info: dict[str, Any]

    def tabulate_points(self, spans: Sequence[str]) -> pd.DataFrame:
        """Table ``span, x, y, cluster, probability``; ``spans`` (n,) are the span ids."""
        if len(spans) != len(self.clusters):
            raise ValueError(f"{len(self.clusters)} spans were analysed, {len(spans)} ids were given")
        return pd.DataFrame(
            {
                "span": list(spans),
                "x": self.layout[:, 0],
                "y": self.layout[:, 1],
                "cluster": self.clusters,
                "probability": self.probabilities,
            }
        )

    def tabulate_clusters(self, spans: Sequence[str]) -> pd.DataFrame:
        """Table ``cluster, size, label, terms, exemplars`` (span ids), largest first; noise has no row."""
        rows = [
            {
                "cluster": cluster,
                "size": int(np.count_nonzero(self.clusters == cluster)),
                "label": name,
                "terms": terms,
                "exemplars": [spans[row] for row in self.exemplars[cluster]],
            }
            for cluster, (name, terms) in sorted(self.names.items())
        ]
        return pd.DataFrame(rows, columns=["cluster", "size", "label", "terms", "exemplars"])

    def arrays(self) -> dict[str, np.ndarray]:
        """``mean`` (P,), ``top`` (m, P), ``null`` and ``null_windows`` (N,) sorted, as the store keeps them."""
        top = {"top": self.centring.top} if len(self.centring.top) else {}
        return {"mean": self.centring.mean, **top, "null": self.null, "null_windows": self.null_windows}


def analyze_directions(
    vectors: Vectors,
    samples: Sequence[str] | np.ndarray,
    texts: Sequence[str],
    seed: int = 0,
    on_progress: Callable[[str, int, int], None] | None = None,
    *,
    n_top: int | None = 0,
    n_null_pairs: int = N_PAIRS,
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
        How many common directions to remove besides the mean; None: chosen without labels (`choose_n_top`), 0 for
        directions that are not held.
    placed_above
        With more directions than this, layout and clusters are fitted on a seeded sample of so many, and every other
        span is placed among its nearest fitted ones (`placing`); names and exemplars are then of the sample.
    windows
        Directions (m, P) as captured and sample ids (m,) of windows at random positions: a second null.

    Raises
    ------
    ValueError
        NaN or infinity in a row, or lengths that differ.
    """
    n = len(vectors)
    if len(samples) != n or len(texts) != n:
        raise ValueError(f"{n} vectors, {len(samples)} sample ids and {len(texts)} texts; give one of each per span")
    report = on_progress or (lambda stage, done, total: None)
    samples = np.asarray(samples)
    with _reported(report, "centre"):
        tried: dict[int, float] = {}
        if n_top is None:
            # Only the mean is known to the index through which directions that cannot be held are searched.
            n_top, tried = choose_n_top(vectors, samples, seed) if isinstance(vectors, np.ndarray) else (0, {})
        centring = compute_centring(vectors, n_top)
        directions = centring.center(vectors)
    with _reported(report, "neighbours"):
        n_alive = int(find_alive(directions).sum())
        knn, sample = _find_graph(directions, n_alive, placed_above, seed, report)
    with _reported(report, "layout"):
        rows, graph = (directions[:], knn) if sample is None else (sample.rows, sample.knn)
        layout = compute_manifold(rows, 2, seed, LAYOUT_NEIGHBORS, knn=graph)
        layout = layout if sample is None else sample.placing.place(layout)
    with _reported(report, "clusters"):
        size = default_min_cluster_size(n)
        clusters, probabilities = compute_clusters(directions, seed, size, knn=knn, sample=sample)
    with _reported(report, "names"):
        shown = np.arange(n) if sample is None else _choose_shown(sample.placing.fitted, clusters)
        names, exemplars = _name_clusters(directions, texts, samples, clusters, shown)
    with _reported(report, "null"):
        null = compute_null_cosines(directions, samples, n_null_pairs, seed)
        cut, owners = (vectors[:0], samples[:0]) if windows is None else windows
        null_windows = compute_window_null(directions, samples, centring.apply(cut), owners, n_null_pairs, seed)
    info = {
        "n_spans": n,
        "n_without_direction": n - n_alive,
        "n_fitted": n_alive if sample is None else len(sample.rows),
        "n_clusters": len(names),
        "noise_share": float(np.mean(clusters < 0)) if n else 0.0,
        "seed": seed,
        "min_cluster_size": size,
        "n_top": len(centring.top),
        "n_top_tried": {str(number): share for number, share in tried.items()},
        "mean_length": float(np.linalg.norm(centring.mean)),
        "null": describe_null(null),
        "null_windows": describe_null(null_windows),
    }
    return Analysis(layout, clusters, probabilities, names, exemplars, centring, null, null_windows, info)


@contextmanager
def _reported(report: Callable[[str, int, int], None], stage: str) -> Iterator[None]:
    """Report that ``stage`` begins and, unless it fails, that it is done."""
    report(stage, 0, 1)
    yield
    report(stage, 1, 1)


def _find_graph(
    directions: Rows,
    n_alive: int,
    placed_above: int,
    seed: int,
    report: Callable[[str, int, int], None],
) -> tuple[Knn | None, FittedSample | None]:
    """The neighbour graph of all directions, or a fitted sample where there are more than ``placed_above``; neither
    where they are few."""
    if n_alive > placed_above:

        def placed(done: int, total: int) -> None:
            report("neighbours", done, total + 1)

        return None, fit_sample(directions, placed_above, N_NEIGHBORS, seed, placed)
    if n_alive < FEW:
        return None, None
    rows = np.asarray(directions[:])
    return compute_knn(rows if n_alive == len(rows) else rows[find_alive(directions)], N_NEIGHBORS, seed), None


def _name_clusters(
    directions: Rows, texts: Sequence[str], samples: np.ndarray, clusters: np.ndarray, shown: np.ndarray
) -> tuple[dict[int, tuple[str, list[str]]], dict[int, list[int]]]:
    """Name with its terms, and exemplars, of each cluster from the rows ``shown`` (s,)."""
    named = compute_cluster_names([texts[row] for row in shown.tolist()], clusters[shown])
    nearest = compute_exemplars(directions[shown], clusters[shown], 3, samples[shown])
    names = {cluster: (found.name, found.terms) for cluster, found in named.items()}
    return names, {cluster: [int(shown[row]) for row in rows] for cluster, rows in nearest.items()}


def _choose_shown(fitted: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """(s,) the fitted spans and the first 20 members of every cluster: what names it and stands for it."""
    order = np.argsort(clusters, kind="stable")
    _, first = np.unique(clusters[order], return_index=True)
    starts = np.repeat(first, np.diff([*first, len(order)]))
    return np.union1d(fitted, order[np.arange(len(order)) - starts < 20])
