"""The page Segments: which parts of traces bear on their answers, and what thresholds keep.

show_segments   thresholds, all segments, one trace; or how to attribute
"""

from __future__ import annotations

import json
import time
from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from gsd_core.comparison.segment_choice import AGAINST, BETA, TAU
from gsd_core.dashboard.frame import run_cache, snippets, workspaces
from gsd_core.dashboard.frame.address import choose, read_address, write_address
from gsd_core.dashboard.frame.charts import name_file, selected_rows, show_chart
from gsd_core.dashboard.frame.page_text import escape
from gsd_core.dashboard.frame.run_cache import Chosen
from gsd_core.dashboard.jobs import job_view
from gsd_core.dashboard.jobs.job_steps import Step
from gsd_core.dashboard.look.plot_text import shorten
from gsd_core.dashboard.segments import segment_figures
from gsd_core.dashboard.segments.segment_queries import (
    Segments,
    TraceScores,
    list_attributed,
    load_segments,
    read_selection,
    read_trace_scores,
)
from gsd_core.dashboard.segments.trials_form import offer_trials
from gsd_core.methods.attribute_method import ATTRIBUTION, AttributeOptions

N_FIRST = 20  # traces that the page's button attributes: minutes with a small model
SIDES = ("All segments", "Thresholds", "Removal", "Other measures", "Directions", "Trust")
_WHAT = (
    "How much does each part of a trace raise the probability of its answer? Integrated gradients give every token a "
    "score in nats. A segment's strength is its share of its trace; its consistency is 1 where all its tokens pull the "
    "same way."
)
_CHOICE = (
    "Of each trace the strongest segments are taken that together hold tau of its strength, and of those the ones "
    "whose consistency is at most beta (published: 0.7 and 0.8). Moving them needs no new gradient."
)


