"""Alignment: two traces span by span, in which layers they agree, and how far clusters are apart."""

from gsd_core.dashboard.shell import router

router.show_page("alignment")
