"""Evidence: do directions bring together what labels say belongs together, and do baselines do it better?"""

import streamlit as st

from gsd_core.dashboard import evidence_view, router, session

router.enter_by_door()

with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
    st.title("Evidence", anchor=False, width="content")
    with st.container(horizontal=True, horizontal_alignment="right", width=560):
        chosen = session.choose_run()
if chosen is None:
    session.show_nothing_yet("No evidence yet", "Capture a data set with labels: the benchmark appears here.")
else:
    evidence_view.show_evidence(chosen)
