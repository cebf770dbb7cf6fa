"""Overview: runs, jobs and data sets of this workspace, and the first steps where there are none."""

import streamlit as st

from gsd_core.dashboard.frame import workspaces
from gsd_core.dashboard.jobs import job_view
from gsd_core.dashboard.overview import overview_view
from gsd_core.dashboard.shell import router

router.ensure_routed()

runs, datasets = workspaces.list_runs(), workspaces.list_datasets()
st.title("Gradients of reasoning spans", anchor=False)
st.caption(
    "Each point is a span of a chain of thought; spans with similar gradients lie together. Alignment correlates with "
    "shared structure; it is no proof of cause."
)
if not runs:
    overview_view.show_first_steps(bool(datasets))
job_view.show_jobs(limit=3)
if runs:
    overview_view.show_runs(runs)
if datasets:
    overview_view.show_datasets(datasets)
