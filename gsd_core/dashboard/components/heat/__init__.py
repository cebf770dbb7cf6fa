"""A heat map of the cosines of two traces' spans, drawn on a canvas; every cell can be chosen.

HeatMap          what the heat map shows
HeatPair         an aligned cell with its letter and colour
plot_heat        mount the heat map
encode_cosines   the cosines as one byte a cell, for the browser
read_cell        a cell that the browser sent
UNKNOWN          the byte of a cell without a cosine

Texts and names are untrusted: the browser side writes them with ``textContent`` or on the canvas. Keys: Tab reaches the
map, arrows move from cell to cell (with Shift ten at once), Page Up and Page Down ten rows, Home and End within the row
(with Ctrl over the whole map), Enter or Space choose. A line below the map explains the keys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gsd_core.dashboard.components import declare, read_sent
from gsd_core.dashboard.look.colors import COSINES

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


@dataclass(frozen=True)
class HeatMap:
    """Rows downwards and columns to the right; measured up to 1,000 × 1,000 cells.

    ``cosines`` (S_a, S_b), both at least 1; ``texts`` a short one for each row and for each column; ``names`` of the
    traces of rows and columns; ``pairs`` the framed cells, each of which is called ``pair_kind``; ``threshold`` the
    null's 95th percentile, marked on the scale, NaN for none.
    """

    cosines: np.ndarray
    texts: tuple[Sequence[str], Sequence[str]]
    names: tuple[str, str]
    pairs: Sequence[HeatPair]
    pair_kind: str
    threshold: float


def encode_cosines(cosines: np.ndarray) -> np.ndarray:
    """``cosines`` (S_a, S_b) as int8 (S_a · S_b,) hundredths, row by row; ``UNKNOWN`` where not finite (ours).

    Hundredths because the page writes cosines with two decimals, and because nobody can tell 201 shades apart.

    Raises
    ------
    ValueError
        Where ``cosines`` has not two axes.
    """
    if cosines.ndim != 2:
        raise ValueError(f"cosines are {cosines.shape}: they must be (S_a, S_b)")
    values = cosines.astype(np.float64).ravel()
    hundredths = np.rint(100 * np.clip(values, -1.0, 1.0))
    return np.where(np.isfinite(values), hundredths, UNKNOWN).astype(np.int8)


def read_cell(value: Any, shape: tuple[int, int]) -> tuple[int, int] | None:
    """Row and column that the browser sent as ``value``; None where a map of ``shape`` has no such cell."""
    if not (isinstance(value, list) and len(value) == 2 and all(type(each) is int for each in value)):
        return None
    i, j = value
    return (i, j) if 0 <= i < shape[0] and 0 <= j < shape[1] else None


def plot_heat(
    heat: HeatMap,
    *,
    key: str,
    chosen: tuple[int, int],
    turn: int,
    on_choose: Callable[[int, int], None],
    relay: str = "",
    on_drawn: Callable[[], None] | None = None,
) -> None:
    """Show a heat map.

    ``chosen`` is the chosen cell (row, column); ``turn`` changes whenever it was chosen outside the heat map. The
    browser remembers its own clicks: then leave both as they were, or all cells are sent again. ``on_choose`` gets row
    and column before the page reruns, unless the ``relay.take_picks`` named ``relay`` gets them, for ``read_cell``.
    ``on_drawn`` is called when the browser has drawn the cells.
    """
    n_a, n_b = heat.cosines.shape

    def picked() -> None:
        cell = read_cell(read_sent(key, "picked"), (n_a, n_b))
        if cell is not None:
            on_choose(*cell)

    cells = encode_cosines(heat.cosines)
    data: dict[str, Any] = {
        "cells": cells,
        "shape": [n_a, n_b],
        # The browser paints again only where this changes.
        "digest": hashlib.sha256(cells.tobytes()).hexdigest(),
        "texts": [list(side) for side in heat.texts],
        "names": list(heat.names),
        "pairs": [[int(pair.i), int(pair.j), pair.letter, pair.color] for pair in heat.pairs],
        "kind": heat.pair_kind,
        "colors": list(COSINES),
        "threshold": round(float(heat.threshold), 4) if np.isfinite(heat.threshold) else None,
        "chosen": [*map(int, chosen), turn],
        "relay": relay,
        "tells": on_drawn is not None,
    }
    listeners = {"on_drawn_change": on_drawn} if on_drawn is not None else {}
    _heat_map(key=key, data=data, on_picked_change=picked, **listeners)
