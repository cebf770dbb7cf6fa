"""The alignment page: two traces span by span, layer by layer, and the clusters among each other.

show_alignment     the page of an analysed run
open_structure     stresses and twins of a run, or what to do to get them
show_two_spans     two spans side by side, their cosine beside its null
"""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import streamlit as st

from gsd_core.dashboard import (
    alignment_figures,
    job_view,
    panel,
    session,
    snippets,
)
from gsd_core.dashboard.address import address_of, choose, read_address, write_address
from gsd_core.dashboard.alignment_figures import color_pair, name_pair
from gsd_core.dashboard.charts import offer_files, show_chart
from gsd_core.dashboard.colors import NOISE_MARK, Mark
from gsd_core.dashboard.commands import analyze_commands
from gsd_core.dashboard.components.heat import HeatPair, plot_heat
from gsd_core.dashboard.figure_tables import make_cells_table, make_clusters_table, make_layers_table
from gsd_core.dashboard.queries import RunView
from gsd_core.dashboard.session import Chosen, escape
from gsd_core.dashboard.structure_queries import (
    PairView,
    Structure,
    compute_layer_cosines,
    find_twin,
    list_layers,
)
from gsd_core.errors import UserError

MANY_SAMPLES = 5_000
_PAIR, _HEAT = "alignment_pair", "alignment_heat"
_HELD = "alignment_held"  # the cell that the browser shows as chosen, and how often it was told another
_TEXT = 90


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
    samples = [str(name) for name in dict.fromkeys(view.spans["sample"])]
    first = [str(each) for each in structure.twins[["a", "b"]].head(1).to_numpy().ravel()]
    default_a, default_b = first or (samples[0], samples[min(1, len(samples) - 1)])
    questions = view.samples["question"]

    def name(sample: str) -> str:
        if len(samples) > MANY_SAMPLES:
            return sample
        return f"{sample}  ·  {session.shorten(str(questions.get(sample, '')), 60)}"

    left, right = st.columns(2)
    with left:
        a = choose("Trace a, downwards", "a", samples, default=default_a, format_func=name)
    with right:
        b = choose(
            "Trace b, to the right",
            "b",
            samples,
            default=default_b,
            format_func=name,
            help="Choose the same trace twice to compare it with itself.",
        )
    return a, b


def _get_threshold(chosen: Chosen) -> float:
    return session.get_directions(chosen).null.p95


def _chosen_cell(pair: PairView) -> tuple[int, int]:
    """The cell that is looked at: from the address, else the first aligned one, else the best."""
    n_a, n_b = pair.cosines.shape
    found = re.fullmatch(r"(\d{1,6})-(\d{1,6})", read_address("cell", remember=False))
    if found and 1 <= int(found[1]) <= n_a and 1 <= int(found[2]) <= n_b:
        return int(found[1]) - 1, int(found[2]) - 1
    if pair.aligned:
        return pair.aligned[0][:2]
    own = 2.0 * np.eye(n_a, n_b) if pair.a == pair.b else 0.0  # a span and itself are no news
    best = int(np.argmax(pair.cosines - own))
    return best // n_b, best % n_b


def _choose_cell(i: int, j: int, fragments: list[str]) -> None:
    """Callback's end: only these parts of the page are drawn again."""
    write_address("cell", f"{i + 1}-{j + 1}")
    st.rerun(fragments)


def _picked(i: int, j: int) -> None:
    """Callback: a cell was chosen on the heat map, which shows it by itself."""
    st.session_state[_HELD] = (i, j), st.session_state[_HELD][1]
    _choose_cell(i, j, ["alignment_spans"])


def _hold(cell: tuple[int, int]) -> int:
    """How often the browser was told a cell that it did not choose; once more where it shows another than ``cell``."""
    held, turn = st.session_state.get(_HELD, (cell, 0))
    st.session_state[_HELD] = cell, turn + (held != cell)
    return turn + (held != cell)


def _listed() -> None:
    """Callback: a span was chosen from a list."""
    i, j = (int(st.session_state[key]) for key in ("alignment_i", "alignment_j"))
    _choose_cell(i, j, ["alignment_cells", "alignment_spans"])


def _name_span(texts: list[str], place: int) -> str:
    return f"{place + 1} · {texts[place]}"


def _name_kind(pair: PairView) -> str:
    return "aligned pair" if pair.is_run else "mutual best"


