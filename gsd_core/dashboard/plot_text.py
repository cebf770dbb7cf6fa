"""Texts inside Plotly figures.

plain          text that Plotly draws as it is
shorten        a text of at most so many letters
name_in_plot   an annotation that names a group of points, at their median
"""

from __future__ import annotations

from typing import Any

import pandas as pd


def plain(text: str) -> str:
    """Text that Plotly draws as it is: it reads a few HTML tags, so none may come from data."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def shorten(text: str, n: int) -> str:
    """``text``, or its first ``n − 1`` letters and an ellipsis."""
    return text if len(text) <= n else text[: n - 1] + "…"


def name_in_plot(points: pd.DataFrame, text: str, ink: str, paper: str, **more: Any) -> dict[str, Any]:
    """An annotation ``text`` at the median of ``points`` (columns x, y); clicks pass through."""
    return {
        "x": float(points["x"].median()),
        "y": float(points["y"].median()),
        "text": plain(text),
        "showarrow": False,
        "font": {"size": 11, "color": ink},
        "bgcolor": paper,
        "borderpad": 2,
        "opacity": 0.9,
        "captureevents": False,
        **more,
    }
