"""What Plotly figures of several pages share.

finish_figure   margins, legend and height
make_dots       points that keep their look when others are selected
make_cells      cells of cosines
use_no_webgl    a figure whose points are drawn as SVG
wrap_text       a text of the data in lines, for hovering
name_pair       letter of an aligned pair
color_pair      colour of an aligned pair
COLOR_BAR       shape of a colour bar
MAX_TEXT_CELLS  cells up to which a heat map writes its numbers
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from gsd_core.dashboard.look.colors import COSINES, PALETTE
from gsd_core.dashboard.look.plot_text import plain

COLOR_BAR = {"thickness": 10, "outlinewidth": 0}
MAX_TEXT_CELLS = 144  # beyond it numbers in cells are too small to read


def finish_figure(figure: go.Figure, height: int, **layout: Any) -> go.Figure:
    """Set the shared layout of ``figure``, and ``layout`` on top of it; returns it."""
    figure.update_layout(
        height=height,
        margin={"l": 0, "r": 0, "t": 8, "b": 0},
        hovermode="closest",
        hoverlabel={"align": "left", "namelength": -1},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "itemsizing": "constant"},
    )
    return figure.update_layout(**layout)


def make_dots(frame: pd.DataFrame, name: str, marker: dict[str, Any], **more: Any) -> go.Scattergl:
    """Points at columns ``x`` and ``y`` that keep their look when others are selected."""
    still = {"marker": {"opacity": marker.get("opacity", 1.0)}}
    return go.Scattergl(
        x=frame["x"].to_numpy(np.float32),
        y=frame["y"].to_numpy(np.float32),
        mode="markers",
        name=name,
        marker=marker,
        **{"selected": still, "unselected": still, **more},
    )


def make_cells(cosines: np.ndarray, x: Sequence[str], y: Sequence[str], most: float = 1.0, **more: Any) -> go.Heatmap:
    """Cells of ``cosines`` (rows, columns) in colours from −``most`` to ``most``."""
    shade = {"zmin": -most, "zmax": most, "colorscale": list(COSINES)}
    return go.Heatmap(z=cosines, x=list(x), y=list(y), xgap=1, ygap=1, **shade, **more)


def use_no_webgl(figure: go.Figure) -> go.Figure:
    """``figure`` with points as SVG: WebGL is not everywhere, and it compiles code while it draws."""
    traces = [
        go.Scatter({name: value for name, value in trace.to_plotly_json().items() if name != "type"})
        if trace.type == "scattergl"
        else trace
        for trace in figure.data
    ]
    return go.Figure(traces, figure.layout)


def wrap_text(text: str, lines: int = 2, width: int = 56) -> str:
    """``text`` without markup, in at most ``lines`` lines of ``width`` characters."""
    return "<br>".join(map(plain, textwrap.wrap(text, width, max_lines=lines, placeholder=" …")))


def name_pair(number: int) -> str:
    """A, B … Z, A1 …: what aligned pair ``number`` (from 0) is called everywhere on a page."""
    turn, letter = divmod(number, 26)
    return chr(ord("A") + letter) + (str(turn) if turn else "")


def color_pair(number: int) -> str:
    """Colour of aligned pair ``number``; colours repeat, letters tell the pairs apart."""
    return PALETTE[number % len(PALETTE)]
