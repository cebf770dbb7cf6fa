"""Data: upload a file, check what was understood, correct it, and start a capture."""

import streamlit as st

from gsd_core.dashboard.data import data_view
from gsd_core.dashboard.jobs import job_view
from gsd_core.dashboard.shell import router

router.ensure_routed()

st.title("Data", anchor=False)
job_view.show_jobs(limit=2)
data_view.show_data()
