"""Timeline: when in training did structure appear, and which spans turned?"""

from gsd_core.dashboard.shell.run_page import show_run_page
from gsd_core.dashboard.timeline import timeline_view

show_run_page(
    "Timeline",
    timeline_view.show_timeline,
    nothing=(
        "No timeline yet",
        "Capture a data set at several checkpoints of one training: what changes between them appears here.",
    ),
    needs_layout=False,
)
