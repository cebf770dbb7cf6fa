"""Stresses: sequences of clusters that recur across samples, and where they occur."""

from gsd_core.dashboard.shell.run_page import show_run_page
from gsd_core.dashboard.stresses import stresses_view

show_run_page(
    "Stresses",
    stresses_view.show_stresses,
    nothing=(
        "No stresses yet",
        "Capture and analyse a data set to see sequences of clusters that recur across its samples.",
    ),
)
