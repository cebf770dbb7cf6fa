"""Figure of the stresses page.

plot_stresses   patterns by support and lift
keep_drawn      the patterns that the figure draws
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from gsd_core.dashboard.look.colors import NOISE, PALETTE
from gsd_core.dashboard.look.figure_frame import finish_figure, make_dots
from gsd_core.dashboard.look.plot_text import plain
from gsd_core.dashboard.reading.structure_queries import SIGNIFICANT

STRESS = PALETTE[0]
HEIGHT = 430


def keep_drawn(stresses: pd.DataFrame) -> pd.DataFrame:
    """Patterns that the figure draws: a logarithmic axis has no point for a lift of 0 or infinity."""
    return stresses[(stresses["lift"] > 0) & np.isfinite(stresses["lift"])]


def plot_stresses(stresses: pd.DataFrame) -> go.Figure:
    """Patterns by support and lift; size shows the length. Points carry their row in ``stresses``."""
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
        points = part.rename(columns={"support": "x", "lift": "y"})
        more = {"hoverinfo": "text", "hovertext": hover, "customdata": part.index.to_numpy(np.int32)}
        figure.add_trace(make_dots(points, name, marker, **more))
    figure.add_hline(1.0, line={"dash": "dash", "width": 1.2, "color": NOISE})
    return finish_figure(
        figure,
        HEIGHT,
        dragmode="pan",
        clickmode="event+select",
        xaxis={"title": "support: samples that hold it", "rangemode": "tozero", "zeroline": False},
        yaxis={"title": "lift over shuffled order", "type": "log", **_log_ticks(drawn["lift"].to_numpy(float))},
    )


def _log_ticks(values: np.ndarray) -> dict[str, Any]:
    """Ticks at 1, 2 and 5 times powers of ten, as plain numbers; over many decades only at the powers."""
    if not len(values):
        return {}
    low, high = int(np.floor(np.log10(values.min()))), int(np.ceil(np.log10(values.max())))
    factors = (1, 2, 5) if high - low <= 3 else (1,)
    ticks = [factor * 10.0**power for power in range(low, high + 1) for factor in factors]
    return {"tickvals": ticks, "ticktext": [f"{tick:,.10g}" for tick in ticks]}
