"""Map: directions of span gradients, laid out; a click shows a span and the spans aligned with it."""

from gsd_core.dashboard.map import map_view
from gsd_core.dashboard.shell.run_page import show_run_page

show_run_page(
    "Map",
    map_view.show_map,
    nothing=(
        "Nothing to map yet",
        "Bring a chain-of-thought file, or run make demo: its spans appear here, close together where their "
        "gradients point the same way.",
    ),
)
