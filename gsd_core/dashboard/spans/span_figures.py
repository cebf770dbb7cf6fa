"""Figure of a few spans compared with one another, and its table.

plot_matrix        cosines of k spans with one another
make_matrix_table  the same cosines as a table to save
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from gsd_core.dashboard.look.figure_frame import COLOR_BAR, finish_figure, make_cells, wrap_text


def plot_matrix(cosines: np.ndarray, texts: Sequence[str]) -> go.Figure:
    """(k, k) cosines of k spans with one another, numbered from 1; ``texts`` are shown on hover."""
    names = [str(number) for number in range(1, len(texts) + 1)]
    shown = [wrap_text(text) for text in texts]
    figure = go.Figure(
        make_cells(
            cosines.astype(np.float32),
            names,
            names,
            showscale=len(texts) > 12,  # up to 12 every cell shows its number
            colorbar=COLOR_BAR,
            text=[[f"{value:.2f}" for value in row] for row in cosines] if len(texts) <= 12 else None,
            texttemplate="%{text}" if len(texts) <= 12 else None,
            customdata=[[f"{a}<br>↔ {b}" for b in shown] for a in shown],
            hovertemplate="<b>%{z:.2f}</b><br>%{customdata}<extra></extra>",
        )
    )
    axis = {"showgrid": False, "fixedrange": True, "type": "category", "constrain": "domain"}
    return finish_figure(
        figure,
        int(np.clip(34 * len(texts) + 60, 160, 520)),
        xaxis=axis,
        yaxis={**axis, "autorange": "reversed", "scaleanchor": "x"},
    )


def make_matrix_table(cosines: np.ndarray, spans: Sequence[str]) -> pd.DataFrame:
    """``span_a, span_b, cosine`` of every cell of ``cosines`` (k, k), row by row."""
    n = len(spans)
    return pd.DataFrame({"span_a": np.repeat(spans, n), "span_b": np.tile(spans, n), "cosine": cosines.ravel()})