def show_segments(chosen: Chosen) -> None:
    """The page of a run."""
    run = workspaces.open_workspace().open_run(chosen.info.name)
    attributed = list_attributed(run)
    if not attributed:
        _offer(chosen)
        return
    checkpoint = chosen.checkpoint if chosen.checkpoint in attributed else attributed[-1]
    if checkpoint != chosen.checkpoint:
        st.caption(f"{escape(chosen.checkpoint)} is not attributed; this is {escape(checkpoint)}.")
    info = run.results.info(ATTRIBUTION, checkpoint)
    # One that still grows has no info yet: it is read again every ten seconds.
    stamp = json.dumps(info or int(time.time() // 10), sort_keys=True, default=str)
    segments = _segments(chosen, checkpoint, stamp)
    if not len(segments.frame):
        _offer(chosen)
        return
    tau, beta = _choose_thresholds(segments)
    no_against = _choose_sign()
    kept = segments.choose(tau, beta, no_against)
    _show_numbers(segments, kept)
    left, right = st.columns([1, 1], gap="large")
    with right:
        sample = _choose_trace(segments)
        _show_trace(chosen, segments, kept, checkpoint, sample, stamp)
    with left:
        _show_all(chosen, segments, kept, (tau, beta), sample)
        _offer_selection(chosen, segments, kept, checkpoint)
        offer_trials(chosen._replace(checkpoint=checkpoint), (tau, beta), no_against)


@st.cache_resource(max_entries=4, show_spinner="Reading the scores …", hash_funcs=run_cache.BY_RUN)
def _segments(chosen: Chosen, checkpoint: str, stamp: str) -> Segments:
    return load_segments(workspaces.open_workspace().open_run(chosen.info.name), checkpoint)


@st.cache_resource(max_entries=32, show_spinner=False, hash_funcs=run_cache.BY_RUN)
def _trace(chosen: Chosen, checkpoint: str, sample: str, stamp: str) -> TraceScores:
    return read_trace_scores(workspaces.open_workspace().open_run(chosen.info.name), checkpoint, sample)


def _read_share(name: str, default: float) -> float:
    """A threshold from the address."""
    try:
        return min(1.0, max(0.01, float(read_address(name, str(default)))))
    except ValueError:
        return default


def _choose_thresholds(segments: Segments) -> tuple[float, float]:
    """Tau and beta, dragged or typed; kept in the address."""
    found = []
    columns = st.columns([4, 1, 4, 1], vertical_alignment="bottom", gap="medium")
    for at, (name, words, default) in enumerate(
        (("tau", "tau: strength held", TAU), ("beta", "beta: largest consistency", BETA))
    ):
        start = float(segments.info.get(name) or default)
        value = _read_share(name, start)
        for kind, column in (("slider", columns[2 * at]), ("typed", columns[2 * at + 1])):
            key = f"segments_{name}_{kind}"
            st.session_state[key] = value
            draw = column.slider if kind == "slider" else column.number_input
            draw(
                words if kind == "slider" else name,
                0.01,
                1.0,
                step=0.01,
                key=key,
                help=_CHOICE if kind == "slider" else None,
                on_change=_moved,
                args=(name, key, start),
            )
        found.append(value)
    return found[0], found[1]


def _choose_sign() -> bool:
    """Whether segments that clearly lower the answer's probability are left out; kept in the address."""
    key = "segments_against"
    st.session_state[key] = read_address("against") == "no"

    def changed() -> None:
        write_address("against", "no" if st.session_state[key] else None)

    words = "leave out segments that lower the answer's probability"
    st.toggle(words, key=key, on_change=changed, help=f"Those below zero with a consistency of {AGAINST:g} or more.")
    return bool(st.session_state[key])


def _offer_selection(chosen: Chosen, segments: Segments, kept: np.ndarray, checkpoint: str) -> None:
    """The masked data set of this choice, as a file for ``gsd train --objective selective``."""

    def write() -> str:
        return read_selection(workspaces.open_workspace().open_run(chosen.info.name), checkpoint, segments, kept)

    st.download_button(
        "Masked data set",
        write,
        name_file(f"{chosen.info.name} {checkpoint} segments") + ".jsonl",
        "application/jsonl",
        on_click="ignore",
        icon=":material/download:",
        help="A line a trace with what is kept, for `gsd train --objective selective --mask FILE`.",
    )


def _moved(name: str, key: str, default: float) -> None:
    """Callback: a threshold was moved."""
    value = float(st.session_state[key])
    write_address(name, None if abs(value - default) < 1e-9 else f"{value:g}")


def _show_numbers(segments: Segments, kept: np.ndarray) -> None:
    gains = (segments.traces["value"] - segments.traces["baseline_value"]).abs().clip(lower=1e-12)
    unexplained = float((segments.traces["residual"] / gains).median())
    random = segments.share_of_tokens(segments.draw_random(kept))
    snippets.show_numbers(
        snippets.Number("traces", f"{len(segments.traces):,}"),
        snippets.Number("segments", f"{len(segments.frame):,}"),
        snippets.Number("segments kept", f"{kept.mean():.0%}", _CHOICE),
        snippets.Number("tokens kept", f"{segments.share_of_tokens(kept):.0%}", "Share of all segments' tokens."),
        snippets.Number("random segments", f"{random:.0%}", "Tokens of as many segments drawn at random."),
        snippets.Number(
            "unexplained",
            f"{unexplained:.2%}",
            "Median residual: the part of what the answer gains over the baseline that the scores do not sum to.",
        ),
        *_count_after_solutions(segments),
    )


def _count_after_solutions(segments: Segments) -> list[snippets.Number]:
    """Share of the strength after the first segment that tells the answer."""
    frame = segments.frame
    if "tells_answer" not in frame or not frame["tells_answer"].fillna(False).any():
        return []
    told = frame["tells_answer"].fillna(False).astype(bool)
    is_after = (told.groupby(frame["code"]).cumsum() - told) > 0
    has_any = told.groupby(frame["code"]).transform("any")
    share = float(frame["strength"][is_after].sum() / max(1e-12, frame["strength"][has_any].sum()))
    what = "Share of the strength after the first segment that tells the answer, in traces where one does."
    return [snippets.Number("after first answer", f"{share:.0%}", what)]


def _choose_trace(segments: Segments) -> str:
    samples = [str(each) for each in segments.traces.index]
    answers = segments.traces["answer"]
    return choose(
        f"Trace ({len(samples):,})",
        "sample",
        samples,
        default=samples[0],
        format_func=lambda name: f"{name}  ·  {shorten(str(answers.get(name, '')), 40)}",
    )


def _show_trace(chosen: Chosen, segments: Segments, kept: np.ndarray, checkpoint: str, sample: str, stamp: str) -> None:
    trace = _trace(chosen, checkpoint, sample, stamp)
    is_own = (segments.frame["sample"] == sample).to_numpy()
    own, own_kept = segments.frame[is_own], kept[is_own]
    row = segments.traces.loc[sample]
    st.caption(
        f"Answer {escape(shorten(str(row['answer']), 60))}: log-probability {row['value']:.2f} nats, at the baseline "
        f"{row['baseline_value']:.2f}. Red raises it, blue lowers it; a blue bar marks a chosen segment."
    )
    st.html(segment_figures.make_trace(trace, set(own.loc[own_kept, "span"])))
    name = f"{chosen.info.name} {checkpoint} {sample}"
    show_chart(
        segment_figures.plot_strengths(own, own_kept),
        key="segments_strengths",
        alt=f"Strength of the segments of {sample}",
        name=f"{name} strengths",
        table=partial(_make_table, own, own_kept),
    )
    show_chart(
        segment_figures.plot_cumulative(trace, float(row["baseline_value"])),
        key="segments_cumulative",
        alt=f"Scores of the tokens of {sample}, summed from the beginning",
        name=f"{name} cumulative",
        table=lambda: pd.DataFrame({"token": np.arange(len(trace.scores)), "score": trace.scores}),
    )


def _make_table(frame: pd.DataFrame, kept: np.ndarray) -> pd.DataFrame:
    return frame.drop(columns="code").assign(is_chosen=kept)


def _show_all(
    chosen: Chosen, segments: Segments, kept: np.ndarray, thresholds: tuple[float, float], sample: str
) -> None:
    side = choose("Show", "side", SIDES, default=SIDES[0])
    name = f"{chosen.info.name} {side}"
    if side == SIDES[0]:
        key = "segments_scatter"

        def picked() -> None:
            rows = selected_rows(st.session_state.get(key))
            if rows:
                write_address("sample", str(segments.frame["sample"].iloc[rows[0]]))

        show_chart(
            segment_figures.plot_choice(segments, kept, thresholds[1], sample),
            key=key,
            alt=f"Strength against consistency of {len(segments.frame)} segments",
            name=name,
            table=partial(_make_table, segments.frame, kept),
            on_select=picked,
            has_tools=True,
        )
        st.caption("Each dot is a segment. Click one to read its trace.")
    elif side == SIDES[1]:
        show_chart(
            segment_figures.plot_sweep(segments, *thresholds),
            key="segments_sweep",
            alt="Share of tokens kept for every pair of thresholds",
            name=name,
            table=lambda: pd.DataFrame(segments.sweep()),
        )
        st.caption("Share of tokens that each pair of thresholds keeps; the cross is this page's.")
    elif side == SIDES[2]:
        _show_removals(segments, name)
    elif side == SIDES[3]:
        contrast = segments.contrast(kept)
        show_chart(
            segment_figures.plot_contrast(contrast),
            key="segments_contrast",
            alt="Rank correlation of other measures with strength",
            name=name,
            table=lambda: contrast,
        )
        st.caption("What costs no gradient, beside strength. In the bars: mean of kept segments | of those left out.")
    elif side == SIDES[4]:
        _show_links(segments, name)
    else:
        _show_trust(segments, name)
    st.caption(escape(_describe(segments)))
    if len(segments.skipped):
        with st.expander(f"{len(segments.skipped):,} samples were left out"):
            st.dataframe(segments.skipped, hide_index=True)


def _show_removals(segments: Segments, name: str) -> None:
    averages = segments.average_removals()
    if not len(averages):
        st.caption("Not measured: attribute again with this version, `--again`.")
        return
    show_chart(
        segment_figures.plot_removals(averages),
        key="segments_removals",
        alt="What is left of the answer's gain where other segments are removed",
        name=name,
        table=lambda: averages,
    )
    st.caption(
        "Only the chosen segments are left between question and answer, or as many at random: how much of the answer's "
        "gain through the whole trace is left? Dots are pairs of thresholds. A removed text is not what the model "
        "was trained on, so this is a test of its own, not a proof."
    )


def _show_links(segments: Segments, name: str) -> None:
    """Whether strong segments lie together in gradient direction."""
    link = segments.info.get("link")
    if not link or not len(segments.links):
        st.caption("Fewer than 30 segments, or 11 traces, are attributed: too few to say if strong ones are aligned.")
        return
    show_chart(
        segment_figures.plot_links(segments.links),
        key="segments_links",
        alt="Strength of segments against that of their best aligned segments",
        name=name,
        table=lambda: segments.links,
    )
    is_beyond = link["low"] > max(link["null_high"], 0)
    is_more = link["low"] > link["by_position"]
    verdict = (
        "Strong segments lie together in gradient direction, more than their place in the trace explains."
        if is_beyond and is_more
        else "Strong segments lie together in gradient direction, but no more than segments at like places do."
        if is_beyond
        else "Strong segments do not lie together in gradient direction beyond chance."
    )
    st.caption(
        f"{verdict} Rank correlation {link['rho']:.2f} (95 % interval over traces {link['low']:.2f} to "
        f"{link['high']:.2f}); of the ten nearest by place in the trace {link['by_position']:.2f}; with strengths "
        f"dealt anew within traces {link['null_low']:.2f} to {link['null_high']:.2f}. {link['n']:,} segments."
    )


def _show_trust(segments: Segments, name: str) -> None:
    """Residuals of all traces; of checked traces the residual against J, and other baselines."""
    show_chart(
        segment_figures.plot_residuals(segments.traces),
        key="segments_residuals",
        alt="Residual of each trace against its number of gradients",
        name=name,
        table=lambda: segments.traces.reset_index(),
    )
    st.caption("Each dot is a trace. Adaptive nodes stop where the residual is within the bound.")
    if not len(segments.curves):
        st.caption("Residual against the number of gradients, and other baselines: `gsd attribute --check 4 --again`.")
        return
    show_chart(
        segment_figures.plot_curves(segments.curves),
        key="segments_curves",
        alt="Residual against the number of gradients",
        name=f"{name} curves",
        table=lambda: segments.curves,
    )
    n_traces = segments.curves["sample"].nunique()
    st.caption(f"The same traces ({n_traces}) with fixed numbers of gradients; published: 50 even ones. Dotted: 1 %.")
    table = segments.compare_baselines()
    show_chart(
        segment_figures.plot_baselines(table),
        key="segments_baselines",
        alt="Rank correlation of strengths between baselines",
        name=f"{name} baselines",
        table=lambda: table.reset_index(),
    )
    st.caption("How alike the strengths of segments are where the path begins elsewhere; noise with three seeds.")


def _describe(segments: Segments) -> str:
    """How the scores were made."""
    info = segments.info
    nodes = str(info.get("nodes"))
    how = (
        f"{info.get('steps')} {nodes} nodes"
        if nodes != "adaptive"
        else f"adaptive nodes, residual {info.get('residual')}"
    )
    words = f" The answer follows “{info['words'].strip()}”." if info.get("words") else ""
    ran = f" Attention {info['attention']}, {info.get('number_format')}." if info.get("attention") else ""
    return f"{_WHAT} Baseline {info.get('baseline')}, {how}.{ran}{words}"


def _offer(chosen: Chosen) -> None:
    st.caption(_WHAT)
    if workspaces.can_run_jobs() and st.button(f"Attribute the first {N_FIRST} traces", icon=":material/segment:"):
        options = AttributeOptions(chosen.info.name, checkpoint=chosen.checkpoint, limit=N_FIRST)
        job_view.start_and_show(Step("attribute", options), run=chosen.info.name)
    st.caption(
        f"From a shell: `gsd attribute --run {chosen.info.name}`. It loads the model; each trace costs 50 to "
        "100 gradients, the question aside. The data set needs answers."
    )
    job_view.show_jobs(limit=1)
