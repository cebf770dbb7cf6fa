"""A run at one checkpoint, as pages read it.

RunView        spans with layout, clusters and labels
load_run_view  read a RunView
Piece          a stretch of a trace
compute_trace  a sample's reasoning in pieces
describe_tier  tier and window of a run in words
stamp_of       a text that changes whenever what is stored of a run changes
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gsd_core.comparison.meta_labels import compute_meta_columns, to_text
from gsd_core.dashboard.look.colors import NOISE_MARK, Mark, compute_marks
from gsd_core.dashboard.reading.cluster_levels import load_levels
from gsd_core.dashboard.reading.families import LEAST_COLOURED, Families, Groups, load_families
from gsd_core.dashboard.reading.labels import LabelColumn, compute_label_columns, to_label
from gsd_core.dashboard.reading.row_index import RowIndex
from gsd_core.methods.analyze_method import MAP
from gsd_core.methods.attribute_method import ATTRIBUTION
from gsd_core.store import Run, RunInfo, RunReader
from gsd_core.store.answer_columns import add_answer_columns

SPAN_COLUMNS = [
    *("span", "sample", "index", "char_start", "char_end", "text"),
    *("loss", "norm", "coherence", "window_cosine", "spectral", "grace"),
]
SAMPLE_COLUMNS = ["sample", "question", "reasoning", "answer", "meta", "reasoning_start"]
STEP_COLUMNS = ["skipped_spans", "n_spans_cut"]  # what tells a sample's steps from its spans


def describe_tier(manifest: Mapping[str, Any]) -> str:
    """Tier and window of a run: ``"tier span, window all"``."""
    window = manifest.get("window")
    return f"tier {manifest.get('tier', '?')}" + (f", window {window}" if window not in (None, "") else "")


@dataclass(frozen=True)
class RunView:
    """One run at one checkpoint.

    ``spans`` has one row a span in capture order: what the store holds, ``position`` in the trace (0 first, 1 last),
    ``n_in_trace``, ``cluster`` (−1 noise; −2 not analysed), ``cluster_label``, ``family`` (the first that holds it; −1
    none), its cluster at each of ``levels`` (−1 none), ``x``, ``y`` and every label column.
    ``samples`` is indexed by sample id. ``clusters`` has one row a cluster, biggest first, with ``n_samples``.
    ``marks`` says how each cluster is drawn, ``names`` are the cluster names.
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
    map_info: dict[str, Any]
    """What the analysis said beside layout and clusters; empty where there is none."""
    families: Families
    """Prototypes with the spans aligned with them; empty where none were found."""
    levels: dict[str, Groups]
    """Clusters from coarse to fine, by the level's name; empty where none were sought."""
    grouping: str
    """What spans are named and coloured by first: "cluster", or "family" where clusters hold next to nothing."""

    def cluster_name(self, cluster: int) -> str:
        """``"3 · divide · share"``, ``"noise"``, or ``""`` where nothing was analysed."""
        return "noise" if cluster == -1 else self.names.get(cluster, "")

    @property
    def n_fitted(self) -> int | None:
        """Number of spans that layout and clusters were fitted on; None where that is all of them."""
        info = self.map_info
        n_fitted, n_empty = info.get("n_fitted"), info.get("n_without_direction", 0)
        return n_fitted if n_fitted and n_fitted < info["n_spans"] - n_empty else None

    def find_chip(self, cluster: int, family: int) -> tuple[Mark, str]:
        """Mark and name of the group of a span: its cluster or its first family, by ``grouping``."""
        if self.grouping == "family":
            return (
                (self.families.mark(family), self.families.name(family)) if family >= 0 else (NOISE_MARK, "no family")
            )
        return self.mark(cluster), self.cluster_name(cluster) or "noise"

    def name_group(self, kind: str, group: int) -> str:
        """Name of a group, ``kind`` "cluster", "family" or a level."""
        if kind in self.levels:
            return self.levels[kind].name(group)
        return self.families.name(group) if kind == "family" else self.cluster_name(group)

    def mark_group(self, kind: str, group: int) -> Mark:
        """How a group is drawn, ``kind`` "cluster", "family" or a level."""
        if kind in self.levels:
            return self.levels[kind].mark(group)
        return self.families.mark(group) if kind == "family" else self.mark(group)

    def list_coloured(self, kind: str) -> pd.DataFrame:
        """Groups of spans, ``kind`` "cluster", "family" or a level: columns ``group, label, name, mark``."""
        if kind in self.levels:
            return self.levels[kind].list_groups()
        if kind == "family":
            return self.families.list_groups()
        groups = [int(cluster) for cluster in self.clusters["cluster"]]
        return pd.DataFrame(
            {
                "group": groups,
                "label": self.clusters["label"].astype(str).tolist(),
                "name": [self.cluster_name(group) for group in groups],
                "mark": [self.mark(group) for group in groups],
            }
        )

    def list_strengths(self, kind: str) -> dict[int, str]:
        """Strength of every group, ``kind`` "family" or a level; clusters of the map have none but confirmed ones."""
        if kind in self.levels:
            table, key = self.levels[kind].table, "cluster"
        elif kind == "family":
            table, key = self.families.table, "family"
        else:
            return {}
        return dict(zip(table[key].astype(int), table["strength"], strict=True))

    def mark(self, cluster: int) -> Mark:
        """How a cluster is drawn; noise and unknown clusters are grey."""
        return self.marks.get(cluster, NOISE_MARK)


