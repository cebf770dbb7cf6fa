"""The stresses page: sequences of clusters that recur across samples.

show_stresses   plot and list of the patterns; below, occurrences of the chosen one in aligned rows
"""

from __future__ import annotations

import html
import math

import pandas as pd
import streamlit as st

from gsd_core.dashboard.components.rings import plot_rings
from gsd_core.dashboard.frame import run_cache, snippets
from gsd_core.dashboard.frame.address import PAGES, read_address, write_address
from gsd_core.dashboard.frame.charts import selected_rows, show_chart
from gsd_core.dashboard.frame.page_text import escape
from gsd_core.dashboard.frame.run_cache import Chosen
from gsd_core.dashboard.frame.snippets import Number
from gsd_core.dashboard.jobs.analysis_offer import open_structure
from gsd_core.dashboard.look.plot_text import shorten
from gsd_core.dashboard.reading.run_view import RunView
from gsd_core.dashboard.reading.structure_queries import SIGNIFICANT, Structure, find_stress, name_pattern
from gsd_core.dashboard.spans.span_panel import link_to_trace
from gsd_core.dashboard.stresses import stresses_figures
from gsd_core.methods.structure_method import STRESS_LEVEL

SHOWN = (8, 25, 100)
CELL_CHARACTERS = 160
_PLOT = "stresses_plot"
_CLICKS = "stresses_clicks"  # a click in the plot makes a new list with the clicked row


def _picked(structure: Structure, key: str) -> None:
    """Callback: a pattern was chosen in the plot or the list called ``key``; the figure stays as it is."""
    rows = selected_rows(st.session_state.get(key))
    if not rows:
        return
    if rows[0] < len(structure.stresses):
        write_address("stress", name_pattern(structure.stresses["pattern"].iloc[rows[0]]))
    if key == _PLOT:
        st.session_state[_CLICKS] = st.session_state.get(_CLICKS, 0) + 1
    st.rerun(["stresses_list", "stresses_rows"] if key == _PLOT else ["stresses_rows"])


@st.fragment(key="stresses_list")
def _show_list(chosen: Chosen) -> None:
    view, structure = run_cache.get_view(chosen), run_cache.get_structure(chosen)
    if structure is None:  # the run is being analysed again
        return
    stresses = structure.stresses
    # Number and first word, so that a row shows the whole pattern.
    groups = view.list_coloured(structure.stresses_of)
    names = {
        int(group): f"{group} {str(label).split(' · ')[0]}"
        for group, label in zip(groups["group"], groups["label"], strict=True)
    }
    patterns = [[names.get(group, str(group)) for group in pattern] for pattern in stresses["pattern"]]
    table = pd.DataFrame(
        {"Support": stresses["support"], "Lift": stresses["lift"], "q": stresses["q_value"], "Pattern": patterns}
    )
    key = f"stresses_{view.name}_{view.checkpoint}_{st.session_state.get(_CLICKS, 0)}"
    st.dataframe(
        table,
        hide_index=True,
        height=stresses_figures.HEIGHT - 50,
        on_select=lambda: _picked(structure, key),
        selection_mode="single-row-required",
        selection_default={"selection": {"rows": [find_stress(structure, read_address("stress"))]}},
        key=key,
        column_config={
            "Pattern": st.column_config.MultiselectColumn(
                width="large",
                options=list(names.values()),
                color=[_pale(mark.color) for mark in groups["mark"]],
            ),
            "Support": st.column_config.NumberColumn(width=64),
            "Lift": st.column_config.NumberColumn(format="%.1f", width=56),
            "q": st.column_config.NumberColumn(format="%.2g", width=78),
        },
        alt="Patterns with support, lift and q",
    )


def _pale(color: str) -> str:
    """A colour light enough for dark text on it."""
    parts = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    return "#" + "".join(f"{round(0.4 * part + 0.6 * 255):02x}" for part in parts)


def _cell(text: str, color: str) -> str:
    short = html.escape(shorten(text, CELL_CHARACTERS))
    return (
        f'<div title="{html.escape(text)}" style="border-left:3px solid {color};background:{color}1c;'
        "border-radius:.3rem;padding:.25rem .55rem;font-size:.88rem;line-height:1.4;min-width:0;"
        "overflow-wrap:anywhere;display:-webkit-box;"
        f'-webkit-line-clamp:3;-webkit-box-orient:vertical;overflow:hidden">{short}</div>'
    )


def _show_grid(cells: list[str]) -> None:
    """Cells side by side, as wide as those of the other rows."""
    st.html(
        '<div style="display:grid;gap:.5rem;align-items:stretch;'
        f'grid-template-columns:repeat({len(cells)},minmax(0,1fr))">{"".join(cells)}</div>'
    )


def _show_occurrences(
    chosen: Chosen, view: RunView, kind: str, found: pd.DataFrame, pattern: list[int], top: int
) -> None:
    """One row a sample: a link to its trace, and the spans of the pattern in columns."""
    head = st.columns([2, 9], vertical_alignment="center")
    head[0].markdown("**Sample**")
    with head[1]:
        _show_grid([_head(view, kind, step, group) for step, group in enumerate(pattern)])
    for row in found.head(top).itertuples():
        spans = view.spans.iloc[list(row.rows)]
        left, right = st.columns([2, 9], vertical_alignment="center")
        with left:
            more = f" · {row.n}×" if row.n > 1 else ""
            name = escape(shorten(str(row.sample), 22)) + more
            link_to_trace(chosen, str(row.sample), str(spans["span"].iloc[0]), name)
        with right:
            _show_grid(
                [
                    _cell(f"{index + 1} · {str(text).strip()}", view.mark_group(kind, int(group)).color)
                    for index, text, group in zip(spans["index"], spans["text"], spans[kind], strict=True)
                ]
            )


