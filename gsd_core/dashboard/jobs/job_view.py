"""Jobs on a page: stage, rate, ETA, memory, log, and buttons.

show_jobs        cards of a workspace's jobs, read again every second while one runs
show_job         one card
start_and_show   start a job and show it
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import streamlit as st

from gsd_core.dashboard.frame import workspaces
from gsd_core.dashboard.frame.address import PAGES
from gsd_core.dashboard.frame.page_text import escape, show_error
from gsd_core.dashboard.frame.snippets import format_bytes, format_duration, format_when
from gsd_core.dashboard.jobs import job_output, job_store
from gsd_core.dashboard.jobs.job_steps import Step, make_argv, make_title
from gsd_core.dashboard.jobs.job_store import Job
from gsd_core.errors import UserError

POLL_S = 1.0
_BADGES = {
    "starting": ("Starting", "blue", ":material/hourglass_top:"),
    "queued": ("Waiting", "gray", ":material/pending:"),
    "running": ("Running", "blue", ":material/progress_activity:"),
    "done": ("Done", "green", ":material/check_circle:"),
    "failed": ("Failed", "red", ":material/error:"),
    "cancelled": ("Cancelled", "orange", ":material/cancel:"),
}


def show_jobs(limit: int, commands: Sequence[str] = ()) -> None:
    """Job cards, newest first, refreshed while a job runs; of ``commands`` only, where some are given."""
    found = _find(limit, commands)
    if any(job.is_active for job in found):
        st.fragment(_poll, run_every=POLL_S, key="jobs")(limit, commands)
    else:
        for job in found:
            show_job(job)


def _find(limit: int, commands: Sequence[str]) -> list[Job]:
    if not workspaces.can_run_jobs():
        return []
    jobs = job_store.list_jobs(workspaces.workspace_uri())
    return [job for job in jobs if not commands or set(commands) & set(job.names)][:limit]


def _poll(limit: int, commands: Sequence[str]) -> None:
    found = _find(limit, commands)
    for job in found:
        show_job(job)
    if not any(job.is_active for job in found):
        workspaces.forget_listings()
        st.rerun()  # the whole page, which shows the job's results and ends the polling


def show_job(job: Job) -> None:
    """One job: its state, its progress, its buttons, its log."""
    with st.container(border=True, gap="small"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(f"**{escape(job.title)}**")
            word, color, icon = _BADGES.get(job.status, ("Unknown", "gray", ""))
            if job.is_active and job.is_cancelling:
                word, color = "Cancelling", "orange"
            st.badge(word, color=color, icon=icon)  # type: ignore[arg-type]
        if job.status == "queued":
            st.caption(f"Jobs before it: {job.n_before}. It starts by itself, also when this page is closed.")
        elif job.is_active:
            _show_progress(job)
        else:
            took = format_duration((job.ended - job.started) if job.ended else None)
            st.caption(f"Started {format_when(job.started)} · took {took}")
        if job.status == "failed":
            st.error(escape(job_output.read_error(job)), icon=":material/error:")
        elif job.status == "cancelled":
            st.caption("Finished work is kept, and the job can continue.")
        _show_actions(job)
        log = job_output.read_log(job)
        if log:
            with st.expander("Log", icon=":material/terminal:"):
                st.code(log, language=None, height=220)


def _show_progress(job: Job) -> None:
    steps = len(job.commands)
    progress = job_output.read_progress(job)
    step = f"step {job.command + 1} of {steps}: {job.stage}"
    if progress is None:
        st.progress(0.0, text=escape(f"{step} · starting …"))
    else:
        total = f" of {progress.total:,.0f}" if progress.total else ""
        stage = "" if progress.stage == job.stage else f" · {progress.stage}"
        st.progress(progress.share or 0.0, text=escape(f"{step}{stage} · {progress.done:,.0f}{total} {progress.unit}"))
        rate = f"{progress.rate_per_s:,.1f} {progress.unit}/s" if progress.rate_per_s else "–"
        parts = (
            f"rate {rate}",
            f"time left {format_duration(progress.eta_s)}",
            f"memory {format_bytes(progress.memory_bytes)}",
            f"running for {format_duration(time.time() - job.started)}",
        )
        st.caption(escape(" · ".join(parts)))


def _show_actions(job: Job) -> None:
    with st.container(horizontal=True, gap="small"):
        if job.is_active:
            if job.is_cancelling:
                word, key, icon, end = "Stop at once", "kill", "dangerous", job_store.kill_job
            else:
                word, key, icon, end = "Cancel", "cancel", "stop_circle", job_store.cancel_job
            if st.button(word, key=f"{key}_{job.id}", icon=f":material/{icon}:"):
                end(job)
                st.rerun()
        elif job.status == "done":
            if job.opens in PAGES:
                st.page_link(
                    PAGES[job.opens],
                    label=f"Open the {job.opens}",
                    icon=":material/arrow_forward:",
                    query_params={"run": job.run} if job.run else {},
                )
        elif st.button("Continue", key=f"resume_{job.id}", icon=":material/resume:"):
            try:
                job_store.restart_job(workspaces.workspace_uri(), job)
                st.rerun()
            except UserError as error:
                show_error(error)
        if not job.is_active and st.button("Delete", key=f"forget_{job.id}", type="tertiary", icon=":material/delete:"):
            job_store.remove_job(job)
            st.rerun()


def start_and_show(*steps: Step, run: str | None, dataset: str | None = None) -> None:
    """Start a job of these steps and rerun the page, which shows it; an error is shown in place."""
    if not workspaces.can_run_jobs():
        st.info(f"{workspaces.find_obstacle()}: start the stage from the command line.")
        return
    try:
        uri = workspaces.workspace_uri()
        argvs, names = [make_argv(uri, step) for step in steps], [step.command for step in steps]
        job_store.start_job(uri, make_title(steps), argvs, run, dataset, names)
    except UserError as error:
        show_error(error)
        return
    st.rerun(scope="app")
