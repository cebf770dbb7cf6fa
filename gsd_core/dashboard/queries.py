"""From the store to what a page draws: one view of a run, one matrix of directions, one answer to a click.

RunView            spans of one checkpoint with layout, clusters, labels
Directions         centred unit directions with the null of their cosines
load_run_view      read a RunView
load_directions    read Directions
compute_null       cosines of random pairs of different samples
compute_q_values   q of cosines against their null
load_exact         cosines without a sketch, where they were computed
load_wording       what counts as other words
compute_neighbors  spans of other samples best aligned with one span
compute_trace      a sample's reasoning cut into pieces, spans and what lies between
stamp_of           changes whenever what is stored for a run changes

Axes: n spans, P sketch width. Pure numpy and pandas over the store's reads; nothing here draws.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from gsd_core.dashboard.colors import NOISE_MARK, Mark, compute_marks
from gsd_core.dashboard.labels import LabelColumn, compute_label_columns, compute_label_frame
from gsd_core.dashboard.row_index import RowIndex
from gsd_core.dashboard.stored_rows import LARGEST_BYTES, StoredRows, read_sample
from gsd_core.store import Run, RunInfo, RunReader
from gsd_core.wording import Wording, make_wording

NULL_PAIRS = 20_000
NULL_SEED = 0
MOST_WORDED = 300_000  # spans whose words a page compares: some ten seconds, once
EXACT = "*exact*"  # where a run keeps cosines without a sketch
SPAN_COLUMNS = [
    "span",
    "sample",
    "index",
    "char_start",
    "char_end",
    "text",
    "loss",
    "norm",
    "coherence",
    "window_cosine",
    "spectral",
    "grace",
]
SAMPLE_COLUMNS = ["sample", "question", "reasoning", "answer", "meta", "reasoning_start"]


@dataclass(frozen=True)
class RunView:
    """One run at one checkpoint, ready to draw.

    ``spans`` has one row a span in capture order: what the store holds plus ``place`` (position in the trace, 0 first,
    1 last), ``n_in_trace``, ``cluster`` (−1 noise; -2 not analysed), ``cluster_label``, ``x``, ``y`` and every label
    column. ``samples`` is indexed by sample id. ``clusters`` has one row a cluster, biggest first, with ``n_samples``.
    ``marks`` says how each cluster is drawn, ``names`` what it is called.
    """

    name: str
    checkpoint: str
    manifest: dict[str, Any]
    spans: pd.DataFrame
    samples: pd.DataFrame
    clusters: pd.DataFrame
    labels: list[LabelColumn]
    marks: dict[int, Mark]
    names: dict[int, str]
    row_of: RowIndex
    is_analyzed: bool

    def cluster_name(self, cluster: int) -> str:
        """``"3 · divide · share"``, ``"noise"``, or ``""`` where nothing was analysed."""
        return "noise" if cluster == -1 else self.names.get(cluster, "")

    @property
    def n_fitted(self) -> int | None:
        """How many spans layout and clusters were fitted on, where the others were only placed; None: on all."""
        info = (self.manifest.get("analysis") or {}).get(self.checkpoint) or {}
        n_fitted, n_empty = info.get("n_fitted"), info.get("n_without_direction", 0)
        return n_fitted if n_fitted and n_fitted < info["n_spans"] - n_empty else None

    def mark(self, cluster: int) -> Mark:
        """How a cluster is drawn; noise and the unknown are grey."""
        return self.marks.get(cluster, NOISE_MARK)


@dataclass(frozen=True)
class Null:
    """Cosines of random pairs of spans from different samples: what chance alone gives. ``values`` sorted.

    ``windows``, sorted, are cosines of spans with windows at random places of other samples; empty without controls.
    """

    values: np.ndarray
    mean: float
    p95: float
    windows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))

    @property
    def n(self) -> int:
        """How many pairs were drawn."""
        return len(self.values)


@dataclass(frozen=True)
class Directions:
    """``matrix`` (n, P) float32, centred, unit norm (all zero where the gradient is zero), rows as in ``spans``.

    Of a run too big to be held it is a ``StoredRows``, which reads the rows it is asked for.
    """

    matrix: np.ndarray | StoredRows
    null: Null


def stamp_of(info: RunInfo, checkpoint: str) -> str:
    """A text that changes whenever what is stored for this run and checkpoint changes: the key of our caches."""
    analysis = info.manifest.get("analysis") or {}
    return json.dumps(
        [info.created, info.status, info.n_spans, info.n_samples, info.checkpoints, analysis.get(checkpoint)],
        sort_keys=True,
        default=str,
    )


def _read_analysis(run: RunReader, checkpoint: str) -> tuple[pd.DataFrame | None, pd.DataFrame]:
    """Points and clusters, or None and an empty frame where this checkpoint was not analysed."""
    empty = pd.DataFrame(columns=["cluster", "size", "label", "terms", "exemplars"])
    if not run.has_analysis(checkpoint):
        return None, empty
    points, clusters = run.read_points(checkpoint), run.read_clusters(checkpoint)
    if points.empty:
        return None, empty
    return points, clusters.sort_values("size", ascending=False, kind="stable").reset_index(drop=True)


def load_run_view(run: Run, checkpoint: str) -> RunView:
    """Read one run at one checkpoint. Works while the run is being captured and before it is analysed."""
    reader = run.snapshot()
    spans = reader.read_spans(checkpoint, columns=SPAN_COLUMNS).reset_index(drop=True)
    samples = reader.read_samples(columns=SAMPLE_COLUMNS)
    if len(samples):
        samples = samples.drop_duplicates("sample")
    row_of = RowIndex(spans)
    last = np.zeros(row_of.n_samples, dtype=np.int32)
    np.maximum.at(last, row_of.codes, spans["index"].to_numpy(np.int32))
    last = last[row_of.codes]
    spans["n_in_trace"] = last + 1
    spans["place"] = (spans["index"] / np.maximum(last, 1)).astype(np.float32)
    labels = compute_label_frame(spans, samples)
    columns = compute_label_columns(labels)
    for column in columns:
        values = labels[column.name]
        spans[column.name] = pd.to_numeric(values) if column.kind == "number" else _as_texts(values)
    points, clusters = _read_analysis(reader, checkpoint)
    if points is None:
        spans["x"], spans["y"], spans["probability"], spans["cluster"] = np.nan, np.nan, np.nan, -2
    else:
        spans = _place(spans, points)
        clusters["n_samples"] = _count_samples(spans["cluster"].to_numpy(), row_of.codes, clusters["cluster"])
    marks = {int(c): mark for c, mark in compute_marks(clusters["cluster"].tolist()).items()}  # type: ignore[call-overload]
    names = {
        int(row.cluster): f"{row.cluster} · {row.label}" for row in clusters.itertuples() if row.cluster >= 0
    }
    spans["cluster_label"] = _take_texts(
        spans["cluster"], lambda cluster: names.get(cluster, "noise" if points is not None else "")
    )
    return RunView(
        name=run.name,
        checkpoint=checkpoint,
        manifest=run.manifest,
        spans=spans,
        samples=samples.set_index("sample", drop=False),
        clusters=clusters[clusters["cluster"] >= 0].reset_index(drop=True),
        labels=columns,
        marks={cluster: mark for cluster, mark in marks.items() if cluster >= 0},
        names=names,
        row_of=row_of,
        is_analyzed=points is not None,
    )


def _place(spans: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """``spans`` with the columns of ``points``; a span that was captured since has no place and counts as noise."""
    names = ["x", "y", "probability", "cluster"]
    if points["span"].equals(spans["span"]):
        return spans.assign(**{name: points[name].to_numpy() for name in names})
    spans = spans.merge(points[["span", *names]], on="span", how="left")
    spans["cluster"] = spans["cluster"].fillna(-1).astype(int)
    return spans


def _count_samples(cluster: np.ndarray, sample: np.ndarray, wanted: pd.Series) -> pd.Series:
    """How many samples each wanted cluster has spans of. ``cluster``, ``sample`` (n,) numbers of both."""
    pairs = pd.DataFrame({"cluster": cluster, "sample": sample}).drop_duplicates()
    return wanted.map(pairs["cluster"].value_counts()).fillna(0).astype(int)


def _take_texts(values: pd.Series, text_of: Callable[[Any], str]) -> pd.Series:
    """``text_of`` each value; every different value is asked for once."""
    codes, unique = pd.factorize(values, use_na_sentinel=False)
    texts = pd.array([text_of(value) for value in unique], dtype="str")
    return pd.Series(texts.take(codes), index=values.index)


def _as_texts(values: pd.Series) -> pd.Series:
    """Categories as texts: 3.0 and 3 are the same, nothing is ``"(none)"``."""
    return _take_texts(values, lambda value: "(none)" if (text := _as_text(value)) is None else text)


def _as_text(value: Any) -> str | None:
    if value is None or value != value:
        return None
    return f"{value:g}" if isinstance(value, float) else str(value)


def _centre(vectors: np.ndarray, mean: np.ndarray, top: np.ndarray | None) -> np.ndarray:
    """Subtract the mean and the top directions, then scale to unit norm; zero rows stay zero. In place."""
    is_zero = ~vectors.any(axis=1)
    vectors -= mean
    if top is not None and len(top):
        vectors -= (vectors @ top.T) @ top
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    np.divide(vectors, norms, out=vectors, where=norms > 1e-12)
    vectors[is_zero] = 0.0
    return vectors


def describe_null(values: np.ndarray, windows: np.ndarray | None = None) -> Null:
    """A null from its cosines, in any order."""
    values = np.sort(np.asarray(values, np.float32))
    windows = np.sort(np.asarray([] if windows is None else windows, np.float32))
    if not len(values):
        return Null(values, float("nan"), float("nan"), windows)
    return Null(values, float(values.mean()), float(np.quantile(values, 0.95)), windows)


def compute_null(matrix: np.ndarray, samples: np.ndarray, n_pairs: int = NULL_PAIRS, seed: int = 0) -> Null:
    """Cosines of random pairs whose spans belong to different samples (methods §1.4, ours).

    ``matrix`` (n, P) unit rows, ``samples`` (n,) sample of each row. Empty where there is one sample only.
    """
    if len(matrix) < 2 or len(np.unique(samples)) < 2:
        return describe_null(np.zeros(0))
    generator = np.random.default_rng(seed)
    left = generator.integers(0, len(matrix), n_pairs)
    right = generator.integers(0, len(matrix), n_pairs)
    keep = samples[left] != samples[right]
    left, right = left[keep], right[keep]
    values = np.concatenate(
        [
            np.einsum("ij,ij->i", matrix[left[i : i + 4096]], matrix[right[i : i + 4096]])
            for i in range(0, max(len(left), 1), 4096)
        ]
    )
    return describe_null(values)


def load_directions(run: Run, checkpoint: str, samples: np.ndarray) -> Directions:
    """Read and centre every direction of a checkpoint. ``samples`` (n,) ids in capture order.

    Mean and null are the analysis's own where there is one, so that the page and ``gsd neighbors`` say the same.
    """
    reader = run.snapshot()
    arrays = reader.read_arrays(checkpoint) if reader.has_analysis(checkpoint) else {}
    mean = arrays.get("mean")
    n_removed = len(arrays.get("top", ()))
    if 4 * len(samples) * run.sketch_width > LARGEST_BYTES and not n_removed:
        return _load_stored(reader, checkpoint, samples, arrays)
    vectors = reader.read_vectors(checkpoint, 0, len(samples)).astype(np.float32)
    if mean is None:
        mean = vectors.mean(axis=0) if len(vectors) else np.zeros(vectors.shape[1], np.float32)
    matrix = _centre(vectors, np.asarray(mean, np.float32), arrays.get("top"))
    if "null" in arrays:
        return Directions(matrix, describe_null(arrays["null"], arrays.get("null_windows")))
    return Directions(matrix, compute_null(matrix, samples[: len(matrix)], seed=NULL_SEED))


def _load_stored(
    reader: RunReader, checkpoint: str, samples: np.ndarray, arrays: dict[str, np.ndarray]
) -> Directions:
    """The same for a run that is not read whole; without an analysis, mean and null are of a few thousand spans."""
    if {"mean", "null"} <= set(arrays):
        mean, null = arrays["mean"], describe_null(arrays["null"], arrays.get("null_windows"))
    else:
        places, drawn = read_sample(reader, checkpoint, len(samples))
        mean = arrays.get("mean", drawn.mean(axis=0))
        null = compute_null(_centre(drawn, mean, None), samples[places], seed=NULL_SEED)
    mean = np.asarray(mean, np.float32)
    return Directions(
        StoredRows(reader, checkpoint, mean, lambda vectors: _centre(vectors, mean, None)), null
    )


def compute_q_values(cosines: np.ndarray, null: Null, n_tests: int | None = None) -> np.ndarray:
    """Benjamini–Hochberg q of each cosine (one-sided), over all that are given; NaN without a null.

    ``n_tests``: how many the given ones are the best of; the others then count as no finding.

    Against random pairs and, where there are any, against windows at random places: the larger of the two.
    """
    if null.n == 0 or len(cosines) == 0:
        return np.full(len(cosines), np.nan)
    known = [values for values in (null.values, null.windows) if len(values)]
    return np.max([_compute_q_against(cosines, values, n_tests or len(cosines)) for values in known], axis=0)


def _compute_q_against(cosines: np.ndarray, values: np.ndarray, n_tests: int) -> np.ndarray:
    # Largest first, so that p ascends; and among sorted numbers a search is several times as fast.
    order = np.argsort(-cosines)
    ranked = cosines[order]
    above = len(values) - np.searchsorted(values, ranked, side="left")
    # As in the analysis: true alignments among random pairs must not be their own yardstick (Efron 2004).
    above = np.minimum(above, np.searchsorted(values, 2 * np.median(values) - ranked, side="right"))
    p = (1.0 + above) / (1.0 + len(values))
    q = np.empty_like(p)
    q[order] = np.minimum.accumulate((p * n_tests / np.arange(1, len(p) + 1))[::-1])[::-1].clip(max=1.0)
    return q


def load_exact(run: Run, checkpoint: str, span: str) -> dict[str, float]:
    """Other span → exact centred cosine with ``span``, as far as ``gsd neighbors --exact`` has computed it."""
    if not run.has_structure(EXACT):
        return {}
    pairs = run.read_structure(EXACT, "pairs")
    own = pairs[(pairs["checkpoint"] == checkpoint) & (pairs["a"] == span)]
    return dict(zip(own["b"], own["cosine_exact"].astype(float), strict=True))


def load_wording(view: RunView) -> Wording | None:
    """How alike the texts of a run's spans are, rows as in ``view.spans``; None where there is nothing to compare, or
    too many spans to do it here."""
    if len(view.spans) > MOST_WORDED:
        return None
    return make_wording(view.spans["text"].tolist(), view.spans["sample"].to_numpy(dtype=object))


def compute_neighbors(
    view: RunView, directions: Directions, span: str, top: int = 10, wording: Wording | None = None
) -> pd.DataFrame:
    """The spans of *other* samples best aligned with ``span``, best first (methods §1.4, ours); with ``wording``
    only those that say it in other words.

    Columns ``span, sample, index, text, cluster, cosine, q_value``; empty where the span has no direction.
    """
    row = view.row_of[span]
    frame = view.spans.iloc[: len(directions.matrix)]
    query = directions.matrix[row] if row < len(directions.matrix) else None
    columns = ["span", "sample", "index", "n_in_trace", "text", "cluster"]
    if query is None or not query.any():
        return frame.iloc[:0][columns].assign(cosine=[], q_value=[])
    if isinstance(directions.matrix, StoredRows):
        own = str(frame["sample"].iloc[row])
        nearest = directions.matrix.search(row, top, own)
        known = [span in view.row_of for span in nearest["span"]]  # the view may be older than the store
        rows = np.array([view.row_of[span] for span in nearest.loc[known, "span"]], dtype=np.int64)
        cosines = nearest.loc[known, "cosine"].to_numpy()
        n_others = len(frame) - int((view.row_of.rows_of(own) < len(frame)).sum())
        q_values = compute_q_values(cosines, directions.null, n_others)
        return frame.iloc[rows][columns].assign(cosine=cosines, q_value=q_values)
    cosines = directions.matrix @ query
    codes = view.row_of.codes[: len(frame)]
    is_candidate = codes != codes[row]
    if wording is not None:
        is_candidate = is_candidate & (wording.compute_cosines([row])[0, : len(frame)] <= wording.limit)
    others = np.flatnonzero(is_candidate)
    q_values = compute_q_values(cosines[others], directions.null)
    take = min(top, len(others))
    best = np.argpartition(-cosines[others], take - 1)[:take] if take else np.zeros(0, int)
    best = best[np.argsort(-cosines[others][best], kind="stable")]
    rows = others[best]
    return frame.iloc[rows][columns].assign(cosine=cosines[rows], q_value=q_values[best])


@dataclass(frozen=True)
class Piece:
    """A stretch of a trace: ``row`` of its span in ``RunView.spans``, None for text outside every span."""

    text: str
    row: int | None


def compute_trace(view: RunView, sample: str) -> list[Piece]:
    """A sample's reasoning as pieces in reading order; joined they are the reasoning, character for character."""
    reasoning = str(view.samples.loc[sample, "reasoning"]) if sample in view.samples.index else ""
    own = view.spans.iloc[view.row_of.rows_of(sample)].sort_values("char_start")
    pieces: list[Piece] = []
    at = 0
    for row, start, end in zip(own.index, own["char_start"], own["char_end"], strict=True):
        if start > at:
            pieces.append(Piece(reasoning[at:start], None))
        pieces.append(Piece(reasoning[start:end], int(row)))
        at = max(at, int(end))
    if at < len(reasoning):
        pieces.append(Piece(reasoning[at:], None))
    return pieces
