"""The twins page: samples whose reasoning is similar while their questions differ.

show_twins   plot and ranked list of the twins; below, the chosen pair
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import streamlit as st

from gsd_core.dashboard.components.rings import plot_rings
from gsd_core.dashboard.frame import run_cache
from gsd_core.dashboard.frame.address import read_address, write_address
from gsd_core.dashboard.frame.charts import selected_rows, show_chart
from gsd_core.dashboard.frame.run_cache import Chosen
from gsd_core.dashboard.jobs.analysis_offer import open_structure
from gsd_core.dashboard.reading.run_view import RunView
from gsd_core.dashboard.reading.structure_queries import (
    SIGNIFICANT,
    Structure,
    compute_pair,
    compute_reference,
    find_twin,
)
from gsd_core.dashboard.spans.aligned_spans import WORDS, choose_words
from gsd_core.dashboard.twins import twins_figures
from gsd_core.dashboard.twins.twin_pair_view import show_pair

TABLE_ROWS = 1_000
_QUADRANTS = "twins_quadrants"
OTHER_WORDS = (
    "Only pairs whose reasoning and whose aligned spans share no more words than 95 % of random pairs do (TF-IDF over "
    "words, without numbers), ranked by structural score."
)
_FORMATS = {"#": "%d", "Struct.": "%.3f", "Sem.": "%.2f", "q": "%.2g"}
_CLICKS = "twins_clicks"  # a click in the plot makes a new list with the clicked row


def _open(chosen: Chosen) -> Structure | None:
    """The structure with the twins that the page shows: all, or those in other words."""
    structure = run_cache.get_structure(chosen)
    if structure is None or not read_address(WORDS) or structure.rewordings.empty:
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
    if a != b and all(len(view.row_of.rows_of(each)) for each in (a, b)):
        return a, b
    return str(structure.twins["a"].iloc[0]), str(structure.twins["b"].iloc[0])


def _picked(structure: Structure, key: str) -> None:
    """Callback: a twin was chosen in the plot or the list called ``key``; the figure stays as it is."""
    rows = selected_rows(st.session_state.get(key))
    if not rows:
        return
    if rows[0] < len(structure.twins):
        twin = structure.twins.iloc[rows[0]]
        write_address("a", str(twin["a"]))
        write_address("b", str(twin["b"]))
        write_address("pair", None)
    if key == _QUADRANTS:
        st.session_state[_CLICKS] = st.session_state.get(_CLICKS, 0) + 1
    st.rerun(["twins_list", "twins_pair"] if key == _QUADRANTS else ["twins_pair"])


def _row_of(structure: Structure, a: str, b: str) -> int | None:
    """Row of two samples in the table of twins, None where they have none."""
    twin = find_twin(replace(structure, rewordings=structure.twins.iloc[:0]), a, b)
    return None if twin is None else int(twin.name)  # type: ignore[arg-type]


@st.fragment(key="twins_list")
def _show_list(chosen: Chosen) -> None:
    view, structure = run_cache.get_view(chosen), _open(chosen)
    if structure is None:  # the run is being analysed again
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
    words = read_address(WORDS)
    key = f"twins_{view.name}_{view.checkpoint}_{words}_{st.session_state.get(_CLICKS, 0)}"
    row = _row_of(structure, *_chosen_pair(view, structure))
    columns = {name: st.column_config.NumberColumn(format=form, width=60) for name, form in _FORMATS.items()}
    st.dataframe(
        table,
        hide_index=True,
        height=twins_figures.HEIGHT - 50,
        on_select=lambda: _picked(structure, key),
        # Two samples from the address may be no twin, and then have no row.
        selection_mode="single-row" if row is None else "single-row-required",
        selection_default={"selection": {"rows": [row] if row is not None and row < len(table) else []}},
        key=key,
        column_config=columns,
        alt="Twins by rank",
    )


@st.fragment(key="twins_pair")
def _show_pair(chosen: Chosen) -> None:
    view, structure = run_cache.get_view(chosen), _open(chosen)
    if structure is None:
        return
    a, b = _chosen_pair(view, structure)
    twin = find_twin(structure, a, b)
    pair = compute_pair(view, run_cache.get_directions(chosen), structure, a, b)
    point = (float(twin["semantic"]), float(twin["structural"])) if twin is not None else (np.nan, np.nan)
    plot_rings(_QUADRANTS, [point] if np.isfinite(point).all() else [], key="twins_ring")
    show_pair(chosen, view, structure, pair, twin)


def show_twins(chosen: Chosen) -> None:
    """Quadrants, list, and the chosen pair."""
    whole = open_structure(chosen)
    if whole is None:
        return
    structure = _open(chosen) or whole
    view = run_cache.get_view(chosen)
    if structure.twins.empty:
        st.info(
            "No two samples have an aligned run of spans and questions further apart than the median. More samples or "
            "longer traces usually help; the page Alignment compares any two samples.",
            icon=":material/info:",
        )
        return
    left, right = st.columns([11, 9], gap="large")
    with left:
        figure = twins_figures.plot_quadrants(view, structure, compute_reference(structure, "semantic"))
        show_chart(
            figure,
            key=_QUADRANTS,
            alt=f"{len(structure.twins)} twins by semantic and structural similarity",
            name=f"{view.name} {view.checkpoint} twins",
            table=lambda: twins_figures.make_quadrants_table(structure, twins_figures.MAX_TWINS_DRAWN),
            on_select=lambda: _picked(structure, _QUADRANTS),
            has_tools=True,
        )
    with right:
        n_significant = int((structure.twins["q_value"] < SIGNIFICANT).sum())
        st.markdown(f"**{n_significant:,} of {len(structure.twins):,} twins** with q < {SIGNIFICANT}, best first")
        if len(whole.rewordings):
            choose_words("twins", OTHER_WORDS)
        _show_list(chosen)
    search = structure.info.get("twins", {})
    tested, left_out = search.get("n_pairs_tested"), search.get("n_traces_left_out", 0)
    st.caption(
        "The higher, the better the reasoning aligns; left of the dashed median the questions differ. Twins are ranked "
        "by "
        + ("structural score" if structure is not whole else "z(structural) − z(semantic)")
        + ", a few for each sequence of clusters"
        + (f"; {tested:,} pairs were tested" if tested else "")
        + (f", of {search['n_traces']:,} samples drawn at random; {left_out:,} were left out" if left_out else "")
        + "."
    )
    if not n_significant:
        st.info(
            "No twins align better than spans in shuffled order (q): these are candidates, not findings.",
            icon=":material/info:",
        )
    if structure.info.get("semantic_source") in ("none", "spans"):
        st.warning(
            "This run has no embeddings of its questions, so the semantic axis means little.", icon=":material/warning:"
        )
    _show_pair(chosen)
