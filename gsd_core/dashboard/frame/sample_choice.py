"""Chooses the sample of a page, from a list or, where that would be too long, by name.

choose_sample   a select box kept in the address
list_samples    the samples that can be chosen
"""

from __future__ import annotations

from functools import partial

import pandas as pd
import streamlit as st

from gsd_core.dashboard.frame.address import read_address, write_address
from gsd_core.dashboard.frame.page_text import escape
from gsd_core.dashboard.look.plot_text import shorten
from gsd_core.dashboard.reading.run_view import RunView

MANY = 2_000  # a longer list would take seconds to send whenever the page is drawn
NEAR = 100  # samples listed before and after the chosen one
_TEXT = 90


def list_samples(view: RunView) -> list[str]:
    """Samples with spans in the order of capture; all samples where none has spans."""
    return view.row_of.samples or [str(name) for name in view.samples.index]


def _name(questions: pd.Series, sample: str) -> str:
    """A sample and the beginning of its question."""
    question = shorten(str(questions.get(sample, "")), _TEXT)
    return f"{sample}  ·  {question}" if question else sample


def _changed(view: RunView, key: str, name: str, default: str) -> None:
    """Callback: a sample was chosen or its name typed."""
    value = str(st.session_state[key] or "").strip()
    if value in list_samples(view):
        write_address(name, None if value == default else value)
    else:
        st.toast(f"This run holds no spans of a sample “{escape(shorten(value, 60))}”.", icon=":material/search_off:")


def choose_sample(view: RunView, label: str, name: str, *, default: str = "", help: str = "") -> str:
    """The sample called ``name`` in the address, ``""`` where the run has no samples.

    Of more than ``MANY`` samples the list holds only those near the chosen one; the names of the others can be typed.
    In place of an unknown sample ``default`` is chosen, else the first.
    """
    samples = list_samples(view)
    if not samples:
        return ""
    default = default if default in samples else samples[0]
    current = read_address(name, default)
    if current not in samples:
        current = default
    is_long = len(samples) > MANY
    at = samples.index(current)
    shown = samples[max(0, at - NEAR) : at + NEAR + 1] if is_long else samples
    key = f"address_{name}"
    st.session_state[key] = current
    write_address(name, None if current == default else current)
    if is_long:
        help = f"{help} The list holds the samples near this one; type the whole name of any other.".strip()
    st.selectbox(
        f"{label} ({len(samples):,})",
        shown,
        key=key,
        format_func=partial(_name, view.samples["question"]),
        on_change=_changed,
        args=(view, key, name, default),
        accept_new_options=is_long,
        help=help or None,
    )
    return current
