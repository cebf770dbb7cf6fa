"""Figures of the timeline page, and the table of one span.

plot_curves       measures over training, one small figure each, with bands and chance
plot_moment       the aligned map of one checkpoint
plot_drift        drift of all spans at one checkpoint, as a histogram
plot_span         drift of one span over training
make_span_table   the same drift as a table to save
ALIGNMENT         the measure of alignment within clusters
DEFAULT_MEASURES  the measures shown first
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from gsd_core.dashboard.look.colors import ACCENT, NOISE, NOISE_MARK, PALETTE, Mark, choose_ink
from gsd_core.dashboard.look.figure_frame import finish_figure, make_dots, wrap_text
from gsd_core.dashboard.look.plot_text import keep_apart, name_in_plot, plain, shorten

COLUMNS = 4
CELL_HEIGHT, GAP = 190, 62  # pixels
MAX_NAMED = 12
LABEL_AREA = (520.0, 380.0)  # pixels that the map has at least
ALIGNMENT = "alignment within clusters"
ACROSS = "alignment across"
DEFAULT_MEASURES = (
    *(ALIGNMENT, "cluster agreement", "cosine to previous"),
    *("coherence", "norm", "loss", "cosine to first"),
)


def plot_curves(
    curves: pd.DataFrame, measures: Sequence[str], ticks: Mapping[str, str], *, at: str, reference: str
) -> go.Figure:
    """Small multiples, one a measure: value, 95 % band, chance dotted; ``at`` is marked by a line.

    ``curves`` is the stored table, ``ticks`` names each checkpoint, in training order. Checkpoints are drawn at equal
    distances, because runs save often at first and rarely later.
    """
    order = list(ticks)
    n_rows = max(1, -(-len(measures) // COLUMNS))
    height = 60 + CELL_HEIGHT * n_rows
    figure = make_subplots(
        rows=n_rows,
        cols=COLUMNS,
        subplot_titles=[plain(name) for name in measures],
        vertical_spacing=GAP / height,
        horizontal_spacing=0.05,
    )
    for number, name in enumerate(measures):
        row, column = number // COLUMNS + 1, number % COLUMNS + 1
        where = {"row": row, "col": column}
        part = _in_order(curves, name, order)
        color = PALETTE[_hue(name)]
        figure.add_trace(_band(part, color), **where)
        chance = part
        if name.startswith("alignment within"):  # compared with pairs of different groups
            across = _in_order(curves, ACROSS, order)
            chance = across.assign(chance=across["value"])
        if chance["chance"].notna().any():
            figure.add_scatter(
                x=chance["at"],
                y=chance["chance"],
                mode="lines",
                line={"color": NOISE, "dash": "dot", "width": 1.5},
                hovertemplate="by chance %{y:.3f}<extra></extra>",
                showlegend=False,
                **where,
            )
        is_reference = (part["checkpoint"] == reference).to_numpy() & (name in (ALIGNMENT, "cluster agreement"))
        figure.add_scatter(
            x=part["at"],
            y=part["value"],
            mode="lines+markers",
            line={"color": color, "width": 2},
            cliponaxis=False,
            marker={"size": 8, "symbol": np.where(is_reference, "circle-open", "circle"), "color": color},
            customdata=np.stack([part["checkpoint"], part["ci_low"], part["ci_high"], part["n"]], axis=1),
            hovertemplate="%{customdata[0]}<br>%{y:.3f} (%{customdata[1]:.3f} to %{customdata[2]:.3f}), "
            "n = %{customdata[3]:,}<extra></extra>",
            showlegend=False,
            **where,
        )
        if at in order:
            figure.add_vline(x=order.index(at), line={"color": ACCENT, "width": 1}, opacity=0.6, **where)
        if name != "norm" and (part["ci_low"] >= 0).all():
            figure.update_yaxes(rangemode="tozero", **where)
    figure.update_xaxes(tickvals=list(range(len(order))), ticktext=list(ticks.values()), range=[-0.3, len(order) - 0.7])
    figure.update_xaxes(tickfont={"size": 10}, showgrid=False, tickangle=0 if len(order) <= 6 else None)
    figure.update_yaxes(tickfont={"size": 10}, nticks=4)
    figure.update_annotations(font={"size": 13})
    figure.update_layout(height=height, margin={"l": 10, "r": 10, "t": 30, "b": 30}, dragmode=False)
    return figure


def plot_moment(
    points: pd.DataFrame,
    marks: Mapping[int, Mark],
    names: Mapping[int, str],
    extent: tuple[list[float], list[float]],
    *,
    chosen: str = "",
    trail: pd.DataFrame | None = None,
    is_dark: bool = False,
    height: int = 560,
) -> go.Figure:
    """Spans of one checkpoint on the aligned layout, coloured by their cluster at the reference checkpoint.

    ``points`` as from ``find_coordinates``; ``extent`` is the range of x and of y, the same at every checkpoint;
    ``trail`` are the coordinates ``x, y`` of the chosen span in training order.
    """
    figure = go.Figure()
    for cluster in sorted(points["cluster"].unique()):
        part = points[points["cluster"] == cluster]
        size, opacity = (4, 0.35) if cluster < 0 else (5.5, 0.85)
        mark = marks.get(int(cluster), NOISE_MARK)
        name = plain(names.get(int(cluster)) or "noise")
        dots = make_dots(
            part,
            name,
            {"color": mark.color, "symbol": mark.symbol, "size": size, "opacity": opacity},
            customdata=part.index.to_numpy(np.int32),
            hoverinfo="text",
            hovertext=[f"<b>{name}</b><br>{wrap_text(text, 3, 48)}" for text in part["text"].map(str)],
            selected={"marker": {"opacity": 1.0}},
            showlegend=False,
        )
        figure.add_trace(dots)
    if trail is not None and len(trail):
        figure.add_scatter(
            x=trail["x"],
            y=trail["y"],
            mode="lines",
            line={"color": ACCENT, "width": 1.5, "dash": "dot"},
            hoverinfo="skip",
            showlegend=False,
        )
    here = points[points["span"] == chosen]
    if len(here):
        figure.add_scatter(
            x=here["x"],
            y=here["y"],
            mode="markers",
            marker={"symbol": "circle-open", "size": 18, "color": ACCENT, "line": {"width": 3}},
            hoverinfo="skip",
            showlegend=False,
        )
    figure.update_xaxes(visible=False, range=extent[0])
    figure.update_yaxes(visible=False, range=extent[1])
    return finish_figure(
        figure,
        height,
        margin={"t": 0},
        dragmode="pan",
        clickmode="event+select",
        uirevision="timeline",  # the zoom stays when the checkpoint changes
        annotations=_name_clusters(points, names, is_dark),
    )


def plot_drift(drift: pd.DataFrame, column: str, at: str, chance: float) -> go.Figure:
    """Cosines of all spans at checkpoint ``at`` with themselves earlier, from ``column``; chance dotted."""
    values = drift.loc[drift["checkpoint"] == at, column].dropna()
    figure = go.Figure()
    figure.add_histogram(
        x=values,
        xbins={"start": -1, "end": 1.0001, "size": 0.05},
        marker={"color": PALETTE[_hue("cosine")], "line": {"width": 0}},
        opacity=0.8,
        hovertemplate="%{x}: %{y} spans<extra></extra>",
        showlegend=False,
    )
    if len(values):
        figure.add_vline(x=float(values.median()), line={"color": PALETTE[_hue("cosine")], "width": 2})
    if np.isfinite(chance):
        figure.add_vline(x=chance, line={"color": NOISE, "dash": "dot", "width": 1.5})
    low = float(min(-0.2, values.min() if len(values) else 0))
    figure.update_xaxes(title="Cosine with itself", range=[low, 1.02])
    figure.update_yaxes(title="Spans", nticks=4)
    figure.update_layout(height=230, margin={"l": 10, "r": 10, "t": 10, "b": 40}, bargap=0.05, dragmode=False)
    return figure


def plot_span(own: pd.DataFrame, everyone: pd.DataFrame, ticks: Sequence[str]) -> go.Figure:
    """One span's cosine with itself earlier (``own``: ``at, to_previous, to_first``), and the median of all spans."""
    figure = go.Figure()
    for number, (column, name) in enumerate((("to_previous", "to previous"), ("to_first", "to first"))):
        color = PALETTE[(0, 5)[number]]
        for rows, dash, width, title in ((everyone, "dot", 1.5, f"{name}, median"), (own, "solid", 2.5, name)):
            part = rows.dropna(subset=[column])
            figure.add_scatter(
                x=part["at"],
                y=part[column],
                mode="lines+markers",
                name=title,
                line={"color": color, "dash": dash, "width": width},
                marker={"size": 7 if dash == "solid" else 4, "symbol": ("circle", "diamond")[number]},
                hovertemplate="%{y:.3f}<extra>" + title + "</extra>",
            )
    figure.update_xaxes(tickvals=list(range(len(ticks))), ticktext=list(ticks), range=[-0.2, len(ticks) - 0.8])
    figure.update_yaxes(title="Cosine with itself", nticks=4)
    figure.update_layout(
        height=230,
        margin={"l": 10, "r": 10, "t": 10, "b": 20},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "font": {"size": 11}},
        dragmode=False,
    )
    return figure


