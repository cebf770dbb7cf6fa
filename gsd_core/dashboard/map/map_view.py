"""The map page: controls, figure, and a panel beside it.

show_map   the page of an analysed run
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import streamlit as st

from gsd_core.dashboard.components.relay import take_picks
from gsd_core.dashboard.components.rings import plot_rings
from gsd_core.dashboard.components.scatter import read_row
from gsd_core.dashboard.frame import run_cache
from gsd_core.dashboard.frame.address import choose, read_address, write_address, write_text
from gsd_core.dashboard.frame.charts import selected_rows, show_chart
from gsd_core.dashboard.frame.page_text import escape
from gsd_core.dashboard.frame.run_cache import Chosen
from gsd_core.dashboard.map import big_map_view, map_figures
from gsd_core.dashboard.map.big_map import is_big
from gsd_core.dashboard.map.common_directions import show_common_directions
from gsd_core.dashboard.map.map_panels import show_clusters, show_families, show_selection
from gsd_core.dashboard.map.span_filters import choose_filter, compute_mask
from gsd_core.dashboard.reading.run_view import RunView, describe_tier
from gsd_core.dashboard.spans.aligned_spans import WORDS
from gsd_core.dashboard.spans.span_panel import show_span

HEIGHT = 620
PANEL_HEIGHT = 770
RINGED_NEIGHBORS = 5
TABS = ("Span", "Families", "Clusters", "Selection")
_SELECTION, _TAB = "map_selection", "map_tab"
_PANEL = "map_panel"
_OPENING = (
    "A place to begin: a span of this map whose aligned spans in other words are clear. The red ring is the span; "
    "the other rings are spans of other samples whose gradients point the same way, listed below. Click any point."
)


def _known_span(view: RunView) -> str:
    """The chosen span, ``""`` where the address names no span of this run."""
    span = read_address("span", remember=False)
    return span if span in view.row_of else ""


def _open_span(span: str) -> None:
    """Callback within the panel: choose a span."""
    write_address("span", span)
    st.session_state[_TAB] = TABS[0]


def _take_row(view: RunView, row: Any) -> None:
    """Callback of the panel: a point of the big map was clicked."""
    found = read_row(row)
    if found is not None and found < len(view.spans):
        _open_span(str(view.spans["span"].iloc[found]))


def _picked(view: RunView, rows: Sequence[int] | np.ndarray) -> None:
    """Callback: spans were selected on the map. Only the panel is drawn again, so that the zoom stays."""
    if not isinstance(rows, np.ndarray):  # as the browser sent them
        rows = np.array([row for row in rows if row < len(view.spans)], dtype=np.int64)
        if not len(rows):
            return
    if len(rows) == 1:
        _open_span(str(view.spans["span"].iloc[rows[0]]))
    else:
        st.session_state[_SELECTION] = (view.name, view.checkpoint, rows)
        st.session_state[_TAB] = TABS[3]
    st.rerun(_PANEL)


def _read_selection(chosen: Chosen, view: RunView) -> np.ndarray:
    """Rows of the last selection, also where it was made at another checkpoint."""
    owner, checkpoint, rows = st.session_state.get(_SELECTION, ("", "", np.zeros(0, dtype=np.int64)))
    if owner != view.name:
        return np.zeros(0, dtype=np.int64)
    if checkpoint == view.checkpoint:
        return rows
    before = run_cache.get_view(chosen._replace(checkpoint=checkpoint)).spans["span"].iloc[rows]
    return np.array([view.row_of[span] for span in before if span in view.row_of], dtype=np.int64)


def _show_rings(chosen: Chosen, view: RunView, span: str) -> None:
    """Ring the chosen span and the spans best aligned with it."""
    rows: list[int] = []
    if span:
        near = run_cache.get_neighbors(chosen, span, RINGED_NEIGHBORS, bool(read_address(WORDS)))
        rows = [view.row_of[span], *near.index.tolist()]
    points = view.spans.loc[rows, ["x", "y"]].dropna()
    plot_rings(_chart_key(view), list(points.itertuples(index=False, name=None)), key="map_rings")


def _chart_key(view: RunView) -> str:
    """The figure's key, in which a run's name must not have dots."""
    return "map_chart_" + re.sub(r"[^A-Za-z0-9_-]", "_", view.name)


@st.fragment(key="map_figure")
def _figure(chosen: Chosen) -> None:
    view = run_cache.get_view(chosen)
    choices = map_figures.list_color_choices(view)
    left, middle, right = st.columns([2, 2, 1], vertical_alignment="bottom")
    with left:
        color = choose(
            "Colour by",
            "color",
            list(choices),
            default=map_figures.pick_color(view, choices),
            format_func=lambda name: choices[name].title,
        )
    with middle:
        text = write_text("Search in spans", "q", placeholder="words, e.g. divide", icon=":material/search:")
    with right.popover("Filter", icon=":material/filter_alt:", width="stretch"):
        wanted = choose_filter(view, choices[color].kind)
    mask = compute_mask(view.spans, replace(wanted, text=text))
    _draw(chosen, view, mask, choices[color])
    _caption(view, mask, choices[color])
    show_common_directions(chosen, view)


def _draw(chosen: Chosen, view: RunView, mask: np.ndarray, color: map_figures.ColorBy) -> None:
    """The points, as a Plotly chart or, where there are too many, as a big map."""
    key = _chart_key(view)
    if is_big(view) and not big_map_view.has_no_webgl():
        big_map_view.show_big_map(
            chosen, mask, color, key=key, height=HEIGHT, on_rows=partial(_picked, view), relay=_PANEL
        )
        return
    is_dark = st.context.theme.type == "dark"
    if is_big(view):
        figure = big_map_view.plot_sample(view, mask, color, is_dark=is_dark, height=HEIGHT)
    else:
        figure = map_figures.plot_map(view, mask, color, is_dark=is_dark, height=HEIGHT)

    def selected() -> None:
        rows = selected_rows(st.session_state.get(key))
        if rows:
            _picked(view, rows)

    show_chart(
        figure,
        key=key,
        alt=f"Map of {len(view.spans)} spans coloured by {color.name}",
        name=f"{view.name} {view.checkpoint} map {color.name}",
        table=partial(map_figures.make_map_table, view, mask, color.column),
        on_select=selected,
        modes=("points", "box", "lasso"),
        has_tools=True,
    )


def _caption(view: RunView, mask: np.ndarray, color: map_figures.ColorBy) -> None:
    """What is shown and what it means."""
    n_placed = int(view.spans["x"].notna().sum())
    shown = int((mask & view.spans["x"].notna().to_numpy()).sum())
    column = color.kind if color.kind in map_figures.NO_GROUP else "cluster"
    what = "family" if column == "family" else "cluster"
    noise = float((view.spans[column] == -1).mean()) if len(view.spans) else 0.0
    parts = [
        f"{shown:,} of {n_placed:,} spans of {view.row_of.n_samples:,} samples",
        describe_tier(view.manifest),
        f"checkpoint {view.checkpoint}",
        f"{noise:.0%} in no {what}{' (grey)' if color.kind == column else ''}",
    ]
    if view.n_fitted:
        parts.append(f"layout and clusters fitted on {view.n_fitted:,} spans, the others placed beside their nearest")
    st.caption(
        escape(" · ".join(parts))
        + ". Near points have similar gradient directions (UMAP, cosine); distances between groups mean little.",
        help="Nearness correlates with shared structure. Click a point; press lasso or box in the tool bar to select "
        "many. Rings: the chosen span (red) and the spans best aligned with it.",
    )


@st.fragment(key=_PANEL)
def _panel(chosen: Chosen) -> None:
    view = run_cache.get_view(chosen)
    take_picks(_PANEL, partial(_take_row, view))
    own = _known_span(view)
    span = own or run_cache.get_opening(chosen)
    # Set in every run: Streamlit would not tell the browser of a tab that a component's callback has set.
    st.session_state[_TAB] = st.session_state.get(_TAB) or TABS[0 if span else 1]
    tab = st.segmented_control("Panel", TABS, key=_TAB, label_visibility="collapsed", required=True, width="stretch")
    _show_rings(chosen, view, span)
    with st.container(height=PANEL_HEIGHT, border=False):
        if tab == TABS[1]:
            show_families(chosen, view, _open_span)
        elif tab == TABS[2]:
            show_clusters(chosen, view, _open_span)
        elif tab == TABS[3]:
            show_selection(chosen, view, _read_selection(chosen, view), _open_span)
        elif span:
            if not own:
                st.info(_OPENING, icon=":material/explore:")
            show_span(chosen, view, span, _open_span)
        else:
            st.info(
                "Click a point to see its text, its trace and the spans aligned with it.", icon=":material/ads_click:"
            )


def show_map(chosen: Chosen) -> None:
    """The figure on the left, the panel on the right."""
    view = run_cache.get_view(chosen)
    if _known_span(view):
        st.session_state.setdefault(_TAB, TABS[0])
    left, right = st.columns([31, 19], gap="medium")
    with left:
        _figure(chosen)
    with right:
        _panel(chosen)
