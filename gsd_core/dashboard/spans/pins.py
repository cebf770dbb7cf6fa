"""Pinned spans: kept while one walks from page to page, compared with one another, and taken away as a file. Beside
them those that were looked at last.

read_pins        the pinned spans of the chosen run
toggle_pin       pin a span, or let it go
show_pin         the button beside a span
note_span        remember that a span was looked at
read_recent      the spans looked at last
show_pins        the button on top of every page, with all pinned and recent spans behind it
compute_pin_table  what the file holds

Pins are in the address, so a copied link carries them. What was looked at is nobody else's business: it stays in the
session.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from gsd_core.dashboard.frame import run_cache, snippets
from gsd_core.dashboard.frame.address import PAGES, SEPARATOR, address_of, read_address, write_address
from gsd_core.dashboard.frame.charts import show_chart
from gsd_core.dashboard.frame.downloads import compute_csv
from gsd_core.dashboard.frame.page_text import escape, shorten
from gsd_core.dashboard.frame.run_cache import Chosen
from gsd_core.dashboard.reading.run_view import RunView
from gsd_core.dashboard.spans.span_figures import make_matrix_table, plot_matrix

MOST_PINS = 24  # an address stays short enough to be sent
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


def _toggle_listed(span: str) -> None:
    """Callback of the lists: the dialog stays open."""
    if not toggle_pin(span):
        st.toast(f"{MOST_PINS} spans are pinned already: let one go first.", icon=":material/push_pin:")


def _toggle(span: str, fragment: str) -> None:
    """Callback: only the span's panel and the button on top are drawn again."""
    _toggle_listed(span)
    st.rerun([_TOP, fragment])


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


def note_span(run: str, span: str) -> None:
    """Remember for this session that ``span`` was looked at."""
    recent = st.session_state.setdefault(_RECENT, {})
    others = [each for each in recent.get(run, []) if each != span]
    recent[run] = [span, *others][:MOST_RECENT]


def read_recent(view: RunView) -> list[str]:
    """Ids of the spans of this run that were looked at in this session, the latest first."""
    return [span for span in st.session_state.get(_RECENT, {}).get(view.name, []) if span in view.row_of]


@st.fragment(key=_TOP)
def show_pins(chosen: Chosen) -> None:
    """A button with the number of pinned spans; behind it these and the recent ones."""
    # Without a pin the run need not be read.
    pins = read_pins(run_cache.get_view(chosen)) if read_address(_ADDRESS) else []
    label, icon = (f"Pinned ({len(pins)})", ":material/keep:") if pins else ("Recent", ":material/history:")
    if st.button(label, key="pins_open", icon=icon, help="Pinned spans, and those looked at last"):
        _show_dialog(chosen)


@st.dialog("Pinned and recent spans", width="medium", icon=":material/keep:")
def _show_dialog(chosen: Chosen) -> None:
    view = run_cache.get_view(chosen)
    pins = read_pins(view)
    if pins:
        _show_pinned(chosen, view, pins)
    recent = [span for span in read_recent(view) if span not in pins]
    if recent:
        st.markdown("##### Looked at last")
        for number, span in enumerate(recent, 1):
            _show_listed(chosen, view, span, "", f"repin_{number}")
    if not pins and not recent:
        st.caption("Nothing is pinned. Spans that you look at are listed here, to go back to and to pin.")


def _show_pinned(chosen: Chosen, view: RunView, pins: list[str]) -> None:
    """How alike the pinned spans are, which these are, and files of them."""
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
        st.caption("Cosines of centred directions. Numbers are those of the list below.")
    for number, span in enumerate(pins, 1):
        _show_listed(chosen, view, span, f"{number} · ", f"unpin_{number}")
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


def _show_listed(chosen: Chosen, view: RunView, span: str, head: str, key: str) -> None:
    """A span of a list: its text after ``head``, links to it, and a button that pins it or lets it go."""
    row = view.spans.iloc[view.row_of[span]]
    is_pinned = span in read_pins()
    with st.container(border=True, gap="xsmall"):
        snippets.show(
            snippets.make_quote(head + str(row["text"]).strip(), view.mark(int(row["cluster"])).color)
        )
        with st.container(horizontal=True, vertical_alignment="center"):
            in_trace = f"In its trace: {escape(shorten(str(row['sample']), 34))}"
            for page, label in (("trace", in_trace), ("map", "On the map")):
                st.page_link(
                    PAGES[page],
                    label=label,
                    query_params=address_of(
                        run=chosen.info.name,
                        checkpoint=chosen.checkpoint,
                        sample=str(row["sample"]),
                        span=span,
                        pins=read_address(_ADDRESS),
                    ),
                )
            st.button(
                "Let go" if is_pinned else "Pin",
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
