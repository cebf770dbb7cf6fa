"""A heat map of cosines between the spans of two traces, drawn on a canvas; every cell can be chosen.

HeatPair         an aligned cell: its place, letter and colour
plot_heat        mount the heat map; it calls back when a cell is chosen
encode_cosines   what travels: one byte a cell
read_cell        a cell as a browser names it
UNKNOWN          the byte of a cell without a cosine

Texts and names are untrusted: the browser side writes them with ``textContent`` or on the canvas. Keys: Tab reaches the
map, arrows move from cell to cell (with Shift ten at once), Page Up and Page Down ten rows, Home and End within the row
(with Ctrl over the whole map), Enter or Space choose. What the keys do is said in a line below the map.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gsd_core.dashboard.components import declare, read_sent
from gsd_core.dashboard.drawing.colors import COSINES

UNKNOWN = -128
_SHELL = """
<div class="gsd-heat">
  <div class="map" role="application" tabindex="0">
    <canvas class="cells" aria-hidden="true"></canvas>
    <div class="frame chosen" aria-hidden="true" hidden></div>
    <div class="frame cursor" aria-hidden="true" hidden></div>
  </div>
  <div class="tip" aria-hidden="true" hidden><canvas class="lens"></canvas><div class="words"></div></div>
  <output class="line" aria-live="polite"></output>
</div>
"""

_heat_map = declare("heat", _SHELL)


class HeatPair(NamedTuple):
    """The cell in row ``i`` and column ``j`` is aligned; ``letter`` tells pairs apart where colours do not."""

    i: int
    j: int
    letter: str
    color: str


def encode_cosines(cosines: np.ndarray) -> np.ndarray:
    """``cosines`` (S_a, S_b) as int8 (S_a · S_b,) hundredths, row by row; ``UNKNOWN`` where not finite (ours).

    Hundredths, for the page writes two decimals: so a cell says the same number as every other place, and 201 shades
    are more than an eye tells apart.

    Raises
    ------
    ValueError
        Where ``cosines`` is no matrix.
    """
    if cosines.ndim != 2:
        raise ValueError(f"cosines are {cosines.shape}: they must be (S_a, S_b)")
    values = cosines.astype(np.float64).ravel()
    hundredths = np.rint(100 * np.clip(values, -1.0, 1.0))
    return np.where(np.isfinite(values), hundredths, UNKNOWN).astype(np.int8)


def read_cell(value: Any, shape: tuple[int, int]) -> tuple[int, int] | None:
    """Row and column that a browser sent as ``value``; None where that is no cell of a map of ``shape``."""
    if not (isinstance(value, list) and len(value) == 2 and all(type(place) is int for place in value)):
        return None
    i, j = value
    return (i, j) if 0 <= i < shape[0] and 0 <= j < shape[1] else None


def plot_heat(
    cosines: np.ndarray,
    texts: tuple[Sequence[str], Sequence[str]],
    pairs: Sequence[HeatPair],
    *,
    names: tuple[str, str],
    key: str,
    chosen: tuple[int, int],
    turn: int,
    threshold: float,
    pair_kind: str,
    on_choose: Callable[[int, int], None],
    relay: str = "",
    on_drawn: Callable[[], None] | None = None,
) -> None:
    """Show a heat map, rows downwards and columns to the right; measured up to 1,000 × 1,000 cells.

    Parameters
    ----------
    cosines
        (S_a, S_b), both at least 1.
    texts
        One for each row and one for each column, short.
    pairs
        Cells that are framed and lettered.
    names
        Of the traces of rows and columns.
    key
        Identity on the page; also names what is called back.
    chosen, turn
        The cell (row, column) that is chosen, and a number that changes whenever it was chosen from elsewhere. What is
        clicked here the browser keeps by itself: leave this as it was, so that a click does not send all cells again.
    threshold
        The null's 95th percentile, marked on the scale; NaN for none.
    pair_kind
        What a framed cell is called.
    on_choose
        Called with row and column before the page reruns.
    relay
        ``relay.take_picks`` of this name takes the cell instead, for ``read_cell``.
    on_drawn
        Called once the browser has drawn the cells, before the page reruns; None: it does not say so.
    """
    n_a, n_b = cosines.shape

    def picked() -> None:
        cell = read_cell(read_sent(key, "picked"), (n_a, n_b))
        if cell is not None:
            on_choose(*cell)

    cells = encode_cosines(cosines)
    data: dict[str, Any] = {
        "cells": cells,
        "shape": [n_a, n_b],
        # The browser paints anew only where this changes.
        "digest": hashlib.sha256(cells.tobytes()).hexdigest(),
        "texts": [list(side) for side in texts],
        "names": list(names),
        "pairs": [[int(pair.i), int(pair.j), pair.letter, pair.color] for pair in pairs],
        "kind": pair_kind,
        "colors": list(COSINES),
        "threshold": round(float(threshold), 4) if np.isfinite(threshold) else None,
        "chosen": [*map(int, chosen), turn],
        "relay": relay,
        "tells": on_drawn is not None,
    }
    listeners = {"on_drawn_change": on_drawn} if on_drawn is not None else {}
    _heat_map(key=key, data=data, on_picked_change=picked, **listeners)
