"""Map: directions of span gradients, laid out; a click shows a span and the spans aligned with it."""

from gsd_core.dashboard.shell import router

router.show_page("map")
