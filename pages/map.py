"""Map: directions of span gradients, laid out; a click shows a span and the spans aligned with it."""

import streamlit as st

from gsd_core.dashboard import map_view, router, session

router.enter_by_door()

with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
    st.title("Map", anchor=False, width="content")
    with st.container(horizontal=True, horizontal_alignment="right", width=560):
        chosen = session.choose_run()
if chosen is None:
    session.show_nothing_yet(
        "Nothing to map yet",
        "Bring a chain-of-thought file, or run make demo: its spans appear here, close together where their "
        "gradients point the same way.",
    )
elif session.needs_analysis(chosen):
    map_view.show_unanalyzed(chosen)
else:
    map_view.show_map(chosen)
