"""The alignment page: two traces span by span and layer by layer, and cosines between clusters.

show_alignment   the page of an analysed run
"""

from __future__ import annotations

from functools import partial

import streamlit as st

from gsd_core.dashboard.alignment import alignment_figures as figures
from gsd_core.dashboard.alignment.alignment_heat import CAPTION, LAYERS, RUN, has_drawn, show_cells, show_spans
from gsd_core.dashboard.frame import run_cache
from gsd_core.dashboard.frame.address import PAGES, write_address
from gsd_core.dashboard.frame.charts import show_chart
from gsd_core.dashboard.frame.page_text import escape
from gsd_core.dashboard.frame.run_cache import Chosen
from gsd_core.dashboard.frame.sample_choice import choose_sample, list_samples
from gsd_core.dashboard.jobs.analysis_offer import open_structure
from gsd_core.dashboard.look.figure_frame import name_pair
from gsd_core.dashboard.reading.run_view import RunView
from gsd_core.dashboard.reading.structure_queries import (
    PairView,
    Structure,
    compute_layer_cosines,
    find_twin,
    list_layers,
)

_PAIR = "alignment_pair"


def _choose_samples(view: RunView, structure: Structure) -> tuple[str, str]:
    """Two samples: from the address, else the top twin, else the first two."""
    samples = list_samples(view)
    first = [str(each) for each in structure.twins[["a", "b"]].head(1).to_numpy().ravel()]
    default_a, default_b = first or (samples[0], samples[min(1, len(samples) - 1)])
    left, right = st.columns(2)
    with left:
        a = choose_sample(view, "Trace a, downwards", "a", default=default_a)
    with right:
        same = "Choose the same trace twice to compare it with itself."
        b = choose_sample(view, "Trace b, to the right", "b", default=default_b, help=same)
    return a, b


def _describe(structure: Structure, pair: PairView, run: str) -> str:
    """Says what the frames in the heat map are."""
    twin = find_twin(structure, pair.a, pair.b)
    if twin is not None:
        return (
            f"Framed: the aligned run of spans (twin {twin['rank']}: structural {twin['structural']:.3f}, "
            f"q = {twin['q_value']:.2g}; semantic {twin['semantic']:.2f})."
        )
    if pair.a == pair.b:
        return "One trace against itself: the diagonal is 1 by definition."
    return (
        "Framed: cells that are the best of their row and column and above the null's 95th percentile. These two are "
        f"no stored twin; gsd compare {run} {pair.a} {pair.b} aligns and tests them."
    )


@st.fragment(key=CAPTION)
def _show_caption(chosen: Chosen, a: str, b: str) -> None:
    """What is framed, and a link to the texts."""
    structure = run_cache.get_structure(chosen)
    if structure is None or not has_drawn():
        return
    st.caption(
        escape(_describe(structure, run_cache.get_pair(chosen, a, b), chosen.info.name)),
        help="Click a cell, or go there with the arrow keys and press Enter, to see its two spans below.",
    )
    st.page_link(
        PAGES["twins"],
        label="Read the two traces side by side",
        icon=":material/compare_arrows:",
        query_params=chosen.address(a=a, b=b),
    )


@st.fragment(key=LAYERS)
def _show_layers(chosen: Chosen, a: str, b: str) -> None:
    structure = run_cache.get_structure(chosen)
    if structure is None or not has_drawn():
        return
    st.markdown("##### Layer by layer")
    view, pair = run_cache.get_view(chosen), run_cache.get_pair(chosen, a, b)
    layers = list_layers(view)
    if not layers:
        st.info("This run's sketch has no layer blocks.", icon=":material/info:")
        return
    rows = [(int(pair.rows_a[i]), int(pair.rows_b[j])) for i, j, _ in pair.aligned]
    names = [f"{name_pair(number)}<br>{i + 1}↔{j + 1}" for number, (i, j, _) in enumerate(pair.aligned)]
    cosines = compute_layer_cosines(run_cache.get_directions(chosen), rows, layers)
    blocks = [name for name, _, _ in layers]
    show_chart(
        figures.plot_layers(cosines, names, blocks, structure.layers),
        key="alignment_layers",
        alt="Cosines of aligned pairs by layer",
        name=f"{view.name} {view.checkpoint} {pair.a} {pair.b} layers",
        table=partial(figures.make_layers_table, cosines, pair, blocks, structure.layers),
    )
    st.caption(
        "Left: cosine of each framed pair within one layer block, early layers below. Right: means over pairs of spans "
        "of different samples, with 95 % intervals over samples."
    )


@st.fragment(key=RUN)
def _show_run(chosen: Chosen) -> None:
    """Figures of the whole run: cosines between clusters, and figure A."""
    structure = run_cache.get_structure(chosen)
    if structure is None or not has_drawn():
        return
    st.divider()
    view = run_cache.get_view(chosen)
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("##### Cosines between clusters")
        if structure.edges.empty:
            st.info("No two clusters to compare.", icon=":material/info:")
        else:
            show_chart(
                figures.plot_clusters(view, structure.edges),
                key="alignment_clusters",
                alt="Cosines between clusters",
                name=f"{view.name} {view.checkpoint} clusters",
                table=partial(figures.make_clusters_table, view, structure.edges, figures.MAX_CLUSTERS),
            )
            st.caption(
                f"Mean centred cosine of spans of different samples, for at most {figures.MAX_CLUSTERS} clusters. The "
                "diagonal is high by construction."
            )
    with right:
        st.markdown("##### Cosines across samples (figure A)")
        show_chart(
            figures.plot_cosines(structure.cosines, run_cache.get_directions(chosen).null.p95),
            key="alignment_cosines",
            alt="Distributions of cosines by kind",
            name=f"{view.name} {view.checkpoint} cosines",
            table=lambda: structure.cosines,
        )
        st.caption(
            "Pairs of spans of different samples; “shuffled” are clusters of the same sizes with random members. "
            "Clusters were found in these directions, so their higher cosines are no evidence."
        )


def show_alignment(chosen: Chosen) -> None:
    """Heat map of two traces and the chosen cell's spans; layers; clusters; figure A."""
    structure = open_structure(chosen)
    if structure is None:
        return
    view = run_cache.get_view(chosen)
    if view.spans.empty:
        st.info("This checkpoint has no captured spans.", icon=":material/info:")
        return
    a, b = _choose_samples(view, structure)
    shown = (chosen.info.name, chosen.checkpoint, a, b)
    if st.session_state.get(_PAIR, shown) != shown:
        write_address("cell", None)  # it belongs to two other traces
    st.session_state[_PAIR] = shown
    pair = run_cache.get_pair(chosen, a, b)
    if not pair.cosines.size:
        st.info("One of these samples has no direction at this checkpoint.", icon=":material/info:")
        return
    left, right = st.columns([11, 9], gap="large")
    with left:
        st.markdown("##### Span by span")
        show_cells(chosen, a, b)
        _show_caption(chosen, a, b)
    with right:
        _show_layers(chosen, a, b)
    show_spans(chosen, a, b)
    _show_run(chosen)
