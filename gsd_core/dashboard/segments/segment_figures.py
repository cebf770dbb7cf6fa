"""Figures of the page Segments.

plot_choice      strength against consistency of all segments, the chosen ones in colour
plot_sweep       share of tokens kept for every pair of thresholds
plot_strengths   segments of one trace, one bar each
plot_cumulative  scores of one trace, summed from its beginning
plot_residuals   what the scores of each trace leave unexplained
plot_curves      residual against the number of gradients
plot_baselines   how alike strengths are under other baselines
plot_removals    what is left of the answer's gain where other segments are removed
plot_links       strength against that of the best aligned segments
plot_contrast    other measures of segments beside their strength
make_trace       a trace's text, coloured by score
"""

from __future__ import annotations

import html

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from gsd_core.dashboard.look.colors import ACCENT, COSINES, NOISE, PALETTE, SEQUENTIAL
from gsd_core.dashboard.look.figure_frame import COLOR_BAR, finish_figure, wrap_text
from gsd_core.dashboard.look.plot_text import plain, shorten
from gsd_core.dashboard.segments.segment_queries import STEPS, Segments, TraceScores

MOST_DOTS = 20_000
POSITIVE, NEGATIVE = COSINES[-2], COSINES[1]
_HOVER = "strength %{y:.3f}, consistency %{x:.2f}<extra></extra>"


def plot_choice(segments: Segments, chosen: np.ndarray, beta: float, sample: str) -> go.Figure:
    """Every segment a dot; those of ``sample`` ringed. Of more than 20,000 a seeded draw is drawn."""
    frame = segments.frame
    rows = np.arange(len(frame))
    if len(rows) > MOST_DOTS:
        rows = np.sort(np.random.default_rng(0).choice(len(rows), MOST_DOTS, replace=False))
    x, y = frame["consistency"].to_numpy(np.float32), frame["strength"].to_numpy(np.float32)
    figure = go.Figure()
    for name, color, part in (
        ("left out", NOISE, rows[~chosen[rows]]),
        ("chosen", PALETTE[0], rows[chosen[rows]]),
    ):
        figure.add_scattergl(
            x=x[part],
            y=y[part],
            customdata=part,
            mode="markers",
            name=name,
            marker={"color": color, "size": 5, "opacity": 0.55},
            hovertemplate=_HOVER,
        )
    own = np.flatnonzero((frame["sample"] == sample).to_numpy())
    figure.add_scattergl(
        x=x[own],
        y=y[own],
        customdata=own,
        mode="markers",
        name="this trace",
        marker={"color": "rgba(0,0,0,0)", "size": 11, "line": {"color": ACCENT, "width": 2}},
        hovertemplate=_HOVER,
    )
    figure.add_vline(x=beta, line={"dash": "dash", "width": 1, "color": ACCENT})
    figure.update_xaxes(title="consistency |Σ| / Σ|·|", range=[-0.02, 1.02])
    figure.update_yaxes(title="strength, share of its trace", rangemode="tozero")
    return finish_figure(figure, 400)


def plot_sweep(segments: Segments, tau: float, beta: float) -> go.Figure:
    """Shares as colours, the thresholds of the page as a cross."""
    figure = go.Figure(
        go.Heatmap(
            z=segments.sweep(),
            x=STEPS,
            y=STEPS,
            zmin=0,
            zmax=1,
            colorscale=SEQUENTIAL,
            colorbar={**COLOR_BAR, "title": "tokens", "tickformat": ".0%"},
            hovertemplate="tau %{y:.2f}, beta %{x:.2f}: %{z:.0%} of the tokens<extra></extra>",
        )
    )
    figure.add_scatter(
        x=[beta],
        y=[tau],
        mode="markers",
        marker={"symbol": "x", "size": 12, "color": ACCENT},
        hoverinfo="skip",
        showlegend=False,
    )
    figure.update_xaxes(title="beta: largest consistency")
    figure.update_yaxes(title="tau: strength held")
    return finish_figure(figure, 400)


