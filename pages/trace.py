"""Trace: one sample's reasoning with its spans; a click shows the aligned spans of other samples."""

from gsd_core.dashboard.shell.run_page import show_run_page
from gsd_core.dashboard.trace import trace_view

show_run_page(
    "Trace",
    trace_view.show_trace,
    nothing=("No traces yet", "Capture a data set to read its reasoning here, span by span."),
    needs_layout=False,
)
