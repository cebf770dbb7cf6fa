"""Routes an address to its page.

run_page       settings, navigation and the page, on every run of ``app.py``
ensure_routed  first step of every page, which only ``app.py`` may run
show_page      the page that a method declares, by its name
frame_page     title, choice of run and checkpoint, and the page's view, or what to do where there is no run
"""

from __future__ import annotations

from functools import partial

import streamlit as st

from gsd_core.dashboard.frame import run_cache
from gsd_core.dashboard.frame.address import PAGES
from gsd_core.dashboard.frame.page_text import show_nothing_yet
from gsd_core.dashboard.frame.run_choice import choose_run
from gsd_core.dashboard.frame.sign_in import require_sign_in
from gsd_core.dashboard.jobs.analysis_offer import show_unanalyzed
from gsd_core.dashboard.spans import pins
from gsd_core.registry.catalog import list_pages, load
from gsd_core.registry.method import Page

OWN_PAGES = (("trainings", "Training runs"), ("data", "Data"), ("help", "Help"))
_ROUTED = "gsd_routed"
# Less empty space at the top and sides than Streamlit's own, so that the map is bigger.
_STYLE = """<style>
.stMainBlockContainer { padding: 4.2rem 2.2rem 3rem; }
.st-key-trace_side { position: sticky; top: 4rem; max-height: calc(100vh - 5rem); overflow-y: auto; }
/* Captions explain figures, and Streamlit's grey is too pale for some readers. */
[data-testid="stCaptionContainer"] { opacity: 1; color: color-mix(in srgb, currentColor 80%, transparent); }
[data-testid="stCaptionContainer"] p, [data-testid="stCaptionContainer"] code { color: inherit; opacity: 1; }
/* The menu that saves a figure (charts.py) is an icon in the gap below it; its name is for screen readers. Plotly's own
camera, which the menu presses, is hidden. */
[class*="st-key-figure_of_"] { position: relative; }
[class*="st-key-save_of_"] { position: absolute; right: 0; bottom: -1.15rem; width: auto; z-index: 2; opacity: .75; }
[class*="st-key-save_of_"]:is(:hover, :focus-within) { opacity: 1; }
[class*="st-key-save_of_"] button { min-height: 1.3rem; padding: 0 .2rem; color: inherit !important; }
[class*="st-key-save_of_"] button > div > [aria-hidden] { display: none; }
[class*="st-key-save_of_"] button [data-testid="stMarkdownContainer"] { position: absolute; clip-path: inset(50%); }
.modebar-btn[data-title^="Download plot"] { display: none; }
@media (max-width: 900px) { .stMainBlockContainer { padding: 4rem 1rem 2rem; } }
</style>"""


# White text on the dark theme's pale primary colour cannot be read.
_DARK_STYLE = """<style>button[kind^="primary"] p, button[kind^="primary"] span { color: #10141F; }</style>"""


def _navigation() -> st.Page:
    # No icons: the browser would fetch them as favicons from a server elsewhere.
    methods = [
        st.Page(PAGES[page.name], title=page.title)
        if page.name in PAGES
        else st.Page(partial(frame_page, page), title=page.title, url_path=page.name)
        for page in list_pages()
    ]
    overview = st.Page(PAGES["overview"], title="Overview", default=True)
    own = [st.Page(PAGES[name], title=title) for name, title in OWN_PAGES]
    return st.navigation([overview, *methods, *own], position="top")


def run_page() -> None:
    """Set up and run the page that the address names."""
    st.session_state[_ROUTED] = True
    page = _navigation()
    st.set_page_config(page_title="GSD · span gradients", page_icon="🧭", layout="wide")
    require_sign_in()
    st.html(_STYLE + (_DARK_STYLE if st.context.theme.type == "dark" else ""))
    page.run()


def ensure_routed() -> None:
    """Run the page again through ``app.py`` where Streamlit ran its file directly.

    Before its first run of ``app.py`` a server treats every file in ``pages/`` as a page of its own, so the first link
    that is opened would miss the navigation. One call of ``st.navigation`` changes that.
    """
    if not st.session_state.get(_ROUTED):
        _navigation()
        st.rerun()


def show_page(name: str) -> None:
    """Draw the page called ``name``; all that its file does."""
    ensure_routed()
    frame_page(next(page for page in list_pages() if page.name == name))


def frame_page(page: Page) -> None:
    """Draw a page about a run."""
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        st.title(page.title, anchor=False, width="content")
        with st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="bottom", width=700):
            top = st.container(width="content")
            chosen = choose_run(page.needs)
    if chosen is None:
        show_nothing_yet(*page.nothing)
    elif page.needs_layout and run_cache.needs_analysis(chosen):
        show_unanalyzed(chosen)
    else:
        with top:
            pins.show_pins(chosen)
        load(page.view)(chosen)
