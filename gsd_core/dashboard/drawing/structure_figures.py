"""Plotly figures of stresses and twins, and what figures of aligned spans share with them.

plot_quadrants   pairs of samples by semantic and structural similarity, twins on top
plot_stresses    patterns by support and lift
keep_drawn       those of them that have a place there
wrap_text        a text of the data in lines, for hovering
finish_figure    margins, legend and height that these figures share

Points that can be opened carry their row; a click on anything else says nothing.
"""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from gsd_core.dashboard.drawing.colors import NOISE, PALETTE
from gsd_core.dashboard.drawing.plot_text import plain
from gsd_core.dashboard.reading.run_view import RunView
from gsd_core.dashboard.reading.structure_queries import SIGNIFICANT, Reference, Structure

TWIN, CANDIDATE, STRESS = PALETTE[5], PALETTE[4], PALETTE[0]
MAX_TWINS_DRAWN = 1_000


def wrap_text(text: str, lines: int = 2) -> str:
    """``text`` without markup, in at most so many lines of 56 characters."""
    return "<br>".join(map(plain, textwrap.wrap(text, 56, max_lines=lines, placeholder=" …")))


def finish_figure(figure: go.Figure, height: int, **layout: Any) -> go.Figure:
    """Give ``figure`` the looks of its kind; returns it."""
    figure.update_layout(
        height=height,
        margin={"l": 0, "r": 0, "t": 8, "b": 0},
        hovermode="closest",
        hoverlabel={"align": "left", "namelength": -1},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "itemsizing": "constant"},
        **layout,
    )
    return figure


def _dots(frame: pd.DataFrame, name: str, marker: dict[str, Any], **more: Any) -> go.Scattergl:
    """Points that stay as they are when others are selected."""
    still = {"marker": {"opacity": marker.get("opacity", 1.0)}}
    return go.Scattergl(
        mode="markers", name=name, marker=marker, selected=still, unselected=still, **more, **_places(frame)
    )


def _places(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    return {"x": frame["x"].to_numpy(np.float32), "y": frame["y"].to_numpy(np.float32)}


def plot_quadrants(view: RunView, structure: Structure, reference: Reference, height: int = 470) -> go.Figure:
    """Semantic similarity of the questions against structural similarity of the reasoning (methods §1.6, ours).

    ``reference`` are semantic cosines of random pairs: its median is the line that twins lie left of. Points of twins
    carry their row in ``structure.twins``.
    """
    pairs = structure.pairs.rename(columns={"semantic": "x", "structural": "y"})
    is_candidate = pairs["is_candidate"].to_numpy(bool)
    figure = go.Figure()
    figure.add_trace(
        _dots(pairs[is_candidate], "tested pairs", _marker(CANDIDATE, 4, 0.35), hoverinfo="skip")
    )
    figure.add_trace(_dots(pairs[~is_candidate], "random pairs", _marker(NOISE, 4, 0.55), hoverinfo="skip"))
    twins = structure.twins.head(MAX_TWINS_DRAWN).rename(columns={"semantic": "x", "structural": "y"})
    is_significant = (twins["q_value"] < SIGNIFICANT).to_numpy(bool)
    questions = view.samples["question"]
    for part, name, fill, size in (
        (twins[~is_significant], f"twins, q ≥ {SIGNIFICANT}", "rgba(255,255,255,0.85)", 6),
        (twins[is_significant], f"twins, q < {SIGNIFICANT}", TWIN, 10),
    ):
        hover = [
            f"<b>twin {row.rank}</b> · structural {row.y:.3f} · semantic {row.x:.2f} · q {row.q_value:.2g}<br>"
            f"{wrap_text(str(questions.get(row.a, row.a)))}<br>↔ {wrap_text(str(questions.get(row.b, row.b)))}"
            for row in part.itertuples()
        ]
        marker = {
            **_marker(fill, size, 1.0),
            "symbol": "diamond",
            "line": {"color": TWIN, "width": 1.0},
        }
        more = {"hoverinfo": "text", "hovertext": hover, "customdata": part.index.to_numpy(np.int32)}
        figure.add_trace(_dots(part, name, marker, **more))
    median = structure.info.get("twins", {}).get("semantic_median", reference.median)
    if median is not None and np.isfinite(median):
        figure.add_vline(
            median,
            line={"dash": "dash", "width": 1.2, "color": NOISE},
            annotation={"text": "median", "font": {"size": 11}, "yanchor": "top", "xanchor": "left"},
        )
    return finish_figure(
        figure,
        height,
        dragmode="pan",
        clickmode="event+select",
        xaxis={"title": "semantic: cosine of the questions", "zeroline": False},
        yaxis={"title": "structural: aligned run", "rangemode": "tozero", "zeroline": False},
    )


def _marker(color: str, size: float, opacity: float) -> dict[str, Any]:
    return {"color": color, "size": size, "opacity": opacity}


def keep_drawn(stresses: pd.DataFrame) -> pd.DataFrame:
    """Patterns that the figure draws: a lift of 0 or without a bound has no place on a logarithmic axis."""
    return stresses[(stresses["lift"] > 0) & np.isfinite(stresses["lift"])]


def plot_stresses(stresses: pd.DataFrame, height: int = 430) -> go.Figure:
    """Patterns by support and lift; the size is the pattern's length. Points carry their row in ``stresses``."""
    drawn = keep_drawn(stresses)
    is_significant = (drawn["q_value"] < SIGNIFICANT).to_numpy(bool)
    figure = go.Figure()
    for part, name, fill in (
        (drawn[~is_significant], f"q ≥ {SIGNIFICANT}", "rgba(255,255,255,0.85)"),
        (drawn[is_significant], f"q < {SIGNIFICANT}", STRESS),
    ):
        hover = [
            f"<b>{' → '.join(plain(str(label)) for label in row.labels)}</b><br>support {row.support} · "
            f"lift {row.lift:.1f} · q {row.q_value:.2g}"
            for row in part.itertuples()
        ]
        marker = {
            "color": fill,
            "size": 5 + 4 * part["length"].to_numpy(float),
            "opacity": 0.75,
            "line": {"color": STRESS, "width": 1.4},
        }
        places = part.rename(columns={"support": "x", "lift": "y"})
        more = {"hoverinfo": "text", "hovertext": hover, "customdata": part.index.to_numpy(np.int32)}
        figure.add_trace(_dots(places, name, marker, **more))
    figure.add_hline(1.0, line={"dash": "dash", "width": 1.2, "color": NOISE})
    return finish_figure(
        figure,
        height,
        dragmode="pan",
        clickmode="event+select",
        xaxis={"title": "support: samples that hold it", "rangemode": "tozero", "zeroline": False},
        yaxis={
            "title": "lift over shuffled order",
            "type": "log",
            **_log_ticks(drawn["lift"].to_numpy(float)),
        },
    )


def _log_ticks(values: np.ndarray) -> dict[str, Any]:
    """Ticks at 1, 2 and 5 times powers of ten, as plain numbers; over many decades at the powers alone."""
    if not len(values):
        return {}
    low, high = int(np.floor(np.log10(values.min()))), int(np.ceil(np.log10(values.max())))
    factors = (1, 2, 5) if high - low <= 3 else (1,)
    ticks = [factor * 10.0**power for power in range(low, high + 1) for factor in factors]
    return {"tickvals": ticks, "ticktext": [f"{tick:,.10g}" for tick in ticks]}
