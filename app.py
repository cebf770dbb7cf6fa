"""The dashboard's door: ``streamlit run app.py`` shows the pages on the workspace ``$GSD_WORKSPACE``."""

from gsd_core.dashboard.shell import router

router.run_page()
