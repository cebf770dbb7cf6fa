"""Our own browser components (Streamlit components v2): plain JavaScript, nothing is fetched from elsewhere.

declare     a component from the files of its folder
read_sent   a value that a component's browser side sent
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

from gsd_core.dashboard.components.linking import link_modules

_FOLDER = Path(__file__).parent


def declare(name: str, html: str) -> Callable[..., Any]:
    """The component ``gsd_name`` (ours): what mounts it, as ``st.components.v2.component`` returns it.

    Its script is ``name.js`` in the folder ``name``, an ES module whose default export mounts it, with every file that
    it imports; its style is ``name.css`` there, if any.

    The files are linked into one text (``linking``) that travels with the page: no request, and the browser reads it
    once a page. Streamlit can also serve scripts as files, but finds them only through the ``pyproject.toml`` of an
    installed distribution that is named as its package: not in a clone, and not for ``gsd`` with its ``gsd_core``. It
    serves them without a date or a tag, so that browsers ask for every file of every component again on each visit.
    """
    folder = _FOLDER / name
    style = folder / f"{name}.css"
    return st.components.v2.component(
        f"gsd_{name}",
        html=html,
        css=style.read_text(encoding="utf-8") if style.is_file() else None,
        js=link_modules(folder / f"{name}.js"),
    )


def read_sent(key: str, name: str) -> Any:
    """The value ``name`` that the component mounted under ``key`` sent before this run (ours); None for none.

    It comes from the browser, so its type and range must be checked.
    """
    return (st.session_state.get(key) or {}).get(name)
