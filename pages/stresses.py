"""Stresses: sequences of aligned spans that recur across samples, and every place where one occurs."""

from gsd_core.dashboard.shell.run_page import show_run_page
from gsd_core.dashboard.stresses import stresses_view

show_run_page(
    "Stresses",
    stresses_view.show_stresses,
    nothing=(
        "No stresses yet",
        "Capture and analyse a data set: sequences of spans that recur across its samples appear here.",
    ),
)
