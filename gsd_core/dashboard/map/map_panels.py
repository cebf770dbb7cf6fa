"""The map's panels: families, clusters, and selected spans.

show_families    list of families; the opened one shows its evidence, its prototype and its members
show_clusters    clusters at a chosen level; the opened one shows its evidence and exemplar spans
show_selection   table of selected spans, and their download
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import streamlit as st

from gsd_core.dashboard.components.clusters import ClusterRow, plot_clusters
from gsd_core.dashboard.frame import snippets
from gsd_core.dashboard.frame.address import read_address, write_address
from gsd_core.dashboard.frame.downloads import compute_csv
from gsd_core.dashboard.frame.page_text import escape
from gsd_core.dashboard.frame.run_cache import Chosen
from gsd_core.dashboard.look.plot_text import shorten
from gsd_core.dashboard.reading.run_view import RunView
from gsd_core.dashboard.spans.span_panel import link_to_trace

TABLE_ROWS = 2_000
LIST_HEIGHT = 330
SHOWN_MEMBERS = 8
DENSE = "dense"
STRENGTH_ORDER = ["confirmed", "tentative", "weak"]


def show_families(chosen: Chosen, view: RunView, on_open: Callable[[str], None]) -> None:
    """Families, confirmed ones first. A row opens a family; a member opens its span."""
    families = view.families
    if families.table.empty:
        st.info(
            "No families: no two spans of different samples are aligned beyond chance here. A run of more samples, a "
            "wider sketch or another checkpoint may show some.",
            icon=":material/info:",
        )
        return
    groups = families.list_groups()
    sizes = families.table[["size", "n_samples"]].astype(int).to_numpy().tolist()
    rows = [
        ClusterRow(int(group), mark.glyph, mark.color, name, *size)
        for (group, name, mark), size in zip(groups[["group", "name", "mark"]].to_numpy().tolist(), sizes, strict=True)
    ]
    opened = plot_clusters(
        rows,
        key="families_" + re.sub(r"[^A-Za-z0-9_-]", "_", f"{view.name}_{view.checkpoint}"),
        max_height=LIST_HEIGHT,
        title="Family",
    )
    family = opened if opened is not None else int(families.table["family"].iloc[0])
    n = families.n_confirmed
    st.caption(
        "A family is a span with all spans of other samples that are aligned with it beyond chance; a span may be in "
        f"several. {n:,} confirmed (at most 5 % of pairs by chance), {len(families.table) - n:,} tentative (at most "
        "20 %, hollow)."
    )
    _show_family(chosen, view, family, on_open)


def _show_family(chosen: Chosen, view: RunView, family: int, on_open: Callable[[str], None]) -> None:
    row = view.families.table.iloc[family]
    mark = view.families.mark(family)
    snippets.show(snippets.make_chips((mark, view.families.name(family))))
    words = "" if np.isnan(float(row["wording"])) else f" · words in common {float(row['wording']):.2f}"
    st.caption(
        escape(
            f"{row['strength']} · {int(row['size']):,} spans of {int(row['n_samples']):,} samples · mean cosine "
            f"{float(row['cosine']):.2f} · {float(row['chance']):.0%} of them by chance · two halves of the gradients' "
            f"numbers bear out {float(row['agreement']):.0%} (by chance 0.25 %){words}"
        )
    )
    if phrases := [str(each) for each in row["phrases"]]:
        st.markdown("Shared phrases: " + ", ".join(f"`{each.replace('`', '')}`" for each in phrases))
    st.button(
        "Show only this family",
        icon=":material/filter_alt:",
        key=f"only_family_{family}",
        on_click=_only,
        args=("family", family),
    )
    _show_member(chosen, view, str(row["prototype"]), "prototype", mark.color, on_open)
    for member in view.families.members_of(family).head(SHOWN_MEMBERS).itertuples(index=False):
        _show_member(chosen, view, str(member.span), f"{float(member.cosine):.2f}", mark.color, on_open)


def _show_member(
    chosen: Chosen, view: RunView, span: str, beside: str, color: str, on_open: Callable[[str], None]
) -> None:
    """A span as a quotation, with links to its trace and to its place on the map."""
    if span not in view.row_of:
        return
    found = view.spans.iloc[view.row_of[span]]
    with st.container(border=True, gap="xsmall"):
        snippets.show(snippets.make_quote(str(found["text"]).strip(), color))
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            name = escape(shorten(str(found["sample"]), 34))
            at = f"{name} · {found['index'] + 1}/{found['n_in_trace']}"
            link_to_trace(chosen, str(found["sample"]), span, f"{beside} · {at}" if beside else at)
            st.button(
                "Show here",
                key=f"show_{beside or 'exemplar'}_{span}",
                type="tertiary",
                icon=":material/my_location:",
                on_click=on_open,
                args=(span,),
            )


def show_clusters(chosen: Chosen, view: RunView, on_open: Callable[[str], None]) -> None:
    """Clusters of the map, or of a level. A row opens a cluster; an exemplar opens its span."""
    level = _choose_level(view)
    if level != DENSE:
        _show_level(chosen, view, level, on_open)
        return
    if view.clusters.empty:
        st.info(
            "No dense clusters: nowhere on this map is a group of spans so much denser than its surroundings that it "
            "can be told from chance. The levels above are less strict; and single spans can still be aligned: click "
            "a point to see which.",
            icon=":material/info:",
        )
        return
    opened = plot_clusters(
        _cluster_rows(view),
        key="clusters_" + re.sub(r"[^A-Za-z0-9_-]", "_", f"{view.name}_{view.checkpoint}"),
        max_height=LIST_HEIGHT,
    )
    row = view.clusters.iloc[0]
    if opened is not None:
        row = view.clusters[view.clusters["cluster"] == opened].iloc[0]
    cluster = int(row["cluster"])
    snippets.show(snippets.make_chips((view.mark(cluster), view.cluster_name(cluster))))
    terms = ", ".join(map(str, list(row["terms"])))
    st.caption(
        escape(
            f"{row['size']:,} spans of {row['n_samples']:,} samples · typical words: {terms}. "
            "Words come from class-based TF-IDF; the cluster was found in the gradients alone."
        )
    )
    st.button(
        "Show only this cluster",
        icon=":material/filter_alt:",
        key=f"only_{cluster}",
        on_click=_only,
        args=("cluster", cluster),
    )
    st.markdown("##### Exemplars")
    for span in list(row["exemplars"]):
        _show_member(chosen, view, str(span), "", view.mark(cluster).color, on_open)


def _choose_level(view: RunView) -> str:
    """``DENSE`` or a level: the one that the map is coloured by, or that was chosen here, which the map follows."""
    names = [DENSE, *view.levels]
    if len(names) == 1:
        return DENSE
    color = str(read_address("color") or "")
    usual = next((name for name in ("middle", *view.levels) if name in view.levels), DENSE)
    usual = DENSE if view.grouping == "cluster" else usual
    now = color if color in view.levels else DENSE if color == "cluster" else usual

    def take() -> None:
        picked = st.session_state[key]
        write_address("color", "cluster" if picked == DENSE else picked)
        st.rerun(["map_figure", "map_panel"])

    key = "map_level"
    st.session_state[key] = now
    st.segmented_control(
        "Level",
        names,
        key=key,
        required=True,
        width="stretch",
        on_change=take,
        help="Dense clusters are separated from their surroundings. The other levels divide the graph of nearest "
        "neighbours in other samples, coarse to fine; each of their clusters says how far it can be relied on.",
    )
    return now


def _show_level(chosen: Chosen, view: RunView, name: str, on_open: Callable[[str], None]) -> None:
    """Clusters of a level, confirmed ones first, and the evidence of the opened one."""
    level = view.levels[name]
    table = level.table.assign(rank=level.table["strength"].map(STRENGTH_ORDER.index))
    table = table.sort_values(["rank", "cluster"], kind="stable")
    rows = [
        ClusterRow(cluster, level.mark(cluster).glyph, level.mark(cluster).color, level.name(cluster), *sizes)
        for cluster, *sizes in table[["cluster", "size", "n_samples"]].to_numpy(np.int64).tolist()
    ]
    opened = plot_clusters(
        rows,
        key="level_" + re.sub(r"[^A-Za-z0-9_-]", "_", f"{name}_{view.name}_{view.checkpoint}"),
        max_height=LIST_HEIGHT,
    )
    n = {strength: level.count(strength) for strength in STRENGTH_ORDER}
    st.caption(
        f"{n['confirmed']:,} confirmed: clearly stronger than every comparable cluster found by chance, and halves of "
        f"the samples keep most of their pairs together. {n['tentative']:,} tentative (hollow): stronger, but not as "
        f"clearly or not so stable. {n['weak']:,} weak (hollow): chance may have made them."
    )
    cluster = opened if opened is not None else rows[0].cluster
    row = level.table.iloc[cluster]
    mark = level.mark(cluster)
    snippets.show(snippets.make_chips((mark, level.name(cluster))))
    st.caption(
        escape(
            f"{row['strength']} · {int(row['size']):,} spans of {int(row['n_samples']):,} samples · mean cosine "
            f"{float(row['cosine']):.2f}, by chance at most {float(row['null_cosine']):.2f} · halves of "
            f"the samples keep {float(row['stability']):.0%} of its pairs together"
        )
    )
    phrases = ", ".join(f"`{str(each).replace('`', '')}`" for each in row["phrases"])
    terms = escape(", ".join(map(str, list(row["terms"]))))
    st.markdown(f"Shared phrases: {phrases}" if phrases else f"No shared phrase. Typical words: {terms}")
    st.button(
        "Show only this cluster",
        icon=":material/filter_alt:",
        key=f"only_{name}_{cluster}",
        on_click=_only,
        args=(name, cluster),
    )
    st.markdown("##### Exemplars")
    for span in list(row["exemplars"]):
        _show_member(chosen, view, str(span), "", mark.color, on_open)


def _cluster_rows(view: RunView) -> list[ClusterRow]:
    return [
        ClusterRow(cluster, view.mark(cluster).glyph, view.mark(cluster).color, view.cluster_name(cluster), *sizes)
        for cluster, *sizes in view.clusters[["cluster", "size", "n_samples"]].to_numpy(np.int64).tolist()
    ]


def _only(name: str, group: int) -> None:
    """Callback: show only this group of ``name`` on the map, or all again where it already was the only one."""
    write_address(name, None if read_address(name) == str(group) else str(group))
    st.rerun(["map_figure", "map_panel"])


def show_selection(chosen: Chosen, view: RunView, rows: np.ndarray, on_open: Callable[[str], None]) -> None:
    """Selected spans, ``rows`` (m,) of ``view.spans``: a table, a download, and a button that opens one."""
    if not len(rows):
        st.info(
            "Press lasso or box in the map's tool bar and draw around points to list them here.",
            icon=":material/lasso_select:",
        )
        return
    labels = [label.name for label in view.labels]
    columns = ["span", "text", "cluster_label", *labels, "norm", "coherence", "loss"]
    st.markdown(f"**{len(rows):,} spans** of {view.row_of.count_samples(rows):,} samples")
    counts = view.spans["cluster"].iloc[rows].value_counts().head(4)
    names = [view.cluster_name(int(cluster)) for cluster in counts.index]
    st.caption(escape(" · ".join(f"{name}: {count}" for name, count in zip(names, counts, strict=True) if name)))
    spans = view.spans.iloc[rows[:TABLE_ROWS]]
    table = spans[columns].reset_index(drop=True)
    event = st.dataframe(
        table,
        hide_index=True,
        height=420,
        on_select="rerun",
        selection_mode="single-row",
        key=f"selection_{view.name}_{view.checkpoint}",
        column_config={
            "text": st.column_config.TextColumn(width="large"),
            "norm": st.column_config.NumberColumn(format="%.3g"),
            "coherence": st.column_config.NumberColumn(format="%.2f"),
            "loss": st.column_config.NumberColumn("loss (nats)", format="%.3g"),
        },
        alt="Selected spans",
    )
    if len(rows) > TABLE_ROWS:
        st.caption(f"The table shows the first {TABLE_ROWS:,}; the file holds all.")
    with st.container(horizontal=True):
        st.download_button(
            "Download CSV",
            lambda: compute_csv(view.spans[["span", "sample", "index", *columns[1:], "x", "y"]].iloc[rows]),
            file_name=f"{view.name}-selection.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
        )
        picked = event["selection"]["rows"] if event else []
        if picked:
            span = str(table["span"].iloc[picked[0]])
            st.button("Open this span", icon=":material/my_location:", on_click=on_open, args=(span,))
