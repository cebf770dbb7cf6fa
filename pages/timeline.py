"""Timeline: when in training did structure appear, and which spans turned?"""

import streamlit as st

from gsd_core.dashboard import router, session, timeline_view

router.enter_by_door()

with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
    st.title("Timeline", anchor=False, width="content")
    with st.container(horizontal=True, horizontal_alignment="right", width=560):
        chosen = session.choose_run()
if chosen is None:
    session.show_nothing_yet(
        "No timeline yet",
        "Capture a data set at several checkpoints of one training: what changes between them appears here.",
    )
else:
    timeline_view.show_timeline(chosen)
