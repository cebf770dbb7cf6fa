"""The timeline page: measures over training, an aligned map of each checkpoint, and the drift of the spans.

show_timeline       the page of a run
describe_emergence  where alignment is highest, in words
"""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import streamlit as st

from gsd_core.dashboard.frame import run_cache, workspaces
from gsd_core.dashboard.frame.address import PAGES, address_of, pick_many, read_address, write_address
from gsd_core.dashboard.frame.charts import selected_rows, show_chart
from gsd_core.dashboard.frame.page_text import escape
from gsd_core.dashboard.frame.run_cache import Chosen
from gsd_core.dashboard.jobs import job_view
from gsd_core.dashboard.jobs.job_steps import Step
from gsd_core.dashboard.look.plot_text import shorten
from gsd_core.dashboard.reading.run_view import RunView
from gsd_core.dashboard.spans import pins
from gsd_core.dashboard.timeline import timeline_figures
from gsd_core.dashboard.timeline.timeline_queries import Timeline, find_coordinates, list_label_measures, load_timeline
from gsd_core.methods.analyze_method import MAP, AnalyzeOptions
from gsd_core.methods.timeline_method import TIMELINE, TimelineOptions

HEIGHT = 600
SHOWN = 8  # two rows of small figures
_CHART, _SLIDER = "timeline_chart", "timeline_step"


@st.cache_resource(max_entries=4, show_spinner="Reading the timeline …")
def _timeline(uri: str, name: str, stamp: str) -> Timeline:
    return load_timeline(workspaces.open_workspace().open_run(name))


def describe_emergence(timeline: Timeline) -> str:
    """Where alignment is highest, as Markdown: within the values of a label, else within clusters."""
    measure = next(iter(list_label_measures(timeline, "alignment within ")), timeline_figures.ALIGNMENT)
    rows = timeline.curves[timeline.curves["measure"] == measure].set_index("checkpoint")
    if rows.empty:
        return ""
    top = str(rows["value"].idxmax())

    def tell(checkpoint: str) -> str:
        row = rows.loc[checkpoint]
        return f"{row['value']:.2f} ({row['ci_low']:.2f} to {row['ci_high']:.2f})"

    parts = [f"**{escape(measure).capitalize()}** is highest at {_name(timeline, top)}: {tell(top)}"]
    ends = {"first": str(rows.index[0]), "last": str(rows.index[-1])}
    for word, checkpoint in ends.items():
        if checkpoint != top:
            is_apart = rows.loc[top, "ci_low"] > rows.loc[checkpoint, "ci_high"]
            parts.append(f"{tell(checkpoint)} at the {word} checkpoint" + ("" if is_apart else ", not apart"))
    return "; ".join(parts) + "."


def show_timeline(chosen: Chosen) -> None:
    """Curves, slider, map and drift; or how to get them."""
    run = workspaces.open_workspace().open_run(chosen.info.name)
    if not run.results.has(TIMELINE):
        _show_missing(chosen)
        return
    stamp = json.dumps(run.results.info(TIMELINE), sort_keys=True, default=str)
    timeline = _timeline(workspaces.workspace_uri(), chosen.info.name, stamp)
    reference = str(timeline.info["reference"])
    view = run_cache.get_view(Chosen(chosen.info, reference))
    order = list(timeline.ticks)
    at = chosen.checkpoint if chosen.checkpoint in order else reference
    _show_curves(chosen.info.name, timeline, at)
    _choose_step(timeline, order, at)
    left, right = st.columns([3, 2], gap="large")
    with left:
        _show_map(timeline, view, at)
    with right:
        _show_drift(chosen.info.name, timeline, order, at)
        _show_span(chosen, timeline, view, order, at)


