"""The twins page: which samples reason alike about different things, and two traces read side by side.

show_twins   quadrant plot and ranked list; below, the chosen pair with its scores, questions and aligned spans
"""

from __future__ import annotations

import html
from dataclasses import replace
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import streamlit as st

from gsd_core.dashboard import figures, panel, session, structure_figures
from gsd_core.dashboard.address import address_of, read_address, write_address
from gsd_core.dashboard.alignment_figures import color_pair, name_pair
from gsd_core.dashboard.alignment_view import open_structure, show_two_spans
from gsd_core.dashboard.charts import show_chart
from gsd_core.dashboard.colors import ACCENT
from gsd_core.dashboard.components.pair import PairLink, PairSpan, plot_pair
from gsd_core.dashboard.components.rings import plot_rings
from gsd_core.dashboard.figure_tables import make_quadrants_table
from gsd_core.dashboard.queries import RunView, compute_trace
from gsd_core.dashboard.session import Chosen, escape
from gsd_core.dashboard.structure_queries import (
    SIGNIFICANT,
    PairView,
    Reference,
    Structure,
    compute_pair,
    compute_reference,
    find_twin,
)

HEIGHT = 470
TABLE_ROWS = 1_000
_QUADRANTS = "twins_quadrants"
OTHER_WORDS = (
    "Only pairs whose reasonings, and whose aligned spans, share no more words than 95 % of random pairs do (TF-IDF "
    "over words, without numbers), ranked by structural score."
)
_FORMATS = {"#": "%d", "Struct.": "%.3f", "Sem.": "%.2f", "q": "%.2g"}
_CLICKS = "twins_clicks"  # a click in the plot makes the list anew, with the row that was clicked


def _open(chosen: Chosen) -> Structure | None:
    """The structure whose ``twins`` are those that are looked at: all, or those in other words."""
    structure = session.get_structure(chosen)
    if structure is None or not read_address(panel.WORDS) or structure.rewordings.empty:
        return structure
    tested = structure.info.get("twins") or {}
    own = {
        **tested,
        "n_pairs_tested": tested.get("n_pairs_other_words"),
        "structural_null_p95": tested.get("other_words_null_p95"),
    }
    return replace(structure, twins=structure.rewordings, info={**structure.info, "twins": own})


def _chosen_pair(view: RunView, structure: Structure) -> tuple[str, str]:
    """Two samples: from the address, else the top twin."""
    a, b = read_address("a"), read_address("b")
    known = set(view.spans["sample"])
    if a != b and a in known and b in known:
        return a, b
    return str(structure.twins["a"].iloc[0]), str(structure.twins["b"].iloc[0])


def _open_twin(structure: Structure, row: int, fragments: list[str]) -> None:
    """Callback's end: choose a twin; the figure stays as it is."""
    if 0 <= row < len(structure.twins):
        twin = structure.twins.iloc[row]
        write_address("a", str(twin["a"]))
        write_address("b", str(twin["b"]))
        write_address("pair", None)
    st.rerun(fragments)


def _clicked(structure: Structure) -> None:
    """Callback: a twin was clicked in the plot."""
    rows = figures.selected_rows(st.session_state.get(_QUADRANTS))
    if rows:
        st.session_state[_CLICKS] = st.session_state.get(_CLICKS, 0) + 1
        _open_twin(structure, rows[0], ["twins_list", "twins_pair"])


def _picked(structure: Structure, key: str) -> None:
    """Callback: a row of the list was chosen."""
    rows = (st.session_state.get(key) or {}).get("selection", {}).get("rows") or []
    if rows:
        _open_twin(structure, int(rows[0]), ["twins_pair"])


def _row_of(structure: Structure, a: str, b: str) -> int | None:
    """Row of the twin in the table, None where the two are not in it."""
    twin = find_twin(replace(structure, rewordings=structure.twins.iloc[:0]), a, b)
    return None if twin is None else int(twin.name)  # type: ignore[arg-type]


@st.fragment(key="twins_list")
def _show_list(chosen: Chosen) -> None:
    view, structure = session.get_view(chosen), _open(chosen)
    if structure is None:  # analysed anew meanwhile
        return
    twins = structure.twins.head(TABLE_ROWS)
    questions = view.samples["question"]
    table = pd.DataFrame(
        {
            "#": twins["rank"],
            "Struct.": twins["structural"],
            "Sem.": twins["semantic"],
            "q": twins["q_value"],
            "Question a": [str(questions.get(sample, sample)) for sample in twins["a"]],
            "Question b": [str(questions.get(sample, sample)) for sample in twins["b"]],
        }
    )
    words = read_address(panel.WORDS)
    key = f"twins_{view.name}_{view.checkpoint}_{words}_{st.session_state.get(_CLICKS, 0)}"
    row = _row_of(structure, *_chosen_pair(view, structure))
    columns = {name: st.column_config.NumberColumn(format=form, width=60) for name, form in _FORMATS.items()}
    st.dataframe(
        table,
        hide_index=True,
        height=HEIGHT - 50,
        on_select=lambda: _picked(structure, key),
        # Two samples from the address may be no twin: then no row is theirs.
        selection_mode="single-row" if row is None else "single-row-required",
        selection_default={"selection": {"rows": [row] if row is not None and row < len(table) else []}},
        key=key,
        column_config=columns,
        alt="Twins by rank",
    )


