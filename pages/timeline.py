"""Timeline: when in training structure appears, and which spans change direction."""

from gsd_core.dashboard.shell import router

router.show_page("timeline")
