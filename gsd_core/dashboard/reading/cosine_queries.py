"""Cosines of directions, and their null.

Null               cosines of random pairs of spans of different samples
Directions         centred unit directions with the null of their cosines
load_directions    read Directions
compute_null       a null from random pairs
describe_null      a null from its cosines
compute_q_values   q of cosines against their null
load_exact         cosines without a sketch, where they were computed
load_wording       what counts as other words
compute_neighbors  spans of other samples best aligned with one span

Axes: n spans, P sketch width.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from gsd_core.comparison.wording import Wording, make_wording
from gsd_core.dashboard.reading.run_view import RunView
from gsd_core.dashboard.reading.stored_rows import LARGEST_BYTES, StoredRows, read_sample
from gsd_core.methods.neighbors_method import EXACT
from gsd_core.store import Run, RunReader

NULL_PAIRS = 20_000
NULL_SEED = 0
MOST_WORDED = 300_000  # spans whose words a page compares, which takes about ten seconds once


@dataclass(frozen=True)
class Null:
    """Cosines of random pairs of spans of different samples, sorted: what chance gives.

    ``windows``, sorted, are cosines of spans with random windows of other samples; empty without controls.
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
    """``matrix`` (n, P) float32, centred, unit norm (zero where the gradient is zero), rows as in ``RunView.spans``.

    For a run too big for memory it is a ``StoredRows``, which reads rows when asked for.
    """

    matrix: np.ndarray | StoredRows
    null: Null


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
    """A null from cosines in any order."""
    values = np.sort(np.asarray(values, np.float32))
    windows = np.sort(np.asarray([] if windows is None else windows, np.float32))
    if not len(values):
        return Null(values, float("nan"), float("nan"), windows)
    return Null(values, float(values.mean()), float(np.quantile(values, 0.95)), windows)


def compute_null(matrix: np.ndarray, samples: np.ndarray, n_pairs: int = NULL_PAIRS, seed: int = 0) -> Null:
    """Cosines of random pairs of spans of different samples (methods §1.4, ours).

    ``matrix`` (n, P) unit rows, ``samples`` (n,) sample of each row. Empty where there is only one sample.
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

    Mean and null are those of the analysis where there is one, so that pages and ``gsd neighbors`` agree.
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
    """The same for a run too big for memory; without an analysis, a few thousand spans give mean and null."""
    if {"mean", "null"} <= set(arrays):
        mean, null = arrays["mean"], describe_null(arrays["null"], arrays.get("null_windows"))
    else:
        rows, drawn = read_sample(reader, checkpoint, len(samples))
        mean = arrays.get("mean", drawn.mean(axis=0))
        null = compute_null(_centre(drawn, mean, None), samples[rows], seed=NULL_SEED)
    mean = np.asarray(mean, np.float32)
    return Directions(
        StoredRows(reader, checkpoint, mean, lambda vectors: _centre(vectors, mean, None)), null
    )


def compute_q_values(cosines: np.ndarray, null: Null, n_tests: int | None = None) -> np.ndarray:
    """Benjamini–Hochberg q of each cosine (one-sided), adjusted over ``cosines``; NaN without a null.

    ``n_tests``: number of tests where ``cosines`` are only the best of them. q is the larger of the one against random
    pairs and, where there are any, the one against random windows.
    """
    if null.n == 0 or len(cosines) == 0:
        return np.full(len(cosines), np.nan)
    known = [values for values in (null.values, null.windows) if len(values)]
    return np.max([_compute_q_against(cosines, values, n_tests or len(cosines)) for values in known], axis=0)


def _compute_q_against(cosines: np.ndarray, values: np.ndarray, n_tests: int) -> np.ndarray:
    # Largest first, so that p ascends; a search for sorted numbers is also several times as fast.
    order = np.argsort(-cosines)
    ranked = cosines[order]
    above = len(values) - np.searchsorted(values, ranked, side="left")
    # As in the analysis: random pairs contain true alignments, so the lower tail is mirrored (Efron 2004).
    above = np.minimum(above, np.searchsorted(values, 2 * np.median(values) - ranked, side="right"))
    p = (1.0 + above) / (1.0 + len(values))
    q = np.empty_like(p)
    q[order] = np.minimum.accumulate((p * n_tests / np.arange(1, len(p) + 1))[::-1])[::-1].clip(max=1.0)
    return q


def load_exact(run: Run, checkpoint: str, span: str) -> dict[str, float]:
    """Other span → exact centred cosine with ``span``, for the pairs that ``gsd neighbors --exact`` computed."""
    if not run.results.has(EXACT):
        return {}
    pairs = run.results.read(EXACT, "pairs")
    own = pairs[(pairs["checkpoint"] == checkpoint) & (pairs["a"] == span)]
    return dict(zip(own["b"], own["cosine_exact"].astype(float), strict=True))


def load_wording(view: RunView) -> Wording | None:
    """How alike the texts of a run's spans are, rows as in ``view.spans``; None for too many or no words."""
    if len(view.spans) > MOST_WORDED:
        return None
    return make_wording(view.spans["text"].tolist(), view.spans["sample"].to_numpy(dtype=object))


def compute_neighbors(
    view: RunView, directions: Directions, span: str, top: int = 10, wording: Wording | None = None
) -> pd.DataFrame:
    """The spans of *other* samples best aligned with ``span``, best first (methods §1.4, ours).

    With ``wording`` only those in other words.

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
