"""Map: directions of span gradients, laid out; a click shows a span and the spans aligned with it."""

from gsd_core.dashboard.shell import router, run_page

router.ensure_routed()
run_page.show_page("map")
