"""Maps of too many spans for a Plotly chart, as blocks that the browser fetches.

LARGEST_CHART      number of spans above which ``components.scatter`` draws the map
is_big             whether a view has more spans
make_coordinates   where the spans lie
make_look          colours, legend and labels
make_sample        a view of some of the spans, for browsers without WebGL

Axes: n spans. Every span is a round point; groups after the eighth share hues, and their names tell them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from plotly.colors import sample_colorscale

from gsd_core.dashboard.components.scatter import ScatterLook
from gsd_core.dashboard.components.scatter.encoding import Block, encode_coordinates, encode_values
from gsd_core.dashboard.look.colors import NOISE, SEQUENTIAL, compute_marks
from gsd_core.dashboard.look.plot_text import shorten
from gsd_core.dashboard.map.map_figures import MAX_IN_LEGEND, MAX_NAMED, NO_GROUP, OTHER, ColorBy
from gsd_core.dashboard.reading.run_view import RunView

LARGEST_CHART = 50_000
MAX_LABELS = 300
STEPS = 255  # of a colour scale; the index after them stands for "unknown"
SAMPLED, SAMPLE_SEED = 8_000, 0  # as many spans as a browser can draw without WebGL


def is_big(view: RunView) -> bool:
    """Whether the map has too many spans for a Plotly chart."""
    return len(view.spans) > LARGEST_CHART


def make_coordinates(view: RunView) -> Block:
    """Coordinates of every span."""
    return encode_coordinates(view.spans["x"].to_numpy(np.float32), view.spans["y"].to_numpy(np.float32))


def make_look(view: RunView, color: ColorBy) -> ScatterLook:
    """Colours, legend and labels of the points."""
    if color.kind in NO_GROUP:
        return _group_look(view, color)
    if color.kind == "category":
        return _category_look(view.spans[color.column], color)
    return _number_look(view.spans[color.column].to_numpy(np.float64), color)


def _legend(colors: Sequence[str], names: Sequence[str]) -> list[tuple[str, str]]:
    """The first names, and the last one, which stands for the rest."""
    pairs = list(zip(colors, (shorten(name, 34) for name in names), strict=True))
    return [*pairs[:-1][:MAX_IN_LEGEND], pairs[-1]]


def _group_look(view: RunView, color: ColorBy) -> ScatterLook:
    """Clusters or families; the last index is what is in none."""
    groups = view.list_coloured(color.kind)
    numbers = groups["group"].to_numpy(np.int64)
    own = view.spans[color.column].to_numpy(np.int64)
    index_of = np.full(max(own.max(initial=-1), numbers.max(initial=-1)) + 2, len(numbers))
    index_of[numbers] = np.arange(len(numbers))
    values = index_of[np.maximum(own, -1)]  # −1 is the last index
    colors = [*(mark.color for mark in groups["mark"]), NOISE]
    names = [*groups["name"], NO_GROUP[color.kind]]
    return ScatterLook(
        encode_values(values),
        colors,
        names,
        color.title,
        legend=_legend(colors, names),
        labels=_make_labels(view, values, groups["label"].tolist()),
    )


def _make_labels(view: RunView, values: np.ndarray, words: Sequence[str]) -> list[tuple[float, float, int, str]]:
    """Names of the first groups at the medians of their points."""
    x, y = view.spans["x"].to_numpy(), view.spans["y"].to_numpy()
    order = np.argsort(values, kind="stable")
    starts = np.searchsorted(values[order], np.arange(len(words) + 1))
    labels = []
    for index, label in enumerate(words[:MAX_LABELS]):
        rows = order[starts[index] : starts[index + 1]]
        if len(rows) >= 3:
            middle = float(np.nanmedian(x[rows])), float(np.nanmedian(y[rows]))
            labels.append((*middle, index, shorten(label, 28)))
    return labels


def _category_look(column: pd.Series, color: ColorBy) -> ScatterLook:
    codes, unique = pd.factorize(column.astype(str))
    counts = np.bincount(codes, minlength=len(unique))
    often = [int(code) for code in np.argsort(-counts, kind="stable") if unique[code] != "(none)"][:MAX_NAMED]
    index_of = np.full(len(unique), len(often))
    index_of[often] = np.arange(len(often))
    names = [*(str(unique[code]) for code in often), OTHER]
    colors = [*(mark.color for mark in compute_marks(names[:-1]).values()), NOISE]
    return ScatterLook(encode_values(index_of[codes]), colors, names, color.title, legend=_legend(colors, names))


def _number_look(numbers: np.ndarray, color: ColorBy) -> ScatterLook:
    shown = np.log10(np.maximum(numbers, 1e-12)) if color.column == "norm" else numbers
    known = np.isfinite(shown)
    low, high = (float(shown[known].min()), float(shown[known].max())) if known.any() else (0.0, 1.0)
    steps = np.where(known, (shown - low) / ((high - low) or 1.0) * (STEPS - 1), STEPS)
    middles = low + np.arange(STEPS) / (STEPS - 1) * (high - low)
    if color.column == "norm":
        middles = 10.0**middles
    colors = [
        *map(_as_hex, sample_colorscale(SEQUENTIAL, list(np.linspace(0, 1, STEPS)), colortype="tuple")),
        NOISE,
    ]
    names = [*(f"{middle:.3g}" for middle in middles), "unknown"]
    return ScatterLook(
        encode_values(np.rint(steps).astype(np.int64)),
        colors,
        names,
        color.title,
        scale=(names[0], names[-2]),
    )


def _as_hex(color: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in color)


def make_sample(view: RunView, mask: np.ndarray) -> tuple[RunView, np.ndarray]:
    """A view of at most ``SAMPLED`` random spans of ``mask`` (n,) bool, and its own mask.

    The frame's index keeps their row numbers.
    """
    rows = np.flatnonzero(mask)
    if len(rows) > SAMPLED:
        rows = np.sort(np.random.default_rng(SAMPLE_SEED).choice(rows, SAMPLED, replace=False))
    return replace(view, spans=view.spans.iloc[rows]), np.ones(len(rows), dtype=bool)
