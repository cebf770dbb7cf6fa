"""Stresses, twins and pairs of traces, from what the structure step of ``gsd analyze`` stored.

Structure              the stored tables of one checkpoint, nested values parsed
load_structure         read them
describe_stamp         a text that changes whenever the stored structure does
PairView               two traces: their spans, every cosine, the aligned spans
compute_pair           a PairView
find_twin              the stored twin of two samples
Reference              what random pairs of samples reach
compute_reference      a Reference
compute_layer_cosines  cosines of pairs of spans, layer by layer
list_occurrences       where a stress occurs, one row a sample
name_pattern, find_stress   a stress as the address names it
list_layers            the layers' blocks of a direction

Axes: n spans, P sketch width, S_a and S_b spans of two traces, m aligned pairs, L layers. Pure numpy and pandas over
the store's reads; nothing here draws, and nothing computes what the analysis is for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gsd_core.comparison.nearest import Directions
from gsd_core.dashboard.reading.run_view import RunView
from gsd_core.methods.analyze_method import STRUCTURE
from gsd_core.store import Run
from gsd_core.types import join_span

SIGNIFICANT = 0.05
TABLES = ("twins", "rewordings", "pairs", "stresses", "occurrences", "edges", "layers", "cosines")


@dataclass(frozen=True)
class Structure:
    """Tables of one checkpoint as ``gsd analyze`` stored them; ``info`` is what it said beside them.

    ``twins["aligned"]`` holds lists ``[k_a, k_b, cosine]`` with k the span's number within its sample,
    ``stresses["pattern"]`` and ``["labels"]`` lists of clusters and of their names, ``occurrences["indices"]`` lists of
    span numbers. ``rewordings`` are twins whose reasonings are in other words.
    """

    info: dict[str, Any]
    twins: pd.DataFrame
    rewordings: pd.DataFrame
    pairs: pd.DataFrame
    stresses: pd.DataFrame
    occurrences: pd.DataFrame
    edges: pd.DataFrame
    layers: pd.DataFrame
    cosines: pd.DataFrame


def describe_stamp(run: Run, checkpoint: str) -> str:
    """A text that changes whenever the stored structure does; raises ``UserError`` where there is none."""
    return json.dumps(run.results.info(STRUCTURE, checkpoint), sort_keys=True, default=str)


def load_structure(run: Run, checkpoint: str) -> Structure:
    """Read the structure of a checkpoint. Raises ``UserError`` where there is none."""
    tables = {}
    stored = run.results.tables(STRUCTURE, checkpoint)
    for name in TABLES:
        # Runs that were analysed before other words were sought have none of those.
        source = name if name in stored or name != "rewordings" else "twins"
        table = run.results.read(STRUCTURE, source, checkpoint)
        tables[name] = table if source == name else table.iloc[:0]
    return Structure(info=run.results.info(STRUCTURE, checkpoint), **tables)


@dataclass(frozen=True)
class PairView:
    """Traces of samples ``a`` and ``b``.

    ``rows_a`` (S_a,) and ``rows_b`` (S_b,) are rows of ``RunView.spans`` in reading order, ``cosines`` (S_a, S_b) of
    centred directions, ``aligned`` triples (place in a, place in b, cosine). ``is_run`` says what these are: True for
    the run that the analysis aligned; False for cells that are the best of their row and column and above
    the null's 95th percentile, whatever their order.
    """

    a: str
    b: str
    rows_a: np.ndarray
    rows_b: np.ndarray
    cosines: np.ndarray
    aligned: list[tuple[int, int, float]]
    is_run: bool


def find_twin(structure: Structure, a: str, b: str) -> pd.Series | None:
    """The twin of samples ``a`` and ``b``, turned so that ``a`` comes first; None where they are none."""
    for twins in (structure.twins, structure.rewordings):
        found = twins[((twins["a"] == a) & (twins["b"] == b)) | ((twins["a"] == b) & (twins["b"] == a))]
        if len(found):
            break
    else:
        return None
    twin = found.iloc[0].copy()
    if twin["a"] != a:
        twin["a"], twin["b"] = a, b
        twin["aligned"] = [[j, i, cosine] for i, j, cosine in twin["aligned"]]
    return twin


def _rows_of(view: RunView, sample: str, n_known: int) -> np.ndarray:
    rows = view.row_of.trace_of(sample).astype(int)
    return rows[rows < n_known]  # a capture may have stored spans since the directions were read


def _best_cells(cosines: np.ndarray, threshold: float) -> list[tuple[int, int, float]]:
    if not cosines.size or not np.isfinite(threshold):
        return []
    is_best = (cosines == cosines.max(axis=1, keepdims=True)) & (
        cosines == cosines.max(axis=0, keepdims=True)
    )
    return [(int(i), int(j), float(cosines[i, j])) for i, j in np.argwhere(is_best & (cosines > threshold))]


def compute_pair(
    view: RunView, directions: Directions, structure: Structure | None, a: str, b: str
) -> PairView:
    """Two traces and their aligned spans (methods §1.5, ours). ``a`` and ``b`` may be one sample: then none is aligned.

    Cosines are those of the map's panel and of ``gsd compare``: centred as the analysis centred them.
    """
    known = len(directions.rows)
    rows_a, rows_b = _rows_of(view, a, known), _rows_of(view, b, known)
    cosines = directions.rows[rows_a] @ directions.rows[rows_b].T
    twin = find_twin(structure, a, b) if structure is not None and a != b else None
    if twin is None:
        aligned = [] if a == b else _best_cells(cosines, directions.null.p95)
        return PairView(a, b, rows_a, rows_b, cosines, aligned, False)
    places = [
        {int(k): place for place, k in enumerate(view.spans["index"].to_numpy()[rows])}
        for rows in (rows_a, rows_b)
    ]
    aligned = [
        (places[0][i], places[1][j], float(cosines[places[0][i], places[1][j]]))
        for i, j, _ in twin["aligned"]
        if i in places[0] and j in places[1]
    ]
    return PairView(a, b, rows_a, rows_b, cosines, aligned, True)


def list_layers(view: RunView) -> list[tuple[str, int, int]]:
    """``(name, start, stop)`` of each layer's block of a direction; empty for runs that do not say."""
    layers = (view.manifest.get("sketch") or {}).get("layers") or []
    return [(str(name), int(start), int(stop)) for name, start, stop in layers]


