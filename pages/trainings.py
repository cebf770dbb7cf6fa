"""Training runs: what was trained on what, and how it went."""

import streamlit as st

from gsd_core.dashboard.jobs import job_view
from gsd_core.dashboard.shell import router
from gsd_core.dashboard.trainings import trainings_view

router.ensure_routed()

st.title("Training runs", anchor=False)
job_view.show_jobs(limit=1, commands=("train", "trials"))
trainings_view.show_trainings()
