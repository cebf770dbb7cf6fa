"""The trace page: one sample, span by span.

show_trace   a sample's question, reasoning and answer, and the spans aligned with the chosen one
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from gsd_core.dashboard.components.relay import take_picks
from gsd_core.dashboard.components.trace import plot_trace
from gsd_core.dashboard.frame import run_cache, snippets, workspaces
from gsd_core.dashboard.frame.address import PAGES, read_address, write_address
from gsd_core.dashboard.frame.page_text import escape, show_error
from gsd_core.dashboard.frame.run_cache import Chosen
from gsd_core.dashboard.frame.sample_choice import choose_sample, list_samples
from gsd_core.dashboard.look.plot_text import shorten
from gsd_core.dashboard.reading.run_view import RunView
from gsd_core.dashboard.spans.aligned_spans import show_aligned
from gsd_core.dashboard.spans.span_panel import show_heading
from gsd_core.dashboard.spans.trace_segments import trace_segments
from gsd_core.errors import UserError

_PANEL = "trace_panel"


def _take_span(view: RunView, span: Any) -> None:
    """Callback of the panel: a span of the trace was chosen."""
    if isinstance(span, str) and span in view.row_of:
        write_address("span", span)


def _open_span(view: RunView, span: str) -> None:
    """Callback of the trace, where the relay did not hand over the span; only the panel is drawn again."""
    _take_span(view, span)
    st.rerun(_PANEL)


def _step(samples: list[str], position: int) -> None:
    """Callback: go to another sample."""
    write_address("sample", samples[position])
    write_address("span", None)


def _choose_sample(view: RunView) -> str:
    """The sample to read, with buttons to the previous and the next one."""
    samples = list_samples(view)
    if not samples:
        return ""
    span = read_address("span", remember=False)
    if span in view.row_of:  # a link to a span opens its sample
        owner = str(view.spans["sample"].iloc[view.row_of[span]])
        if read_address("sample") != owner:
            write_address("sample", owner)
    wanted = st.query_params.get("sample")
    if wanted and wanted not in samples:
        st.warning(f"This run holds no spans of sample “{escape(wanted)}”; showing another.")
    middle, left, right = st.columns([12, 1, 1], vertical_alignment="bottom")
    with middle:
        sample = choose_sample(view, "Sample", "sample")
    at = samples.index(sample)
    for column, word, side, to in ((left, "Previous", "left", at - 1), (right, "Next", "right", at + 1)):
        column.button(
            "",
            icon=f":material/chevron_{side}:",
            help=f"{word} sample",
            disabled=not 0 <= to < len(samples),
            on_click=_step,
            args=(samples, to),
            width="stretch",
            key=f"{word.lower()}_sample",
        )
    return sample


def _default_span(view: RunView, sample: str) -> str:
    """The span that the page opens with: from the address, else the first one in a cluster, else the first."""
    span = read_address("span", remember=False)
    rows = view.row_of.trace_of(sample)
    # Single columns, because one row of a frame of a million takes milliseconds.
    if span in view.row_of and view.row_of[span] in rows:
        return span
    in_cluster = rows[view.spans["cluster"].to_numpy()[rows] >= 0]
    first = in_cluster if len(in_cluster) else rows
    return str(view.spans["span"].iloc[first[0]]) if len(first) else ""


def _show_text(title: str, text: str) -> None:
    """A text from the data under a heading."""
    st.html(
        '<div style="background:rgba(128,140,170,.11);border-radius:.6rem;padding:.7rem 1rem">'
        f'<div style="font-size:.75rem;opacity:.65;margin-bottom:.15rem">{html.escape(title)}</div>'
        f'<div style="white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.55">{html.escape(text)}</div></div>'
    )


def _show_legend(view: RunView, sample: str) -> None:
    """The clusters, or families, that occur in this trace."""
    groups = view.spans[["cluster", "family"]].to_numpy()[view.row_of.trace_of(sample)].astype(int).tolist()
    named = dict.fromkeys(view.find_chip(cluster, family) for cluster, family in groups if view.is_analyzed)
    snippets.show(snippets.make_chips(*((mark, shorten(name, 40)) for mark, name in named if name)))


def _show_meta(meta: Any) -> None:
    if isinstance(meta, Mapping) and meta:
        with st.expander("Further fields of this sample"):
            rows = [
                {
                    "field": str(key),
                    "value": value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str),
                }
                for key, value in meta.items()
            ]
            st.dataframe(pd.DataFrame(rows), hide_index=True, alt="Further fields of the sample")


def _read_tokens(chosen: Chosen, sample: str) -> pd.DataFrame | None:
    try:
        return workspaces.open_workspace().open_run(chosen.info.name).read_tokens(sample, chosen.checkpoint)
    except UserError as error:
        show_error(error)
        return None


@st.fragment(key=_PANEL)
def _panel(chosen: Chosen, sample: str) -> None:
    view = run_cache.get_view(chosen)
    take_picks(_PANEL, partial(_take_span, view))
    span = _default_span(view, sample)
    if not span:
        st.info("This sample has no captured spans at this checkpoint.", icon=":material/info:")
        return
    row = view.spans.iloc[view.row_of[span]]
    with st.container(border=True):
        show_heading(view, row, _PANEL, shorten(str(row["text"]), 280))
        if view.is_analyzed:
            st.page_link(
                PAGES["map"],
                label="Show it on the map",
                icon=":material/scatter_plot:",
                query_params=chosen.address(span=span),
            )
    show_aligned(chosen, view, span, key="trace")


def show_trace(chosen: Chosen) -> None:
    """Question, reasoning and answer on the left; the chosen span and its aligned spans on the right."""
    view = run_cache.get_view(chosen)
    if view.samples.empty:
        st.info("The capture has not stored any sample yet.", icon=":material/hourglass_top:")
        return
    sample = _choose_sample(view)
    row = view.samples.loc[sample]
    left, right = st.columns([29, 21], gap="large")
    with left:
        _show_text("Question", str(row["question"]))
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown("##### Reasoning", width="content")
            tint = st.toggle(
                "Tint by loss per token",
                key="trace_tint",
                help="The darker, the less likely the model finds the token (negative log-likelihood in nats, scaled "
                "to this trace's 97th percentile).",
            )
        tokens = _read_tokens(chosen, sample) if tint else None
        # The browser remembers clicks; it is told the span only when a sample is opened or a link names another.
        here = (chosen.info.name, chosen.checkpoint, sample)
        linked = read_address("span", remember=False)
        opened = st.session_state.get("trace_opened")
        if not opened or opened[0] != here or (linked and linked != opened[1]):
            opened = (here, _default_span(view, sample))
            st.session_state["trace_opened"] = opened
        plot_trace(
            trace_segments(view, sample, tokens),
            key=f"trace_{chosen.info.name}_{chosen.checkpoint}_{sample}",
            selected=opened[1],
            on_choose=partial(_open_span, view),
            relay=_PANEL,
            has_tools=True,
        )
        if not view.is_analyzed:
            st.caption("Spans are grey because the run has no clusters yet. Open the map to analyse it.")
        else:
            _show_legend(view, sample)
        if str(row["answer"]).strip():
            _show_text("Answer", str(row["answer"]))
        _show_meta(row["meta"])
    with right, st.container(key="trace_side"):
        _panel(chosen, sample)
