"""Pinned spans: kept while one walks from page to page, compared with one another, and taken away as a file.

read_pins        the pinned spans of the chosen run
toggle_pin       pin a span, or let it go
show_pin         the button beside a span
show_pins        the button on top of every page, with all pinned spans behind it
compute_pin_table  what the file holds

Pins are in the address, so a copied link carries them.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from gsd_core.dashboard import session, snippets
from gsd_core.dashboard.address import SEPARATOR, address_of, read_address, write_address
from gsd_core.dashboard.alignment_figures import plot_matrix
from gsd_core.dashboard.charts import show_chart
from gsd_core.dashboard.downloads import compute_csv
from gsd_core.dashboard.figure_tables import make_matrix_table
from gsd_core.dashboard.queries import RunView
from gsd_core.dashboard.session import Chosen, escape

MOST_PINS = 24  # an address stays short enough to be sent
_ADDRESS = "pins"
_TOP = "pins_top"
COLUMNS = ("span", "sample", "index", "text", "loss", "norm", "coherence", "cluster", "cluster_label")


def read_pins(view: RunView | None = None) -> list[str]:
    """Span ids in the order they were pinned; with ``view`` those of this run only."""
    pins = list(dict.fromkeys(filter(None, read_address(_ADDRESS).split(SEPARATOR))))
    return pins if view is None else [span for span in pins if span in view.row_of]


def toggle_pin(span: str) -> bool:
    """Pin ``span`` or let it go; False where there is no room for another."""
    pins = read_pins()
    if span in pins:
        pins.remove(span)
    elif len(pins) >= MOST_PINS:
        return False
    else:
        pins.append(span)
    write_address(_ADDRESS, SEPARATOR.join(pins))
    return True


def _toggle(span: str, fragment: str) -> None:
    """Callback: only the span's panel and the button on top are drawn again."""
    if not toggle_pin(span):
        st.toast(f"{MOST_PINS} spans are pinned already: let one go first.", icon=":material/push_pin:")
    st.rerun([_TOP, fragment])


def _let_go(span: str) -> None:
    """Callback of the list: the dialog stays open."""
    toggle_pin(span)


def show_pin(span: str, fragment: str) -> None:
    """A button that pins a span; ``fragment`` is the key of the fragment that it stands in."""
    is_pinned = span in read_pins()
    st.button(
        "Pinned" if is_pinned else "Pin",
        key=f"pin_{fragment}",
        icon=":material/keep:" if is_pinned else ":material/push_pin:",
        type="tertiary",
        help="Keep this span at hand on every page, to compare and to export it. A copied link carries the pins.",
        on_click=_toggle,
        args=(span, fragment),
    )


@st.fragment(key=_TOP)
def show_pins(chosen: Chosen) -> None:
    """A button with the number of pinned spans; nothing where none is pinned."""
    if not read_address(_ADDRESS):
        return
    pins = read_pins(session.get_view(chosen))
    if pins and st.button(f"Pinned ({len(pins)})", key="pins_open", icon=":material/keep:"):
        _show_dialog(chosen)


@st.dialog("Pinned spans", width="medium", icon=":material/keep:")
def _show_dialog(chosen: Chosen) -> None:
    view = session.get_view(chosen)
    pins = read_pins(view)
    rows = [view.row_of[span] for span in pins]
    if not pins:
        st.caption("Nothing is pinned any more.")
        return
    if len(pins) > 1:
        matrix = session.get_directions(chosen).matrix
        cosines = np.asarray(matrix[rows] @ matrix[rows].T)
        texts = [session.shorten(str(text).strip(), 60) for text in view.spans["text"].iloc[rows]]
        show_chart(
            plot_matrix(cosines, texts),
            key="pins_matrix",
            alt="Cosines of the pinned spans",
            name=f"{view.name} {view.checkpoint} pins",
            table=partial(make_matrix_table, cosines, pins),
        )
        st.caption("Cosines of centred directions. Numbers are those of the list below.")
    for number, row in enumerate(rows, 1):
        span = view.spans.iloc[row]
        mark = view.mark(int(span["cluster"]))
        with st.container(border=True, gap="xsmall"):
            snippets.show_quote(f"{number} · {str(span['text']).strip()}", mark.color)
            with st.container(horizontal=True, vertical_alignment="center"):
                for page, label in (("trace", "In its trace"), ("map", "On the map")):
                    st.page_link(
                        session.PAGES[page],
                        label=f"{label}: {escape(session.shorten(str(span['sample']), 34))}"
                        if page == "trace"
                        else label,
                        query_params=address_of(
                            run=chosen.info.name,
                            checkpoint=chosen.checkpoint,
                            sample=str(span["sample"]),
                            span=str(span["span"]),
                            pins=read_address(_ADDRESS),
                        ),
                    )
                st.button(
                    "Let go",
                    key=f"unpin_{number}",
                    icon=":material/keep_off:",
                    type="tertiary",
                    on_click=_let_go,
                    args=(str(span["span"]),),
                )
    table = compute_pin_table(view, pins)
    with st.container(horizontal=True):
        st.download_button(
            "Download CSV", compute_csv(table), f"{view.name}-pins.csv", "text/csv", key="pins_csv"
        )
        st.download_button(
            "Download JSONL",
            table.to_json(orient="records", lines=True, force_ascii=False),
            f"{view.name}-pins.jsonl",
            "application/jsonl",
            key="pins_jsonl",
        )


def compute_pin_table(view: RunView, pins: list[str]) -> pd.DataFrame:
    """``COLUMNS`` of the pinned spans with run and checkpoint, in the order they were pinned."""
    table = view.spans.iloc[[view.row_of[span] for span in pins]][list(COLUMNS)].reset_index(drop=True)
    table.insert(0, "checkpoint", view.checkpoint)
    table.insert(0, "run", view.name)
    return table
