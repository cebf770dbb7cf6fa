"""Rings over a Plotly chart: the chosen span, the spans aligned with it, and lines between them.

plot_rings   mount the overlay over a chart

A changed Plotly figure would be drawn again and lose its zoom. The overlay follows the figure's axes instead.
"""

from __future__ import annotations

from collections.abc import Sequence

from gsd_core.dashboard.components import declare
from gsd_core.dashboard.look.colors import ACCENT

_rings = declare("rings", '<div class="gsd-rings" hidden></div>')


def plot_rings(chart_key: str, points: Sequence[tuple[float, float]], key: str) -> None:
    """Ring ``points`` (coordinates) on the chart whose key is ``chart_key``; the first is the chosen span."""
    data = {
        "chart": f"st-key-{chart_key}",
        "points": [[round(float(x), 4), round(float(y), 4)] for x, y in points],
        "accent": ACCENT,
    }
    _rings(key=key, data=data, height=1)
