"""Every figure of a page: drawn, and saved as PNG, SVG or CSV, in one way.

show_chart    a Plotly figure with the menu that saves it
offer_files   the menu alone, around a figure of another kind
selected_rows rows behind the points that the browser sent as a selection
name_file     a file name that every system takes

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
    """Plotly's settings: a tool bar only where there is something to zoom, with the tools for ``modes``.

    The bar always holds ``toImage``, for the menu to press.
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
    """Draw ``figure``, with a menu in its corner that saves it.

    Parameters
    ----------
    alt
        What a screen reader says of the figure and of its menu.
    name
        What files are called: run, checkpoint and what is shown. See ``name_file``.
    table
        Makes the numbers that the figure draws, one row a mark. Called when somebody saves them, not before.
    on_select, modes
        Callback of a selection, and how one selects: "points", "box", "lasso".
    has_tools
        Whether the figure can be zoomed and moved.
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
    """A menu that saves the figure drawn inside under ``key``; ``formats`` are those of its pictures.

    The others are those of ``show_chart``.
    """
    file_name = name_file(name)
    with st.container(key=f"figure_of_{key}", gap=None):
        yield
        with (
            st.container(key=f"save_of_{key}"),
            st.popover(
                escape(f"Save: {alt}"), icon=":material/download:", type="tertiary", key=f"menu_{key}"
            ),
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
    """Rows behind the points of a selection, in the order the browser sent them, each once.

    Whatever a browser may send instead of numbers is left out.
    """
    points = ((event or {}).get("selection") or {}).get("points") or []
    rows: dict[int, None] = {}
    for point in points:
        value = point.get("customdata")
        if isinstance(value, list | tuple):
            value = value[0] if value else None
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            rows[int(value)] = None
    return list(rows)