def plot_strengths(own: pd.DataFrame, chosen: np.ndarray) -> go.Figure:
    """Bars from the first segment to the last; ``own`` are the rows of one trace, ``chosen`` (len(own),) bool."""
    names = [f"{int(index) + 1}" for index in own["index"]]
    figure = go.Figure(
        go.Bar(
            x=names,
            y=own["strength"],
            marker={"color": np.where(chosen, PALETTE[0], NOISE)},
            customdata=np.stack([own["consistency"], own["signed"]], axis=1),
            text=[wrap_text(plain(shorten(str(text), 160))) for text in own["text"]],
            textposition="none",
            hovertemplate="segment %{x}: strength %{y:.3f}, consistency %{customdata[0]:.2f}, sum %{customdata[1]:.3f} "
            "nats<br>%{text}<extra></extra>",
        )
    )
    figure.update_xaxes(title="segment", type="category")
    figure.update_yaxes(title="strength", rangemode="tozero")
    return finish_figure(figure, 200)


def plot_cumulative(trace: TraceScores, baseline_value: float) -> go.Figure:
    """From the baseline's log-probability to the trace's; thin lines where segments begin."""
    summed = baseline_value + np.cumsum(trace.scores)
    figure = go.Figure(
        go.Scatter(
            y=summed,
            mode="lines",
            line={"color": PALETTE[0], "width": 2},
            hovertemplate="after token %{x}: %{y:.2f} nats<extra></extra>",
        )
    )
    for border in trace.borders[:200]:
        figure.add_vline(x=border, line={"width": 0.5, "color": NOISE})
    figure.update_xaxes(title="token")
    figure.update_yaxes(title="log-probability, nats")
    return finish_figure(figure, 220, showlegend=False)


def plot_residuals(traces: pd.DataFrame) -> go.Figure:
    """Residual as a share of what the answer gains, against the number of gradients."""
    gains = (traces["value"] - traces["baseline_value"]).abs().clip(lower=1e-12)
    figure = go.Figure(
        go.Scattergl(
            x=traces["n_points"],
            y=(traces["residual"] / gains).clip(lower=1e-7),
            mode="markers",
            text=traces.index.map(plain),
            marker={"color": PALETTE[0], "size": 6, "opacity": 0.6},
            hovertemplate="%{text}: %{x} gradients, %{y:.2%} unexplained<extra></extra>",
        )
    )
    figure.update_xaxes(title="gradients on the path")
    figure.update_yaxes(title="residual, share of the gain", type="log", tickformat=".2%")
    return finish_figure(figure, 400, showlegend=False)


def plot_curves(curves: pd.DataFrame) -> go.Figure:
    """Median over the checked traces, and each trace as a thin line."""
    figure = go.Figure()
    for color, (nodes, rows) in zip(PALETTE, curves.groupby("nodes", sort=False), strict=False):
        for _, own in rows.groupby("sample", sort=False):
            figure.add_scatter(
                x=own["n_points"],
                y=own["residual"].clip(lower=1e-7),
                mode="lines",
                line={"color": color, "width": 0.8},
                opacity=0.4,
                hoverinfo="skip",
                showlegend=False,
            )
        middle = rows.groupby("n_points")["residual"].median().clip(lower=1e-7)
        figure.add_scatter(
            x=middle.index,
            y=middle,
            mode="lines+markers",
            name=str(nodes),
            line={"color": color, "width": 2.5},
            hovertemplate="%{x} gradients: %{y:.2%} unexplained<extra></extra>",
        )
    figure.add_hline(y=0.01, line={"dash": "dot", "width": 1, "color": NOISE})
    figure.update_xaxes(title="gradients on the path", type="log", dtick="D2")
    figure.update_yaxes(title="residual, share of the gain", type="log", tickformat=".2%")
    return finish_figure(figure, 320)


def plot_baselines(table: pd.DataFrame) -> go.Figure:
    """Rank correlations (baselines, baselines)."""
    figure = go.Figure(
        go.Heatmap(
            z=table.to_numpy(float),
            x=list(table.columns),
            y=list(table.index),
            zmin=-1,
            zmax=1,
            colorscale=list(COSINES),
            texttemplate="%{z:.2f}",
            colorbar={**COLOR_BAR, "title": "rho"},
            hovertemplate="%{y} and %{x}: %{z:.2f}<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed")
    return finish_figure(figure, 320)


def plot_removals(averages: pd.DataFrame) -> go.Figure:
    """Gain that is left against tokens that are left; 0 % is the question alone, 100 % the whole trace."""
    figure = go.Figure()
    for name, color in (("chosen", PALETTE[0]), ("random", NOISE)):
        rows = averages[averages["choice"] == name].sort_values("share")
        figure.add_scatter(
            x=rows["share"],
            y=rows["kept_gain"],
            mode="markers",
            name=f"{name} segments",
            marker={"color": color, "size": 9},
            customdata=rows[["tau", "beta"]],
            hovertemplate="tau %{customdata[0]}, beta %{customdata[1]}: %{x:.0%} of the tokens, %{y:.0%} of the gain"
            "<extra></extra>",
        )
    figure.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        line={"dash": "dot", "width": 1, "color": NOISE},
        hoverinfo="skip",
        showlegend=False,
    )
    figure.update_xaxes(title="tokens left", tickformat=".0%", range=[-0.02, 1.02])
    figure.update_yaxes(title="gain left, median trace", tickformat=".0%")
    return finish_figure(figure, 400)


