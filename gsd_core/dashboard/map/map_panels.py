"""The map's panels: clusters, and selected spans.

show_clusters    list of clusters; the opened one shows its terms and exemplar spans
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


def _cluster_rows(view: RunView) -> list[ClusterRow]:
    return [
        ClusterRow(cluster, view.mark(cluster).glyph, view.mark(cluster).color, view.cluster_name(cluster), *sizes)
        for cluster, *sizes in view.clusters[["cluster", "size", "n_samples"]].to_numpy(np.int64).tolist()
    ]


def show_clusters(chosen: Chosen, view: RunView, on_open: Callable[[str], None]) -> None:
    """Clusters by size. A row opens a cluster; an exemplar opens its span."""
    if view.clusters.empty:
        st.info(
            "No clusters: nowhere on this map is a group of spans so much denser than its surroundings that it can be "
            "told from chance. Single spans can still be aligned: click a point to see which.",
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
        on_click=_only_cluster,
        args=(cluster,),
    )
    st.markdown("##### Exemplars")
    for span in list(row["exemplars"]):
        if span not in view.row_of:
            continue
        found = view.spans.iloc[view.row_of[span]]
        with st.container(border=True, gap="xsmall"):
            snippets.show(snippets.make_quote(str(found["text"]).strip(), view.mark(cluster).color))
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                name = escape(shorten(str(found["sample"]), 34))
                link_to_trace(
                    chosen, str(found["sample"]), str(span), f"{name} · {found['index'] + 1}/{found['n_in_trace']}"
                )
                st.button(
                    "Show here",
                    key=f"exemplar_{span}",
                    type="tertiary",
                    icon=":material/my_location:",
                    on_click=on_open,
                    args=(str(span),),
                )


def _only_cluster(cluster: int) -> None:
    """Callback: show only this cluster on the map, or all again where it already was the only one."""
    write_address("cluster", None if read_address("cluster") == str(cluster) else str(cluster))
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
