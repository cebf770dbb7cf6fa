"""Help: a way through the pages, the words they use, the measures they show, the keys they know."""

import streamlit as st

from gsd_core.dashboard.help import help_view
from gsd_core.dashboard.shell import router

router.enter_by_door()

st.title("Help", anchor=False)
help_view.show_help()
