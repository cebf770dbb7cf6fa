"""Alignment: two traces span by span, in which layers they agree, and how far clusters are apart."""

from gsd_core.dashboard.alignment import alignment_view
from gsd_core.dashboard.shell.run_page import show_run_page

show_run_page(
    "Alignment",
    alignment_view.show_alignment,
    nothing=(
        "Nothing to align yet",
        "Capture a data set: two of its traces are compared here, span by span.",
    ),
)
