"""A span seen closely: its text, its numbers, the trace around it, and the spans of other samples aligned with it.

show_span       all of it, beside the map
show_heading    which span this is, what it says, its numbers
show_aligned    spans of other samples, each with its cosine, the null beside it, and a link
choose_words    the switch to what is said in other words
trace_segments  a sample's trace for the trace viewer
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import streamlit as st

from gsd_core.comparison.nulls import Null
from gsd_core.dashboard.components.aligned import AlignedSpan, plot_aligned
from gsd_core.dashboard.components.trace import TraceSegment, plot_trace
from gsd_core.dashboard.frame import run_cache, snippets, workspaces
from gsd_core.dashboard.frame.address import PAGES, address_of, read_address, write_address
from gsd_core.dashboard.frame.page_text import escape, shorten
from gsd_core.dashboard.frame.run_cache import Chosen
from gsd_core.dashboard.frame.snippets import MEASURES, Number
from gsd_core.dashboard.jobs import job_view
from gsd_core.dashboard.jobs.commands import exact_commands
from gsd_core.dashboard.reading.cosine_queries import load_exact
from gsd_core.dashboard.reading.run_view import RunView, compute_trace
from gsd_core.dashboard.spans import pins

TOP_CHOICES = (5, 10, 25)
WORDS = "words"  # in the address
DESCRIBED = ["index", "n_in_trace", "cluster", "loss", "norm", "coherence"]


def link_to_trace(chosen: Chosen, sample: str, span: str, label: str) -> None:
    """A link that opens a sample's trace at a span."""
    st.page_link(
        PAGES["trace"],
        label=label,
        icon=":material/arrow_forward:",
        icon_position="right",
        query_params=address_of(
            run=chosen.info.name, checkpoint=_checkpoint(chosen), sample=sample, span=span
        ),
    )


def link_to_map(chosen: Chosen, span: str, label: str) -> None:
    """A link that opens the map with a span chosen."""
    st.page_link(
        PAGES["map"],
        label=label,
        icon=":material/scatter_plot:",
        query_params=address_of(run=chosen.info.name, checkpoint=_checkpoint(chosen), span=span),
    )


def _checkpoint(chosen: Chosen) -> str | None:
    """The checkpoint for the address; the first look is what a page shows anyway."""
    return None if chosen.checkpoint == chosen.info.first_look else chosen.checkpoint


def _number(value: Any, digits: int = 3) -> str:
    return f"{value:.{digits}g}" if pd.notna(value) else "–"


def describe(row: Mapping[str, Any] | pd.Series, view: RunView) -> tuple[str, ...]:
    """A span in lines, for hover and for readers who listen. ``row`` holds ``DESCRIBED`` at least."""
    lines = [f"span {row['index'] + 1} of {row['n_in_trace']}"]
    if view.is_analyzed:
        lines.insert(0, view.cluster_name(int(row["cluster"])) or "noise")
    lines.append(
        f"loss {_number(row['loss'])} nats · norm {_number(row['norm'])} · coherence {_number(row['coherence'], 2)}"
    )
    return tuple(lines)


class _Tint:
    """Shares in [0, 1] of the trace's 97th-percentile loss, laid over its characters.

    ``tokens`` as ``Run.read_tokens``; ``offset`` is where the reasoning starts in the model's input.
    """

    def __init__(self, tokens: pd.DataFrame, offset: int) -> None:
        inside = tokens[(tokens["end"] > offset) & tokens["span"].notna()]
        self._starts = inside["start"].to_numpy(int) - offset
        self._ends = inside["end"].to_numpy(int) - offset
        losses = inside["loss"].to_numpy(float)
        known = losses[~np.isnan(losses)]
        top = float(np.quantile(known, 0.97)) if len(known) else 1.0
        self._shares = np.nan_to_num(np.clip(losses / max(top, 1e-6), 0.0, 1.0))

    def pieces(self, text: str, start: int) -> tuple[tuple[str, float], ...]:
        """``text``, which begins at character ``start`` of the reasoning, cut by token; joined it is ``text`` again."""
        found: list[tuple[str, float]] = []
        at, stop = start, start + len(text)
        for first, last, share in zip(self._starts, self._ends, self._shares, strict=True):
            first, last = max(int(first), at), min(int(last), stop)
            if first >= last:
                continue
            if first > at:
                found.append((text[at - start : first - start], 0.0))
            found.append((text[first - start : last - start], float(share)))
            at = last
        if at < stop:
            found.append((text[at - start :], 0.0))
        return tuple(found)


