"""A span: its text, its numbers, its trace, and the spans aligned with it.

show_span        all of it, beside the map
show_heading     its sample, text and numbers
show_two_spans   two spans of a pair of traces, with their cosine and its null
name_kind        what the aligned spans of a pair of traces are called
link_to_trace    a link that opens a span in its trace
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import streamlit as st

from gsd_core.dashboard.components.trace import plot_trace
from gsd_core.dashboard.frame import run_cache, snippets
from gsd_core.dashboard.frame.address import PAGES, read_address
from gsd_core.dashboard.frame.page_text import escape
from gsd_core.dashboard.frame.run_cache import Chosen
from gsd_core.dashboard.frame.snippets import MEASURES, Number
from gsd_core.dashboard.look.colors import NOISE_MARK, Mark
from gsd_core.dashboard.look.figure_frame import color_pair, name_pair
from gsd_core.dashboard.look.plot_text import shorten
from gsd_core.dashboard.reading.run_view import RunView
from gsd_core.dashboard.reading.structure_queries import PairView
from gsd_core.dashboard.spans import pins
from gsd_core.dashboard.spans.aligned_spans import show_aligned
from gsd_core.dashboard.spans.span_lesson import describe_learned, load_span_lesson, offer_lesson
from gsd_core.dashboard.spans.trace_segments import format_number, trace_segments


def link_to_trace(chosen: Chosen, sample: str, span: str, label: str) -> None:
    """A link that opens a sample's trace at a span."""
    st.page_link(
        PAGES["trace"],
        label=label,
        icon=":material/arrow_forward:",
        icon_position="right",
        query_params=chosen.address(sample=sample, span=span),
    )


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
    mark, name = view.find_chip(int(row["cluster"]), int(row["family"]))
    pieces = [snippets.make_chips((mark, name))] if view.is_analyzed else []
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
    for name, label in (
        ("spectral", "spectral strength"),
        ("grace", "GRACE-like"),
        ("answer_strength", "strength on the answer"),
    ):
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


def name_kind(pair: PairView) -> str:
    """What the aligned spans of ``pair`` are called."""
    return "aligned pair" if pair.is_run else "mutual best"


def show_two_spans(chosen: Chosen, view: RunView, pair: PairView, cell: tuple[int, int]) -> None:
    """Two spans side by side with links to their traces, and their cosine with its null.

    ``cell`` (row, column) of ``pair.cosines``; q is adjusted over all cells of the two traces.
    """
    null = run_cache.get_directions(chosen).null
    q_values = run_cache.get_pair_q_values(chosen, pair)
    number = next((at for at, (i, j, _) in enumerate(pair.aligned) if (i, j) == cell), None)
    mark, name = NOISE_MARK, ""
    if number is not None:
        mark, name = Mark(color_pair(number), "circle"), f"{name_kind(pair)} {name_pair(number)}"
    snippets.show_cosine(float(pair.cosines[cell]), null, float(q_values[cell]), mark, name)
    rows = (int(pair.rows_a[cell[0]]), int(pair.rows_b[cell[1]]))
    for column, row in zip(st.columns(2, gap="medium"), rows, strict=True):
        span = view.spans.iloc[row]
        with column, st.container(border=True, height="stretch"):
            show_heading(view, span, text=str(span["text"]).strip())
            link_to_trace(chosen, str(span["sample"]), str(span["span"]), "Open in its trace")
    first, second = (str(view.spans["span"].iloc[row]) for row in rows)
    lesson = load_span_lesson(chosen, first)
    if lesson is not None and second in lesson.learned:
        st.markdown(f"A step on the left span: the right one {describe_learned(lesson, second)}.")
    offer_lesson(chosen, first, "pair", lesson)
