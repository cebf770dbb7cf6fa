"""Twins: samples whose reasoning is aligned while their questions speak of different things."""

from gsd_core.dashboard.shell import router, run_page

router.ensure_routed()
run_page.show_page("twins")
