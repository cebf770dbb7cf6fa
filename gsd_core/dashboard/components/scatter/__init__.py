"""The map of very many spans, drawn by WebGL: a click chooses a span, a lasso or a box draws around many.

ScatterLook    what the points' colours mean, and what is written between the points
plot_scatter   mount the map; it calls back when something is chosen
read_row       a row as a browser names it

Points do not travel with the page. They are blocks of bytes (``encoding``) that the browser fetches once over HTTP
from Streamlit's own media route, the one that serves ``st.image``: it is there under plain ``streamlit run``, needs no
setting and no file on disk, gives every content an address of its own, so that a page that holds it never asks again,
and forgets it when the last session that shows it ends. Static file serving would need a setting, and a folder that
outlives its sessions. A click sends back a row, a lasso its corners only.

The browser's side is the files beside this one. It draws with WebGL 2 and needs no library.
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
from gsd_core.dashboard.drawing.colors import ACCENT
from gsd_core.dashboard.map.polygons import read_polygon

_scatter = declare("scatter", '<div class="gsd-scatter"></div>')


@dataclass(frozen=True)
class ScatterLook:
    """``values`` (Block of indices) choose among ``colors``; ``names`` say what each means, ``""`` for nothing.

    ``legend`` is (color, name) in order; ``scale``, of numbers instead, (lowest, highest) as text. ``labels`` are
    (x, y, index, text) in the order of their importance.
    """

    values: Block
    colors: Sequence[str]
    names: Sequence[str]
    title: str
    legend: Sequence[tuple[str, str]] = ()
    scale: tuple[str, str] | None = None
    labels: Sequence[tuple[float, float, int, str]] = ()


def _publish(block: Block, place: str) -> str:
    """Address of ``block`` on this server. ``place`` tells what it replaces in this session."""
    # The digest makes the address: Streamlit's own looks at parts of a long content only. "application/gzip" is passed
    # on as it is, where other content would be compressed anew for every request.
    address = runtime.get_instance().media_file_mgr.add(
        block.content, "application/gzip", place, file_name=block.digest
    )
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{base}{address}" if base else address


def read_row(value: Any) -> int | None:
    """The row, any whole number ≥ 0, that a browser sent as ``value``; None where it is something else."""
    return value if type(value) is int and value >= 0 else None


def plot_scatter(
    places: Block,
    look: ScatterLook,
    mask: Block | None,
    *,
    key: str,
    height: int,
    name: str,
    on_pick: Callable[[int], None],
    on_draw: Callable[[np.ndarray | None], None],
    on_missing: Callable[[], None],
    relay: str = "",
) -> None:
    """Show a map.

    Parameters
    ----------
    places, mask
        Blocks of ``encode_places`` and ``encode_mask``; no mask keeps all.
    key
        Identity on the page. With the same key and the same blocks a rerun leaves the browser's map as it is.
    height
        Of the points' field, in pixels.
    name
        What the map is, for readers who listen.
    on_pick
        Called with the row that was clicked, any whole number ≥ 0.
    on_draw
        Called with the corners (k, 2) of what was drawn around, None when it was given up.
    on_missing
        Called where the browser cannot draw it.
    relay
        ``relay.take_picks`` of this name takes the row instead, for ``read_row``.
    """

    def picked() -> None:
        row = read_row(read_sent(key, "picked"))
        if row is not None:
            on_pick(row)

    def drawn() -> None:
        corners = read_sent(key, "drawn")
        polygon = read_polygon(corners)
        if polygon is not None or corners == []:
            on_draw(polygon)

    def missing() -> None:
        if read_sent(key, "missing"):
            on_missing()

    data = {
        "places": _publish(places, f"{key}.places"),
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
    _scatter(
        key=key,
        data=data,
        on_picked_change=picked,
        on_drawn_change=drawn,
        on_missing_change=missing,
    )
