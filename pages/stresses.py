"""Stresses: sequences of aligned spans that recur across samples, and every place where one occurs."""

import streamlit as st

from gsd_core.dashboard import map_view, router, session, stresses_view

router.enter_by_door()

with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
    st.title("Stresses", anchor=False, width="content")
    with st.container(horizontal=True, horizontal_alignment="right", width=560):
        chosen = session.choose_run()
if chosen is None:
    session.show_nothing_yet(
        "No stresses yet",
        "Capture and analyse a data set: sequences of spans that recur across its samples appear here.",
    )
elif session.needs_analysis(chosen):
    map_view.show_unanalyzed(chosen)
else:
    stresses_view.show_stresses(chosen)