def _in_order(curves: pd.DataFrame, measure: str, order: Sequence[str]) -> pd.DataFrame:
    """Rows of one measure in training order, with the checkpoint's number ``at``."""
    part = curves[curves["measure"] == measure]
    part = part.assign(at=[order.index(each) for each in part["checkpoint"]])
    return part.sort_values("at")


def _band(part: pd.DataFrame, color: str) -> go.Scatter:
    return go.Scatter(
        x=pd.concat([part["at"], part["at"][::-1]]),
        y=pd.concat([part["ci_high"], part["ci_low"][::-1]]),
        fill="toself",
        fillcolor=color,
        opacity=0.2,
        mode="lines",
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
    )


def _hue(measure: str) -> int:
    """Index in the palette of a measure's kind."""
    kinds = ("alignment", "purity", "cluster agreement", "cosine")
    return next((number for number, kind in enumerate(kinds) if measure.startswith(kind)), 6)


def _name_clusters(points: pd.DataFrame, names: Mapping[int, str], is_dark: bool) -> list[dict[str, Any]]:
    """Names of the biggest clusters at the medians of their points."""
    ink, paper = choose_ink(is_dark)
    sizes = points.loc[points["cluster"] >= 0, "cluster"].value_counts()
    notes: list[dict[str, Any]] = []
    for cluster in sizes.index[: 4 * MAX_NAMED]:
        part = points[points["cluster"] == cluster]
        words = names.get(int(cluster), "").partition(" · ")[2]
        notes.append(name_in_plot(part, shorten(words, 24), ink, paper, yshift=15))
    return keep_apart(notes, points, *LABEL_AREA, MAX_NAMED)


def make_span_table(own: pd.DataFrame, everyone: pd.DataFrame) -> pd.DataFrame:
    """``of, checkpoint, to_previous, to_first``: cosines of the span ``own`` with itself, then the median of all."""
    columns = ["of", "checkpoint", "to_previous", "to_first"]
    return pd.concat([own.assign(of=own["span"]), everyone.assign(of="median of all spans")])[columns]
