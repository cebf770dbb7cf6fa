"""Twins: samples whose reasoning is aligned while their questions speak of different things."""

from gsd_core.dashboard.shell import router

router.show_page("twins")
