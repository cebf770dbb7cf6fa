"""The map of very many spans on the page.

show_big_map   the points, drawn by WebGL
plot_sample    a chart of some of them, for browsers without WebGL
has_no_webgl   whether this session's browser has no WebGL
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from gsd_core.dashboard.components.scatter import ScatterEvents, ScatterLook, plot_scatter
from gsd_core.dashboard.components.scatter.encoding import Block, encode_mask
from gsd_core.dashboard.components.scatter.polygons import find_inside
from gsd_core.dashboard.frame.charts import offer_files
from gsd_core.dashboard.frame.run_cache import BY_RUN, Chosen, get_view
from gsd_core.dashboard.look.figure_frame import use_no_webgl
from gsd_core.dashboard.map import big_map, map_figures
from gsd_core.dashboard.map.map_figures import ColorBy
from gsd_core.dashboard.reading.run_view import RunView

_MISSING = "map_without_webgl"


def has_no_webgl() -> bool:
    """Whether the browser of this session cannot draw the map."""
    return bool(st.session_state.get(_MISSING))


@st.cache_resource(max_entries=4, show_spinner=False, hash_funcs=BY_RUN)
def _coordinates(chosen: Chosen) -> Block:
    return big_map.make_coordinates(get_view(chosen))


@st.cache_resource(max_entries=16, show_spinner=False, hash_funcs=BY_RUN)
def _look(chosen: Chosen, color: ColorBy) -> ScatterLook:
    return big_map.make_look(get_view(chosen), color)


def show_big_map(
    chosen: Chosen,
    mask: np.ndarray,
    color: ColorBy,
    *,
    key: str,
    height: int,
    on_rows: Callable[[Sequence[int] | np.ndarray], None],
    relay: str,
) -> None:
    """Draw the map.

    ``on_rows`` gets a list with the clicked row as the browser sent it, or an array of the rows in the drawn polygon
    that ``mask`` (n,) keeps, empty when the polygon was removed. ``relay`` as in ``plot_scatter``.
    """

    view = get_view(chosen)

    def drawn(polygon: np.ndarray | None) -> None:
        if polygon is None:
            on_rows(np.zeros(0, dtype=np.int64))
            return
        inside = find_inside(view.spans["x"].to_numpy(), view.spans["y"].to_numpy(), polygon)
        on_rows(np.flatnonzero(inside & mask))

    def missing() -> None:
        st.session_state[_MISSING] = True

    name = f"Map of {len(view.spans):,} spans coloured by {color.title}"
    with offer_files(
        key=key,
        alt=name,
        name=f"{view.name} {view.checkpoint} map {color.name}",
        table=partial(map_figures.make_map_table, view, mask, color.column),
        formats=("png",),
    ):
        plot_scatter(
            _coordinates(chosen),
            _look(chosen, color),
            None if mask.all() else encode_mask(mask),
            key=key,
            height=height,
            name=name,
            events=ScatterEvents(on_pick=lambda row: on_rows([row]), on_draw=drawn, on_missing=missing),
            relay=relay,
        )


def plot_sample(view: RunView, mask: np.ndarray, color: ColorBy, *, is_dark: bool, height: int) -> go.Figure:
    """A chart without WebGL of random spans of ``mask`` (n,); also writes a note that says so."""
    sample, own_mask = big_map.make_sample(view, mask)
    st.info(
        f"This browser has no WebGL, which a map of {len(view.spans):,} spans needs: you see {len(sample.spans):,} of "
        f"the {int(mask.sum()):,} spans, drawn at random.",
        icon=":material/visibility_off:",
    )
    return use_no_webgl(map_figures.plot_map(sample, own_mask, color, is_dark=is_dark, height=height))
