"""The heat map of two traces, and the two spans of the chosen cell.

show_cells   the heat map, a fragment
show_spans   the spans of the chosen cell below it, a fragment
has_drawn    whether this session's browser has drawn a heat map
CAPTION, LAYERS, RUN   keys of the fragments that wait for the heat map
DRAWN        key of ``has_drawn`` in the session
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import numpy as np
import streamlit as st

from gsd_core.dashboard.alignment.alignment_figures import make_cells_table
from gsd_core.dashboard.components.heat import HeatMap, HeatPair, plot_heat, read_cell
from gsd_core.dashboard.components.relay import take_picks
from gsd_core.dashboard.frame import run_cache
from gsd_core.dashboard.frame.address import read_address, write_address
from gsd_core.dashboard.frame.charts import offer_files
from gsd_core.dashboard.frame.run_cache import Chosen
from gsd_core.dashboard.look.figure_frame import color_pair, name_pair
from gsd_core.dashboard.look.plot_text import shorten
from gsd_core.dashboard.reading.structure_queries import PairView
from gsd_core.dashboard.spans.span_panel import name_kind, show_two_spans

CELLS, SPANS = "alignment_cells", "alignment_spans"  # keys of the two fragments
CAPTION, LAYERS, RUN = "alignment_caption", "alignment_layers", "alignment_run"
_HEAT = "alignment_heat"
DRAWN = "alignment_drawn"
_HELD = "alignment_held"  # the cell that the browser shows as chosen, and how often the page told it another
_TEXT = 90


def has_drawn() -> bool:
    """Whether this session's browser has drawn a heat map (ours).

    Charts wait for it, because a browser that gets a chart first reads five megabytes of Plotly and draws nothing.
    """
    return bool(st.session_state.get(DRAWN))


def _draw_later() -> None:
    """Callback: the heat map is drawn."""
    st.session_state[DRAWN] = True
    st.rerun([SPANS, CAPTION, LAYERS, RUN])


def _chosen_cell(pair: PairView) -> tuple[int, int]:
    """The chosen cell: from the address, else the first aligned one, else the best."""
    n_a, n_b = pair.cosines.shape
    found = re.fullmatch(r"(\d{1,6})-(\d{1,6})", read_address("cell", remember=False))
    if found and 1 <= int(found[1]) <= n_a and 1 <= int(found[2]) <= n_b:
        return int(found[1]) - 1, int(found[2]) - 1
    if pair.aligned:
        return pair.aligned[0][:2]
    own = 2.0 * np.eye(n_a, n_b) if pair.a == pair.b else 0.0  # the cosine of a span with itself is 1
    best = int(np.argmax(pair.cosines - own))
    return best // n_b, best % n_b


def _take_cell(pair: PairView, cell: Any) -> None:
    """Callback of the spans below: a cell was chosen on the heat map, which already shows it."""
    found = read_cell(cell, pair.cosines.shape)
    if found is not None:
        st.session_state[_HELD] = found, st.session_state[_HELD][1]
        write_address("cell", f"{found[0] + 1}-{found[1] + 1}")


def _picked(pair: PairView, i: int, j: int) -> None:
    """Callback of the heat map, where the relay did not hand over the cell."""
    _take_cell(pair, [i, j])
    st.rerun(SPANS)


def _hold(cell: tuple[int, int]) -> int:
    """How often the page told the browser a cell; once more where it shows another one than ``cell``."""
    held, turn = st.session_state.get(_HELD, (cell, 0))
    st.session_state[_HELD] = cell, turn + (held != cell)
    return turn + (held != cell)


def _numbered() -> None:
    """Callback: a span was chosen by its number."""
    i, j = (int(st.session_state[key]) for key in ("alignment_i", "alignment_j"))
    write_address("cell", f"{i}-{j}")
    st.rerun([CELLS, SPANS])


@st.fragment(key=CELLS)
def show_cells(chosen: Chosen, a: str, b: str) -> None:
    """Cosines of all spans of sample ``a`` with all spans of ``b``."""
    view, pair = run_cache.get_view(chosen), run_cache.get_pair(chosen, a, b)
    cell = _chosen_cell(pair)
    texts = [
        [shorten(str(text), _TEXT) for text in view.spans["text"].iloc[rows]] for rows in (pair.rows_a, pair.rows_b)
    ]
    with offer_files(
        key=_HEAT,
        alt=f"Cosines of {len(pair.rows_a)} spans of a with {len(pair.rows_b)} spans of b",
        name=f"{view.name} {view.checkpoint} {a} {b}",
        table=partial(make_cells_table, view, pair),
        formats=("png",),
    ):
        plot_heat(
            HeatMap(
                pair.cosines,
                (texts[0], texts[1]),
                (a, b),
                [HeatPair(i, j, name_pair(at), color_pair(at)) for at, (i, j, _) in enumerate(pair.aligned)],
                pair_kind=name_kind(pair),
                threshold=run_cache.get_directions(chosen).null.p95,
            ),
            key=_HEAT,
            chosen=cell,
            turn=_hold(cell),
            on_choose=partial(_picked, pair),
            relay=SPANS,
            on_drawn=None if has_drawn() else _draw_later,
        )


@st.fragment(key=SPANS)
def show_spans(chosen: Chosen, a: str, b: str) -> None:
    """The two spans of the chosen cell."""
    if not has_drawn():
        return
    view, pair = run_cache.get_view(chosen), run_cache.get_pair(chosen, a, b)
    take_picks(SPANS, partial(_take_cell, pair))
    i, j = _chosen_cell(pair)
    st.session_state["alignment_i"], st.session_state["alignment_j"] = i + 1, j + 1
    # A number, not a list: a list of five hundred spans would be sent with every click.
    for column, key, rows, letter in zip(
        st.columns(2, gap="medium"),
        ("alignment_i", "alignment_j"),
        (pair.rows_a, pair.rows_b),
        "ab",
        strict=True,
    ):
        column.number_input(f"Span of {letter} (1 to {len(rows)})", 1, len(rows), key=key, on_change=_numbered)
    show_two_spans(chosen, view, pair, (i, j))
