"""Help: a tour of the pages, their words, their measures, their keys."""

import streamlit as st

from gsd_core.dashboard.help import help_view
from gsd_core.dashboard.shell import router

router.ensure_routed()

st.title("Help", anchor=False)
help_view.show_help()
