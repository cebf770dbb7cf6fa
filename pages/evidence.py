"""Evidence: whether directions bring together what labels say belongs together, beside every baseline."""

from gsd_core.dashboard.shell import router

router.show_page("evidence")
