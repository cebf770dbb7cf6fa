"""The evidence page: the structure benchmark, and the cosines of spans beside those of controls.

show_evidence   the page of a run
load_cosines    cosines of random pairs or of best partners, by kind
make_options    options of the evaluation that the form asks for
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pandas as pd
import streamlit as st

from gsd_core.comparison.verdict import compute_verdict
from gsd_core.dashboard.alignment import alignment_figures
from gsd_core.dashboard.alignment.alignment_figures import COSINE_KINDS
from gsd_core.dashboard.evidence import evidence_figures
from gsd_core.dashboard.evidence.evidence_queries import QUESTION, find_best_checkpoint, list_metrics, load_evidence
from gsd_core.dashboard.evidence.lesson_view import show_lesson
from gsd_core.dashboard.frame import run_cache, workspaces
from gsd_core.dashboard.frame.address import choose, pick_many
from gsd_core.dashboard.frame.charts import show_chart
from gsd_core.dashboard.frame.page_text import escape
from gsd_core.dashboard.frame.run_cache import Chosen
from gsd_core.dashboard.jobs import job_view
from gsd_core.dashboard.jobs.job_steps import Step
from gsd_core.methods.analyze_method import STRUCTURE
from gsd_core.methods.evaluate_method import EvaluateOptions


def load_cosines(chosen: Chosen, table: str = "cosines") -> pd.DataFrame:
    """Table ``cosines`` or ``best`` of the chosen checkpoint, in the order of ``COSINE_KINDS``; empty where there is
    none."""
    run = workspaces.open_workspace().open_run(chosen.info.name)
    if table not in run.results.tables(STRUCTURE, chosen.checkpoint):
        return pd.DataFrame()
    cosines = run.results.read(STRUCTURE, table, chosen.checkpoint)
    rank = {kind: at for at, kind in enumerate(COSINE_KINDS)}
    return cosines.sort_values(
        "kind", key=lambda kinds: kinds.map(lambda kind: rank.get(kind, len(rank))), kind="stable"
    )


def show_evidence(chosen: Chosen) -> None:
    """Verdict, dot plot, curves over training, cosines; or how to get them."""
    run = workspaces.open_workspace().open_run(chosen.info.name)
    rows = load_evidence(run)
    show_lesson(chosen)
    st.subheader("What neighbours share", anchor=False)
    if len(rows):
        _show_benchmark(chosen, rows)
    with st.expander("Evaluate against a label", expanded=not len(rows)):
        _show_form(chosen)
    st.subheader("Cosines across samples", anchor=False)
    _show_cosines(chosen)
    job_view.show_jobs(limit=1)


def _show_benchmark(chosen: Chosen, rows: pd.DataFrame) -> None:
    asked = (tuple(map(str, row)) for row in rows[QUESTION].drop_duplicates().to_numpy())
    questions = {" · ".join(filter(None, key)): key for key in asked}
    left, right = st.columns(2)
    with left:
        question = questions[choose("Question", "question", list(questions))]
    answers = rows[(rows[QUESTION] == list(question)).all(axis=1)]
    metrics, strictest = list_metrics(answers)
    with right:
        metric = choose("Metric", "metric", metrics, default=strictest)
    shown = answers[answers["metric"] == metric]
    checkpoints = list(dict.fromkeys(shown["checkpoint"]))
    checkpoint = chosen.checkpoint if chosen.checkpoint in checkpoints else find_best_checkpoint(shown)
    if checkpoint != chosen.checkpoint:
        st.caption(f"{escape(chosen.checkpoint)} was not evaluated; this is {escape(checkpoint)}.")
    here = shown[shown["checkpoint"] == checkpoint]
    verdict = compute_verdict(here)
    if verdict:
        st.markdown(
            f":{evidence_figures.VERDICT_COLORS[verdict.outcome]}[**{verdict.headline}**] {escape(verdict.detail)}"
        )
    if len(checkpoints) > 1:
        dots, curve = st.columns([5, 4], gap="large")
    else:
        dots, curve = st.container(), None
    with dots:
        show_chart(
            evidence_figures.plot_dots(here, metric),
            key="evidence_dots",
            alt=f"{metric} of every representation",
            name=f"{chosen.info.name} {checkpoint} {metric}",
            table=partial(here.dropna, subset=["value"]),
        )
    if curve is not None:
        with curve:
            names = list(here.sort_values("value", ascending=False)["representation"])
            picked = pick_many("Curves", "curves", names, placeholder="the best of each kind")
            curves = evidence_figures.choose_curves(shown, picked)
            show_chart(
                evidence_figures.plot_curves(shown, curves, metric),
                key="evidence_curve",
                alt=f"{metric} over training",
                name=f"{chosen.info.name} {metric} over training",
                table=lambda: shown[shown["representation"].isin(curves)].dropna(subset=["value"]),
            )
    st.caption(
        "Share of the nearest rows of other samples with the same label; bars are 95 % intervals over samples, "
        f"n = {int(here['n'].max()):,}. The dashed line is chance, the dotted line is what perfect neighbours reach."
    )


def make_options(run: str, label: str, level: str, differ: Sequence[str]) -> EvaluateOptions:
    """An evaluation at all checkpoints; labels are named with or without their ``meta.``."""

    def name(field: str) -> str:
        return field if field.startswith("meta.") else f"meta.{field}"

    return EvaluateOptions(run, name(label), level, "all", [name(each) for each in differ])


def _show_form(chosen: Chosen) -> None:
    view = run_cache.get_view(chosen)
    labels = [label.name for label in view.labels]
    if not labels:
        st.caption("The samples of this run have no labels to compare the directions with.")
        return
    with st.form("evaluate"):
        left, middle, right = st.columns(3)
        label = left.selectbox("Label", labels)
        level = middle.selectbox("Level", ["span", "sample"])
        differ = right.multiselect("Neighbours must differ in", labels)
        sent = st.form_submit_button("Evaluate all checkpoints", type="primary")
    if sent and workspaces.can_run_jobs():
        options = make_options(chosen.info.name, label, level, differ)
        job_view.start_and_show(Step("evaluate", options), run=chosen.info.name)
    st.caption(
        f"With other tiers and controls, from a shell: `gsd evaluate {chosen.info.name} --label meta.FIELD "
        "--checkpoint all --against RUN …`"
    )


def _show_cosines(chosen: Chosen) -> None:
    cosines = load_cosines(chosen)
    if not len(cosines):
        st.info(f"This checkpoint has no cosines yet: `gsd analyze {chosen.info.name}` computes them.")
        return
    of = f"{chosen.info.name} {chosen.checkpoint}"
    show_chart(
        alignment_figures.plot_cosines(cosines, float("nan")),
        key="evidence_cosines",
        alt="Distributions of cosines by kind",
        name=f"{of} cosines",
        table=lambda: cosines,
    )
    best = load_cosines(chosen, "best")
    has_controls = COSINE_KINDS[0] in set(cosines["kind"])
    st.caption(
        "Centred cosines of pairs of different samples; the diamond is the mean with its 95 % interval. "
        + (
            "Single tokens and random windows (as long as the spans) are from a few samples."
            if has_controls
            else "Runs captured without `--no-controls` also show single tokens and random windows."
        ),
        help="Same-cluster pairs are alike by construction; the gap says how much. “Shuffled” are pairs in clusters of "
        "the same sizes with random members.",
    )
    if len(best):
        st.subheader("Best partner in another sample", anchor=False)
        show_chart(
            alignment_figures.plot_cosines(best, float("nan")),
            key="evidence_best",
            alt="Distributions of best cosines by kind",
            name=f"{of} best partners",
            table=lambda: best,
        )
        st.caption(
            "Every unit's cosine with its best partner in another sample, among equally many units of its kind of the "
            "same samples. Random pairs rarely share a procedure; best partners show whether cutting at steps helps."
        )
