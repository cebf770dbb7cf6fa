"""What a training step on a span taught others: read, and started as a job.

load_span_lesson   the stored lesson of a span, where there is one
offer_lesson       a button that teaches the span, and its job; or what came of it
describe_learned   what one span learned, beside what first order says
"""

from __future__ import annotations

import streamlit as st

from gsd_core.dashboard.frame import workspaces
from gsd_core.dashboard.frame.run_cache import Chosen
from gsd_core.dashboard.frame.snippets import MEASURES
from gsd_core.dashboard.jobs import job_view
from gsd_core.dashboard.jobs.job_steps import Step
from gsd_core.dashboard.reading.lesson_queries import Lesson, load_lesson
from gsd_core.methods.lesson_method import LessonOptions


def load_span_lesson(chosen: Chosen, span: str) -> Lesson | None:
    """The newest lesson of ``span``; None where it was not taught."""
    return load_lesson(workspaces.open_workspace().open_run(chosen.info.name), chosen.checkpoint, span)


def describe_learned(lesson: Lesson | None, span: str) -> str:
    """``"learned 0.041 nats, first order 0.038"``; empty where ``span`` was not watched."""
    if lesson is None or span not in lesson.learned:
        return ""
    learned, predicted = lesson.learned[span]
    return f"learned {learned:.3f} nats, first order {predicted:.3f}"


def offer_lesson(chosen: Chosen, span: str, key: str, lesson: Lesson | None) -> None:
    """What a step on ``span`` did to its own loss, or a button that takes the step as a job."""
    if lesson is not None:
        st.caption(
            f"Taught: {lesson.how}. Its own loss went from {lesson.own_before:.2f} to {lesson.own_after:.2f} nats; "
            "what others learned stands beside them. The weights were put back.",
            help=MEASURES["lesson"],
        )
        return
    if not workspaces.can_run_jobs():
        return
    running = f"{key}_lesson_job"
    if st.button("Teach this span", key=f"{key}_lesson", icon=":material/school:", help=MEASURES["lesson"]):
        st.session_state[running] = True
        options = LessonOptions(chosen.info.name, spans=[span], checkpoint=chosen.checkpoint)
        job_view.start_and_show(Step("lesson", options), run=chosen.info.name)
    if st.session_state.get(running):
        job_view.show_jobs(limit=1)