def show_two_spans(chosen: Chosen, view: RunView, pair: PairView, cell: tuple[int, int]) -> None:
    """Two spans side by side, their cosine beside its null, each with a link to its trace.

    ``cell`` is the place in ``pair.a`` and in ``pair.b``; q is adjusted over all cells of the two traces.
    """
    null = session.get_directions(chosen).null
    q_values = session.get_pair_q_values(chosen, pair)
    place = next((at for at, (i, j, _) in enumerate(pair.aligned) if (i, j) == cell), None)
    mark, name = NOISE_MARK, ""
    if place is not None:
        # Outside a twin's run a best cell may still be chance, as its q says.
        mark, name = Mark(color_pair(place), "circle"), f"{_name_kind(pair)} {name_pair(place)}"
    snippets.show_cosine(float(pair.cosines[cell]), null, float(q_values[cell]), mark, name)
    rows = (int(pair.rows_a[cell[0]]), int(pair.rows_b[cell[1]]))
    for column, row in zip(st.columns(2, gap="medium"), rows, strict=True):
        span = view.spans.iloc[row]
        with column, st.container(border=True, height="stretch"):
            panel.show_heading(view, span)
            snippets.show_quote(str(span["text"]).strip(), view.mark(int(span["cluster"])).color)
            panel.show_measures(span)
            panel.link_to_trace(chosen, str(span["sample"]), str(span["span"]), "Open in its trace")


@st.fragment(key="alignment_cells")
def _show_cells(chosen: Chosen, a: str, b: str) -> None:
    view, pair = session.get_view(chosen), session.get_pair(chosen, a, b)
    cell = _chosen_cell(pair)
    texts = [
        [session.shorten(str(text), _TEXT) for text in view.spans["text"].iloc[rows]]
        for rows in (pair.rows_a, pair.rows_b)
    ]
    with offer_files(
        key=_HEAT,
        alt=f"Cosines of {len(pair.rows_a)} spans of a with {len(pair.rows_b)} spans of b",
        name=f"{view.name} {view.checkpoint} {a} {b}",
        table=partial(make_cells_table, view, pair),
        formats=("png",),
    ):
        plot_heat(
            pair.cosines,
            (texts[0], texts[1]),
            [HeatPair(i, j, name_pair(at), color_pair(at)) for at, (i, j, _) in enumerate(pair.aligned)],
            names=(a, b),
            key=_HEAT,
            chosen=cell,
            turn=_hold(cell),
            threshold=_get_threshold(chosen),
            pair_kind=_name_kind(pair),
            on_choose=_picked,
        )


@st.fragment(key="alignment_spans")
def _show_spans(chosen: Chosen, a: str, b: str) -> None:
    view, pair = session.get_view(chosen), session.get_pair(chosen, a, b)
    i, j = _chosen_cell(pair)
    st.session_state["alignment_i"], st.session_state["alignment_j"] = i, j
    for column, key, rows, letter in zip(
        st.columns(2, gap="medium"),
        ("alignment_i", "alignment_j"),
        (pair.rows_a, pair.rows_b),
        "ab",
        strict=True,
    ):
        texts = [session.shorten(str(text), 70) for text in view.spans["text"].iloc[rows]]
        column.selectbox(
            f"Span of {letter}",
            list(range(len(rows))),
            key=key,
            format_func=partial(_name_span, texts),
            on_change=_listed,
        )
    show_two_spans(chosen, view, pair, (i, j))


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


def _show_layers(view: RunView, structure: Structure, chosen: Chosen, pair: PairView) -> None:
    st.markdown("##### In which layers")
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


def _show_run(view: RunView, structure: Structure, chosen: Chosen) -> None:
    """What holds for the whole run: clusters among each other, and figure A."""
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
            alignment_figures.plot_cosines(structure.cosines, _get_threshold(chosen)),
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
        _show_cells(chosen, a, b)
        st.caption(
            escape(_describe(structure, pair, chosen.info.name))
            + " Click a cell, or go there with the arrow keys and press Enter: its two spans are shown below."
        )
        st.page_link(
            session.PAGES["twins"],
            label="Read the two traces side by side",
            icon=":material/compare_arrows:",
            query_params=address_of(run=chosen.info.name, checkpoint=chosen.checkpoint, a=a, b=b),
        )
    with right:
        _show_layers(view, structure, chosen, pair)
    _show_spans(chosen, a, b)
    st.divider()
    _show_run(view, structure, chosen)
