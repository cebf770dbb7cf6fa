"""How often twins share a label, and how often the twins that another representation finds share it.

measure_twins   rows of the evaluation: the twins of the run, then those of every representation by the same search

A sample's label is its own where the field has one for each sample. Where a field labels steps, it is the sequence of
its steps' labels in order: twins should not only hold the same steps but take them one after the other. That asks much
of pairs that are aligned in two or three steps, so the labels of the aligned steps are compared too. Everything here is
ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gsd_core.analysis.align import TracedSpans, compute_match_scale, group_traces
from gsd_core.analysis.baselines import Representation
from gsd_core.analysis.benchmark import bootstrap_pairs
from gsd_core.analysis.twins import find_twins
from gsd_core.comparison.nulls import compute_null_cosines
from gsd_core.methods.analyze_method import STRUCTURE
from gsd_core.stages.neighbor_pools import draw_pairs, draw_samples
from gsd_core.stages.representations import read_question_rows
from gsd_core.stages.structure_stage import read_semantics
from gsd_core.types import join_span

if TYPE_CHECKING:
    from gsd_core.store import Run

N_TWINS = 50
MOST_SPANS = 6000  # more are drawn, in whole samples: baselines of words are wide
METRIC = "precision of twins"
METRIC_OF_STEPS = "precision of twins, same steps in the same order"
METRIC_ALIGNED = "precision of twins, aligned steps"


def measure_twins(
    run: Run, checkpoint: str, chosen: pd.DataFrame, representations: list[Representation], seed: int
) -> list[dict[str, Any]]:
    """Rows for the ``chosen`` spans (columns ``span, sample, index, label``), rows of the ``representations`` in order.

    Chance is that of pairs of samples whose questions are as distant as those of twins.
    """
    if not run.results.has(STRUCTURE, checkpoint):
        return []
    by_sample = chosen.groupby("sample", sort=False)["label"]
    is_of_steps = bool((by_sample.nunique() > 1).any())
    labels = by_sample.agg(" → ".join) if is_of_steps else by_sample.first()
    metric = METRIC_OF_STEPS if is_of_steps else METRIC
    limit = run.results.info(STRUCTURE, checkpoint)["twins"]["semantic_median"]
    rows: list[dict[str, Any]] = []
    label_of = dict(zip(chosen["span"], chosen["label"], strict=True))
    shares = chosen["label"].value_counts(normalize=True)
    chance = _find_chance(read_question_rows(run, list(labels.index)), labels, limit, seed)

    def make_rows(name: str, kind: str, pairs: np.ndarray, aligned: list[list[list[Any]]]) -> list[dict[str, Any]]:
        """Of whole samples and, where steps are labelled, of aligned steps, given by their indices in the traces."""
        hits = labels[pairs[:, 0]].to_numpy() == labels[pairs[:, 1]].to_numpy()
        made = _make_row(name, kind, metric, hits, pairs, chance, seed)
        if is_of_steps:
            steps = [
                (pair, label_of.get(join_span(pair[0], i)), label_of.get(join_span(pair[1], j)))
                for pair, own in zip(pairs, aligned, strict=True)
                for i, j, _ in own
            ]
            known = [each for each in steps if each[1] is not None and each[2] is not None]
            same = np.array([left == right for _, left, right in known], dtype=bool)
            owners = np.array([pair for pair, _, _ in known], dtype=object).reshape(-1, 2)
            made += _make_row(name, kind, METRIC_ALIGNED, same, owners, float((shares**2).sum()), seed)
        return made

    for table, words in (("twins", ""), ("rewordings", " in other words")):
        if table in run.results.tables(STRUCTURE, checkpoint):
            twins = run.results.read(STRUCTURE, table, checkpoint)[["a", "b", "aligned"]]
            twins = twins[twins["a"].isin(labels.index) & twins["b"].isin(labels.index)].head(N_TWINS)
            stored = twins[["a", "b"]].to_numpy(), twins["aligned"].tolist()
            rows += make_rows(f"top {N_TWINS} twins{words}", "gradient", *stored)
    drawn = draw_samples(pd.factorize(chosen["sample"])[0], MOST_SPANS, seed)
    part = chosen.iloc[drawn]
    traces = group_traces(part["sample"].to_numpy(dtype=object), np.arange(len(part)))
    questions, _ = read_semantics(run, list(traces.ids))
    for each in representations:
        directions = each.rows[drawn]
        if hasattr(directions, "toarray"):
            directions = directions.toarray()
        directions = np.asarray(directions, dtype=np.float32)[traces.order]
        owners = part["sample"].to_numpy(dtype=object)[traces.order]
        scale = compute_match_scale(compute_null_cosines(directions, owners, seed=seed))
        spans = TracedSpans(directions, traces, np.full(len(directions), -1), questions)
        found = find_twins(spans, scale, seed, top=N_TWINS).twins
        pairs = np.array([(traces.ids[twin.a], traces.ids[twin.b]) for twin in found], dtype=object).reshape(-1, 2)
        numbers = part["index"].to_numpy()[traces.order]
        starts = traces.offsets
        aligned = [
            [[numbers[starts[twin.a] + i], numbers[starts[twin.b] + j], cosine] for i, j, cosine in twin.aligned]
            for twin in found
        ]
        rows += make_rows(f"twins by {each.name}", each.kind, pairs, aligned)
    return rows


def _find_chance(questions: np.ndarray, labels: pd.Series, limit: float, seed: int) -> float:
    a, b = draw_pairs(len(labels), seed)
    is_distant = (questions[a] * questions[b]).sum(1) <= limit
    is_same = labels.to_numpy()[a] == labels.to_numpy()[b]
    return float(is_same[is_distant].mean()) if is_distant.any() else float("nan")


def _make_row(
    name: str, kind: str, metric: str, hits: np.ndarray, pairs: np.ndarray, chance: float, seed: int
) -> list[dict[str, Any]]:
    """A row, or none where there are no pairs."""
    if not len(pairs):
        return []
    value, low, high = bootstrap_pairs(hits.astype(float), pairs.astype(object), seed=seed)
    row = {"representation": name, "kind": kind, "metric": metric, "value": value, "ci_low": low, "ci_high": high}
    return [{**row, "n": len(hits), "chance": chance, "ceiling": 1.0, "seed_spread": float("nan"), "n_seeds": 1}]
