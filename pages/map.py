"""Map: the layout of span directions; a click shows a span and the spans aligned with it."""

from gsd_core.dashboard.map import map_view
from gsd_core.dashboard.shell.run_page import show_run_page

show_run_page(
    "Map",
    map_view.show_map,
    nothing=(
        "Nothing to map yet",
        "Upload a file with chains of thought, or run make demo, to see its spans here. They lie close together where "
        "their gradients are similar.",
    ),
)
