"""The lesson test on the evidence page: what a step on one span teaches others, and what foretells it.

show_lesson   verdict, every representation, and the curve over step sizes; or how to get them
"""

from __future__ import annotations

from functools import partial

import pandas as pd
import streamlit as st

from gsd_core.comparison.verdict import compute_verdict
from gsd_core.dashboard.evidence import evidence_figures
from gsd_core.dashboard.frame import workspaces
from gsd_core.dashboard.frame.address import choose
from gsd_core.dashboard.frame.charts import show_chart
from gsd_core.dashboard.frame.page_text import escape
from gsd_core.dashboard.frame.run_cache import Chosen
from gsd_core.dashboard.jobs import job_view
from gsd_core.dashboard.jobs.job_steps import Step
from gsd_core.dashboard.reading.lesson_queries import load_scores
from gsd_core.methods.lesson_method import LESSON, LessonOptions

RANK = "rank correlation"
_WHAT = (
    "A training step is taken on one span, the losses of all other spans are measured, and the weights are put back. "
    "What foretells which spans learn?"
)
_HELP = (
    "To first order a step lowers another span's loss by the inner product of the two gradients, so gradients must "
    "foretell it; “first order, all weights” is how far that goes without sketch, window or choice of modules. The "
    "other rows say how much of it survives in the stored directions, and how much everything else misses. This is the "
    "one place where weights are moved, so here it may be said that a step *teaches*."
)


def show_lesson(chosen: Chosen) -> None:
    """The section of the page."""
    st.subheader("What a step teaches", anchor=False, help=_HELP)
    run = workspaces.open_workspace().open_run(chosen.info.name)
    checkpoint = chosen.checkpoint
    scores = load_scores(run, checkpoint)
    if not len(scores):
        taught = [name for name in run.checkpoints if "scores" in run.results.tables(LESSON, name)]
        if not taught:
            _offer(chosen)
            return
        checkpoint = taught[-1]
        scores = load_scores(run, checkpoint)
        st.caption(f"{escape(chosen.checkpoint)} was not taught; this is {escape(checkpoint)}.")
    _show_scores(chosen, checkpoint, scores)


def _show_scores(chosen: Chosen, checkpoint: str, scores: pd.DataFrame) -> None:
    metrics, steps = list(dict.fromkeys(scores["metric"])), list(dict.fromkeys(scores["step"]))
    ranked = [each for each in metrics if each.startswith(RANK)]
    left, right = st.columns(2)
    with left:
        metric = choose("Measure", "lesson", metrics, default=ranked[-1])
    with right:
        step = choose("Step", "step_kind", steps, default=steps[0])
    of_step = scores[scores["step"] == step]
    here = of_step[of_step["metric"] == metric]
    verdict = compute_verdict(here, metric)
    if verdict:
        st.markdown(
            f":{evidence_figures.VERDICT_COLORS[verdict.outcome]}[**{verdict.headline}**] {escape(verdict.detail)}"
        )
    own = here["share"].iloc[0], here["optimizer"].iloc[0], here["n_steps"].iloc[0]
    curve = scores[(scores["metric"] == metric) & (scores["optimizer"] == own[1]) & (scores["n_steps"] == own[2])]
    has_curve = curve["share"].nunique() > 1
    dots, beside = st.columns([5, 4], gap="large") if has_curve else (st.container(), None)
    name = f"{chosen.info.name} {checkpoint} lesson"
    with dots:
        show_chart(
            evidence_figures.plot_dots(here, metric),
            key="lesson_dots",
            alt=f"{metric} of every representation with what was learned",
            name=f"{name} {metric}",
            table=partial(here.dropna, subset=["value"]),
        )
    if beside is not None:
        with beside:
            over = curve.assign(step=curve["share"])
            names = [
                *evidence_figures.choose_curves(over, []),
                *over[over["kind"] == "limit"]["representation"].unique(),
            ]
            show_chart(
                evidence_figures.plot_curves(over, names, metric, "Size of the step, share of the loss", is_log=True),
                key="lesson_curve",
                alt=f"{metric} over step sizes",
                name=f"{name} over step sizes",
                table=lambda: curve.dropna(subset=["value"]),
            )
    n = int(here["n"].max())
    st.caption(
        f"{_WHAT} Spearman's coefficient between similarity and fall of the loss, or the mean fall of the ten most "
        "similar spans as a share of the taught span's loss; spans of other samples; bars are 95 % intervals over "
        f"n = {n:,} taught spans."
    )


def _offer(chosen: Chosen) -> None:
    st.caption(_WHAT)
    if workspaces.can_run_jobs() and st.button("Teach 24 spans", icon=":material/school:"):
        options = LessonOptions(chosen.info.name, checkpoint=chosen.checkpoint)
        job_view.start_and_show(Step("lesson", options), run=chosen.info.name)
    st.caption(
        f"From a shell, with other runs to compare with and other steps: `gsd lesson {chosen.info.name} --against RUN "
        "--step-size 0.1 0.5 2`. It loads the model; each span costs about four passes over 100 samples."
    )
