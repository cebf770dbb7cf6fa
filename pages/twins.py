"""Twins: samples whose reasoning is aligned while their questions differ."""

from gsd_core.dashboard.shell.run_page import show_run_page
from gsd_core.dashboard.twins import twins_view

show_run_page(
    "Twins",
    twins_view.show_twins,
    nothing=(
        "No twins yet",
        "Capture and analyse a data set to find samples with similar reasoning and different questions.",
    ),
)
