"""Trace: one sample's reasoning with its spans; a click shows the aligned spans of other samples."""

import streamlit as st

from gsd_core.dashboard import router, session, trace_view

router.enter_by_door()

with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
    st.title("Trace", anchor=False, width="content")
    with st.container(horizontal=True, horizontal_alignment="right", width=560):
        chosen = session.choose_run()
if chosen is None:
    session.show_nothing_yet("No traces yet", "Capture a data set: its reasoning appears here, span by span.")
else:
    trace_view.show_trace(chosen)
