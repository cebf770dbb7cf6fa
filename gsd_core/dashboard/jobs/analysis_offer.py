"""What a page offers where a run is not analysed yet.

show_unanalyzed   a run without a layout, and a button that analyses it
open_structure    stresses and twins of a run, or a button that finds them
offer_analysis    a button that analyses a run
"""

from __future__ import annotations

import streamlit as st

from gsd_core.dashboard.frame import run_cache
from gsd_core.dashboard.frame.address import PAGES
from gsd_core.dashboard.frame.page_text import show_error
from gsd_core.dashboard.frame.run_cache import Chosen
from gsd_core.dashboard.jobs import job_view
from gsd_core.dashboard.jobs.job_steps import Step
from gsd_core.dashboard.reading.structure_queries import Structure
from gsd_core.errors import UserError
from gsd_core.methods.analyze_method import AnalyzeOptions


def offer_analysis(run: str, label: str, key: str | None = None) -> None:
    """A button that analyses a run, which gives it a layout, clusters, stresses and twins."""
    if st.button(label, key=key, type="primary", icon=":material/auto_awesome:"):
        job_view.start_and_show(Step("analyze", AnalyzeOptions(run)), run=run)


def show_unanalyzed(chosen: Chosen) -> None:
    """A run without a layout: its state, and a button that analyses it."""
    info = chosen.info
    with st.container(border=True):
        if info.status == "capturing" and not info.n_spans:
            st.markdown("### The capture has not stored any span yet")
        else:
            st.markdown(f"### {info.n_spans:,} spans are captured, but not analysed yet")
        st.caption(
            "The analysis centres the directions, lays them out and finds clusters. 10,000 spans take at most minutes."
        )
        with st.container(horizontal=True):
            if info.n_spans:
                offer_analysis(info.name, "Analyse this run")
            query = {"run": info.name}
            st.page_link(PAGES["trace"], label="Read its traces", icon=":material/notes:", query_params=query)
    job_view.show_jobs(limit=1)


def open_structure(chosen: Chosen) -> Structure | None:
    """Stresses and twins of an analysed run; None where they are not computed yet, with a button that does it."""
    try:
        structure = run_cache.get_structure(chosen)
    except UserError as error:
        show_error(error)
        return None
    if structure is None:
        with st.container(border=True):
            st.markdown("### This run has a layout, but its traces are not compared yet")
            st.caption(
                f"The button runs `gsd analyze {chosen.info.name}`, which keeps the layout and adds stresses and twins."
            )
            offer_analysis(chosen.info.name, "Find stresses and twins")
        job_view.show_jobs(limit=1)
    return structure
