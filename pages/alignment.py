"""Alignment: two traces span by span, in which layers they agree, and how far clusters are apart."""

from gsd_core.dashboard.shell import router, run_page

router.ensure_routed()
run_page.show_page("alignment")
