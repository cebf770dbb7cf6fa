"""Texts on pages.

escape             text from the data, safe in Markdown
show_error         a user error on the page
show_nothing_yet   an empty page with the two ways to fill it
"""

from __future__ import annotations

import re

import streamlit as st

from gsd_core.dashboard.frame.address import PAGES
from gsd_core.errors import UserError


def escape(text: object) -> str:
    """``text`` on one line, without Markdown, links or formulas when a label shows it."""
    flat = " ".join(str(text).split())
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|<>$:~^&])", r"\\\1", flat)


def show_error(error: UserError) -> None:
    """What is wrong, where, and what to do about it."""
    st.error(escape(error.one_line()), icon=":material/error:")


def show_nothing_yet(what: str, hint: str) -> None:
    """An empty page: what is missing, and links to the pages Data and Overview."""
    with st.container(border=True):
        st.markdown(f"### {what}")
        st.caption(hint)
        with st.container(horizontal=True):
            if st.button("Bring your own data", type="primary", icon=":material/upload_file:"):
                st.switch_page(PAGES["data"])
            if st.button("See the overview", icon=":material/home:"):
                st.switch_page(PAGES["overview"])
