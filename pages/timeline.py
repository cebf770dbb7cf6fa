"""Timeline: when in training structure appears, and which spans change direction."""

from gsd_core.dashboard.shell.run_page import show_run_page
from gsd_core.dashboard.timeline import timeline_view

show_run_page(
    "Timeline",
    timeline_view.show_timeline,
    nothing=(
        "No timeline yet",
        "Capture a data set at several checkpoints of one training to see what changes between them.",
    ),
    needs_layout=False,
)
