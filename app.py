"""The dashboard: ``streamlit run app.py`` shows the pages of the workspace ``$GSD_WORKSPACE``.

Streamlit imports this file once, for the server ``app``, and then runs it as ``__main__`` for every view of a page.
"""

import streamlit as st

if __name__ == "__main__":
    from gsd_core.dashboard.shell import router

    router.run_page()
else:
    from gsd_core.dashboard.shell.page_routes import make_page_routes

    app = st.App(__file__, routes=make_page_routes())