def stamp_of(info: RunInfo, checkpoint: str) -> str:
    """A text that changes whenever what is stored of this run and checkpoint changes: the key of our caches."""
    found = [(info.results.get(kind.name) or {}).get(checkpoint) for kind in (MAP, ATTRIBUTION)]
    return json.dumps(
        [info.created, info.status, info.n_spans, info.n_samples, info.checkpoints, *found],
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
    samples = reader.read_samples(columns=[*SAMPLE_COLUMNS, *STEP_COLUMNS])
    if len(samples):
        samples = samples.drop_duplicates("sample")
    row_of = RowIndex(spans)
    last = np.zeros(row_of.n_samples, dtype=np.int32)
    np.maximum.at(last, row_of.codes, spans["index"].to_numpy(np.int32))
    last = last[row_of.codes]
    spans["n_in_trace"] = last + 1
    spans["position"] = (spans["index"] / np.maximum(last, 1)).astype(np.float32)
    labels, _ = compute_meta_columns(spans, samples, to_label)
    samples = samples[SAMPLE_COLUMNS]
    columns = compute_label_columns(labels)
    for column in columns:
        values = labels[column.name]
        spans[column.name] = pd.to_numeric(values) if column.kind == "number" else _take_texts(values, _as_category)
    spans = add_answer_columns(run, checkpoint, spans)
    points, clusters = _read_analysis(reader, checkpoint)
    if points is None:
        spans["x"], spans["y"], spans["probability"], spans["cluster"] = np.nan, np.nan, np.nan, -2
    else:
        spans = _add_points(spans, points)
        clusters["n_samples"] = _count_samples(spans["cluster"].to_numpy(), row_of.codes, clusters["cluster"])
    marks = {int(c): mark for c, mark in compute_marks(clusters["cluster"].tolist()).items()}  # type: ignore[call-overload]
    names = {int(row.cluster): f"{row.cluster} · {row.label}" for row in clusters.itertuples() if row.cluster >= 0}
    spans["cluster_label"] = _take_texts(
        spans["cluster"], lambda cluster: names.get(cluster, "noise" if points is not None else "")
    )
    families = load_families(reader, checkpoint)
    spans["family"] = families.find_families(spans["span"])
    levels, at_levels = load_levels(reader, checkpoint, spans["span"])
    spans = pd.concat([spans, at_levels], axis=1)
    is_grey = (spans["cluster"] >= 0).mean() < LEAST_COLOURED
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
        map_info=run.results.infos(MAP.name).get(checkpoint, {}),
        families=families,
        levels=levels,
        grouping="family" if is_grey and len(families.table) else "cluster",
    )


def _add_points(spans: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """``spans`` with the columns of ``points``; spans captured later have no coordinates and count as noise."""
    names = ["x", "y", "probability", "cluster"]
    if points["span"].equals(spans["span"]):
        return spans.assign(**{name: points[name].to_numpy() for name in names})
    spans = spans.merge(points[["span", *names]], on="span", how="left")
    spans["cluster"] = spans["cluster"].fillna(-1).astype(int)
    return spans


def _count_samples(cluster: np.ndarray, sample: np.ndarray, wanted: pd.Series) -> pd.Series:
    """Number of samples in each wanted cluster; ``cluster``, ``sample`` (n,) numbers of both for each span."""
    pairs = pd.DataFrame({"cluster": cluster, "sample": sample}).drop_duplicates()
    return wanted.map(pairs["cluster"].value_counts()).fillna(0).astype(int)


def _take_texts(values: pd.Series, text_of: Callable[[Any], str]) -> pd.Series:
    """``text_of`` each value, called once for each distinct value."""
    codes, unique = pd.factorize(values, use_na_sentinel=False)
    texts = pd.array([text_of(value) for value in unique], dtype="str")
    return pd.Series(texts.take(codes), index=values.index)


def _as_category(value: Any) -> str:
    """3.0 and 3 are the same, a missing value is ``"(none)"``."""
    return to_text(value) or "(none)"


@dataclass(frozen=True)
class Piece:
    """A stretch of a trace: ``row`` of its span in ``RunView.spans``, None for text outside every span."""

    text: str
    row: int | None


def compute_trace(view: RunView, sample: str) -> list[Piece]:
    """A sample's reasoning as pieces in reading order; joined they are exactly the reasoning."""
    reasoning = str(view.samples.loc[sample, "reasoning"]) if sample in view.samples.index else ""
    own = view.spans[["char_start", "char_end"]].iloc[view.row_of.rows_of(sample)].sort_values("char_start")
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
