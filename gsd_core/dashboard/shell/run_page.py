"""The frame of every page about a run.

show_run_page   title, choice of run and checkpoint, and the page's view, or what to do where there is no run
"""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from gsd_core.dashboard.frame import run_cache
from gsd_core.dashboard.frame.page_text import show_nothing_yet
from gsd_core.dashboard.frame.run_cache import Chosen
from gsd_core.dashboard.frame.run_choice import choose_run
from gsd_core.dashboard.jobs.analysis_offer import show_unanalyzed
from gsd_core.dashboard.shell import router
from gsd_core.dashboard.spans import pins


def show_run_page(
    title: str, show: Callable[[Chosen], None], *, nothing: tuple[str, str], needs_layout: bool = True
) -> None:
    """Draw a page about a run.

    Parameters
    ----------
    show
        Draws the chosen run at the chosen checkpoint.
    nothing
        Heading and advice where the workspace has no runs.
    needs_layout
        Whether a run that is not analysed yet shows a button that analyses it instead.
    """
    router.ensure_routed()
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        st.title(title, anchor=False, width="content")
        with st.container(
            horizontal=True, horizontal_alignment="right", vertical_alignment="bottom", width=700
        ):
            top = st.container(width="content")
            chosen = choose_run()
    if chosen is None:
        show_nothing_yet(*nothing)
    elif needs_layout and run_cache.needs_analysis(chosen):
        show_unanalyzed(chosen)
    else:
        with top:
            pins.show_pins(chosen)
        show(chosen)
