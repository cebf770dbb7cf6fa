"""The overview page: runs as cards, data sets as a table, and the first steps where there are none.

show_first_steps   what to do in an empty workspace
show_runs          run cards
show_datasets      data set table
compute_thumbnail  a run's map as a small picture
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from gsd_core.dashboard.frame import workspaces
from gsd_core.dashboard.frame.address import PAGES
from gsd_core.dashboard.frame.page_text import escape, show_error
from gsd_core.dashboard.frame.run_choice import find_owners
from gsd_core.dashboard.frame.snippets import Number, format_when, show_numbers
from gsd_core.dashboard.jobs import job_view
from gsd_core.dashboard.jobs.analysis_offer import offer_analysis
from gsd_core.dashboard.jobs.job_steps import Step
from gsd_core.dashboard.look.colors import NOISE_MARK, compute_marks
from gsd_core.dashboard.look.plot_text import shorten
from gsd_core.dashboard.reading.families import LEAST_COLOURED, load_families
from gsd_core.dashboard.reading.run_view import describe_tier, stamp_of
from gsd_core.errors import UserError
from gsd_core.methods.analyze_method import MAP
from gsd_core.methods.demo_method import DemoOptions
from gsd_core.store import DatasetInfo, RunInfo

THUMBNAIL_POINTS = 900
CARDS_A_ROW = 3
_STEPS = {
    ":material/upload_file: **Bring reasoning**": "A file with questions and chains of thought.",
    ":material/function: **Capture**": "The model reads it and every span's gradient direction is stored.",
    ":material/scatter_plot: **Look**": "Click a span to see the spans of other samples with similar gradients.",
}
_STATUS = {
    "capturing": ("capturing", "blue"),
    "captured": ("not analysed", "orange"),
    "analyzed": ("ready", "green"),
    "broken": ("unreadable", "red"),
}


def show_first_steps(has_datasets: bool) -> None:
    """An empty workspace: the three steps, and buttons that start them."""
    with st.container(border=True):
        st.markdown("### Nothing captured yet" if has_datasets else "### Start here")
        for column, (title, text) in zip(st.columns(3), _STEPS.items(), strict=True):
            column.markdown(title)
            column.caption(text)
        with st.container(horizontal=True):
            if st.button("Bring your own data", type="primary", icon=":material/upload_file:"):
                st.switch_page(PAGES["data"])
            st.page_link(PAGES["help"], label="What is this?", icon=":material/help:")
            if st.button(
                "Build the demo",
                icon=":material/science:",
                help="Captures the bundled corpus with the bundled model in a few minutes.",
            ):
                job_view.start_and_show(Step("demo", DemoOptions(no_serve=True)), run="demo")


def compute_thumbnail(points: pd.DataFrame) -> str:
    """A run's layout as SVG text. ``points`` has ``x, y, cluster``; at most ``THUMBNAIL_POINTS`` are drawn."""
    points = points.dropna(subset=["x", "y"])
    if len(points) > THUMBNAIL_POINTS:
        points = points.sample(THUMBNAIL_POINTS, random_state=0)
    sizes = points.loc[points["cluster"] >= 0, "cluster"].value_counts()
    marks = compute_marks([int(cluster) for cluster in sizes.index])
    width, height, edge = 360.0, 150.0, 8.0
    x, y = points["x"].to_numpy(float), points["y"].to_numpy(float)

    def scaled(values: np.ndarray, length: float) -> np.ndarray:
        low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
        return edge + (values - low) / max(high - low, 1e-9) * (length - 2 * edge)

    dots = "".join(
        f'<circle cx="{cx:.0f}" cy="{height - cy:.0f}" r="{2.0 if c >= 0 else 1.4}" '
        f'fill="{marks.get(int(c), NOISE_MARK).color}" opacity="{0.85 if c >= 0 else 0.35}"/>'
        for cx, cy, c in zip(scaled(x, width), scaled(y, height), points["cluster"], strict=True)
    )
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{dots}</svg>'