def _show_missing(chosen: Chosen) -> None:
    """Says what a timeline needs, and offers to compute it."""
    names = chosen.info.checkpoints
    with st.container(border=True):
        if len(names) < 2:
            st.markdown("### A timeline needs several checkpoints")
            st.caption(
                "Capture the same data at several checkpoints of one training: "
                "`gsd capture --dataset … --model … --checkpoints PATH PATH …` (or `all`)."
            )
            return
        st.markdown(f"### The timeline of {len(names)} checkpoints is not computed yet")
        st.caption(
            f"`gsd timeline {chosen.info.name}` follows the same spans through all of them. The analysis of a "
            "run does it too."
        )
        analyses = chosen.info.results.get(MAP.name) or {}
        name = chosen.info.name
        is_analyzed = any(each in analyses for each in names)
        follow, analyze = Step("timeline", TimelineOptions(name)), Step("analyze", AnalyzeOptions(name))
        label = "Compute the timeline" if is_analyzed else "Analyse this run"
        if st.button(label, type="primary", icon=":material/timeline:"):
            job_view.start_and_show(follow if is_analyzed else analyze, run=name)
    job_view.show_jobs(limit=1)


def _name(timeline: Timeline, checkpoint: str) -> str:
    return f"step {timeline.ticks[checkpoint]}" if timeline.info["has_steps"] else escape(checkpoint)


def _show_curves(run: str, timeline: Timeline, at: str) -> None:
    info = timeline.info
    known = list(dict.fromkeys(timeline.curves["measure"]))
    labels = [list_label_measures(timeline, head)[:1] for head in ("alignment within ", "purity: ")]
    first, *others = [name for name in timeline_figures.DEFAULT_MEASURES if name in known]
    default = [first, *labels[0], *labels[1], *others][:SHOWN]
    left, right = st.columns([6, 1], vertical_alignment="center")
    left.markdown(describe_emergence(timeline))
    with right.popover("Curves", icon=":material/tune:", width="stretch"):
        picked = pick_many("Measures", "measures", known, placeholder="the default ones")
    shown = picked or default
    figure = timeline_figures.plot_curves(
        timeline.curves, shown, timeline.ticks, at=at, reference=str(info["reference"])
    )
    show_chart(
        figure,
        key="timeline_curves",
        alt="Measures over training",
        name=f"{run} timeline curves",
        table=lambda: timeline.curves[timeline.curves["measure"].isin(shown)],
    )
    left_out = (
        f"; {info['n_left_out']:,} are left out (missing at a checkpoint, or too many)" if info["n_left_out"] else ""
    )
    axis = "By training step" if info["has_steps"] else "By checkpoint"
    reference = escape(info["reference"])
    st.caption(
        f"{axis}: {info['n_spans']:,} spans of {info['n_samples']:,} samples, the same at every checkpoint"
        f"{escape(left_out)}. Bands are 95 % intervals over samples, dotted lines are chance; alignment within "
        f"clusters is favoured at {reference} (open circle), where the clusters were found.",
        help="Chance: for alignment, pairs of different clusters; for purity, shuffled labels; for cosines, spans of "
        "other samples. Agreement is 1 by definition where the clusters were found; alignment within a label's values "
        "favours no checkpoint. Everything here correlates with training; nothing says why.",
    )


def _choose_step(timeline: Timeline, order: list[str], at: str) -> None:
    """The step slider, which is the same choice as the checkpoint at the top of the page."""
    st.session_state[_SLIDER] = at

    def changed() -> None:
        write_address("checkpoint", st.session_state[_SLIDER])

    st.select_slider(
        "Training step" if timeline.info["has_steps"] else "Checkpoint",
        order,
        key=_SLIDER,
        format_func=lambda each: timeline.ticks[each],
        on_change=changed,
    )


