"""Alignment: two traces span by span, in which layers they agree, and how far clusters are apart."""

import streamlit as st

from gsd_core.dashboard import alignment_view, map_view, router, session

router.enter_by_door()

with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
    st.title("Alignment", anchor=False, width="content")
    with st.container(horizontal=True, horizontal_alignment="right", width=560):
        chosen = session.choose_run()
if chosen is None:
    session.show_nothing_yet(
        "Nothing to align yet", "Capture a data set: two of its traces are compared here, span by span."
    )
elif session.needs_analysis(chosen):
    map_view.show_unanalyzed(chosen)
else:
    alignment_view.show_alignment(chosen)
