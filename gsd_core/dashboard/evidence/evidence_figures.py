"""Figures of the evidence page.

plot_dots      a value with its interval for every representation, the best on top
plot_curves    the same over training steps
choose_curves  the representations to draw over training
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from gsd_core.dashboard.look.colors import NOISE, PALETTE, SYMBOLS
from gsd_core.dashboard.look.plot_text import plain

KIND_COLORS = {"limit": PALETTE[2], "gradient": PALETTE[0], "baseline": PALETTE[1], "control": NOISE}
KIND_SYMBOLS = {"limit": "star", "gradient": "circle", "baseline": "diamond", "control": "x"}
VERDICT_COLORS = {"above": "green", "below": "orange", "even": "gray"}
MAX_CURVES = 6
_ENDS = (("ci_low", "min"), ("ci_high", "max"))


def plot_dots(rows: pd.DataFrame, metric: str) -> go.Figure:
    """One row a representation; colour and shape by kind; chance dashed, ceiling dotted."""
    ordered = rows.dropna(subset=["value"]).sort_values("value")
    figure = go.Figure()
    for kind in KIND_COLORS:
        part = ordered[ordered["kind"] == kind]
        if not len(part):
            continue
        figure.add_scatter(
            x=part["value"],
            y=part["representation"].map(plain),
            mode="markers",
            name=kind,
            marker={"color": KIND_COLORS[kind], "symbol": KIND_SYMBOLS[kind], "size": 10},
            error_x={
                "type": "data",
                "array": part["ci_high"] - part["value"],
                "arrayminus": part["value"] - part["ci_low"],
                "thickness": 1.5,
                "width": 0,
            },
            customdata=np.stack([part["ci_low"], part["ci_high"], part["n"]], axis=1),
            hovertemplate="%{y}<br>%{x:.3f} (%{customdata[0]:.3f} to %{customdata[1]:.3f}), n = %{customdata[2]:,}"
            "<extra></extra>",
        )
    real = ordered[ordered["kind"] != "control"]
    if len(real):
        figure.add_vline(x=float(real["chance"].mean()), line={"dash": "dash", "width": 1, "color": NOISE})
        ceiling = float(real["ceiling"].mean())
        if ceiling < 0.995:
            figure.add_vline(x=ceiling, line={"dash": "dot", "width": 1, "color": NOISE})
    # Only the written names are shortened, so that two long names that begin alike stay two rows.
    names = ordered["representation"].map(plain).tolist()
    figure.update_yaxes(
        categoryorder="array",
        categoryarray=names,
        tickvals=names,
        ticktext=ordered["representation"].map(_shorten).tolist(),
        automargin=True,
    )
    figure.update_xaxes(range=_find_range(ordered), title=metric)
    figure.update_layout(
        height=max(280, 90 + 27 * len(ordered)),
        margin={"l": 10, "r": 10, "t": 40, "b": 50},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "xanchor": "left"},
    )
    return figure


def _find_range(rows: pd.DataFrame) -> list[float]:
    """Shares and correlations end at 1; small shares fill the axis."""
    low, high = (float(rows[name].dropna().agg(how)) if len(rows) else 0.0 for name, how in _ENDS)
    top = 1.0 if not high <= 0.3 else high
    return [min(0.0, low) - 0.02 * top, 1.03 * top]


def plot_curves(
    rows: pd.DataFrame, names: Sequence[str], metric: str, title: str = "Training step", is_log: bool = False
) -> go.Figure:
    """Value over training steps, or what else ``step`` holds, with bands, of the representations ``names``."""
    figure = go.Figure()
    for number, name in enumerate(names):
        part = rows[(rows["representation"] == name) & rows["value"].notna()].copy()
        part["at"] = part["step"].astype(float) if part["step"].notna().all() else np.arange(len(part), dtype=float)
        part = part.sort_values("at")
        color = PALETTE[number % len(PALETTE)]
        figure.add_scatter(
            x=pd.concat([part["at"], part["at"][::-1]]),
            y=pd.concat([part["ci_high"], part["ci_low"][::-1]]),
            fill="toself",
            fillcolor=color,
            opacity=0.18,
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
        )
        figure.add_scatter(
            x=part["at"],
            y=part["value"],
            mode="lines+markers",
            name=_shorten(name),
            line={"color": color, "dash": "solid" if (part["kind"] == "gradient").all() else "dot"},
            marker={"symbol": SYMBOLS[number % len(SYMBOLS)], "size": 8},
            hovertemplate="%{x}: %{y:.3f}<extra>" + _shorten(name) + "</extra>",
        )
    real = rows[rows["kind"] != "control"]
    if len(real):
        figure.add_hline(y=float(real["chance"].mean()), line={"dash": "dash", "width": 1, "color": NOISE})
    figure.update_xaxes(title=title, type="log" if is_log else "linear")
    figure.update_yaxes(title=metric, rangemode="tozero")
    figure.update_layout(
        height=430,
        margin={"l": 10, "r": 10, "t": 10, "b": 50},
        legend={"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0, "xanchor": "left"},
    )
    return figure


def choose_curves(rows: pd.DataFrame, picked: Sequence[str]) -> list[str]:
    """The first ``MAX_CURVES`` of ``picked``; else the three gradients and three baselines with the highest values."""
    names = list(picked)[:MAX_CURVES]
    if names:
        return names
    for kind in ("gradient", "baseline"):
        part = rows[rows["kind"] == kind].groupby("representation")["value"].max()
        names += part.sort_values(ascending=False).head(3).index.tolist()
    return names


def _shorten(name: str) -> str:
    """A name that fits beside an axis, as Plotly draws it."""
    text = name.replace(", without its top ", " − top ").replace(" directions", "")
    # The ends of names differ, so the middle is cut.
    return plain(text if len(text) <= 46 else f"{text[:30]}…{text[-15:]}")
