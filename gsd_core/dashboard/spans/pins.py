"""Pinned spans, which stay at hand on every page, and the spans viewed last.

read_pins          the pinned spans
toggle_pin         pin or unpin a span
show_pin           the button beside a span
note_span          remember that a span was viewed
read_recent        the spans viewed last
show_pins          the button at the top of every page that opens both lists
compute_pin_table  the pinned spans as a table to save

Pins are in the address, so a copied link holds them. The spans viewed last are private: they stay in the session.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from gsd_core.dashboard.frame import run_cache, snippets
from gsd_core.dashboard.frame.address import PAGES, SEPARATOR, read_address, write_address
from gsd_core.dashboard.frame.charts import show_chart
from gsd_core.dashboard.frame.downloads import compute_csv
from gsd_core.dashboard.frame.page_text import escape
from gsd_core.dashboard.frame.run_cache import Chosen
from gsd_core.dashboard.look.plot_text import shorten
from gsd_core.dashboard.reading.run_view import RunView
from gsd_core.dashboard.spans.span_figures import make_matrix_table, plot_matrix

MOST_PINS = 24  # keeps the address short enough to send
MOST_RECENT = 12
_ADDRESS = "pins"
_RECENT = "gsd_recent"  # run → span ids
_TOP = "pins_top"
COLUMNS = ("span", "sample", "index", "text", "loss", "norm", "coherence", "cluster", "cluster_label")


def read_pins(view: RunView | None = None) -> list[str]:
    """Span ids in the order they were pinned; with ``view`` those of this run only."""
    pins = list(dict.fromkeys(filter(None, read_address(_ADDRESS).split(SEPARATOR))))
    return pins if view is None else [span for span in pins if span in view.row_of]


def toggle_pin(span: str) -> bool:
    """Pin or unpin ``span``; False where ``MOST_PINS`` are pinned already."""
    pins = read_pins()
    if span in pins:
        pins.remove(span)
    elif len(pins) >= MOST_PINS:
        return False
    else:
        pins.append(span)
    write_address(_ADDRESS, SEPARATOR.join(pins))
    return True


def _toggle_listed(span: str) -> None:
    """Callback of the lists: the dialog stays open."""
    if not toggle_pin(span):
        st.toast(f"{MOST_PINS} spans are pinned already: unpin one first.", icon=":material/push_pin:")


def _toggle(span: str, fragment: str) -> None:
    """Callback: only the span's panel and the button at the top are drawn again."""
    _toggle_listed(span)
    st.rerun([_TOP, fragment])


def show_pin(span: str, fragment: str) -> None:
    """A button that pins a span; ``fragment`` is the key of the fragment around it."""
    is_pinned = span in read_pins()
    st.button(
        "Pinned" if is_pinned else "Pin",
        key=f"pin_{fragment}",
        icon=":material/keep:" if is_pinned else ":material/push_pin:",
        type="tertiary",
        help="Keep this span on every page, to compare and export it. A copied link holds the pins.",
        on_click=_toggle,
        args=(span, fragment),
    )


def note_span(run: str, span: str) -> None:
    """Remember for this session that ``span`` was viewed."""
    recent = st.session_state.setdefault(_RECENT, {})
    others = [each for each in recent.get(run, []) if each != span]
    recent[run] = [span, *others][:MOST_RECENT]


def read_recent(view: RunView) -> list[str]:
    """Ids of the spans of this run that were viewed in this session, the latest first."""
    return [span for span in st.session_state.get(_RECENT, {}).get(view.name, []) if span in view.row_of]


@st.fragment(key=_TOP)
def show_pins(chosen: Chosen) -> None:
    """A button with the number of pinned spans; it opens the pinned and the recent ones."""
    # Without a pin the run need not be read.
    pins = read_pins(run_cache.get_view(chosen)) if read_address(_ADDRESS) else []
    label, icon = (f"Pinned ({len(pins)})", ":material/keep:") if pins else ("Recent", ":material/history:")
    if st.button(label, key="pins_open", icon=icon, help="Pinned spans, and those viewed last"):
        _show_dialog(chosen)


@st.dialog("Pinned and recent spans", width="medium", icon=":material/keep:")
def _show_dialog(chosen: Chosen) -> None:
    view = run_cache.get_view(chosen)
    pins = read_pins(view)
    if pins:
        _show_pinned(chosen, view, pins)
    recent = [span for span in read_recent(view) if span not in pins]
    if recent:
        st.markdown("##### Viewed last")
        for number, span in enumerate(recent, 1):
            _show_listed(chosen, view, span, "", f"repin_{number}")
    if not pins and not recent:
        st.caption("Nothing is pinned. The spans that you view are listed here.")


def _show_pinned(chosen: Chosen, view: RunView, pins: list[str]) -> None:
    """The pinned spans: their cosines, a list, and files."""
    if len(pins) > 1:
        rows = [view.row_of[span] for span in pins]
        matrix = run_cache.get_directions(chosen).rows
        cosines = np.asarray(matrix[rows] @ matrix[rows].T)
        texts = [shorten(str(text).strip(), 60) for text in view.spans["text"].iloc[rows]]
        show_chart(
            plot_matrix(cosines, texts),
            key="pins_matrix",
            alt="Cosines of the pinned spans",
            name=f"{view.name} {view.checkpoint} pins",
            table=partial(make_matrix_table, cosines, pins),
        )
        st.caption("Cosines of centred directions, numbered as in the list below.")
    for number, span in enumerate(pins, 1):
        _show_listed(chosen, view, span, f"{number} · ", f"unpin_{number}")
    table = compute_pin_table(view, pins)
    with st.container(horizontal=True):
        st.download_button("Download CSV", compute_csv(table), f"{view.name}-pins.csv", "text/csv", key="pins_csv")
        st.download_button(
            "Download JSONL",
            table.to_json(orient="records", lines=True, force_ascii=False),
            f"{view.name}-pins.jsonl",
            "application/jsonl",
            key="pins_jsonl",
        )


def _show_listed(chosen: Chosen, view: RunView, span: str, head: str, key: str) -> None:
    """A span of a list: its text after ``head``, links to it, and a button that pins or unpins it."""
    row = view.spans.iloc[view.row_of[span]]
    is_pinned = span in read_pins()
    with st.container(border=True, gap="xsmall"):
        mark, _ = view.find_chip(int(row["cluster"]), int(row["family"]))
        snippets.show(snippets.make_quote(head + str(row["text"]).strip(), mark.color))
        with st.container(horizontal=True, vertical_alignment="center"):
            in_trace = f"In its trace: {escape(shorten(str(row['sample']), 34))}"
            for page, label in (("trace", in_trace), ("map", "On the map")):
                st.page_link(
                    PAGES[page],
                    label=label,
                    query_params=chosen.address(sample=str(row["sample"]), span=span, pins=read_address(_ADDRESS)),
                )
            st.button(
                "Unpin" if is_pinned else "Pin",
                key=key,
                icon=":material/keep_off:" if is_pinned else ":material/push_pin:",
                type="tertiary",
                on_click=_toggle_listed,
                args=(span,),
            )


def compute_pin_table(view: RunView, pins: list[str]) -> pd.DataFrame:
    """``COLUMNS`` of the pinned spans with run and checkpoint, in the order they were pinned."""
    table = view.spans.iloc[[view.row_of[span] for span in pins]][list(COLUMNS)].reset_index(drop=True)
    table.insert(0, "checkpoint", view.checkpoint)
    table.insert(0, "run", view.name)
    return table
