"""Stresses: sequences of aligned spans that recur across samples, and every place where one occurs."""

from gsd_core.dashboard.shell import router

router.show_page("stresses")
