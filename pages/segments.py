"""Segments: which parts of a trace bear on its answer."""

from gsd_core.dashboard.shell import router

router.show_page("segments")