def _show_map(timeline: Timeline, view: RunView, at: str) -> None:
    points = find_coordinates(timeline, view, at)
    span = read_address("span", remember=False)
    own = timeline.layouts[timeline.layouts["span"] == span]
    names = {int(cluster): view.cluster_name(int(cluster)) for cluster in points["cluster"].unique()}
    spread = timeline.layouts[["x", "y"]].agg(["min", "max"])
    extent = tuple(_pad(*spread[axis].tolist()) for axis in ("x", "y"))
    figure = timeline_figures.plot_moment(
        points,
        view.marks,
        names,
        (extent[0], extent[1]),
        chosen=span,
        trail=own,
        is_dark=st.context.theme.type == "dark",
        height=HEIGHT,
    )

    def picked() -> None:
        rows = selected_rows(st.session_state.get(_CHART))
        if rows and rows[0] < len(view.spans):
            write_address("span", str(view.spans["span"].iloc[rows[0]]))

    show_chart(
        figure,
        key=_CHART,
        alt=f"Aligned map of {len(points)} spans at {at}",
        name=f"{view.name} {at} aligned map",
        table=lambda: points[["span", "x", "y", "cluster", "text"]].assign(checkpoint=at),
        on_select=picked,
        has_tools=True,
    )
    info = timeline.info
    drawn = f", drawn at random from {info['n_spans']:,}" if info["n_mapped"] < info["n_spans"] else ""
    st.caption(
        f"{info['n_mapped']:,} spans{drawn}, coloured by their cluster at {escape(info['reference'])}. All checkpoints "
        "are laid out together, so a span that keeps its neighbours does not move."
    )


def _pad(low: float, high: float) -> list[float]:
    return [low - 0.04 * (high - low), high + 0.04 * (high - low)]


def _show_drift(run: str, timeline: Timeline, order: list[str], at: str) -> None:
    if at == order[0]:
        st.markdown("**Drift**")
        st.caption("This is the first checkpoint. Move the slider to see which spans changed direction.")
        return
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f"**Drift** until {_name(timeline, at)}", width="content")
        against = st.segmented_control(
            "Compared with",
            ["previous", "first"],
            default="previous",
            key="timeline_against",
            label_visibility="collapsed",
            required=True,
        )
    row = timeline.curves[
        (timeline.curves["checkpoint"] == at) & (timeline.curves["measure"] == f"cosine to {against}")
    ]
    chance = float(row["chance"].iloc[0]) if len(row) else float("nan")
    cosine = f"to_{against}"
    here = timeline.drift.loc[timeline.drift["checkpoint"] == at, ["span", "checkpoint", cosine]]
    show_chart(
        timeline_figures.plot_drift(timeline.drift, cosine, at, chance),
        key="timeline_drift",
        alt="Histogram of drift",
        name=f"{run} {at} drift {cosine}",
        table=here.dropna,
    )
    other = order[order.index(at) - 1] if against == "previous" else order[0]
    st.caption(
        f"Cosine of each span's centred direction with its own at {_name(timeline, other)}; 1 is unchanged. "
        "Line: median; dotted: spans of other samples."
    )


def _show_span(chosen: Chosen, timeline: Timeline, view: RunView, order: list[str], at: str) -> None:
    span = read_address("span", remember=False)
    own = timeline.drift[timeline.drift["span"] == span]
    if own.empty or span not in view.row_of:
        st.info("Click a point to see its text and its drift over training.", icon=":material/ads_click:")
        return
    row = view.spans.iloc[view.row_of[span]]
    pins.note_span(view.name, span)
    with st.container(border=True):
        st.markdown(f"**{escape(span)}**  ·  {escape(view.cluster_name(int(row['cluster'])))}")
        st.text(shorten(str(row["text"]), 400))
        everyone = timeline.drift.groupby("checkpoint")[["to_previous", "to_first"]].median().reset_index()
        number = {checkpoint: at for at, checkpoint in enumerate(order)}
        curves = [rows.assign(at=rows["checkpoint"].map(number)).sort_values("at") for rows in (own, everyone)]
        figure = timeline_figures.plot_span(curves[0], curves[1], list(timeline.ticks.values()))
        show_chart(
            figure,
            key="timeline_span",
            alt="Drift of the chosen span",
            name=f"{view.name} drift of {span}",
            table=partial(timeline_figures.make_span_table, *curves),
        )
        if not np.any(timeline.layouts["span"] == span):
            st.caption("This span is not drawn on the map.")
        with st.container(horizontal=True):
            address = address_of(run=chosen.info.name, checkpoint=at, sample=str(row["sample"]), span=span)
            st.page_link(PAGES["trace"], label="Its trace", icon=":material/notes:", query_params=address)
            st.page_link(PAGES["map"], label="On the map", icon=":material/map:", query_params=address)
