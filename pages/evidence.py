"""Evidence: whether directions bring together what labels say belongs together, beside every baseline."""

from gsd_core.dashboard.shell import router, run_page

router.ensure_routed()
run_page.show_page("evidence")