def compute_layer_cosines(
    directions: Directions,
    pairs: Sequence[tuple[int, int]],
    layers: Sequence[tuple[str, int, int]],
) -> np.ndarray:
    """(L, m) cosines of ``pairs`` of rows within each layer's block (methods §1.4, ours); NaN where a block is zero."""
    out = np.full((len(layers), len(pairs)), np.nan)
    if not len(pairs):
        return out
    left, right = (directions.rows[[pair[side] for pair in pairs]] for side in (0, 1))
    for at, (_, start, stop) in enumerate(layers):
        here, there = left[:, start:stop], right[:, start:stop]
        size = np.linalg.norm(here, axis=1) * np.linalg.norm(there, axis=1)
        np.divide(np.einsum("ij,ij->i", here, there), size, out=out[at], where=size > 0)
    return out


@dataclass(frozen=True)
class Reference:
    """``values``, sorted: one score of random pairs of samples; their ``median`` and 95th percentile ``p95``."""

    values: np.ndarray
    median: float
    p95: float


def compute_reference(structure: Structure, score: str) -> Reference:
    """``score`` ("structural" or "semantic") of random pairs of samples: what chance alone gives."""
    pairs = structure.pairs
    values = np.sort(pairs.loc[~pairs["is_candidate"].astype(bool), score].dropna().to_numpy(float))
    if not len(values):
        return Reference(values, float("nan"), float("nan"))
    return Reference(values, float(np.median(values)), float(np.quantile(values, 0.95)))


def name_pattern(pattern: Sequence[int]) -> str:
    """A pattern for the address: ``"4-3-1"``."""
    return "-".join(map(str, pattern))


def find_stress(structure: Structure, pattern: str) -> int:
    """Row of the stress with this ``name_pattern``; 0, the first, where there is none. -1 where there is no stress."""
    names = [name_pattern(each) for each in structure.stresses["pattern"]]
    if not names:
        return -1
    return names.index(pattern) if pattern in names else 0


def list_occurrences(view: RunView, structure: Structure, stress: int) -> pd.DataFrame:
    """Where a stress occurs: ``sample``, ``rows`` (of ``RunView.spans``, in the pattern's order) of its first
    occurrence there, and ``n`` occurrences in that sample. In the order of the samples."""
    own = structure.occurrences[structure.occurrences["stress"] == stress]
    rows: dict[str, list[int]] = {}
    counts: dict[str, int] = {}
    for sample, indices in zip(own["sample"], own["indices"], strict=True):
        spans = [join_span(sample, k) for k in indices]
        if all(span in view.row_of for span in spans):
            counts[sample] = counts.get(sample, 0) + 1
            rows.setdefault(sample, [view.row_of[span] for span in spans])
    return pd.DataFrame({"sample": list(rows), "rows": list(rows.values()), "n": list(counts.values())})
