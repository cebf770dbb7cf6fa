"""From the address to a page.

run_page       what ``app.py`` does on every run: settings, navigation, the page
enter_by_door  first line of every page: it must be run by ``app.py``, never by itself
"""

from __future__ import annotations

import streamlit as st

from gsd_core.dashboard.frame.address import PAGES
from gsd_core.dashboard.frame.sign_in import require_sign_in

_ROUTED = "gsd_routed"
# Streamlit leaves a hand's breadth of empty page on top and at the sides; the map can use it.
_STYLE = """<style>
.stMainBlockContainer { padding: 4.2rem 2.2rem 3rem; }
.st-key-trace_side { position: sticky; top: 4rem; max-height: calc(100vh - 5rem); overflow-y: auto; }
/* Captions carry what a figure means: Streamlit's grey is too pale to read for some. */
[data-testid="stCaptionContainer"] { opacity: 1; color: color-mix(in srgb, currentColor 80%, transparent); }
[data-testid="stCaptionContainer"] p, [data-testid="stCaptionContainer"] code { color: inherit; opacity: 1; }
/* The menu that saves a figure (charts.py): an icon in the gap below the figure, so that it takes no room; its name is
for screen readers. It presses Plotly's own camera, which would be a second way: nobody sees that. */
[class*="st-key-figure_of_"] { position: relative; }
[class*="st-key-save_of_"] { position: absolute; right: 0; bottom: -1.15rem; width: auto; z-index: 2; opacity: .75; }
[class*="st-key-save_of_"]:is(:hover, :focus-within) { opacity: 1; }
[class*="st-key-save_of_"] button { min-height: 1.3rem; padding: 0 .2rem; color: inherit !important; }
[class*="st-key-save_of_"] button > div > [aria-hidden] { display: none; }
[class*="st-key-save_of_"] button [data-testid="stMarkdownContainer"] { position: absolute; clip-path: inset(50%); }
.modebar-btn[data-title^="Download plot"] { display: none; }
@media (max-width: 900px) { .stMainBlockContainer { padding: 4rem 1rem 2rem; } }
</style>"""


# White letters on the dark theme's pale primary colour cannot be read.
_DARK_STYLE = """<style>button[kind^="primary"] p, button[kind^="primary"] span { color: #10141F; }</style>"""


def _navigation() -> st.Page:
    # No icons: the browser would fetch them as favicons from a server elsewhere.
    return st.navigation(
        [
            st.Page(PAGES["overview"], title="Overview", default=True),
            st.Page(PAGES["map"], title="Map"),
            st.Page(PAGES["trace"], title="Trace"),
            st.Page(PAGES["alignment"], title="Alignment"),
            st.Page(PAGES["stresses"], title="Stresses"),
            st.Page(PAGES["twins"], title="Twins"),
            st.Page(PAGES["timeline"], title="Timeline"),
            st.Page(PAGES["evidence"], title="Evidence"),
            st.Page(PAGES["data"], title="Data"),
            st.Page(PAGES["help"], title="Help"),
        ],
        position="top",
    )


def run_page() -> None:
    """Set the page up and run the one that the address names."""
    st.session_state[_ROUTED] = True
    page = _navigation()
    st.set_page_config(page_title="GSD · span gradients", page_icon="🧭", layout="wide")
    require_sign_in()
    st.html(_STYLE + (_DARK_STYLE if st.context.theme.type == "dark" else ""))
    page.run()


def enter_by_door() -> None:
    """Run the page again through ``app.py`` where Streamlit ran its file directly.

    A server that has not run ``app.py`` yet takes every file in ``pages/`` for a page of its own, so the first
    link that is opened on a fresh server would miss the navigation. Calling ``st.navigation`` once ends that for good.
    """
    if not st.session_state.get(_ROUTED):
        _navigation()
        st.rerun()