def _show_score(title: str, value: float, reference: Reference, beside: str, explained: str) -> None:
    """A score over the histogram of random pairs' scores: the value is the line, chance is the grey."""
    known = np.append(reference.values, value)
    known = known[np.isfinite(known)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    width = max(high - low, 1e-9)
    low, high = low - 0.03 * width, high + 0.03 * width
    counts, _ = np.histogram(reference.values, bins=48, range=(low, high))
    tops = np.sqrt(counts / max(counts.max(initial=0), 1))  # rare scores must stay visible
    bars = "".join(
        f'<div style="flex:1;height:{100 * top:.0f}%;background:rgba(128,136,150,.55)"></div>' for top in tops
    )
    line = ""
    if np.isfinite(value):
        at = 100 * (value - low) / (high - low)
        line = (
            f'<div style="position:absolute;left:{at:.1f}%;top:-4px;bottom:-4px;width:3px;'
            f'background:{ACCENT}"></div>'
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
    """Structural and semantic similarity, each beside its null."""
    if twin is None:
        st.info(
            "These two are no stored twin: no aligned run, or questions closer than the median. Coloured: spans "
            "that are each other's best and above the null's 95th percentile, which some are by chance. "
            "`gsd compare` aligns and tests any two samples.",
            icon=":material/info:",
        )
        return
    tested = structure.info.get("twins", {})
    structural, semantic = (
        compute_reference(structure, "structural"),
        compute_reference(structure, "semantic"),
    )
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
            "Score of the best aligned run over the root of the product of both lengths. p: against spans in shuffled "
            "order; q: Benjamini–Hochberg over all tested pairs. Grey: random pairs of samples.",
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
        "Red: this pair. Grey: random pairs of samples (heights as square roots). The tested pairs were chosen because "
        "their directions are near; q accounts for all of them. Alignment correlates with shared structure."
    )


def _trace_spans(chosen: Chosen, view: RunView, pair: PairView, side: int) -> list[PairSpan]:
    """One trace for the viewer; white space between spans stays with the span before it, so that copies are whole."""
    rows = (pair.rows_a, pair.rows_b)[side]
    link_of = {int(rows[(i, j)[side]]): place for place, (i, j, _) in enumerate(pair.aligned)}
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
        choices = address_of(
            run=chosen.info.name, checkpoint=chosen.checkpoint, sample=sample, span=str(row["span"])
        )
        spans.append(
            PairSpan(
                piece.text,
                span=str(row["span"]),
                number=int(row["index"]) + 1,
                link=link_of.get(piece.row),
                address=f"trace?{urlencode(choices)}",
                tip="; ".join(panel.describe(row, view)),
            )
        )
    return spans


def _chosen_cell(view: RunView, pair: PairView) -> tuple[int, int] | None:
    """Places of the two spans that are looked at: the chosen one and its partner; None where nothing is aligned."""
    span = read_address("pair", remember=False)
    row = view.row_of.get(span, -1)
    cosines: np.ndarray = pair.cosines
    for side, rows in enumerate((pair.rows_a, pair.rows_b)):
        place = int(np.argmax(rows == row)) if row in rows else None
        if place is None or not cosines.size:
            continue
        for i, j, _ in pair.aligned:
            if (i, j)[side] == place:
                return i, j
        best = int(np.argmax(cosines[place, :] if side == 0 else cosines[:, place]))
        return (place, best) if side == 0 else (best, place)
    return pair.aligned[0][:2] if pair.aligned else None


def _choose_span(span: str) -> None:
    """Callback: a span was chosen in the two traces."""
    write_address("pair", span)
    st.rerun("twins_pair")


def _show_questions(view: RunView, pair: PairView) -> None:
    for column, sample in zip(st.columns(2, gap="large"), (pair.a, pair.b), strict=True):
        question = str(view.samples["question"].get(sample, ""))
        column.html(
            '<div style="background:rgba(128,140,170,.11);border-radius:.6rem;padding:.6rem 1rem;white-space:pre-wrap;'
            f'overflow-wrap:anywhere;line-height:1.5">{html.escape(question) or "(no question)"}</div>'
        )


@st.fragment(key="twins_pair")
def _show_pair(chosen: Chosen) -> None:
    view, structure = session.get_view(chosen), _open(chosen)
    if structure is None:
        return
    a, b = _chosen_pair(view, structure)
    twin = find_twin(structure, a, b)
    pair = compute_pair(view, session.get_directions(chosen), structure, a, b)
    place = (float(twin["semantic"]), float(twin["structural"])) if twin is not None else (np.nan, np.nan)
    plot_rings(_QUADRANTS, [place] if np.isfinite(place).all() else [], key="twins_ring")
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        rank = f"Twin {twin['rank']}: " if twin is not None else ""
        st.markdown(f"#### {rank}{escape(a)} ↔ {escape(b)}", width="content")
        st.page_link(
            session.PAGES["alignment"],
            label="Every cosine of these two",
            icon=":material/grid_on:",
            query_params=address_of(run=chosen.info.name, checkpoint=chosen.checkpoint, a=a, b=b),
        )
    _show_scores(structure, twin)
    _show_questions(view, pair)
    cell = _chosen_cell(view, pair)
    selected = []
    if cell is not None:
        selected = [
            str(view.spans["span"].iloc[rows[at]])
            for rows, at in zip((pair.rows_a, pair.rows_b), cell, strict=True)
        ]
    opened = plot_pair(
        _trace_spans(chosen, view, pair, 0),
        _trace_spans(chosen, view, pair, 1),
        [
            PairLink(color_pair(at), name_pair(at), f"{cosine:.2f}")
            for at, (_, _, cosine) in enumerate(pair.aligned)
        ],
        names=(a, b),
        key="twins_traces",
        selected=selected,
        on_choose=_choose_span,
    )
    if opened is not None and opened in view.row_of:
        sample = str(view.spans["sample"].iloc[view.row_of[opened]])
        choices = address_of(run=chosen.info.name, checkpoint=chosen.checkpoint, sample=sample, span=opened)
        st.switch_page(session.PAGES["trace"], query_params=choices)
    st.caption(
        f"Spans of one colour and letter are {'aligned' if pair.is_run else 'the closest'}; the number on a line is "
        "the cosine of their centred directions, a number beside a span opens it in its trace. Click a span to see it "
        "with its partner below."
    )
    if cell is not None:
        show_two_spans(chosen, view, pair, cell)


def show_twins(chosen: Chosen) -> None:
    """Quadrants, list, and the chosen pair."""
    whole = open_structure(chosen)
    if whole is None:
        return
    structure = _open(chosen) or whole
    view = session.get_view(chosen)
    if structure.twins.empty:
        st.info(
            "No two samples hold an aligned run while their questions are further apart than the median. More samples, "
            "or longer traces, usually help; the Alignment page compares any two.",
            icon=":material/info:",
        )
        return
    left, right = st.columns([11, 9], gap="large")
    with left:
        figure = structure_figures.plot_quadrants(
            view, structure, compute_reference(structure, "semantic"), HEIGHT
        )
        show_chart(
            figure,
            key=_QUADRANTS,
            alt=f"{len(structure.twins)} twins by semantic and structural similarity",
            name=f"{view.name} {view.checkpoint} twins",
            table=lambda: make_quadrants_table(structure, structure_figures.MAX_TWINS_DRAWN),
            on_select=lambda: _clicked(structure),
            has_tools=True,
        )
    with right:
        n_significant = int((structure.twins["q_value"] < SIGNIFICANT).sum())
        st.markdown(
            f"**{n_significant:,} of {len(structure.twins):,} twins** with q < {SIGNIFICANT}, best first"
        )
        if len(whole.rewordings):
            panel.choose_words("twins", OTHER_WORDS)
        _show_list(chosen)
    search = structure.info.get("twins", {})
    tested, left_out = search.get("n_pairs_tested"), search.get("n_traces_left_out", 0)
    st.caption(
        "Up: the reasoning aligns, span for span in order. Left of the dashed median: the questions speak of different "
        "things. Twins are ranked by "
        + ("structural score" if structure is not whole else "z(structural) − z(semantic)")
        + ", a few for each sequence of clusters"
        + (f"; {tested:,} pairs were tested" if tested else "")
        + (
            f", of {search['n_traces']:,} samples drawn at random; {left_out:,} were left out"
            if left_out
            else ""
        )
        + "."
    )
    if not n_significant:
        st.info(
            "No twin's alignment goes beyond what shuffled span order gives (q): these are candidates, not findings.",
            icon=":material/info:",
        )
    if structure.info.get("semantic_source") in ("none", "spans"):
        st.warning(
            "This run has no embeddings of its questions, so the semantic axis says little.",
            icon=":material/warning:",
        )
    _show_pair(chosen)
