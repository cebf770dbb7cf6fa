"""The map's filter of spans.

Filter         what the user asked to see
compute_mask   the spans that a filter keeps
choose_filter  its widgets, kept in the address
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from gsd_core.dashboard.frame.address import choose, pick_many, read_address, write_text
from gsd_core.dashboard.reading.run_view import RunView

STRENGTH_CHOICES = {"": "all", "confirmed-tentative": "confirmed and tentative", "confirmed": "confirmed"}
FILTER_MEASURES = {
    "norm": "Gradient norm",
    "coherence": "Coherence",
    "loss": "Loss (nats)",
    "spectral": "Spectral strength",
    "grace": "GRACE-like score",
    "answer_strength": "Strength on the answer",
    "answer_consistency": "Consistency",
}


@dataclass(frozen=True)
class Filter:
    """A span must satisfy every field that is set; the empty filter keeps all spans.

    ``clusters`` cluster numbers; ``family`` ids of the spans of a family; ``levels`` a level of clusters and the number
    of its only cluster; ``groups`` a column and the numbers of its groups; ``label``, ``label_values`` a label column
    and its values; ``sample`` part of a sample's id; ``text`` words that must all occur in the span, in any case;
    ``measure``, ``measure_range`` a measure, its lowest and its highest value (spans without it are left out).
    """

    clusters: tuple[int, ...] = ()
    family: pd.Series | None = None
    levels: tuple[tuple[str, int], ...] = ()
    groups: tuple[str, tuple[int, ...]] | None = None
    label: str = ""
    label_values: tuple[str, ...] = ()
    sample: str = ""
    text: str = ""
    measure: str = ""
    measure_range: tuple[float, float] | None = None


def compute_mask(spans: pd.DataFrame, wanted: Filter) -> np.ndarray:
    """(n,) bool: the spans that ``wanted`` keeps. Text is compared as plain words, not as patterns."""
    mask = np.ones(len(spans), dtype=bool)
    if wanted.clusters:
        mask &= spans["cluster"].isin(wanted.clusters).to_numpy()
    if wanted.family is not None:
        mask &= spans["span"].isin(wanted.family).to_numpy()
    for level, number in wanted.levels:
        mask &= (spans[level] == number).to_numpy()
    if wanted.groups is not None:
        column, numbers = wanted.groups
        mask &= spans[column].isin(numbers).to_numpy()
    if wanted.label_values and wanted.label in spans.columns:
        mask &= spans[wanted.label].astype(str).isin(wanted.label_values).to_numpy()
    if wanted.sample.strip():
        has = spans["sample"].str.contains(wanted.sample.strip(), case=False, regex=False)
        mask &= has.fillna(False).to_numpy(dtype=bool)
    for word in wanted.text.split():
        has = spans["text"].str.contains(word, case=False, regex=False)
        mask &= has.fillna(False).to_numpy(dtype=bool)
    if wanted.measure_range is not None and wanted.measure in spans.columns:
        low, high = wanted.measure_range
        mask &= spans[wanted.measure].between(low, high).to_numpy(dtype=bool)
    return mask


def choose_filter(view: RunView, kind: str) -> Filter:
    """Filter widgets; the address keeps every choice but the range of a measure. ``kind`` is what the map's colours
    tell apart."""
    spans = view.spans
    groups = _choose_strength(view, kind)
    names = {str(cluster): view.cluster_name(cluster) for cluster in view.clusters["cluster"].tolist()}
    names["-1"] = "noise"
    clusters = pick_many(
        "Dense clusters",
        "cluster",
        list(names),
        format_func=lambda number: names.get(number, number),
        placeholder="all",
    )
    family = None
    if len(view.families.table):
        numbers = {str(number): view.families.name(number) for number in view.families.table["family"].astype(int)}
        picked = choose("Family", "family", ["", *numbers], format_func=lambda number: numbers.get(number, "all"))
        if picked:
            own = view.families.table["prototype"].iloc[[int(picked)]]
            family = pd.concat([own, view.families.members_of(int(picked))["span"]])
    levels = _choose_of_levels(view)
    categories = [label.name for label in view.labels if label.kind == "category"]
    label, values = "", []
    if categories:
        left, right = st.columns(2)
        with left:
            label = choose("Label", "label", ["", *categories], format_func=lambda name: name or "(none)")
        if label:
            options = sorted(spans[label].astype(str).unique())
            with right:
                values = pick_many("Values", "values", options, placeholder="all")
    sample = write_text("Sample id contains", "in_sample")
    measure, measure_range = _choose_measure(view)
    return Filter(
        clusters=tuple(map(int, clusters)),
        family=family,
        levels=levels,
        groups=groups,
        label=label,
        label_values=tuple(values),
        sample=sample,
        measure=measure,
        measure_range=measure_range,
    )


def _choose_strength(view: RunView, kind: str) -> tuple[str, tuple[int, ...]] | None:
    """The groups of the map's colours that are strong enough; None for all spans."""
    strengths = view.list_strengths(kind)
    if not strengths:
        return None
    wanted = choose("Strength", "strength", list(STRENGTH_CHOICES), format_func=STRENGTH_CHOICES.__getitem__)
    if not wanted:
        return None
    allowed = wanted.split("-")
    return kind, tuple(group for group, strength in strengths.items() if strength in allowed)


def _choose_of_levels(view: RunView) -> tuple[tuple[str, int], ...]:
    """The only clusters of levels that the address asks for, each with a box that lets it go."""
    found = []
    for name, level in view.levels.items():
        asked = read_address(name)
        if asked and asked.isdigit() and int(asked) < len(level.table):
            titles = {"": "all", asked: level.name(int(asked))}
            picked = choose(f"Cluster, {name}", name, list(titles), format_func=titles.__getitem__)
            if picked:
                found.append((name, int(picked)))
    return tuple(found)


def _choose_measure(view: RunView) -> tuple[str, tuple[float, float] | None]:
    """A measure of the spans and the range to keep; None keeps all."""
    spans = view.spans
    ends = {name: (float(spans[name].min()), float(spans[name].max())) for name in FILTER_MEASURES}
    varied = [name for name, (low, high) in ends.items() if low < high]
    if not varied:
        return "", None
    left, right = st.columns(2)
    with left:
        measure = choose("Measure", "measure", varied, default=varied[0], format_func=FILTER_MEASURES.__getitem__)
    low, high = ends[measure]
    with right:
        chosen = st.slider(
            "From … to", low, high, (low, high), key=f"map_{measure}_{view.name}_{view.checkpoint}", format="%.3g"
        )
    return measure, None if chosen == (low, high) else chosen
