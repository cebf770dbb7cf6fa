"""Texts in figures and on pages.

plain          text that Plotly draws as it is
shorten        a text of at most so many characters
name_in_plot   an annotation that names a group of points, at their median
keep_apart     the annotations that do not cover one another
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import pandas as pd


def plain(text: str) -> str:
    """Text that Plotly draws as it is. Plotly reads a few HTML tags, so none may come from data."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def shorten(text: str, length: int) -> str:
    """``text`` on one line; beyond ``length`` characters it is cut and ends in an ellipsis."""
    flat = " ".join(text.split())
    return flat if len(flat) <= length else flat[: length - 1].rstrip() + "…"


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


def keep_apart(
    notes: Sequence[dict[str, Any]], points: pd.DataFrame, width: float, height: float, most: int
) -> list[dict[str, Any]]:
    """Annotations that do not cover one another: at most ``most``, earlier ``notes`` first.

    ``points`` (columns x, y) are what the plot shows, ``width`` and ``height`` its size in pixels. A letter is counted
    as 6.3 pixels wide at size 11, which hardly any label exceeds.
    """
    scale = [
        size / max(float(points[axis].max() - points[axis].min()), 1e-9) for axis, size in (("x", width), ("y", height))
    ]
    kept: list[dict[str, Any]] = []
    taken: list[tuple[float, float, float]] = []
    for note in notes:
        x, y = note["x"] * scale[0], note["y"] * scale[1]
        half = 3.15 * len(html.unescape(note["text"])) + 4
        if all(abs(x - other_x) >= half + other or abs(y - other_y) >= 20 for other_x, other_y, other in taken):
            kept.append(note)
            taken.append((x, y, half))
        if len(kept) == most:
            break
    return kept