def trace_segments(view: RunView, sample: str, tokens: pd.DataFrame | None = None) -> list[TraceSegment]:
    """A sample's trace for the trace viewer; with ``tokens`` (``Run.read_tokens``) tinted by loss a token."""
    tint = _Tint(tokens, int(view.samples.loc[sample, "reasoning_start"])) if tokens is not None else None
    segments = []
    pieces = compute_trace(view, sample)
    # One look-up for all spans: a frame takes as long for one row as for a thousand.
    own = [piece.row for piece in pieces if piece.row is not None]
    rows = iter(view.spans.iloc[own][["span", "char_start", *DESCRIBED]].to_dict("records"))
    for piece in pieces:
        if piece.row is None:
            segments.append(TraceSegment(piece.text))
            continue
        row = next(rows)
        tip = describe(row, view)
        tinted = tint.pieces(piece.text, int(row["char_start"])) if tint is not None else ()
        segments.append(
            TraceSegment(
                piece.text,
                span=str(row["span"]),
                color=view.mark(int(row["cluster"])).color,
                label="; ".join(tip),
                tip=tip,
                tokens=tinted,
            )
        )
    return segments


def show_heading(view: RunView, row: pd.Series, fragment: str = "", text: str = "") -> None:
    """Which span this is: sample, place, cluster; ``text`` as a quotation; its numbers.

    With the key of the fragment around it, also a button to pin it.
    """
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.markdown(
            f"**{escape(shorten(row['sample'], 60))}**  ·  span {row['index'] + 1} of {row['n_in_trace']}",
            width="content",
        )
        if fragment:
            pins.show_pin(str(row["span"]), fragment)
            if row["span"] == read_address("span", remember=False):  # chosen by somebody, not by the page
                pins.note_span(view.name, str(row["span"]))
    cluster = int(row["cluster"])
    mark = view.mark(cluster)
    pieces = [snippets.make_chips((mark, view.cluster_name(cluster) or "noise"))] if view.is_analyzed else []
    if text:
        pieces.append(snippets.make_quote(text, mark.color))
    snippets.show(*pieces, _make_measures(row))


def _make_measures(row: pd.Series) -> str:
    """A span's numbers."""
    numbers = [
        Number("loss (nats)", _number(row["loss"]), MEASURES["loss"]),
        Number("norm", _number(row["norm"]), MEASURES["norm"]),
        Number("coherence", _number(row["coherence"], 2), MEASURES["coherence"]),
    ]
    for name, label in (("spectral", "spectral strength"), ("grace", "GRACE-like")):
        if pd.notna(row.get(name)):
            numbers.append(Number(label, _number(row[name], 2), MEASURES[name]))
    if pd.notna(row.get("window_cosine")):
        numbers.append(Number("cosine to exact", _number(row["window_cosine"], 2), MEASURES["window"]))
    return snippets.make_numbers(numbers)


def show_aligned(
    chosen: Chosen, view: RunView, span: str, key: str, on_open: Callable[[str], None] | None = None
) -> None:
    """Spans of other samples best aligned with ``span``. ``on_open`` adds a button that makes one the chosen span."""
    head, count = st.columns([3, 2], vertical_alignment="bottom")
    head.markdown("##### Aligned spans of other samples")
    top = count.segmented_control(
        "How many", TOP_CHOICES, default=TOP_CHOICES[0], key=f"{key}_top", label_visibility="collapsed"
    )
    null = run_cache.get_directions(chosen).null
    wording = run_cache.get_wording(chosen) if choose_words(key, MEASURES["words"]) else None
    if wording is None and read_address(WORDS):
        st.caption("The words of this run's spans cannot be compared here: there are too many, or none.")
    found = run_cache.get_neighbors(chosen, span, int(top or TOP_CHOICES[0]), wording is not None)
    if found.empty:
        st.info(
            "No aligned spans: this span's gradient is zero, or no other sample has a span to compare.",
            icon=":material/info:",
        )
        return
    st.caption(
        f"Cosine of centred directions; the tick marks the 95th percentile of {null.n:,} random pairs from different "
        f"samples ({null.p95:.2f}). {_name_windows(null)}q is adjusted over all spans of other "
        f"samples{' in other words' if wording is not None else ''}. Alignment correlates; it is no proof of cause."
    )
    exact = load_exact(workspaces.open_workspace().open_run(chosen.info.name), chosen.checkpoint, span)
    known = found["span"].map(exact)
    if known.notna().all():
        found = found.assign(known=known).sort_values("known", ascending=False, kind="stable")
    opened = plot_aligned(
        [_make_aligned(chosen, view, row, null, exact) for row in found.itertuples()],
        of=span,
        key=f"{key}_aligned",
        explained=(MEASURES["cosine"], MEASURES["exact"]),
        on_show=on_open,
    )
    if opened is not None and opened in view.row_of:
        st.switch_page(PAGES["trace"], query_params=_address_of_trace(chosen, view, opened))
    if not known.notna().all():
        _offer_exact(chosen, span, len(found), key)