def plot_links(links: pd.DataFrame) -> go.Figure:
    """A dot a segment, and the mean over ten groups of segments by their own strength."""
    figure = go.Figure(
        go.Scattergl(
            x=links["relative"],
            y=links["near"],
            mode="markers",
            text=links["span"].map(plain),
            marker={"color": PALETTE[0], "size": 5, "opacity": 0.4},
            hovertemplate="%{text}: %{x:.2f}, its aligned segments %{y:.2f}<extra></extra>",
        )
    )
    groups = pd.qcut(links["relative"].rank(method="first"), min(10, len(links)), labels=False)
    means = links.groupby(groups)[["relative", "near"]].mean()
    figure.add_scatter(
        x=means["relative"], y=means["near"], mode="lines", line={"color": ACCENT, "width": 2}, hoverinfo="skip"
    )
    figure.update_xaxes(title="strength over an even share of its trace")
    figure.update_yaxes(title="mean of its ten best aligned segments")
    return finish_figure(figure, 400, showlegend=False)


def plot_contrast(contrast: pd.DataFrame) -> go.Figure:
    """Rank correlation of each measure with strength; hover has the means of kept segments and of the others."""
    figure = go.Figure(
        go.Bar(
            x=contrast["rho"],
            y=contrast["measure"],
            orientation="h",
            marker={"color": PALETTE[0]},
            customdata=contrast[["kept", "left out"]],
            hovertemplate="%{y}: rank correlation with strength %{x:.2f}<br>mean of kept segments "
            "%{customdata[0]:.3f}, of the others %{customdata[1]:.3f}<extra></extra>",
            text=[f"{kept:.2f} | {other:.2f}" for kept, other in contrast[["kept", "left out"]].to_numpy()],
            textposition="auto",
        )
    )
    figure.update_xaxes(title="rank correlation with strength", range=[-1, 1])
    figure.update_yaxes(autorange="reversed")
    return finish_figure(figure, 360, showlegend=False)


def make_trace(trace: TraceScores, chosen: set[str]) -> str:
    """HTML: red tokens raise the answer's probability, blue ones lower it; a bar marks chosen segments."""
    sizes = np.abs([score for _, tokens in trace.pieces for _, score in tokens])
    top = float(np.quantile(sizes, 0.97)) if len(sizes) else 0.0
    blocks = []
    for span, tokens in trace.pieces:
        parts = [
            f'<span title="{score:+.3f} nats" style="background:{_shade(score, top)}">{_draw_text(text, at)}</span>'
            for at, (text, score) in enumerate(tokens)
        ]
        color = PALETTE[0] if span in chosen else "rgba(128,128,128,.25)"
        blocks.append(
            f'<div style="border-left:4px solid {color};padding:.1em 0 .1em .7em;margin:.3em 0;white-space:pre-wrap;'
            f'overflow-wrap:anywhere;line-height:1.6">{"".join(parts)}</div>'
        )
    box = "max-height:430px;overflow:auto;border:1px solid rgba(128,128,128,.3);border-radius:.6rem;padding:.6rem 1rem"
    return f'<div style="{box}" tabindex="0" role="region" aria-label="trace">{"".join(blocks)}</div>'


def _draw_text(text: str, at: int) -> str:
    """A token, escaped; line ends as a sign where a segment begins, which is a line of its own already."""
    shown = html.escape(text)
    return shown.replace("\n", "↵") if not at or not text.strip() else shown


def _shade(score: float, top: float) -> str:
    share = min(1.0, abs(score) / top) if top > 0 else 0.0
    red, green, blue = (int((POSITIVE if score > 0 else NEGATIVE)[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{0.5 * share:.2f})"
