"""Rings over a Plotly map: the chosen span, the spans aligned with it, and lines between them.

plot_rings   mount the overlay over the chart with a given key

Changing a Plotly figure would draw it anew and lose its zoom; the overlay leaves the figure alone and follows its axes.
"""

from __future__ import annotations

from collections.abc import Sequence

from gsd_core.dashboard.components import declare
from gsd_core.dashboard.drawing.colors import ACCENT

_rings = declare("rings", '<div class="gsd-rings" hidden></div>')


def plot_rings(chart_key: str, points: Sequence[tuple[float, float]], key: str) -> None:
    """Ring ``points`` (layout coordinates) on the chart whose key is ``chart_key``: the first one is the chosen span.

    No points: no rings.
    """
    data = {
        "chart": f"st-key-{chart_key}",
        "points": [[round(float(x), 4), round(float(y), 4)] for x, y in points],
        "accent": ACCENT,
    }
    _rings(key=key, data=data, height=1)