def _address_of_trace(chosen: Chosen, view: RunView, span: str) -> dict[str, str]:
    sample = str(view.spans["sample"].iloc[view.row_of[span]])
    return address_of(run=chosen.info.name, checkpoint=_checkpoint(chosen), sample=sample, span=span)


def _make_aligned(
    chosen: Chosen, view: RunView, row: Any, null: Null, exact: Mapping[str, float]
) -> AlignedSpan:
    """A row of ``compute_neighbors`` for the list; ``exact`` are cosines without a sketch by span."""
    span, mark = str(row.span), view.mark(int(row.cluster))
    bar = snippets.describe_cosine(float(row.cosine), null, float(row.q_value))
    return AlignedSpan(
        span=span,
        cosine=f"{row.cosine:.2f}",
        share=round(bar.share, 1),
        tick=None if bar.tick is None else round(bar.tick, 1),
        beside=bar.beside,
        glyph=snippets.GLYPHS.get(mark.symbol, "●"),
        color=mark.color,
        name=shorten(view.cluster_name(int(row.cluster)), 26),
        text=str(row.text).strip(),
        exact=f"exact {exact[span]:.2f}" if span in exact else "",
        link=f"{shorten(str(row.sample), 34)} · {row.index + 1}/{row.n_in_trace}",
        address=f"trace?{urlencode(_address_of_trace(chosen, view, span))}",
    )


def _name_windows(null: Null) -> str:
    """The second null, where the run has one."""
    if not len(null.windows):
        return ""
    return f"For windows at random places it is {np.quantile(null.windows, 0.95):.2f}; q is against the stricter. "


def choose_words(key: str, explained: str) -> bool:
    """A switch between all and what is said in other words, whose state is in the address."""
    box = f"{key}_words"
    st.session_state[box] = bool(read_address(WORDS))
    return st.toggle(
        "In other words",
        key=box,
        help=explained,
        on_change=lambda: write_address(WORDS, "other" if st.session_state[box] else None),
    )


def _offer_exact(chosen: Chosen, span: str, top: int, key: str) -> None:
    """A button that ranks the neighbours by gradients without a sketch, and its job while it runs."""
    if chosen.info.manifest.get("tier") != "span" or not workspaces.can_run_jobs():
        return
    running = f"{key}_exact_job"
    if st.button(
        "Check without the sketch", key=f"{key}_exact", icon=":material/target:", help=MEASURES["exact"]
    ):
        st.session_state[running] = True
        commands = exact_commands(workspaces.workspace_uri(), chosen.info.name, chosen.checkpoint, span, top)
        job_view.start_and_show(f"Exact cosines of {span}", commands, run=chosen.info.name)
    if st.session_state.get(running):
        job_view.show_jobs(limit=1)


def show_span(chosen: Chosen, view: RunView, span: str, on_open: Callable[[str], None]) -> None:
    """The side panel of the map."""
    row = view.spans.iloc[view.row_of[span]]
    show_heading(view, row, "map_panel")
    sample = str(row["sample"])
    if sample in view.samples.index:
        question = str(view.samples.loc[sample, "question"])
        if question.strip():
            with st.expander(f"Question: {escape(shorten(question, 90))}"):
                st.text(question)
    plot_trace(
        trace_segments(view, sample),
        key=f"panel_trace_{sample}",
        selected=span,
        on_choose=on_open,
        max_height=230,
        name="The span in its trace",
    )
    link_to_trace(chosen, sample, span, "Open the whole trace")
    show_aligned(chosen, view, span, key="panel", on_open=on_open)
