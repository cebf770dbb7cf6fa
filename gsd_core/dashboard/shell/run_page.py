"""The frame of every page about a run.

show_page   the page that a method declares, by its name
frame_page  title, choice of run and checkpoint, and the page's view, or what to do where there is no run
"""

from __future__ import annotations

import streamlit as st

from gsd_core.dashboard.frame import run_cache
from gsd_core.dashboard.frame.page_text import show_nothing_yet
from gsd_core.dashboard.frame.run_choice import choose_run
from gsd_core.dashboard.jobs.analysis_offer import show_unanalyzed
from gsd_core.dashboard.spans import pins
from gsd_core.registry.catalog import list_pages, load
from gsd_core.registry.method import Page


def show_page(name: str) -> None:
    """Draw the page called ``name``."""
    frame_page(next(page for page in list_pages() if page.name == name))


def frame_page(page: Page) -> None:
    """Draw a page about a run."""
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        st.title(page.title, anchor=False, width="content")
        with st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="bottom", width=700):
            top = st.container(width="content")
            chosen = choose_run(page.needs)
    if chosen is None:
        show_nothing_yet(*page.nothing)
    elif page.needs_layout and run_cache.needs_analysis(chosen):
        show_unanalyzed(chosen)
    else:
        with top:
            pins.show_pins(chosen)
        load(page.view)(chosen)
