"""Polygons that were drawn on a map.

read_polygon   a polygon that the browser sent
find_inside    the points inside a polygon
MOST_CORNERS   corners that a polygon may have
"""

from __future__ import annotations

from typing import Any

import numpy as np

MOST_CORNERS = 200


def read_polygon(value: Any) -> np.ndarray | None:
    """(k, 2) float64 corners of ``[[x, y], …]``; None for any other value."""
    if not isinstance(value, list | tuple) or not 3 <= len(value) <= MOST_CORNERS:
        return None
    try:
        corners = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return corners if corners.shape == (len(value), 2) and np.isfinite(corners).all() else None


def find_inside(x: np.ndarray, y: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """(n,) bool: which points lie inside ``polygon`` (k, 2), by the even-odd rule; points that are not finite do not.

    A horizontal ray from each point crosses an edge or does not (Shimrat 1962). Points are sorted by y once, so that
    each edge is compared only with the points beside it.
    """
    (left, low), (right, high) = polygon.min(axis=0), polygon.max(axis=0)
    near = np.flatnonzero((x >= left) & (x <= right) & (y >= low) & (y <= high))
    near = near[np.argsort(y[near])]
    px, py = x[near].astype(np.float64), y[near].astype(np.float64)
    is_odd = np.zeros(len(near), dtype=bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        beside = slice(*np.searchsorted(py, sorted((y0, y1))))
        if y0 != y1:
            is_odd[beside] ^= px[beside] < x0 + (py[beside] - y0) / (y1 - y0) * (x1 - x0)
    inside = np.zeros(len(x), dtype=bool)
    inside[near[is_odd]] = True
    return inside
