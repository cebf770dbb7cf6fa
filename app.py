"""Starts the dashboard: ``streamlit run app.py`` shows the pages of the workspace ``$GSD_WORKSPACE``."""

from gsd_core.dashboard.shell import router

router.run_page()
