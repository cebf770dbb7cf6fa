"""Alignment: two traces span by span and layer by layer, and cosines between clusters."""

from gsd_core.dashboard.alignment import alignment_view
from gsd_core.dashboard.shell.run_page import show_run_page

show_run_page(
    "Alignment",
    alignment_view.show_alignment,
    nothing=("Nothing to align yet", "Capture a data set to compare two of its traces here, span by span."),
)
