"""Two spans side by side.

show_two_spans   two spans of a pair of traces, with their cosine and its null
name_kind        what the aligned spans of a pair of traces are called
"""

from __future__ import annotations

import streamlit as st

from gsd_core.dashboard.frame import run_cache, snippets
from gsd_core.dashboard.frame.run_cache import Chosen
from gsd_core.dashboard.look.colors import NOISE_MARK, Mark
from gsd_core.dashboard.look.figure_frame import color_pair, name_pair
from gsd_core.dashboard.reading.run_view import RunView
from gsd_core.dashboard.reading.structure_queries import PairView
from gsd_core.dashboard.spans.span_links import link_to_trace
from gsd_core.dashboard.spans.span_panel import show_heading


def name_kind(pair: PairView) -> str:
    """What the aligned spans of ``pair`` are called."""
    return "aligned pair" if pair.is_run else "mutual best"


def show_two_spans(chosen: Chosen, view: RunView, pair: PairView, cell: tuple[int, int]) -> None:
    """Two spans side by side with links to their traces, and their cosine with its null.

    ``cell`` (row, column) of ``pair.cosines``; q is adjusted over all cells of the two traces.
    """
    null = run_cache.get_directions(chosen).null
    q_values = run_cache.get_pair_q_values(chosen, pair)
    number = next((at for at, (i, j, _) in enumerate(pair.aligned) if (i, j) == cell), None)
    mark, name = NOISE_MARK, ""
    if number is not None:
        mark, name = Mark(color_pair(number), "circle"), f"{name_kind(pair)} {name_pair(number)}"
    snippets.show_cosine(float(pair.cosines[cell]), null, float(q_values[cell]), mark, name)
    rows = (int(pair.rows_a[cell[0]]), int(pair.rows_b[cell[1]]))
    for column, row in zip(st.columns(2, gap="medium"), rows, strict=True):
        span = view.spans.iloc[row]
        with column, st.container(border=True, height="stretch"):
            show_heading(view, span, text=str(span["text"]).strip())
            link_to_trace(chosen, str(span["sample"]), str(span["span"]), "Open in its trace")
