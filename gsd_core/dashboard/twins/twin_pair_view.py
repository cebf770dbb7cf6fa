"""Two samples on the twins page: scores with their nulls, questions, traces side by side.

show_pair   a stored twin or any two samples
"""

from __future__ import annotations

import html
from dataclasses import replace
from functools import partial
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import streamlit as st

from gsd_core.dashboard.components.pair import PairLink, PairSpan, plot_pair
from gsd_core.dashboard.frame.address import PAGES, read_address, write_address
from gsd_core.dashboard.frame.page_text import escape
from gsd_core.dashboard.frame.run_cache import Chosen
from gsd_core.dashboard.look.colors import ACCENT
from gsd_core.dashboard.look.figure_frame import color_pair, name_pair
from gsd_core.dashboard.reading.run_view import RunView, compute_trace
from gsd_core.dashboard.reading.structure_queries import PairView, Reference, Structure, compute_reference
from gsd_core.dashboard.spans.span_panel import show_two_spans
from gsd_core.dashboard.spans.trace_segments import describe


def show_pair(chosen: Chosen, view: RunView, structure: Structure, pair: PairView, twin: pd.Series | None) -> None:
    """Scores, questions and traces; ``twin`` is the pair's row in ``structure.twins``, None where it has none."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        rank = f"Twin {twin['rank']}: " if twin is not None else ""
        st.markdown(f"#### {rank}{escape(pair.a)} ↔ {escape(pair.b)}", width="content")
        st.page_link(
            PAGES["alignment"],
            label="Every cosine of these two",
            icon=":material/grid_on:",
            query_params=chosen.address(a=pair.a, b=pair.b),
        )
    _show_scores(structure, twin)
    _show_questions(view, pair)
    cell = _chosen_cell(view, pair)
    selected = []
    if cell is not None:
        selected = [
            str(view.spans["span"].iloc[rows[at]]) for rows, at in zip((pair.rows_a, pair.rows_b), cell, strict=True)
        ]
    opened = plot_pair(
        _trace_spans(chosen, view, pair, 0),
        _trace_spans(chosen, view, pair, 1),
        [PairLink(color_pair(at), name_pair(at), f"{cosine:.2f}") for at, (_, _, cosine) in enumerate(pair.aligned)],
        names=(pair.a, pair.b),
        key="twins_traces",
        selected=selected,
        on_choose=partial(write_address, "pair"),
    )
    if opened is not None and opened in view.row_of:
        sample = str(view.spans["sample"].iloc[view.row_of[opened]])
        st.switch_page(PAGES["trace"], query_params=chosen.address(sample=sample, span=opened))
    st.caption(
        f"Spans of one colour and letter are {'aligned' if pair.is_run else 'the closest'}; the number on a line is "
        "their cosine, a number beside a span opens its trace. Click a span to see it with its partner below."
    )
    if cell is not None:
        show_two_spans(chosen, view, pair, cell)


def _show_score(title: str, value: float, reference: Reference, beside: str, explained: str) -> None:
    """A score as a line over the histogram of random pairs' scores."""
    known = np.append(reference.values, value)
    known = known[np.isfinite(known)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    width = max(high - low, 1e-9)
    low, high = low - 0.03 * width, high + 0.03 * width
    counts, _ = np.histogram(reference.values, bins=48, range=(low, high))
    tops = np.sqrt(counts / max(counts.max(initial=0), 1))  # so that rare scores stay visible
    bars = "".join(
        f'<div style="flex:1;height:{100 * top:.0f}%;background:rgba(128,136,150,.55)"></div>' for top in tops
    )
    line = ""
    if np.isfinite(value):
        at = 100 * (value - low) / (high - low)
        line = (
            f'<div style="position:absolute;left:{at:.1f}%;top:-4px;bottom:-4px;width:3px;background:{ACCENT}"></div>'
        )
    shown = f"{value:.3f}" if np.isfinite(value) else "unknown"
    st.html(
        f'<div title="{html.escape(explained)}"><div style="display:flex;gap:.7rem;align-items:baseline;'
        f'flex-wrap:wrap;font-variant-numeric:tabular-nums"><span style="opacity:.7">{html.escape(title)}</span>'
        f'<b style="font-size:1.2rem">{shown}</b><span style="opacity:.7;font-size:.85rem">{html.escape(beside)}</span>'
        '</div><div style="position:relative;height:44px;margin-top:.5rem;'
        'border-bottom:1px solid rgba(128,136,150,.7)">'
        f'<div style="display:flex;align-items:flex-end;gap:1px;height:100%">{bars}</div>{line}</div></div>'
    )


def _show_scores(structure: Structure, twin: pd.Series | None) -> None:
    """Structural and semantic similarity, each with its null."""
    if twin is None:
        st.info(
            "These two are no stored twin: no aligned run of spans, or questions closer than the median. Coloured: "
            "spans that are each other's best and above the null's 95th percentile, some of them by chance. "
            "`gsd compare` aligns and tests any two samples.",
            icon=":material/info:",
        )
        return
    tested = structure.info.get("twins", {})
    structural, semantic = (compute_reference(structure, score) for score in ("structural", "semantic"))
    left, right = st.columns(2, gap="large")
    with left:
        shuffled = tested.get("structural_null_p95")
        beside = f"q = {twin['q_value']:.2g} · p = {twin['p_value']:.2g}"
        if shuffled is not None:
            beside += f" · shuffled order 95 %: {shuffled:.3f}"
        _show_score(
            "structural",
            float(twin["structural"]),
            structural,
            f"{beside} · z = {twin['z_structural']:.1f}",
            "Score of the best aligned run of spans over the root of the product of both lengths. p: against pairs of "
            "like length in shuffled order; q: Benjamini–Hochberg over all tested pairs of distant questions. Grey: "
            "random pairs of samples.",
        )
    with right:
        _show_score(
            "semantic",
            float(twin["semantic"]),
            semantic,
            f"median of random pairs: {semantic.median:.2f} · z = {twin['z_semantic']:.1f}",
            "Cosine of the embeddings of both questions. Grey: random pairs of samples.",
        )
    st.caption(
        "Red: this pair; grey: random pairs of samples (square roots of counts). The tested pairs were chosen because "
        "their directions are near, and q accounts for all of them."
    )


def _trace_spans(chosen: Chosen, view: RunView, pair: PairView, side: int) -> list[PairSpan]:
    """One trace for the viewer; white space belongs to the span before it, so that a copy is complete."""
    rows = (pair.rows_a, pair.rows_b)[side]
    link_of = {int(rows[(i, j)[side]]): number for number, (i, j, _) in enumerate(pair.aligned)}
    sample = (pair.a, pair.b)[side]
    spans: list[PairSpan] = []
    for piece in compute_trace(view, sample):
        if piece.row is None:
            if piece.text.strip() or not spans:
                spans.append(PairSpan(piece.text))
            else:
                spans[-1] = replace(spans[-1], text=spans[-1].text + piece.text)
            continue
        row = view.spans.iloc[piece.row]
        spans.append(
            PairSpan(
                piece.text,
                span=str(row["span"]),
                number=int(row["index"]) + 1,
                link=link_of.get(piece.row),
                address=f"trace?{urlencode(chosen.address(sample=sample, span=str(row['span'])))}",
                tip="; ".join(describe(row, view)),
            )
        )
    return spans


def _chosen_cell(view: RunView, pair: PairView) -> tuple[int, int] | None:
    """Cell of the chosen span and its partner, else of the first aligned pair; None where nothing is aligned."""
    span = read_address("pair", remember=False)
    row = view.row_of.get(span, -1)
    cosines: np.ndarray = pair.cosines
    for side, rows in enumerate((pair.rows_a, pair.rows_b)):
        if row not in rows or not cosines.size:
            continue
        own = int(np.argmax(rows == row))
        for i, j, _ in pair.aligned:
            if (i, j)[side] == own:
                return i, j
        best = int(np.argmax(cosines[own, :] if side == 0 else cosines[:, own]))
        return (own, best) if side == 0 else (best, own)
    return pair.aligned[0][:2] if pair.aligned else None


def _show_questions(view: RunView, pair: PairView) -> None:
    for column, sample in zip(st.columns(2, gap="large"), (pair.a, pair.b), strict=True):
        question = str(view.samples["question"].get(sample, ""))
        column.html(
            '<div style="background:rgba(128,140,170,.11);border-radius:.6rem;padding:.6rem 1rem;white-space:pre-wrap;'
            f'overflow-wrap:anywhere;line-height:1.5">{html.escape(question) or "(no question)"}</div>'
        )
