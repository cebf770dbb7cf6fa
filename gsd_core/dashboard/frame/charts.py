"""Figures on a page, with a menu that saves them as PNG, SVG or CSV.

show_chart      a Plotly figure with the menu
offer_files     the menu around a figure of another kind
selected_rows   rows of the points, or of a table, that the browser sent as a selection
name_file       a file name that every system accepts

The style in ``router`` places the menu and hides Plotly's own camera.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from gsd_core.dashboard.components.save import plot_save
from gsd_core.dashboard.frame.downloads import compute_csv
from gsd_core.dashboard.frame.page_text import escape

LONGEST_NAME = 120


def name_file(text: str) -> str:
    """``text`` as a file name without ending: ASCII letters, digits, ``. _ -``, at most ``LONGEST_NAME`` of them."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:LONGEST_NAME].rstrip("-.") or "figure"


def _make_config(has_tools: bool, modes: Sequence[str]) -> dict[str, Any]:
    """Plotly's settings: with ``has_tools`` a tool bar for zooming and for the selection ``modes``.

    The bar always holds ``toImage``, which the menu presses.
    """
    if not has_tools:
        return {"displaylogo": False, "modeBarButtons": [["toImage"]]}
    unused = [name for name, mode in (("select2d", "box"), ("lasso2d", "lasso")) if mode not in modes]
    return {"displaylogo": False, "modeBarButtonsToRemove": ["autoScale2d", *unused], "scrollZoom": True}


def show_chart(
    figure: go.Figure,
    *,
    key: str,
    alt: str,
    name: str,
    table: Callable[[], pd.DataFrame],
    on_select: Callable[[], None] | None = None,
    modes: Sequence[str] = ("points",),
    has_tools: bool = False,
) -> None:
    """Draw ``figure`` with a menu that saves it.

    ``alt`` describes both for screen readers; the files get ``name_file`` of ``name``: run, checkpoint and what is
    shown. ``table`` makes the numbers that the figure draws, one row a mark, only when somebody saves them.
    ``on_select`` is called after a selection, which can be made in the ``modes`` "points", "box", "lasso". With
    ``has_tools`` the figure can be zoomed and moved.
    """
    selects: dict[str, Any] = {"on_select": on_select, "selection_mode": modes} if on_select else {}
    with offer_files(key=key, alt=alt, name=name, table=table):
        st.plotly_chart(figure, key=key, **selects, config=_make_config(has_tools, modes), alt=alt)


@contextmanager
def offer_files(
    *,
    key: str,
    alt: str,
    name: str,
    table: Callable[[], pd.DataFrame],
    formats: Sequence[str] = ("png", "svg"),
) -> Iterator[None]:
    """A menu that saves the figure drawn inside under ``key``, as pictures in ``formats`` and as CSV.

    The other parameters are those of ``show_chart``.
    """
    file_name = name_file(name)
    with st.container(key=f"figure_of_{key}", gap=None):
        yield
        with (
            st.container(key=f"save_of_{key}"),
            st.popover(escape(f"Save: {alt}"), icon=":material/download:", type="tertiary", key=f"menu_{key}"),
            st.container(gap="xsmall"),
        ):
            plot_save(key, file_name, f"pictures_{key}", formats)
            st.download_button(
                "CSV",
                lambda: compute_csv(table()),
                f"{file_name}.csv",
                "text/csv",
                key=f"csv_{key}",
                on_click="ignore",
                width="stretch",
                help="The numbers that the figure draws.",
            )


def selected_rows(event: Mapping[str, Any] | None) -> list[int]:
    """Rows of the selected points, or the selected rows of a table, each once, in the order the browser sent them.

    Other values are ignored.
    """
    selection = (event or {}).get("selection") or {}
    rows: dict[int, None] = {}
    for value in [
        *(point.get("customdata") for point in selection.get("points") or []),
        *(selection.get("rows") or []),
    ]:
        if isinstance(value, list | tuple):
            value = value[0] if value else None
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            rows[int(value)] = None
    return list(rows)
