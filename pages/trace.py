"""Trace: one sample's reasoning with its spans; a click shows the aligned spans of other samples."""

from gsd_core.dashboard.shell import router

router.show_page("trace")
