"""The workspace that a page shows, and what may be changed in it.

workspace_uri      address of the signed-in user's workspace
open_workspace     that workspace, opened once
can_run_jobs       whether a page may start jobs and store files
find_obstacle      why it may not
list_runs          runs of the workspace, at most a few seconds old
list_datasets      data sets of the workspace, likewise
forget_listings    read both again
READ_ONLY          environment variable that makes every page read-only
"""

from __future__ import annotations

import os

import streamlit as st

from gsd_core.console.workspace_choice import choose_workspace
from gsd_core.dashboard.frame.page_text import show_error
from gsd_core.dashboard.frame.sign_in import find_group
from gsd_core.errors import UserError
from gsd_core.store import DatasetInfo, RunInfo, Workspace

LISTING_TTL_S = 3
READ_ONLY = "GSD_READ_ONLY"


def workspace_uri() -> str:
    """The workspace of the signed-in user's group, else ``$GSD_WORKSPACE``, else ``./gsd-workspace``."""
    group = find_group()
    if group and group.workspace:
        return group.workspace
    return choose_workspace()


def find_obstacle() -> str:
    """Why a page cannot start jobs or store files; empty where it can."""
    group = find_group()
    if os.environ.get(READ_ONLY) or (group and group.read_only):
        return "This dashboard is for reading only"
    # Uploads and jobs are plain files beside the workspace.
    return "" if open_workspace().is_local else "This workspace is not on this machine"


def can_run_jobs() -> bool:
    """Whether a page may start jobs and store files."""
    return not find_obstacle()


@st.cache_resource(show_spinner=False)
def _open(uri: str) -> Workspace:
    return Workspace.open(uri)


def open_workspace() -> Workspace:
    """The workspace of the signed-in user; shows the error and ends the page where it cannot be opened."""
    try:
        return _open(workspace_uri())
    except UserError as error:
        show_error(error)
        st.stop()


@st.cache_resource(ttl=LISTING_TTL_S, show_spinner=False)
def _runs(uri: str) -> list[RunInfo]:
    return _open(uri).list_runs()


@st.cache_resource(ttl=LISTING_TTL_S, show_spinner=False)
def _datasets(uri: str) -> list[DatasetInfo]:
    return _open(uri).list_datasets()


def list_runs() -> list[RunInfo]:
    """Every run, newest first, at most a few seconds old."""
    open_workspace()
    return _runs(workspace_uri())


def list_datasets() -> list[DatasetInfo]:
    """Every data set, at most a few seconds old."""
    open_workspace()
    return _datasets(workspace_uri())


def forget_listings() -> None:
    """Read runs and data sets again when they are next asked for."""
    _runs.clear()
    _datasets.clear()
