"""The alignment page: two traces span by span, layer by layer, and the clusters among each other.

show_alignment     the page of an analysed run
open_structure     stresses and twins of a run, or what to do to get them
"""

from __future__ import annotations

from functools import partial

import streamlit as st

from gsd_core.dashboard.alignment import alignment_figures
from gsd_core.dashboard.alignment.alignment_figures import name_pair
from gsd_core.dashboard.alignment.alignment_heat import (
    CAPTION,
    LAYERS,
    RUN,
    has_drawn,
    show_cells,
    show_spans,
)
from gsd_core.dashboard.drawing.charts import show_chart
from gsd_core.dashboard.drawing.figure_tables import make_clusters_table, make_layers_table
from gsd_core.dashboard.frame import session
from gsd_core.dashboard.frame.address import address_of, write_address
from gsd_core.dashboard.frame.sample_choice import choose_sample, list_samples
from gsd_core.dashboard.frame.session import Chosen, escape
from gsd_core.dashboard.jobs import job_view
from gsd_core.dashboard.jobs.commands import analyze_commands
from gsd_core.dashboard.reading.run_view import RunView
from gsd_core.dashboard.reading.structure_queries import (
    PairView,
    Structure,
    compute_layer_cosines,
    find_twin,
    list_layers,
)
from gsd_core.errors import UserError

_PAIR = "alignment_pair"


def open_structure(chosen: Chosen) -> Structure | None:
    """Stresses and twins of an analysed run; where they were not computed yet, None, and the page offers that."""
    try:
        structure = session.get_structure(chosen)
    except UserError as error:
        session.show_error(error)
        return None
    if structure is None:
        with st.container(border=True):
            st.markdown("### This run is laid out, but its traces are not compared yet")
            st.caption(
                f"gsd analyze {escape(chosen.info.name)} keeps the layout and adds stresses and twins. "
                "The button does the same."
            )
            if st.button("Find stresses and twins", type="primary", icon=":material/auto_awesome:"):
                commands = analyze_commands(session.workspace_uri(), chosen.info.name)
                job_view.start_and_show(f"Analyse {chosen.info.name}", commands, run=chosen.info.name)
        job_view.show_jobs(limit=1)
    return structure


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
    """What the frames in the heat map are."""
    twin = find_twin(structure, pair.a, pair.b)
    if twin is not None:
        return (
            f"Framed: the run that the analysis aligned (twin {twin['rank']}: structural {twin['structural']:.3f}, "
            f"q = {twin['q_value']:.2g}; semantic {twin['semantic']:.2f})."
        )
    if pair.a == pair.b:
        return "One trace against itself: the diagonal is 1 by definition."
    return (
        "Framed: cells that are the best of their row and column and above the null's 95th percentile, in whatever "
        f"order. These two are no stored twin; gsd compare {run} {pair.a} {pair.b} aligns and tests them."
    )


@st.fragment(key=CAPTION)
def _show_caption(chosen: Chosen, a: str, b: str) -> None:
    """What is framed, how to choose, and the way to the texts."""
    structure = session.get_structure(chosen)
    if structure is None or not has_drawn():
        return
    st.caption(
        escape(_describe(structure, session.get_pair(chosen, a, b), chosen.info.name))
        + " Click a cell, or go there with the arrow keys and press Enter: its two spans are shown below."
    )
    st.page_link(
        session.PAGES["twins"],
        label="Read the two traces side by side",
        icon=":material/compare_arrows:",
        query_params=address_of(run=chosen.info.name, checkpoint=chosen.checkpoint, a=a, b=b),
    )


@st.fragment(key=LAYERS)
def _show_layers(chosen: Chosen, a: str, b: str) -> None:
    structure = session.get_structure(chosen)
    if structure is None or not has_drawn():
        return
    st.markdown("##### In which layers")
    view, pair = session.get_view(chosen), session.get_pair(chosen, a, b)
    layers = list_layers(view)
    if not layers:
        st.info("This run's sketch has no block for each layer.", icon=":material/info:")
        return
    rows = [(int(pair.rows_a[i]), int(pair.rows_b[j])) for i, j, _ in pair.aligned]
    names = [f"{name_pair(place)}<br>{i + 1}↔{j + 1}" for place, (i, j, _) in enumerate(pair.aligned)]
    cosines = compute_layer_cosines(session.get_directions(chosen), rows, layers)
    blocks = [name for name, _, _ in layers]
    show_chart(
        alignment_figures.plot_layers(cosines, names, blocks, structure.layers),
        key="alignment_layers",
        alt="Cosines of aligned pairs by layer",
        name=f"{view.name} {view.checkpoint} {pair.a} {pair.b} layers",
        table=partial(make_layers_table, cosines, pair, blocks, structure.layers),
    )
    st.caption(
        "Left: cosine of each framed pair within one layer's block of the sketch, early layers below. Right: means "
        "over pairs of spans of different samples with 95 % intervals over samples."
    )


@st.fragment(key=RUN)
def _show_run(chosen: Chosen) -> None:
    """What holds for the whole run: clusters among each other, and figure A."""
    structure = session.get_structure(chosen)
    if structure is None or not has_drawn():
        return
    st.divider()
    view = session.get_view(chosen)
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("##### Clusters among each other")
        if structure.edges.empty:
            st.info("No two clusters to compare.", icon=":material/info:")
        else:
            show_chart(
                alignment_figures.plot_clusters(view, structure.edges),
                key="alignment_clusters",
                alt="Cosines between clusters",
                name=f"{view.name} {view.checkpoint} clusters",
                table=partial(make_clusters_table, view, structure.edges, alignment_figures.MAX_CLUSTERS),
            )
            st.caption(
                "Mean centred cosine of spans of two clusters, from different samples only. The diagonal is high by "
                f"construction. The {alignment_figures.MAX_CLUSTERS} biggest clusters at most."
            )
    with right:
        st.markdown("##### Cosines across samples (figure A)")
        show_chart(
            alignment_figures.plot_cosines(structure.cosines, session.get_directions(chosen).null.p95),
            key="alignment_cosines",
            alt="Distributions of cosines by kind",
            name=f"{view.name} {view.checkpoint} cosines",
            table=lambda: structure.cosines,
        )
        st.caption(
            "Pairs of spans of different samples. “Shuffled” has clusters of the same sizes with random members. "
            "Clusters were found in these same directions: that theirs lie higher is no evidence by itself."
        )


def show_alignment(chosen: Chosen) -> None:
    """Heat map of two traces and the chosen cell's spans; layers; clusters; figure A."""
    structure = open_structure(chosen)
    if structure is None:
        return
    view = session.get_view(chosen)
    if view.spans.empty:
        st.info("This checkpoint has no captured spans.", icon=":material/info:")
        return
    a, b = _choose_samples(view, structure)
    shown = (chosen.info.name, chosen.checkpoint, a, b)
    if st.session_state.get(_PAIR, shown) != shown:
        write_address("cell", None)  # it was a cell of two other traces
    st.session_state[_PAIR] = shown
    pair = session.get_pair(chosen, a, b)
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
