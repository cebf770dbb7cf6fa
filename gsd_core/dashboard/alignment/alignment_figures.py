"""Figures of the alignment page, and their tables.

plot_layers          cosines of aligned pairs layer by layer, beside clusters and random pairs
plot_clusters        mean cosine between clusters
plot_cosines         claim figure A: distributions of cosines
make_cells_table     cells of the heat map of two traces
make_layers_table    cosines of pairs and of sets of pairs, layer by layer
make_clusters_table  pairs of clusters with their names
COSINE_KINDS         kinds of cosines in claim figure A

Cosines are drawn on a red-to-blue scale around 0, which colour-blind readers tell apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from gsd_core.dashboard.look.colors import NOISE, PALETTE
from gsd_core.dashboard.look.figure_frame import COLOR_BAR, MAX_TEXT_CELLS, finish_figure, make_cells, name_pair
from gsd_core.dashboard.look.plot_text import plain, shorten
from gsd_core.dashboard.reading.run_view import RunView
from gsd_core.dashboard.reading.structure_queries import PairView

INK = "#111827"
MAX_CLUSTERS = 24

COSINE_KINDS = ("single tokens", "random windows", "shuffled", "spans", "same cluster")  # of claim figure A


def plot_layers(values: np.ndarray, columns: Sequence[str], layers: Sequence[str], means: pd.DataFrame) -> go.Figure:
    """Cosines ``values`` (L, m) of the m aligned pairs ``columns`` beside the stored table ``layers``, ``means``."""
    widths = [0.62, 0.38] if len(columns) else [0.0001, 0.9999]
    figure = make_subplots(1, 2, shared_yaxes=True, column_widths=widths, horizontal_spacing=0.03)
    names = [plain(layer) for layer in layers]
    if len(columns):
        figure.add_trace(
            make_cells(
                values,
                columns,
                names,
                showscale=False,
                texttemplate="%{z:.2f}" if values.size <= MAX_TEXT_CELLS else None,
                hovertemplate="pair %{x}, %{y}: %{z:.3f}<extra></extra>",
            ),
            1,
            1,
        )
    for kind, color, symbol in (("same cluster", PALETTE[0], "circle"), ("random", NOISE, "square")):
        part = means[means["set"] == kind]
        middle = part["mean"].to_numpy(float)
        figure.add_trace(
            go.Scatter(
                x=middle,
                y=[plain(str(layer)) for layer in part["layer"]],
                mode="lines+markers",
                name=f"{kind} (n = {int(part['n'].max()):,})" if len(part) else kind,
                marker={"color": color, "symbol": symbol, "size": 8},
                line={"color": color, "width": 1, "dash": "dot"},
                error_x={
                    "type": "data",
                    "array": part["ci_high"].to_numpy(float) - middle,
                    "arrayminus": middle - part["ci_low"].to_numpy(float),
                    "thickness": 1.4,
                },
                hovertemplate="%{y}: %{x:.3f}<extra></extra>",
            ),
            1,
            2,
        )
    figure.update_yaxes(categoryorder="array", categoryarray=names, type="category")
    figure.update_xaxes(title="framed pair", type="category", row=1, col=1)
    figure.update_xaxes(title="mean cosine", row=1, col=2)
    return finish_figure(figure, int(np.clip(34 * len(names) + 90, 190, 560)))


def plot_clusters(view: RunView, edges: pd.DataFrame) -> go.Figure:
    """Mean cosine of spans of two clusters from different samples, for the biggest clusters."""
    shown = [int(cluster) for cluster in view.clusters["cluster"].tolist()[:MAX_CLUSTERS]]
    rank = {cluster: at for at, cluster in enumerate(shown)}
    values = np.full((len(shown), len(shown)), np.nan)
    counts = np.zeros(values.shape, np.int64)
    for a, b, cosine, n in edges[["cluster_a", "cluster_b", "cosine", "n"]].itertuples(index=False, name=None):
        if a in rank and b in rank:
            values[rank[a], rank[b]] = values[rank[b], rank[a]] = cosine
            counts[rank[a], rank[b]] = counts[rank[b], rank[a]] = n
    # Means are far from 1, so the scale ends at the largest.
    most = float(np.ceil(10 * max(np.nanmax(np.abs(values), initial=0.0), 0.1)) / 10)
    names = [plain(shorten(view.cluster_name(cluster), 26)) for cluster in shown]
    figure = go.Figure(
        make_cells(
            values,
            list(map(str, shown)),
            names,
            most,
            customdata=counts,
            texttemplate="%{z:.2f}" if values.size <= MAX_TEXT_CELLS else None,
            colorbar={**COLOR_BAR, "tickvals": [-most, 0, most]},
            hovertemplate="%{y}<br>with cluster %{x}: %{z:.3f}<br>%{customdata:,} pairs of spans<extra></extra>",
        )
    )
    return finish_figure(
        figure,
        int(np.clip(26 * len(shown) + 70, 200, 640)),
        xaxis={"type": "category", "title": "cluster", "showgrid": False},
        yaxis={"type": "category", "autorange": "reversed", "showgrid": False},
    )


def plot_cosines(cosines: pd.DataFrame, threshold: float) -> go.Figure:
    """Claim figure A: cosines of pairs of spans of different samples by kind, each with its n.

    The diamond is the mean with its 95 % interval over the pairs drawn.
    """
    figure = go.Figure()
    kinds = list(dict.fromkeys(cosines["kind"]))
    # A kind has the same colour in every figure.
    hues = {kind: at for at, kind in enumerate(dict.fromkeys([*COSINE_KINDS, *kinds]))}
    for kind in kinds:
        values = cosines.loc[cosines["kind"] == kind, "cosine"].to_numpy(np.float32)
        name = f"{plain(str(kind))}<br>n = {len(values):,}"
        figure.add_trace(
            go.Violin(
                x=values,
                y=[name] * len(values),
                orientation="h",
                side="negative",  # upwards, because the axis is reversed
                width=1.5,
                line={"color": PALETTE[hues[kind] % len(PALETTE)], "width": 1.2},
                box={"visible": True, "width": 0.18},
                points=False,
                spanmode="hard",
                hoverinfo="x",
                showlegend=False,
            )
        )
        mean, half = float(values.mean()), 1.96 * float(values.std()) / max(len(values), 1) ** 0.5
        figure.add_trace(
            go.Scatter(
                x=[mean],
                y=[name],
                mode="markers",
                marker={"color": INK, "symbol": "diamond", "size": 7},
                error_x={"type": "constant", "value": half, "thickness": 2, "width": 4},
                hovertemplate=f"mean {mean:.3f} ± {half:.3f}<extra></extra>",
                showlegend=False,
            )
        )
    if np.isfinite(threshold):
        figure.add_vline(
            threshold,
            line={"dash": "dash", "width": 1.2, "color": NOISE},
            annotation={"text": "null 95 %", "font": {"size": 11}, "yanchor": "top", "xanchor": "left"},
        )
    return finish_figure(
        figure,
        110 + 80 * max(len(kinds), 1),
        xaxis={"title": "centred cosine", "zeroline": False},
        yaxis={"autorange": "reversed"},
    )


def make_cells_table(view: RunView, pair: PairView) -> pd.DataFrame:
    """``span_a, span_b, cosine, pair`` of every cell, row by row; ``pair`` is an aligned pair's letter or ``""``."""
    n_a, n_b = pair.cosines.shape
    spans = view.spans["span"].to_numpy()
    letters = np.full((n_a, n_b), "", dtype=object)
    for number, (i, j, _) in enumerate(pair.aligned):
        letters[i, j] = name_pair(number)
    return pd.DataFrame(
        {
            "span_a": np.repeat(spans[pair.rows_a], n_b),
            "span_b": np.tile(spans[pair.rows_b], n_a),
            "cosine": pair.cosines.ravel(),
            "pair": letters.ravel(),
        }
    )


