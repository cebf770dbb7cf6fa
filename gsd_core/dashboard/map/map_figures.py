"""Figure of the map page, and its table.

ColorBy             what the points of a map are coloured by
list_color_choices  the choices for a run
pick_color          the choice that a map begins with
plot_map            the layout of span directions
make_map_table      the same spans as a table to save

Points carry their row number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from gsd_core.dashboard.look.colors import NOISE, NOISE_MARK, SEQUENTIAL, Mark, choose_ink, compute_marks
from gsd_core.dashboard.look.figure_frame import finish_figure, make_dots, wrap_text
from gsd_core.dashboard.look.plot_text import keep_apart, name_in_plot, plain, shorten
from gsd_core.dashboard.reading.families import LEAST_COLOURED
from gsd_core.dashboard.reading.run_view import RunView
from gsd_core.methods.structure_method import LEVEL_NAMES

MAX_NAMED = 24  # categories with a colour of their own; the rest share grey
MOST_BEGUN = 60  # values of a label that a map begins with
MAX_LABELS_ON_MAP = 14
LABEL_AREA = (640.0, 420.0)  # pixels that the map has at least, legend aside
MAX_IN_LEGEND = 18
MAX_HOVER_TEXTS = 6_000
OTHER = "(other)"
NO_GROUP = {"cluster": "noise", "family": "in no family", **dict.fromkeys(LEVEL_NAMES, "in no cluster")}


@dataclass(frozen=True)
class ColorBy:
    """``column`` of ``RunView.spans``; ``kind`` "cluster", "family", a level, "category" or "number"; ``title`` has the
    unit."""

    name: str
    column: str
    kind: str
    title: str


def list_color_choices(view: RunView) -> dict[str, ColorBy]:
    """What a run's spans can be coloured by, the default first."""
    choices = []
    if view.is_analyzed:
        choices.append(ColorBy("cluster", "cluster", "cluster", "Clusters, dense ones"))
        choices += [ColorBy(name, name, name, f"Clusters, {name}") for name in view.levels]
    if len(view.families.table):
        choices.append(ColorBy("family", "family", "family", "Families"))
    choices += [ColorBy(label.name, label.name, label.kind, label.name) for label in view.labels]
    choices.append(ColorBy("position", "position", "number", "Position in trace (0 first, 1 last)"))
    choices += [  # an imported run lacks some of them
        ColorBy(name, name, "number", title)
        for name, title in (
            ("norm", "Gradient norm (log scale)"),
            ("coherence", "Coherence (0 to 1)"),
            ("loss", "Loss (nats per token)"),
            ("spectral", "Spectral strength (0 to 1)"),
            ("grace", "GRACE-like score (-1 to 1)"),
            ("answer_strength", "Strength on the answer (share of the trace)"),
            ("answer_consistency", "Consistency of it (0 to 1)"),
        )
        if view.spans[name].notna().any()
    ]
    choices.append(ColorBy("sample", "sample", "category", "Sample"))
    return {choice.name: choice for choice in choices}


def pick_color(view: RunView, choices: dict[str, ColorBy]) -> str:
    """The choice that a map begins with: clusters; where they hold next to nothing families, a label of steps, or the
    position in the trace, as the map would be all grey."""
    is_grey = (view.spans["cluster"] >= 0).mean() < LEAST_COLOURED
    if not is_grey or "position" not in choices:
        return next(iter(choices))
    if "family" in choices and (view.spans["family"] >= 0).mean() >= LEAST_COLOURED:
        return "family"
    for label in view.labels:
        values = view.spans[label.name]
        is_short = label.kind == "category" and values.nunique() <= MOST_BEGUN
        if is_short and values.groupby(view.spans["sample"]).nunique().max() > 1:
            return label.name
    return "position"


class _Look(NamedTuple):
    """Size of a figure's points in pixels, and whether they carry their text."""

    size: float
    has_text: bool


def _trace(frame: pd.DataFrame, name: str, marker: dict[str, Any], look: _Look, **more: Any) -> go.Scattergl:
    hover: dict[str, Any] = {"hoverinfo": "name" if name else "none"}
    if look.has_text:
        head = f"<b>{plain(name)}</b><br>" if name else ""
        hover = {"hoverinfo": "text", "hovertext": [head + wrap_text(str(text), 3, 48) for text in frame["text"]]}
    return make_dots(
        frame,
        plain(shorten(name, 34)),
        marker,
        customdata=frame.index.to_numpy(np.int32),
        selected={"marker": {"opacity": 1.0}},
        unselected={"marker": {"opacity": 0.28}},
        **hover,
        **more,
    )


def _category_traces(shown: pd.DataFrame, column: str, look: _Look) -> list[go.Scattergl]:
    counts = shown[column].astype(str).value_counts()
    named = [value for value in counts.index if value != "(none)"][:MAX_NAMED]
    marks = compute_marks(named)
    groups = shown[column].astype(str).where(lambda values: values.isin(named), OTHER)
    traces = []
    for value in [OTHER, *reversed(named)]:
        part = shown[groups == value]
        if len(part):
            mark = marks.get(value, NOISE_MARK)
            in_legend = value == OTHER or named.index(value) < MAX_IN_LEGEND
            traces.append(_marked(part, value, mark, look, 0.45 if value == OTHER else 0.85, in_legend))
    return traces


