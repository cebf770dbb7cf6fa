"""Figures of the page Training runs.

color_choices a colour for each choice
plot_trials   a measure of every choice with its interval, and each seed as a dot
plot_losses   loss against steps or tokens, one colour a choice
make_answer   what a model wrote, escaped
"""

from __future__ import annotations

import html

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from gsd_core.dashboard.look.colors import NOISE, PALETTE
from gsd_core.dashboard.look.figure_frame import finish_figure
from gsd_core.dashboard.look.plot_text import plain
from gsd_core.dashboard.trainings.training_queries import Run

SMOOTH = 0.15  # share of the log that a smoothed loss averages over
AXES = {"step": "optimizer steps", "tokens": "tokens read", "trained": "tokens with loss"}


def color_choices(choices: list[str]) -> dict[str, str]:
    """A colour for each choice, in order."""
    return {name: PALETTE[at % len(PALETTE)] for at, name in enumerate(dict.fromkeys(choices))}


def plot_trials(table: pd.DataFrame, runs: list[Run], measure: str, title: str, is_share: bool) -> go.Figure:
    """``table`` has ``choice``, ``measure`` and its ``_low`` and ``_high``; dots are the seeds' own values."""
    colors = color_choices(table["choice"].tolist())
    form = ".1%" if is_share else ",.0f"
    low, high = (table[f"{measure}_{side}"].to_numpy(float) for side in ("low", "high"))
    mean = table[measure].to_numpy(float)
    names = table["choice"].map(plain)
    figure = go.Figure(
        go.Scatter(
            x=mean,
            y=names,
            mode="markers",
            marker={"size": 11, "color": [colors[name] for name in table["choice"]]},
            error_x={"type": "data", "symmetric": False, "array": high - mean, "arrayminus": mean - low},
            customdata=np.stack([low, high], axis=1),
            hovertemplate=f"%{{y}}: %{{x:{form}}} (%{{customdata[0]:{form}}} to %{{customdata[1]:{form}}})"
            "<extra></extra>",
        )
    )
    column = {"accuracy": "accuracy", "tokens": "mean_tokens"}[measure]
    lasts = [(run, run.checkpoints.dropna(subset=column)) for run in runs]
    points = [(plain(run.choice), float(rows[column].iloc[-1]), run.seed) for run, rows in lasts if len(rows)]
    figure.add_scatter(
        x=[value for _, value, _ in points],
        y=[name for name, _, _ in points],
        mode="markers",
        marker={"size": 5, "color": NOISE},
        text=[f"seed {seed}" for *_, seed in points],
        hovertemplate=f"%{{y}}, %{{text}}: %{{x:{form}}}<extra></extra>",
    )
    if len(mean):
        figure.add_vline(x=mean[0], line={"dash": "dot", "width": 1, "color": NOISE})
    figure.update_xaxes(title=title, tickformat=".0%" if is_share else "", rangemode="tozero")
    figure.update_yaxes(autorange="reversed")
    return finish_figure(figure, 120 + 34 * len(table), showlegend=False)


def plot_losses(runs: list[Run], axis: str, held_out: bool) -> go.Figure:
    """Smoothed loss of each training against ``axis``, one of ``AXES``; or the loss on held-out data at kept steps."""
    colors = color_choices([run.choice for run in runs])
    figure = go.Figure()
    shown: set[str] = set()
    for run in runs:
        log = run.read_log()
        if not len(log) or axis not in log:
            continue
        if held_out:
            kept = run.checkpoints.dropna(subset="eval_loss")
            steps = log.set_index("step", drop=False)[axis]
            x = [0.0 if step == 0 else float(steps.get(step, np.nan)) for step in kept["step"]]
            y = kept["eval_loss"].to_numpy(float)
        else:
            x = log[axis].tolist()
            width = max(1, round(SMOOTH * len(log)))
            y = log["loss"].rolling(width, min_periods=1).mean().to_numpy()
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines+markers" if held_out else "lines",
            name=plain(run.choice),
            legendgroup=run.choice,
            showlegend=run.choice not in shown,
            line={"color": colors[run.choice], "width": 1.6},
            opacity=0.85,
            hovertemplate=f"{plain(run.label)}: %{{y:.3f}} after %{{x:,.0f}} {AXES[axis]}<extra></extra>",
        )
        shown.add(run.choice)
    figure.update_xaxes(title=AXES[axis], rangemode="tozero")
    figure.update_yaxes(title="held-out loss, nats a token" if held_out else "loss, nats a token")
    return finish_figure(figure, 320)


def make_answer(text: str, is_right: bool) -> str:
    """HTML of a text; a green bar where its answer is right."""
    color = PALETTE[2] if is_right else PALETTE[5]
    return (
        f'<div style="border-left:4px solid {color};padding:.2em 0 .2em .8em;white-space:pre-wrap;overflow-wrap:'
        f'anywhere;max-height:340px;overflow:auto;line-height:1.5" tabindex="0" role="region" '
        f'aria-label="text of the model">{html.escape(text)}</div>'
    )
