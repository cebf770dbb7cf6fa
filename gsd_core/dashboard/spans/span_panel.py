"""A span: its text, its numbers, its trace, and the spans aligned with it.

show_span      all of it, beside the map
show_heading   its sample, text and numbers
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import streamlit as st

from gsd_core.dashboard.components.trace import plot_trace
from gsd_core.dashboard.frame import snippets
from gsd_core.dashboard.frame.address import read_address
from gsd_core.dashboard.frame.page_text import escape
from gsd_core.dashboard.frame.run_cache import Chosen
from gsd_core.dashboard.frame.snippets import MEASURES, Number
from gsd_core.dashboard.look.plot_text import shorten
from gsd_core.dashboard.reading.run_view import RunView
from gsd_core.dashboard.spans import pins
from gsd_core.dashboard.spans.aligned_spans import show_aligned
from gsd_core.dashboard.spans.span_links import link_to_trace
from gsd_core.dashboard.spans.trace_segments import format_number, trace_segments


def show_heading(view: RunView, row: pd.Series, fragment: str = "", text: str = "") -> None:
    """A span's sample, number in its trace, cluster and numbers, and ``text`` as a quotation.

    With the key of the ``fragment`` around it also a button that pins the span.
    """
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.markdown(
            f"**{escape(shorten(row['sample'], 60))}**  ·  span {row['index'] + 1} of {row['n_in_trace']}",
            width="content",
        )
        if fragment:
            pins.show_pin(str(row["span"]), fragment)
            if row["span"] == read_address("span", remember=False):  # chosen by the user, not by the page
                pins.note_span(view.name, str(row["span"]))
    cluster = int(row["cluster"])
    mark = view.mark(cluster)
    pieces = [snippets.make_chips((mark, view.cluster_name(cluster) or "noise"))] if view.is_analyzed else []
    if text:
        pieces.append(snippets.make_quote(text, mark.color))
    snippets.show(*pieces, _make_measures(row))


def _make_measures(row: pd.Series) -> str:
    """A span's numbers."""
    numbers = [
        Number("loss (nats)", format_number(row["loss"]), MEASURES["loss"]),
        Number("norm", format_number(row["norm"]), MEASURES["norm"]),
        Number("coherence", format_number(row["coherence"], 2), MEASURES["coherence"]),
    ]
    for name, label in (("spectral", "spectral strength"), ("grace", "GRACE-like")):
        if pd.notna(row.get(name)):
            numbers.append(Number(label, format_number(row[name], 2), MEASURES[name]))
    if pd.notna(row.get("window_cosine")):
        numbers.append(Number("cosine to exact", format_number(row["window_cosine"], 2), MEASURES["window"]))
    return snippets.make_numbers(numbers)


def show_span(chosen: Chosen, view: RunView, span: str, on_open: Callable[[str], None]) -> None:
    """The side panel of the map."""
    row = view.spans.iloc[view.row_of[span]]
    show_heading(view, row, "map_panel")
    sample = str(row["sample"])
    if sample in view.samples.index:
        question = str(view.samples.loc[sample, "question"])
        if question.strip():
            with st.expander(f"Question: {escape(shorten(question, 90))}"):
                st.text(question)
    plot_trace(
        trace_segments(view, sample),
        key=f"panel_trace_{sample}",
        selected=span,
        on_choose=on_open,
        max_height=230,
        name="The span in its trace",
    )
    link_to_trace(chosen, sample, span, "Open the whole trace")
    show_aligned(chosen, view, span, key="panel", on_open=on_open)
