"""Choices that are kept in the page's address, so that a copied link opens the same view.

read_address    a choice from the address, else the last one of this session, else a default
write_address   set a choice, in the address too
choose          a select box bound to a choice
write_text      a text box bound to a choice
pick_many       a multiple choice bound to a choice
address_of      parameters of a link
PAGES           files of the pages by name
SEPARATOR       stands between several values of one choice

A widget takes its value from the address before it is drawn, and writes a change there before the page reruns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from gsd_core.registry.catalog import list_pages

_FOLDER = Path(__file__).resolve().parents[3]
# Pages of other packages have no file here; their addresses are known to the router alone.
PAGES = {
    name: f"pages/{name}.py"
    for name in ("overview", *(page.name for page in list_pages()), "trainings", "data", "help")
    if (_FOLDER / "pages" / f"{name}.py").is_file()
}
_REMEMBERED = "gsd_remembered"
SEPARATOR = "\x1f"  # labels may hold any character that people type


def _remembered() -> dict[str, str]:
    return st.session_state.setdefault(_REMEMBERED, {})


def read_address(name: str, default: str = "", remember: bool = True) -> str:
    """The choice called ``name``. With ``remember`` it is kept in this session when the page changes."""
    value = st.query_params.get(name)
    if value is not None:
        if remember:
            _remembered()[name] = value
        return value
    return _remembered().get(name, default) if remember else default


def write_address(name: str, value: str | None) -> None:
    """Set a choice; None or ``""`` removes it."""
    if value:
        _remembered()[name] = value
        if st.query_params.get(name) != value:
            st.query_params[name] = value
    else:
        _remembered().pop(name, None)
        if name in st.query_params:
            del st.query_params[name]


def choose(
    label: str,
    name: str,
    options: Sequence[str],
    *,
    default: str = "",
    format_func: Callable[[str], str] = str,
    **arguments: Any,
) -> str:
    """A select box bound to the address under ``name``; returns the chosen option, ``""`` without options.

    The address leaves the default out; an unknown value there counts as the default.
    """
    if not options:
        return ""
    current = read_address(name, default)
    if current not in options:
        current = default if default in options else options[0]
    key = f"address_{name}"
    st.session_state[key] = current
    write_address(name, None if current == default else current)

    def changed() -> None:
        value = st.session_state[key]
        write_address(name, None if value == default else value)

    return st.selectbox(label, options, key=key, format_func=format_func, on_change=changed, **arguments)


def write_text(label: str, name: str, **arguments: Any) -> str:
    """A text box bound to the address under ``name``; returns its text."""
    key = f"address_{name}"
    st.session_state[key] = read_address(name)
    return st.text_input(label, key=key, on_change=_copy_to_address, args=(key, name), **arguments) or ""


def pick_many(label: str, name: str, options: Sequence[str], **arguments: Any) -> list[str]:
    """A multiple choice bound to the address under ``name``; values that are no option are ignored."""
    key = f"address_{name}"
    st.session_state[key] = [value for value in read_address(name).split(SEPARATOR) if value in options]
    return st.multiselect(label, options, key=key, on_change=_copy_to_address, args=(key, name), **arguments)


def _copy_to_address(key: str, name: str) -> None:
    value = st.session_state[key]
    write_address(name, value if isinstance(value, str) else SEPARATOR.join(value))


def address_of(**choices: str | None) -> dict[str, str]:
    """Parameters for ``st.page_link``: those that are not empty."""
    return {name: value for name, value in choices.items() if value}