def make_layers_table(values: np.ndarray, pair: PairView, layers: Sequence[str], means: pd.DataFrame) -> pd.DataFrame:
    """``set, layer, cosine, ci_low, ci_high, n``: ``values`` (L, m) of the m aligned pairs by letter, then the stored
    table ``means`` of sets of pairs. A single pair has no interval."""
    single = [
        {"set": f"pair {name_pair(number)}", "layer": layer, "cosine": float(values[at, number]), "n": 1}
        for number in range(len(pair.aligned))
        for at, layer in enumerate(layers)
    ]
    whole = means.rename(columns={"mean": "cosine"}).to_dict("records")
    return pd.DataFrame([*single, *whole], columns=["set", "layer", "cosine", "ci_low", "ci_high", "n"])


def make_clusters_table(view: RunView, edges: pd.DataFrame, most: int) -> pd.DataFrame:
    """The stored table ``edges`` among the ``most`` biggest clusters, with their names."""
    shown = view.clusters["cluster"].tolist()[:most]
    inside = edges[edges["cluster_a"].isin(shown) & edges["cluster_b"].isin(shown)]
    names = {side: inside[f"cluster_{side}"].map(view.cluster_name) for side in "ab"}
    return inside.assign(name_a=names["a"], name_b=names["b"])
