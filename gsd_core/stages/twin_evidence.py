"""How often twins share a label, and how often the twins that another representation finds share it.

measure_twins   rows of the evaluation: the twins of the run, then those of every representation by the same search

A sample's label is its own where the field has one for each sample. Where a field labels steps, it is the sequence of
its steps' labels in order: twins should not only hold the same steps but take them one after the other. Everything
here is ours.
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

if TYPE_CHECKING:
    from gsd_core.store import Run

N_TWINS = 50
MOST_SPANS = 6000  # more are drawn, in whole samples: baselines of words are wide
METRIC = "precision of twins"
METRIC_OF_STEPS = "precision of twins, same steps in the same order"


def measure_twins(
    run: Run, checkpoint: str, chosen: pd.DataFrame, representations: list[Representation], seed: int
) -> list[dict[str, Any]]:
    """Rows for the ``chosen`` spans (columns ``sample, label``), whose rows the ``representations`` have, in order.

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
    chance = _find_chance(read_question_rows(run, list(labels.index)), labels, limit, seed)
    for table, words in (("twins", ""), ("rewordings", " in other words")):
        if table in run.results.tables(STRUCTURE, checkpoint):
            twins = run.results.read(STRUCTURE, table, checkpoint)[["a", "b"]]
            twins = twins[twins["a"].isin(labels.index) & twins["b"].isin(labels.index)].head(N_TWINS)
            rows += _make_row(f"top {N_TWINS} twins{words}", "gradient", metric, twins.to_numpy(), labels, chance, seed)
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
        rows += _make_row(f"twins by {each.name}", each.kind, metric, pairs, labels, chance, seed)
    return rows


def _find_chance(questions: np.ndarray, labels: pd.Series, limit: float, seed: int) -> float:
    a, b = draw_pairs(len(labels), seed)
    is_distant = (questions[a] * questions[b]).sum(1) <= limit
    is_same = labels.to_numpy()[a] == labels.to_numpy()[b]
    return float(is_same[is_distant].mean()) if is_distant.any() else float("nan")


def _make_row(
    name: str, kind: str, metric: str, pairs: np.ndarray, labels: pd.Series, chance: float, seed: int
) -> list[dict[str, Any]]:
    """A row, or none where there are no twins."""
    if not len(pairs):
        return []
    hits = (labels[pairs[:, 0]].to_numpy() == labels[pairs[:, 1]].to_numpy()).astype(float)
    value, low, high = bootstrap_pairs(hits, pairs.astype(object), seed=seed)
    row = {"representation": name, "kind": kind, "metric": metric, "value": value, "ci_low": low, "ci_high": high}
    return [{**row, "n": len(hits), "chance": chance, "ceiling": 1.0, "seed_spread": float("nan"), "n_seeds": 1}]
