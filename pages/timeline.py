"""Timeline: when in training structure appears, and which spans change direction."""

from gsd_core.dashboard.shell import router, run_page

router.ensure_routed()
run_page.show_page("timeline")
