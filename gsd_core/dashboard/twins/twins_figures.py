"""Figure of the twins page, and its table.

plot_quadrants        pairs of samples by semantic and structural similarity, twins on top
make_quadrants_table  the same pairs as a table to save
TWIN                  colour of twins

Points of twins carry their row; a click on another point does nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from gsd_core.dashboard.look.colors import NOISE, PALETTE
from gsd_core.dashboard.look.figure_frame import finish_figure, make_dots, wrap_text
from gsd_core.dashboard.reading.run_view import RunView
from gsd_core.dashboard.reading.structure_queries import SIGNIFICANT, Reference, Structure

TWIN, CANDIDATE = PALETTE[5], PALETTE[4]
MAX_TWINS_DRAWN = 1_000
HEIGHT = 470
_PAIR_COLUMNS = ["kind", "a", "b", "semantic", "structural", "rank", "q_value"]


def plot_quadrants(view: RunView, structure: Structure, reference: Reference) -> go.Figure:
    """Semantic similarity of the questions against structural similarity of the reasoning (methods §1.6, ours).

    ``reference`` are semantic cosines of random pairs; twins lie left of its median, a dashed line. Points of twins
    carry their row in ``structure.twins``.
    """
    pairs = structure.pairs.rename(columns={"semantic": "x", "structural": "y"})
    is_candidate = pairs["is_candidate"].to_numpy(bool)
    figure = go.Figure()
    figure.add_trace(make_dots(pairs[is_candidate], "tested pairs", _marker(CANDIDATE, 4, 0.35), hoverinfo="skip"))
    figure.add_trace(make_dots(pairs[~is_candidate], "random pairs", _marker(NOISE, 4, 0.55), hoverinfo="skip"))
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
        marker = {**_marker(fill, size, 1.0), "symbol": "diamond", "line": {"color": TWIN, "width": 1.0}}
        more = {"hoverinfo": "text", "hovertext": hover, "customdata": part.index.to_numpy(np.int32)}
        figure.add_trace(make_dots(part, name, marker, **more))
    median = structure.info.get("twins", {}).get("semantic_median", reference.median)
    if median is not None and np.isfinite(median):
        figure.add_vline(
            median,
            line={"dash": "dash", "width": 1.2, "color": NOISE},
            annotation={"text": "median", "font": {"size": 11}, "yanchor": "top", "xanchor": "left"},
        )
    return finish_figure(
        figure,
        HEIGHT,
        dragmode="pan",
        clickmode="event+select",
        xaxis={"title": "semantic: cosine of the questions", "zeroline": False},
        yaxis={"title": "structural: aligned run", "rangemode": "tozero", "zeroline": False},
    )


def _marker(color: str, size: float, opacity: float) -> dict[str, Any]:
    return {"color": color, "size": size, "opacity": opacity}


def make_quadrants_table(structure: Structure, n_twins: int) -> pd.DataFrame:
    """``_PAIR_COLUMNS`` of the stored pairs and of the first ``n_twins`` twins; ``kind`` is random, tested or twin."""
    kinds = np.where(structure.pairs["is_candidate"].to_numpy(bool), "tested", "random")
    pairs, twins = structure.pairs.assign(kind=kinds), structure.twins.head(n_twins).assign(kind="twin")
    return pd.concat([pairs, twins]).reindex(columns=_PAIR_COLUMNS)
