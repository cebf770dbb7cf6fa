"""Common directions on the page Map: how many were removed and why, and an analysis with another number.

show_common_directions   a menu below the map
plot_tried               share of spans with a partner beyond chance, for each number tried
"""

from __future__ import annotations

from functools import partial

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from gsd_core.dashboard.frame import workspaces
from gsd_core.dashboard.frame.charts import show_chart
from gsd_core.dashboard.frame.page_text import escape
from gsd_core.dashboard.frame.run_cache import Chosen
from gsd_core.dashboard.jobs import job_view
from gsd_core.dashboard.jobs.job_steps import Step
from gsd_core.dashboard.look.colors import ACCENT, NOISE
from gsd_core.dashboard.look.figure_frame import finish_figure
from gsd_core.dashboard.reading.run_view import RunView
from gsd_core.methods.analyze_method import AnalyzeOptions

MOST = 50  # beyond it little of any direction is left
_KEY = "map_common"
_WHAT = (
    "Besides the mean, gradients of a run share a few strong directions (what is common to all text, say). They hide "
    "weaker structure. Each that is removed takes some of what a step teaches with it."
)


def show_common_directions(chosen: Chosen, view: RunView) -> None:
    """A menu with what was removed, what else was tried, and a job that analyses this checkpoint anew."""
    removed = int(view.map_info.get("n_top") or 0)
    tried = _read_tried(view)
    what = "direction" if removed == 1 else "directions"
    with st.popover(f"{removed} common {what} removed", icon=":material/tune:", type="tertiary"):
        st.caption(_WHAT)
        if len(tried):
            show_chart(
                plot_tried(tried, removed),
                key=_KEY,
                alt="Share of spans with a partner beyond chance, for each number of common directions removed",
                name=f"{view.name} {view.checkpoint} common directions",
                table=partial(tried.copy),
            )
            st.caption(
                "Spans with an aligned partner beyond chance; red: this map. Unless a number is given, the smallest "
                "that comes close to the best is taken. No label is used."
            )
        number = st.number_input("Remove", 0, MOST, removed, key=f"{_KEY}_{view.name}_{view.checkpoint}_{removed}")
        if workspaces.can_run_jobs():
            if st.button("Analyse again", icon=":material/refresh:", key=f"{_KEY}_again", disabled=number == removed):
                options = AnalyzeOptions(view.name, checkpoint=view.checkpoint, remove=int(number), again=True)
                st.session_state[f"{_KEY}_job"] = True
                job_view.start_and_show(Step("analyze", options), run=view.name)
        else:
            words = f"gsd analyze {view.name} --checkpoint {view.checkpoint} --remove {number} --again"
            st.caption(f"From a shell: `{escape(words)}`")
    if st.session_state.get(f"{_KEY}_job"):
        job_view.show_jobs(limit=1)


def _read_tried(view: RunView) -> pd.DataFrame:
    """``removed`` and ``share`` of every number that the analysis tried; empty where it was told a number."""
    tried = view.map_info.get("n_top_tried") or {}
    return pd.DataFrame({"removed": [int(each) for each in tried], "share": [float(each) for each in tried.values()]})


def plot_tried(tried: pd.DataFrame, removed: int) -> go.Figure:
    """Bars of `tried` (``removed``, ``share``), that of ``removed`` in the colour of what is chosen."""
    figure = go.Figure(
        go.Bar(
            x=tried["removed"].astype(str),
            y=tried["share"],
            marker={"color": [ACCENT if each == removed else NOISE for each in tried["removed"]]},
            text=[f"{each:.0%}" for each in tried["share"]],
            hovertemplate="%{x} removed: %{y:.1%} of the spans<extra></extra>",
        )
    )
    figure.update_xaxes(title="common directions removed", type="category")
    figure.update_yaxes(visible=False)
    return finish_figure(figure, 190, showlegend=False)
