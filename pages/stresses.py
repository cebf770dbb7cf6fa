"""Stresses: sequences of aligned spans that recur across samples, and every place where one occurs."""

from gsd_core.dashboard.shell import router, run_page

router.ensure_routed()
run_page.show_page("stresses")