@st.cache_data(max_entries=64, show_spinner=False)
def _thumbnail(uri: str, run: str, checkpoint: str, stamp: str) -> tuple[str, int, int]:
    """Picture, number of clusters and of confirmed families of a run. The picture shows families where clusters hold
    next to nothing, as the map does."""
    opened = workspaces.open_workspace().open_run(run)
    n_clusters = int((opened.read_clusters(checkpoint)["cluster"] >= 0).sum())
    points, families = opened.read_points(checkpoint), load_families(opened, checkpoint)
    if len(families.table) and (points["cluster"] >= 0).mean() < LEAST_COLOURED:
        points = points.assign(cluster=families.find_families(points["span"]))
    return compute_thumbnail(points), n_clusters, families.n_confirmed


def _describe(manifest: dict[str, Any]) -> str:
    """Data set, model and tier of a run on one line."""
    model, dataset = manifest.get("model") or {}, manifest.get("dataset") or {}
    words = [
        str(dataset.get("name", "")),
        f"model {shorten(str(model.get('source', '?')), 30)}",
        describe_tier(manifest),
    ]
    return " · ".join(word for word in words if word)


def _show_card(info: RunInfo, baselines: list[str]) -> None:
    with st.container(border=True, height="stretch"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(f"#### {escape(info.name)}")
            word, color = _STATUS.get(info.status, (info.status, "gray"))
            st.badge(word, color=color)  # type: ignore[arg-type]
        if info.status == "broken":
            st.error(escape(info.problem or "it cannot be read"))
            return
        checkpoint = info.first_look
        numbers = [Number("samples", f"{info.n_samples:,}"), Number("spans", f"{info.n_spans:,}")]
        if checkpoint in (info.results.get(MAP.name) or {}):
            try:
                picture, n_clusters, n_families = _thumbnail(
                    workspaces.workspace_uri(), info.name, checkpoint, stamp_of(info, checkpoint)
                )
                st.image(picture, width="stretch", alt=f"Map of run {info.name}, small")
                numbers.append(Number("clusters", f"{n_clusters:,}"))
                numbers.append(Number("families", f"{n_families:,}"))
            except UserError as error:
                show_error(error)
        if len(info.checkpoints) > 1:
            numbers.append(Number("checkpoints", str(len(info.checkpoints))))
        show_numbers(*numbers)
        st.caption(escape(f"{_describe(info.manifest)} · {format_when(info.created)}"))
        if baselines:
            st.caption(escape(f"Compared with: {', '.join(baselines)}"))
        with st.container(horizontal=True, gap="small"):
            parameters = {"run": info.name}
            if info.status == "analyzed":
                st.page_link(PAGES["map"], label="Map", icon=":material/scatter_plot:", query_params=parameters)
            elif info.status == "captured":
                offer_analysis(info.name, "Analyse", f"analyse_{info.name}")
            if info.n_spans:
                st.page_link(PAGES["trace"], label="Traces", icon=":material/notes:", query_params=parameters)


def show_runs(runs: list[RunInfo]) -> None:
    """Every run as a card, newest first; baselines and controls are named on the card of their run."""
    st.markdown("### Runs")
    owners = find_owners(runs)
    shown = [info for info in runs if info.name not in owners]
    for start in range(0, len(shown), CARDS_A_ROW):
        for column, info in zip(st.columns(CARDS_A_ROW), shown[start : start + CARDS_A_ROW], strict=False):
            with column:
                _show_card(info, [name for name, owner in owners.items() if owner == info.name])


def show_datasets(datasets: list[DatasetInfo]) -> None:
    """Every stored data set."""
    st.markdown("### Data sets")
    table = pd.DataFrame(
        [(i.name, i.n_samples, i.n_rejected, i.n_words, i.format, format_when(i.created)) for i in datasets],
        columns=["Name", "Samples", "Rows not used", "Words", "Format", "Added"],
    )
    st.dataframe(table, hide_index=True, alt="Data sets of this workspace")
    st.page_link(PAGES["data"], label="Bring or capture data", icon=":material/upload_file:")
