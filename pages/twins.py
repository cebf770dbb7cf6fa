"""Twins: samples whose reasoning is aligned while their questions speak of different things."""

import streamlit as st

from gsd_core.dashboard import map_view, router, session, twins_view

router.enter_by_door()

with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
    st.title("Twins", anchor=False, width="content")
    with st.container(horizontal=True, horizontal_alignment="right", width=560):
        chosen = session.choose_run()
if chosen is None:
    session.show_nothing_yet(
        "No twins yet",
        "Capture and analyse a data set: samples that reason alike about different things appear here.",
    )
elif session.needs_analysis(chosen):
    map_view.show_unanalyzed(chosen)
else:
    twins_view.show_twins(chosen)
