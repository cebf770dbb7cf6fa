"""The spans of other samples aligned with one span.

show_aligned   the list, each span with its cosine, its null and a link
choose_words   a switch to spans in other words
WORDS          name of that switch in the address
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import numpy as np
import streamlit as st

from gsd_core.comparison.nulls import Null
from gsd_core.dashboard.components.aligned import AlignedSpan, plot_aligned
from gsd_core.dashboard.frame import run_cache, snippets, workspaces
from gsd_core.dashboard.frame.address import PAGES, read_address, write_address
from gsd_core.dashboard.frame.run_cache import Chosen
from gsd_core.dashboard.frame.snippets import MEASURES
from gsd_core.dashboard.jobs import job_view
from gsd_core.dashboard.jobs.job_steps import Step
from gsd_core.dashboard.look.plot_text import shorten
from gsd_core.dashboard.reading.cosine_queries import load_exact
from gsd_core.dashboard.reading.lesson_queries import Lesson
from gsd_core.dashboard.reading.run_view import RunView
from gsd_core.dashboard.spans.span_lesson import describe_learned, load_span_lesson, offer_lesson
from gsd_core.methods.neighbors_method import NeighborsOptions
from gsd_core.tiers import find_tier

TOP_CHOICES = (5, 10, 25)
WORDS = "words"


def show_aligned(
    chosen: Chosen, view: RunView, span: str, key: str, on_open: Callable[[str], None] | None = None
) -> None:
    """Spans of other samples best aligned with ``span``; ``on_open`` adds a button that chooses one of them."""
    head, count = st.columns([3, 2], vertical_alignment="bottom")
    head.markdown("##### Aligned spans of other samples")
    top = count.segmented_control(
        "How many", TOP_CHOICES, default=TOP_CHOICES[0], key=f"{key}_top", label_visibility="collapsed"
    )
    null = run_cache.get_directions(chosen).null
    wording = run_cache.get_wording(chosen) if choose_words(key, MEASURES["words"]) else None
    if wording is None and read_address(WORDS):
        st.caption("The words of this run's spans cannot be compared: there are too many or none.")
    found = run_cache.get_neighbors(chosen, span, int(top or TOP_CHOICES[0]), wording is not None)
    if found.empty:
        st.info("No aligned spans: this span's gradient is zero, or no other sample has spans.", icon=":material/info:")
        return
    windows = f"; {np.quantile(null.windows, 0.95):.2f} for random windows" if len(null.windows) else ""
    st.caption(
        f"Cosine of centred directions; the tick is the 95th percentile of {null.n:,} random pairs of different "
        f"samples ({null.p95:.2f}{windows}). q is adjusted over all spans of other "
        f"samples{' in other words' if wording is not None else ''}; alignment is no proof of cause."
    )
    exact = load_exact(workspaces.open_workspace().open_run(chosen.info.name), chosen.checkpoint, span)
    known = found["span"].map(exact)
    if known.notna().all():
        found = found.assign(known=known).sort_values("known", ascending=False, kind="stable")
    lesson = load_span_lesson(chosen, span)
    opened = plot_aligned(
        [_make_aligned(chosen, view, row, null, exact, lesson) for row in found.itertuples()],
        of=span,
        key=f"{key}_aligned",
        explained=(MEASURES["cosine"], MEASURES["exact"] if lesson is None else MEASURES["lesson"]),
        on_show=on_open,
    )
    if opened is not None and opened in view.row_of:
        st.switch_page(PAGES["trace"], query_params=_address_of(chosen, view, opened))
    if not known.notna().all():
        _offer_exact(chosen, span, len(found), key)
    offer_lesson(chosen, span, key, lesson)


def _address_of(chosen: Chosen, view: RunView, span: str) -> dict[str, str]:
    """Parameters of a link to a span's trace."""
    return chosen.address(sample=str(view.spans["sample"].iloc[view.row_of[span]]), span=span)


def _make_aligned(
    chosen: Chosen, view: RunView, row: Any, null: Null, exact: Mapping[str, float], lesson: Lesson | None
) -> AlignedSpan:
    """A row of ``compute_neighbors`` for the list; ``exact`` maps spans to cosines without a sketch."""
    span, (mark, name) = str(row.span), view.find_chip(int(row.cluster), int(row.family))
    bar = snippets.describe_cosine(float(row.cosine), null, float(row.q_value))
    found = f"exact {exact[span]:.2f}" if span in exact else ""
    return AlignedSpan(
        span=span,
        cosine=f"{row.cosine:.2f}",
        share=round(bar.share, 1),
        tick=None if bar.tick is None else round(bar.tick, 1),
        beside=bar.beside,
        glyph=mark.glyph,
        color=mark.color,
        name=shorten(name, 26),
        text=str(row.text).strip(),
        exact=" · ".join(filter(None, (found, describe_learned(lesson, span)))),
        link=f"{shorten(str(row.sample), 34)} · {row.index + 1}/{row.n_in_trace}",
        address=f"trace?{urlencode(_address_of(chosen, view, span))}",
    )


def choose_words(key: str, explained: str) -> bool:
    """A switch between all spans and those in other words, kept in the address."""
    box = f"{key}_words"
    st.session_state[box] = bool(read_address(WORDS))
    return st.toggle(
        "In other words",
        key=box,
        help=explained,
        on_change=lambda: write_address(WORDS, "other" if st.session_state[box] else None),
    )


def _offer_exact(chosen: Chosen, span: str, top: int, key: str) -> None:
    """A button that ranks the neighbours without the sketch, and its job."""
    tier = find_tier(chosen.info.manifest.get("tier"))
    if tier is None or not tier.has_exact or not workspaces.can_run_jobs():
        return
    running = f"{key}_exact_job"
    if st.button("Check without the sketch", key=f"{key}_exact", icon=":material/target:", help=MEASURES["exact"]):
        st.session_state[running] = True
        name = chosen.info.name
        options = NeighborsOptions(name, span, top, chosen.checkpoint, exact=True)
        job_view.start_and_show(Step("neighbors", options), run=name)
    if st.session_state.get(running):
        job_view.show_jobs(limit=1)