def _marked(
    part: pd.DataFrame, name: str, mark: Mark, look: _Look, opacity: float, in_legend: bool = True
) -> go.Scattergl:
    marker = {"color": mark.color, "symbol": mark.symbol, "size": look.size, "opacity": opacity}
    return _trace(part, name, marker, look, showlegend=in_legend)


def _log_ticks(logs: np.ndarray) -> dict[str, Any]:
    """Ticks of a colour bar of log10 values at 1, 2 and 5 times powers of ten, written as plain numbers."""
    if not len(logs):
        return {}
    steps = [
        factor * 10.0**power
        for power in range(int(np.floor(logs.min())), int(np.ceil(logs.max())) + 1)
        for factor in (1, 2, 5)
    ]
    inside = [step for step in steps if logs.min() <= np.log10(step) <= logs.max()]
    return {"tickvals": [float(np.log10(step)) for step in inside], "ticktext": [f"{step:g}" for step in inside]}


def _number_trace(shown: pd.DataFrame, color: ColorBy, look: _Look) -> go.Scattergl:
    is_log = color.column == "norm"
    values = shown[color.column].to_numpy(np.float32)
    bar: dict[str, Any] = {"title": {"text": plain(color.title), "side": "right"}, "thickness": 10}
    if is_log:
        values = np.log10(np.maximum(values, 1e-12))
        bar |= _log_ticks(values)
    marker = {"color": values, "colorscale": SEQUENTIAL, "size": look.size, "opacity": 0.85}
    return _trace(shown, "", {**marker, "showscale": True, "colorbar": bar}, look, showlegend=False)


def _group_traces(view: RunView, shown: pd.DataFrame, color: ColorBy, look: _Look) -> list[go.Scattergl]:
    """Clusters or families, the first ones on top; what is in none is small and grey."""
    traces = []
    none = shown[shown[color.column] < 0]
    if len(none):
        small = look._replace(size=max(look.size * 0.7, 2.5))
        traces.append(_marked(none, NO_GROUP[color.kind], NOISE_MARK, small, 0.4))
    groups = view.list_coloured(color.kind)
    for rank, (group, name, mark) in reversed(list(enumerate(groups[["group", "name", "mark"]].to_numpy().tolist()))):
        part = shown[shown[color.column] == group]
        if len(part):
            traces.append(_marked(part, name, mark, look, 0.85, rank < MAX_IN_LEGEND))
    return traces


def _group_names(view: RunView, shown: pd.DataFrame, color: ColorBy, ink: str, paper: str) -> list[dict[str, Any]]:
    """Names of the first clusters or families at the medians of their points, as far as there is room."""
    notes = []
    for group, words in view.list_coloured(color.kind)[["group", "label"]].head(4 * MAX_LABELS_ON_MAP).to_numpy():
        part = shown[shown[color.column] == group]
        if len(part) >= 3:
            notes.append(name_in_plot(part, shorten(str(words), 28), ink, paper))
    return keep_apart(notes, view.spans, *LABEL_AREA, MAX_LABELS_ON_MAP)


def plot_map(view: RunView, mask: np.ndarray, color: ColorBy, *, is_dark: bool = False, height: int = 640) -> go.Figure:
    """The layout of span directions (UMAP), coloured.

    The spans that ``mask`` (n,) keeps are in full colour, the others faint, so that the map keeps its shape.
    """
    spans = view.spans
    known = spans["x"].notna().to_numpy()
    shown, ground = spans[mask & known], spans[~mask & known]
    n = int(known.sum())
    # The more points, the smaller; on big maps without texts, which would be most of what is sent.
    look = _Look(float(np.clip(150 / max(n, 1) ** 0.42, 2.5, 10.0)), n <= MAX_HOVER_TEXTS)
    figure = go.Figure()
    if len(ground):
        marker = {"color": NOISE, "size": max(look.size * 0.6, 2.0), "opacity": 0.16}
        plainly: dict[str, Any] = {"hoverinfo": "skip", "showlegend": False, "selected": None, "unselected": None}
        figure.add_trace(make_dots(ground, "", marker, **plainly))
    if color.kind in NO_GROUP:
        traces = _group_traces(view, shown, color, look)
    elif color.kind == "category":
        traces = _category_traces(shown, color.column, look)
    else:
        traces = [_number_trace(shown, color, look)]
    figure.add_traces(traces)
    legend = {"traceorder": "reversed", "y": -0.01, "yanchor": "top", "font": {"size": 11}, "bgcolor": "rgba(0,0,0,0)"}
    return finish_figure(
        figure,
        height,
        margin={"t": 0},
        dragmode="pan",  # in lasso or select mode point clicks are switched off
        clickmode="event+select",
        legend=legend,
        xaxis={"visible": False},
        yaxis={"visible": False},
        annotations=_group_names(view, shown, color, *choose_ink(is_dark)) if color.kind in NO_GROUP else (),
    )


def make_map_table(view: RunView, mask: np.ndarray, column: str) -> pd.DataFrame:
    """Spans with coordinates that ``mask`` (n,) keeps: ``span, sample, index, text, x, y, cluster, cluster_label`` and
    ``column``, what they are coloured by."""
    columns = ["span", "sample", "index", "text", "x", "y", "cluster", "cluster_label"]
    known = view.spans["x"].notna().to_numpy()
    return view.spans.loc[mask & known, list(dict.fromkeys([*columns, column]))]
