"""The map of very many spans, drawn by WebGL 2: a click chooses a span, a lasso or a box selects many.

ScatterLook     colours, legend and labels of the points
ScatterEvents   what is called when something happens on the map
plot_scatter    mount the map
read_row        a row that the browser sent

Points are not part of the page. They are blocks of bytes (``encoding``) that the browser fetches once over HTTP from
Streamlit's media route, which also serves ``st.image``: it needs no setting and no file on disk, gives every content
its own address, and forgets it with the last session that shows it. A click sends a row back, a lasso only its corners.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st
from streamlit import runtime

from gsd_core.dashboard.components import declare, read_sent
from gsd_core.dashboard.components.scatter.encoding import Block
from gsd_core.dashboard.components.scatter.polygons import read_polygon
from gsd_core.dashboard.look.colors import ACCENT

_scatter = declare("scatter", '<div class="gsd-scatter"></div>')


@dataclass(frozen=True)
class ScatterLook:
    """``values`` are indices into ``colors``; ``names`` say what each colour means, ``""`` for nothing.

    ``legend`` is (color, name) in order; a scale of numbers has ``scale`` instead, (lowest, highest) as text.
    ``labels`` are (x, y, index of the colour, text), most important first.
    """

    values: Block
    colors: Sequence[str]
    names: Sequence[str]
    title: str
    legend: Sequence[tuple[str, str]] = ()
    scale: tuple[str, str] | None = None
    labels: Sequence[tuple[float, float, int, str]] = ()


@dataclass(frozen=True)
class ScatterEvents:
    """Callbacks, each before the page reruns.

    ``on_pick`` gets the row that was clicked, any whole number ≥ 0; ``on_draw`` the corners (k, 2) of the polygon that
    was drawn, None when it was removed. ``on_missing`` is called where the browser cannot draw the map.
    """

    on_pick: Callable[[int], None]
    on_draw: Callable[[np.ndarray | None], None]
    on_missing: Callable[[], None]


def _publish(block: Block, name: str) -> str:
    """Address of ``block`` on this server; it replaces the block of this ``name`` in this session."""
    # The address comes from our digest because Streamlit's own reads only parts of a long content. Content of type
    # "application/gzip" is not compressed again for every request.
    address = runtime.get_instance().media_file_mgr.add(block.content, "application/gzip", name, file_name=block.digest)
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{base}{address}" if base else address


def read_row(value: Any) -> int | None:
    """The row, a whole number ≥ 0, that the browser sent as ``value``; None for any other value."""
    return value if type(value) is int and value >= 0 else None


def plot_scatter(
    coordinates: Block,
    look: ScatterLook,
    mask: Block | None,
    *,
    key: str,
    height: int,
    name: str,
    events: ScatterEvents,
    relay: str = "",
) -> None:
    """Show a map with a field of points of ``height`` pixels; screen readers say its ``name``.

    ``coordinates`` and ``mask`` are blocks of ``encode_coordinates`` and ``encode_mask``; no mask keeps all spans. With
    the same ``key`` and blocks a rerun leaves the browser's map as it is. The ``relay.take_picks`` named ``relay`` gets
    a clicked row in place of ``events``, for ``read_row``.
    """

    def picked() -> None:
        row = read_row(read_sent(key, "picked"))
        if row is not None:
            events.on_pick(row)

    def drawn() -> None:
        corners = read_sent(key, "drawn")
        polygon = read_polygon(corners)
        if polygon is not None or corners == []:
            events.on_draw(polygon)

    def missing() -> None:
        if read_sent(key, "missing"):
            events.on_missing()

    data = {
        "places": _publish(coordinates, f"{key}.places"),
        "values": _publish(look.values, f"{key}.values"),
        "mask": _publish(mask, f"{key}.mask") if mask else None,
        "colors": list(look.colors),
        "names": list(look.names),
        "title": look.title,
        "legend": [list(entry) for entry in look.legend],
        "scale": list(look.scale) if look.scale else None,
        "labels": [[round(float(x), 4), round(float(y), 4), int(i), text] for x, y, i, text in look.labels],
        "accent": ACCENT,
        "height": height,
        "name": name,
        "relay": relay,
    }
    _scatter(key=key, data=data, on_picked_change=picked, on_drawn_change=drawn, on_missing_change=missing)
