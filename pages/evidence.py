"""Evidence: whether near directions share labels, and whether baselines do better."""

from gsd_core.dashboard.evidence import evidence_view
from gsd_core.dashboard.shell.run_page import show_run_page

show_run_page(
    "Evidence",
    evidence_view.show_evidence,
    nothing=("No evidence yet", "Capture a data set with labels to evaluate it here."),
    needs_layout=False,
)