def _head(view: RunView, kind: str, step: int, group: int) -> str:
    mark = view.mark_group(kind, group)
    arrow = "→ " if step else ""
    return (
        '<div style="font-size:.85rem;font-weight:600;overflow-wrap:anywhere">'
        f'<span style="opacity:.5">{arrow}</span>'
        f'<span style="color:{mark.color}" aria-hidden="true">{mark.glyph}</span> '
        f"{html.escape(view.name_group(kind, group))}</div>"
    )


@st.fragment(key="stresses_rows")
def _show_chosen(chosen: Chosen) -> None:
    view, structure = run_cache.get_view(chosen), run_cache.get_structure(chosen)
    if structure is None:
        return
    stress = structure.stresses.iloc[find_stress(structure, read_address("stress"))]
    pattern, kind = [int(group) for group in stress["pattern"]], structure.stresses_of
    found = run_cache.get_occurrences(chosen, int(stress["stress"]))
    lift = float(stress["lift"])
    # The axis of the plot is in powers of ten.
    ring = [(float(stress["support"]), math.log10(lift))] if 0 < lift < math.inf else []
    plot_rings(_PLOT, ring, key="stresses_ring")
    names = [view.name_group(kind, group) or str(group) for group in pattern]
    st.markdown(f"#### Pattern {escape(' → '.join(name.split(' · ')[0] for name in names))}")
    snippets.show(
        snippets.make_chips(
            *((view.mark_group(kind, group), shorten(name, 36)) for group, name in zip(pattern, names, strict=True))
        )
    )
    n_samples = view.row_of.n_samples
    snippets.show_numbers(
        Number("support", f"{stress['support']:,} of {n_samples:,} samples", "Samples that hold the pattern."),
        Number("occurrences", f"{stress['n_occurrences']:,}", "All occurrences, also several in one sample."),
        Number("lift", f"{lift:.2f}", "Support over the support in shuffled span order within traces."),
        Number("p", f"{stress['p_value']:.2g}", "Against the same spans in shuffled order within traces."),
        Number("q", f"{stress['q_value']:.2g}", "Benjamini–Hochberg over all counted patterns."),
    )
    top = st.segmented_control("Rows", SHOWN, default=SHOWN[0], key="stresses_top", label_visibility="collapsed")
    _show_occurrences(chosen, view, kind, found, pattern, int(top or SHOWN[0]))
    st.caption(
        f"{min(int(top or SHOWN[0]), len(found)):,} of {len(found):,} samples, each with its first occurrence; numbers "
        "count the spans of a trace. One span may lie between two columns."
    )


def _explain_none(chosen: Chosen) -> None:
    """Why there is no pattern, and where to look instead."""
    view = run_cache.get_view(chosen)
    clusters = view.spans["cluster"]
    n, share = int(clusters[clusters >= 0].nunique()), float((clusters >= 0).mean())
    what = f"{n} dense cluster{'' if n == 1 else 's'} with {share:.0%} of the spans" if n else "no dense cluster"
    if STRESS_LEVEL in view.levels:
        held = float((view.spans[STRESS_LEVEL] >= 0).mean())
        what += f", at level {STRESS_LEVEL} {len(view.levels[STRESS_LEVEL].table):,} clusters with {held:.0%}"
    st.info(
        f"A stress is a sequence of clusters that recurs in several samples. This checkpoint has "
        f"{what}, and no sequence recurs often enough. Other checkpoints may have some, and more samples usually help. "
        "Twins need neither.",
        icon=":material/info:",
    )
    st.page_link(
        PAGES["twins"],
        label="Samples that reason alike",
        icon=":material/compare_arrows:",
        query_params=chosen.address(),
    )


def _name_groups(kind: str) -> str:
    return {"cluster": "dense clusters", "family": "families"}.get(kind, f"clusters (level {kind})")


def _compare_with_words(structure: Structure) -> str:
    """What steps that are clustered by their words give."""
    found = structure.stresses_of_words
    if not found:
        return ""
    return (
        f" Steps clustered by their sentence embeddings instead ({found['n_clusters']:,} clusters) give "
        f"{found['n_stresses']:,} patterns with q < {SIGNIFICANT} (lowest q {found['q']:.2g})."
    )


def show_stresses(chosen: Chosen) -> None:
    """Plot, list, and the chosen pattern's occurrences."""
    structure = open_structure(chosen)
    if structure is None:
        return
    if structure.stresses.empty:
        _explain_none(chosen)
        return
    left, right = st.columns([10, 10], gap="large")
    with left:
        show_chart(
            stresses_figures.plot_stresses(structure.stresses),
            key=_PLOT,
            alt=f"{len(structure.stresses)} patterns by support and lift",
            name=f"{chosen.info.name} {chosen.checkpoint} stresses",
            table=lambda: stresses_figures.keep_drawn(structure.stresses),
            on_select=lambda: _picked(structure, _PLOT),
            has_tools=True,
        )
    with right:
        n_significant = int((structure.stresses["q_value"] < SIGNIFICANT).sum())
        st.markdown(f"**{n_significant:,} of {len(structure.stresses):,} patterns** with q < {SIGNIFICANT}")
        _show_list(chosen)
    st.caption(
        f"A stress is a sequence of {_name_groups(structure.stresses_of)} that recurs in traces of several samples; "
        "size shows its length. Lift compares its support with shuffled order (dashed: as often as by chance)."
        + _compare_with_words(structure),
        help="It correlates with shared structure; it explains nothing.",
    )
    if not n_significant:
        st.info(
            "No pattern recurs more often than in shuffled span order (q): these are candidates, not findings.",
            icon=":material/info:",
        )
    _show_chosen(chosen)
