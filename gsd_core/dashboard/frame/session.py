"""What every page starts with: the workspace, the run that is looked at, and what was read of it.

open_workspace     the workspace of whoever looks
can_run_jobs, find_obstacle   whether a page may start jobs and take files in, or why not
list_runs, list_datasets   what is in it, read again every few seconds
needs_analysis     whether the chosen checkpoint has no layout yet
get_view           the chosen run, read once and kept
get_directions     its directions, read once and kept
get_wording        how alike its spans' texts are
get_neighbors      the spans best aligned with one, found once and kept
get_structure      its stresses and twins, read once and kept
get_occurrences    where one of its stresses occurs
get_pair           two of its traces, compared once and kept
get_pair_q_values  q of every cosine of two traces
show_error         a user error as a page shows it
show_nothing_yet   what to do where there is nothing to show
escape             text from data, safe in a label that understands Markdown
PAGES              the page files by name
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

import numpy as np
import pandas as pd
import streamlit as st

from gsd_core.comparison.wording import Wording
from gsd_core.dashboard.frame.sign_in import find_group
from gsd_core.dashboard.reading.cosine_queries import (
    Directions,
    compute_neighbors,
    compute_q_values,
    load_directions,
    load_wording,
)
from gsd_core.dashboard.reading.run_view import RunView, load_run_view, stamp_of
from gsd_core.dashboard.reading.structure_queries import (
    PairView,
    Structure,
    compute_pair,
    describe_stamp,
    list_occurrences,
    load_structure,
)
from gsd_core.errors import UserError
from gsd_core.store import DatasetInfo, RunInfo, Workspace

PAGES = {
    "overview": "pages/overview.py",
    "map": "pages/map.py",
    "trace": "pages/trace.py",
    "alignment": "pages/alignment.py",
    "stresses": "pages/stresses.py",
    "twins": "pages/twins.py",
    "timeline": "pages/timeline.py",
    "evidence": "pages/evidence.py",
    "data": "pages/data.py",
    "help": "pages/help.py",
}
LISTING_TTL_S = 3
READ_ONLY = "GSD_READ_ONLY"  # in the environment: pages show and change nothing


class Chosen(NamedTuple):
    """The run that a page looks at."""

    info: RunInfo
    checkpoint: str

    @property
    def stamp(self) -> str:
        """Key of everything cached for it."""
        return stamp_of(self.info, self.checkpoint)


def workspace_uri() -> str:
    """That of the group of whoever looks, else ``$GSD_WORKSPACE``, else ``./gsd-workspace``."""
    group = find_group()
    if group and group.workspace:
        return group.workspace
    return os.environ.get("GSD_WORKSPACE") or "gsd-workspace"


def find_obstacle() -> str:
    """Why nothing can be started or stored from a page; empty where it can."""
    group = find_group()
    if os.environ.get(READ_ONLY) or (group and group.read_only):
        return "This dashboard is for reading only"
    # Uploads and jobs are plain files beside the workspace.
    return "" if open_workspace().is_local else "This workspace is not on this machine"


def can_run_jobs() -> bool:
    """Whether a page may start jobs and take files in."""
    return not find_obstacle()


@st.cache_resource(show_spinner=False)
def _open(uri: str) -> Workspace:
    return Workspace.open(uri)


def open_workspace() -> Workspace:
    """The workspace of whoever looks; the page ends with the reason where it cannot be opened."""
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
    """Read runs and data sets again at the next look."""
    _runs.clear()
    _datasets.clear()


def needs_analysis(chosen: Chosen) -> bool:
    """Whether the chosen checkpoint has no layout yet."""
    return chosen.checkpoint not in (chosen.info.manifest.get("analysis") or {})


@st.cache_resource(max_entries=4, show_spinner="Reading the run …")
def _view(uri: str, run: str, checkpoint: str, stamp: str) -> RunView:
    return load_run_view(_open(uri).open_run(run), checkpoint)


@st.cache_resource(max_entries=2, show_spinner="Reading the directions …")
def _directions(uri: str, run: str, checkpoint: str, stamp: str) -> Directions:
    view = _view(uri, run, checkpoint, stamp)
    return load_directions(_open(uri).open_run(run), checkpoint, view.spans["sample"].to_numpy())


def get_view(chosen: Chosen) -> RunView:
    """Spans, samples and clusters of the chosen run: shared by all sessions, so never change it."""
    return _view(workspace_uri(), chosen.info.name, chosen.checkpoint, chosen.stamp)


def get_directions(chosen: Chosen) -> Directions:
    """Centred directions of the chosen run, shared by all sessions."""
    return _directions(workspace_uri(), chosen.info.name, chosen.checkpoint, chosen.stamp)


@st.cache_resource(max_entries=4, show_spinner="Comparing the words …")
def _wording(uri: str, run: str, checkpoint: str, stamp: str) -> Wording | None:
    return load_wording(_view(uri, run, checkpoint, stamp))


def get_wording(chosen: Chosen) -> Wording | None:
    """What counts as other words in the chosen run; None where there is nothing to compare."""
    return _wording(workspace_uri(), chosen.info.name, chosen.checkpoint, chosen.stamp)


@st.cache_resource(max_entries=64, show_spinner=False)
def _neighbors(
    uri: str, run: str, checkpoint: str, stamp: str, span: str, top: int, is_worded: bool
) -> pd.DataFrame:
    wording = _wording(uri, run, checkpoint, stamp) if is_worded else None
    view, directions = _view(uri, run, checkpoint, stamp), _directions(uri, run, checkpoint, stamp)
    return compute_neighbors(view, directions, span, top, wording)


def get_neighbors(chosen: Chosen, span: str, top: int, is_worded: bool) -> pd.DataFrame:
    """``compute_neighbors`` of a span, only those in other words with ``is_worded``: the list and the rings on the map
    ask for the same."""
    return _neighbors(
        workspace_uri(), chosen.info.name, chosen.checkpoint, chosen.stamp, span, top, is_worded
    )


@st.cache_resource(max_entries=4, show_spinner="Reading the structure …")
def _structure(uri: str, run: str, checkpoint: str, stamp: str) -> Structure:
    return load_structure(_open(uri).open_run(run), checkpoint)


def get_structure(chosen: Chosen) -> Structure | None:
    """Stresses and twins of the chosen run, shared by all sessions; None where they were not computed yet."""
    stamp = _structure_stamp(chosen)
    return _structure(workspace_uri(), chosen.info.name, chosen.checkpoint, stamp) if stamp else None


@st.cache_resource(max_entries=16, show_spinner=False)
def _occurrences(
    _chosen: Chosen, uri: str, run: str, checkpoint: str, stamp: str, stress: int
) -> pd.DataFrame:
    structure = get_structure(_chosen)
    return pd.DataFrame() if structure is None else list_occurrences(get_view(_chosen), structure, stress)


def get_occurrences(chosen: Chosen, stress: int) -> pd.DataFrame:
    """``list_occurrences`` of a stress, shared by all sessions."""
    stamp = _structure_stamp(chosen)
    return _occurrences(chosen, workspace_uri(), chosen.info.name, chosen.checkpoint, stamp, stress)


def _structure_stamp(chosen: Chosen) -> str:
    """Key of everything cached for the stored structure; empty where there is none."""
    run = open_workspace().open_run(chosen.info.name)
    if not run.has_structure(chosen.checkpoint):
        return ""
    # The listing's stamp does not know of the structure, which is stored after the layout.
    return chosen.stamp + describe_stamp(run, chosen.checkpoint)


@st.cache_resource(max_entries=8, show_spinner=False)
def _pair(_chosen: Chosen, uri: str, run: str, checkpoint: str, stamp: str, a: str, b: str) -> PairView:
    return compute_pair(get_view(_chosen), get_directions(_chosen), get_structure(_chosen), a, b)


def get_pair(chosen: Chosen, a: str, b: str) -> PairView:
    """``compute_pair`` of two samples, shared by all sessions: every click on their cells asks for it."""
    stamp = _structure_stamp(chosen) or chosen.stamp
    return _pair(chosen, workspace_uri(), chosen.info.name, chosen.checkpoint, stamp, a, b)


@st.cache_resource(max_entries=8, show_spinner=False)
def _pair_q_values(
    _chosen: Chosen, _pair: PairView, uri: str, run: str, checkpoint: str, stamp: str, a: str, b: str
) -> np.ndarray:
    q_values = compute_q_values(_pair.cosines.ravel(), get_directions(_chosen).null)
    return q_values.reshape(_pair.cosines.shape)


def get_pair_q_values(chosen: Chosen, pair: PairView) -> np.ndarray:
    """(S_a, S_b) q of ``pair.cosines``, adjusted over all of them; shared by all sessions."""
    names = (chosen.info.name, chosen.checkpoint, chosen.stamp, pair.a, pair.b)
    return _pair_q_values(chosen, pair, workspace_uri(), *names)


def escape(text: object) -> str:
    """``text`` so that a label shows it as it is: no Markdown, no links, no formulas, on one line."""
    flat = " ".join(str(text).split())
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|<>$:~^&])", r"\\\1", flat)


def shorten(text: str, length: int) -> str:
    """The first ``length`` characters, with an ellipsis where something was cut."""
    flat = " ".join(text.split())
    return flat if len(flat) <= length else flat[: length - 1].rstrip() + "…"


def show_error(error: UserError) -> None:
    """What is wrong, where, and what to do about it."""
    st.error(escape(error.one_line()), icon=":material/error:")


def show_nothing_yet(what: str, hint: str) -> None:
    """An empty page: what is missing and the two ways to get it."""
    with st.container(border=True):
        st.markdown(f"### {what}")
        st.caption(hint)
        with st.container(horizontal=True):
            if st.button("Bring your own data", type="primary", icon=":material/upload_file:"):
                st.switch_page(PAGES["data"])
            if st.button("See the overview", icon=":material/home:"):
                st.switch_page(PAGES["overview"])
