"""The widgets of the map's filter.

choose_filter     the widgets, kept in the address
FILTER_MEASURES   measures of spans to filter by
"""

from __future__ import annotations

import streamlit as st

from gsd_core.dashboard.frame.address import choose, pick_many, write_text
from gsd_core.dashboard.map.span_filters import Filter
from gsd_core.dashboard.reading.run_view import RunView

FILTER_MEASURES = {
    "norm": "Gradient norm",
    "coherence": "Coherence",
    "loss": "Loss (nats)",
    "spectral": "Spectral strength",
    "grace": "GRACE-like score",
}


def choose_filter(view: RunView) -> Filter:
    """Filter widgets; the address keeps every choice but the range of a measure."""
    spans = view.spans
    names = {str(cluster): view.cluster_name(cluster) for cluster in view.clusters["cluster"].tolist()}
    names["-1"] = "noise"
    clusters = pick_many(
        "Clusters",
        "cluster",
        list(names),
        format_func=lambda number: names.get(number, number),
        placeholder="all",
    )
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
    return Filter(tuple(map(int, clusters)), label, tuple(values), sample, "", measure, measure_range)


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
            "From … to",
            low,
            high,
            (low, high),
            key=f"map_{measure}_{view.name}_{view.checkpoint}",
            format="%.3g",
        )
    return measure, None if chosen == (low, high) else chosen
