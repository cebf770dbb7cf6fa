"""Stresses, twins and pairs of traces, as ``gsd analyze`` stored them.

Structure              the stored tables of one checkpoint
load_structure         read a Structure
describe_stamp         a text that changes whenever the stored structure changes
PairView               two traces with every cosine and the aligned spans
compute_pair           a PairView
find_twin              the stored twin of two samples
Reference              a score of random pairs of samples
compute_reference      a Reference
list_layers            the layer blocks of a direction
compute_layer_cosines  cosines of pairs of spans, layer by layer
name_pattern           a stress's name in the address
find_stress            the row of the stress with such a name
list_occurrences       where a stress occurs, one row a sample
SIGNIFICANT            q below which a finding counts

Axes: P sketch width, S_a and S_b spans of two traces, m aligned pairs, L layers.
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
    """Tables of one checkpoint as ``gsd analyze`` stored them; ``info`` are the settings and counts stored with them.

    ``twins["aligned"]`` holds lists ``[k_a, k_b, cosine]`` with k the span's index, ``stresses["pattern"]`` and
    ``["labels"]`` lists of clusters and of their names, ``occurrences["indices"]`` lists of span indices.
    ``rewordings`` are twins in other words.
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

    @property
    def stresses_of(self) -> str:
        """What stresses are sequences of: "cluster" for dense ones or, where they hold next to nothing, a level (or
        "family", in runs analysed by earlier versions)."""
        return str(self.info.get("stresses_of", "cluster"))

    @property
    def stresses_of_words(self) -> dict[str, Any] | None:
        """What clusters of sentence embeddings give by the same search: ``n_clusters, n_stresses, q``."""
        return self.info.get("stresses_of_words")


def describe_stamp(run: Run, checkpoint: str) -> str:
    """A text that changes whenever the stored structure changes. ``UserError`` where there is none."""
    return json.dumps(run.results.info(STRUCTURE, checkpoint), sort_keys=True, default=str)


def load_structure(run: Run, checkpoint: str) -> Structure:
    """Read the structure of a checkpoint. ``UserError`` where there is none."""
    tables = {}
    stored = run.results.tables(STRUCTURE, checkpoint)
    for name in TABLES:
        # Older analyses did not look for twins in other words.
        source = name if name in stored or name != "rewordings" else "twins"
        table = run.results.read(STRUCTURE, source, checkpoint)
        tables[name] = table if source == name else table.iloc[:0]
    return Structure(info=run.results.info(STRUCTURE, checkpoint), **tables)


@dataclass(frozen=True)
class PairView:
    """Traces of samples ``a`` and ``b``.

    ``rows_a`` (S_a,) and ``rows_b`` (S_b,) are rows of ``RunView.spans`` in reading order, ``cosines`` (S_a, S_b) of
    centred directions, ``aligned`` triples (row, column, cosine) of cells. With ``is_run`` these are the run of spans
    that the analysis aligned; else the cells that are the best of their row and column and above the null's 95th
    percentile.
    """

    a: str
    b: str
    rows_a: np.ndarray
    rows_b: np.ndarray
    cosines: np.ndarray
    aligned: list[tuple[int, int, float]]
    is_run: bool


def find_twin(structure: Structure, a: str, b: str) -> pd.Series | None:
    """The twin of samples ``a`` and ``b`` with ``a`` first; None where they are no twin."""
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
    return rows[rows < n_known]  # a capture may have stored more spans after the directions were read


def _best_cells(cosines: np.ndarray, threshold: float) -> list[tuple[int, int, float]]:
    if not cosines.size or not np.isfinite(threshold):
        return []
    is_best = (cosines == cosines.max(axis=1, keepdims=True)) & (cosines == cosines.max(axis=0, keepdims=True))
    return [(int(i), int(j), float(cosines[i, j])) for i, j in np.argwhere(is_best & (cosines > threshold))]


def compute_pair(view: RunView, directions: Directions, structure: Structure | None, a: str, b: str) -> PairView:
    """Two traces and their aligned spans (methods §1.5, ours); none are aligned where ``a`` and ``b`` are the same.

    Cosines are centred as in the analysis, so they agree with the map's panel and with ``gsd compare``.
    """
    known = len(directions.rows)
    rows_a, rows_b = _rows_of(view, a, known), _rows_of(view, b, known)
    cosines = directions.rows[rows_a] @ directions.rows[rows_b].T
    twin = find_twin(structure, a, b) if structure is not None and a != b else None
    if twin is None:
        aligned = [] if a == b else _best_cells(cosines, directions.null.p95)
        return PairView(a, b, rows_a, rows_b, cosines, aligned, False)
    of_a, of_b = (
        {int(k): at for at, k in enumerate(view.spans["index"].to_numpy()[rows])} for rows in (rows_a, rows_b)
    )
    aligned = [
        (of_a[i], of_b[j], float(cosines[of_a[i], of_b[j]])) for i, j, _ in twin["aligned"] if i in of_a and j in of_b
    ]
    return PairView(a, b, rows_a, rows_b, cosines, aligned, True)


def list_layers(view: RunView) -> list[tuple[str, int, int]]:
    """``(name, start, stop)`` of each layer block of a direction; empty where the run stores none."""
    layers = (view.manifest.get("sketch") or {}).get("layers") or []
    return [(str(name), int(start), int(stop)) for name, start, stop in layers]


def compute_layer_cosines(
    directions: Directions, pairs: Sequence[tuple[int, int]], layers: Sequence[tuple[str, int, int]]
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
    """A score of random pairs of samples: sorted ``values``, ``median``."""

    values: np.ndarray
    median: float


def compute_reference(structure: Structure, score: str) -> Reference:
    """``score`` ("structural" or "semantic") of random pairs of samples: what chance gives."""
    pairs = structure.pairs
    values = np.sort(pairs.loc[~pairs["is_candidate"].astype(bool), score].dropna().to_numpy(float))
    return Reference(values, float(np.median(values)) if len(values) else float("nan"))


def name_pattern(pattern: Sequence[int]) -> str:
    """A pattern as the address names it: ``"4-3-1"``."""
    return "-".join(map(str, pattern))


def find_stress(structure: Structure, pattern: str) -> int:
    """Row of the stress with this ``name_pattern``; 0 where none has it, −1 where there are no stresses."""
    names = [name_pattern(each) for each in structure.stresses["pattern"]]
    if not names:
        return -1
    return names.index(pattern) if pattern in names else 0


def list_occurrences(view: RunView, structure: Structure, stress: int) -> pd.DataFrame:
    """Where a stress occurs, one row a sample: ``sample``, ``rows`` of ``RunView.spans`` of its first occurrence in
    the pattern's order, and the number ``n`` of its occurrences."""
    own = structure.occurrences[structure.occurrences["stress"] == stress]
    rows: dict[str, list[int]] = {}
    counts: dict[str, int] = {}
    for sample, indices in zip(own["sample"], own["indices"], strict=True):
        spans = [join_span(sample, k) for k in indices]
        if all(span in view.row_of for span in spans):
            counts[sample] = counts.get(sample, 0) + 1
            rows.setdefault(sample, [view.row_of[span] for span in spans])
    return pd.DataFrame({"sample": list(rows), "rows": list(rows.values()), "n": list(counts.values())})
