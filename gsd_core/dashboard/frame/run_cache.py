"""What was read of the chosen run, kept for all sessions.

Chosen             the run and checkpoint that a page shows
needs_analysis     whether the checkpoint has no layout yet
get_view           spans, samples and clusters
get_directions     centred directions
get_wording        how alike the texts of its spans are
get_neighbors      the spans best aligned with one span
get_structure      stresses and twins
get_occurrences    where a stress occurs
get_pair           two traces compared
get_pair_q_values  q of every cosine of two traces

Every value is shared by all sessions, so never change it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import streamlit as st

from gsd_core.comparison.nearest import Directions
from gsd_core.comparison.wording import Wording
from gsd_core.dashboard.frame.address import address_of
from gsd_core.dashboard.frame.workspaces import open_workspace, workspace_uri
from gsd_core.dashboard.reading.cosine_queries import compute_neighbors, load_wording
from gsd_core.dashboard.reading.run_view import RunView, load_run_view, stamp_of
from gsd_core.dashboard.reading.structure_queries import (
    PairView,
    Structure,
    compute_pair,
    describe_stamp,
    list_occurrences,
    load_structure,
)
from gsd_core.methods.analyze_method import MAP, STRUCTURE
from gsd_core.store import RunInfo, load_directions


class Chosen(NamedTuple):
    """The run and checkpoint that a page shows."""

    info: RunInfo
    checkpoint: str

    @property
    def stamp(self) -> str:
        """A text that changes whenever what is stored of it, except the structure, changes."""
        return stamp_of(self.info, self.checkpoint)

    def address(self, **choices: str) -> dict[str, str]:
        """Parameters of a link to this run and checkpoint with further ``choices``."""
        # A page shows the first look by default.
        checkpoint = None if self.checkpoint == self.info.first_look else self.checkpoint
        return address_of(run=self.info.name, checkpoint=checkpoint, **choices)


class _Key(NamedTuple):
    """What a cached value depends on."""

    uri: str
    run: str
    checkpoint: str
    stamp: str


def _key_of(chosen: Chosen, stamp: str = "") -> _Key:
    return _Key(workspace_uri(), chosen.info.name, chosen.checkpoint, stamp or chosen.stamp)


def needs_analysis(chosen: Chosen) -> bool:
    """Whether the chosen checkpoint has no layout yet."""
    return chosen.checkpoint not in (chosen.info.results.get(MAP.name) or {})


@st.cache_resource(max_entries=4, show_spinner="Reading the run …")
def _view(key: _Key) -> RunView:
    return load_run_view(open_workspace().open_run(key.run), key.checkpoint)


def get_view(chosen: Chosen) -> RunView:
    """Spans, samples and clusters of the chosen run."""
    return _view(_key_of(chosen))


@st.cache_resource(max_entries=2, show_spinner="Reading the directions …")
def _directions(key: _Key) -> Directions:
    reader = open_workspace().open_run(key.run).snapshot()
    return load_directions(reader, key.checkpoint, _view(key).spans["sample"].to_numpy(dtype=object))


def get_directions(chosen: Chosen) -> Directions:
    """Centred directions of the chosen run."""
    return _directions(_key_of(chosen))


@st.cache_resource(max_entries=4, show_spinner="Comparing the words …")
def _wording(key: _Key) -> Wording | None:
    return load_wording(_view(key))


def get_wording(chosen: Chosen) -> Wording | None:
    """What counts as other words in the chosen run; None where there is nothing to compare."""
    return _wording(_key_of(chosen))


@st.cache_resource(max_entries=64, show_spinner=False)
def _neighbors(key: _Key, span: str, top: int, is_worded: bool) -> pd.DataFrame:
    wording = _wording(key) if is_worded else None
    return compute_neighbors(_view(key), _directions(key), span, top, wording)


def get_neighbors(chosen: Chosen, span: str, top: int, is_worded: bool) -> pd.DataFrame:
    """``compute_neighbors`` of a span; with ``is_worded`` only those in other words.

    Kept because the list and the rings on the map ask for the same spans.
    """
    return _neighbors(_key_of(chosen), span, top, is_worded)


@st.cache_resource(max_entries=4, show_spinner="Reading the structure …")
def _structure(key: _Key) -> Structure:
    return load_structure(open_workspace().open_run(key.run), key.checkpoint)


def _structure_stamp(chosen: Chosen) -> str:
    """A text that changes whenever the stored structure changes; empty where there is none."""
    run = open_workspace().open_run(chosen.info.name)
    if not run.results.has(STRUCTURE, chosen.checkpoint):
        return ""
    # The structure is stored after the layout, so the listing's stamp does not know of it.
    return chosen.stamp + describe_stamp(run, chosen.checkpoint)


def get_structure(chosen: Chosen) -> Structure | None:
    """Stresses and twins of the chosen run; None where they were not computed yet."""
    stamp = _structure_stamp(chosen)
    return _structure(_key_of(chosen, stamp)) if stamp else None


@st.cache_resource(max_entries=16, show_spinner=False)
def _occurrences(_chosen: Chosen, key: _Key, stress: int) -> pd.DataFrame:
    structure = get_structure(_chosen)
    return pd.DataFrame() if structure is None else list_occurrences(get_view(_chosen), structure, stress)


def get_occurrences(chosen: Chosen, stress: int) -> pd.DataFrame:
    """``list_occurrences`` of a stress."""
    return _occurrences(chosen, _key_of(chosen, _structure_stamp(chosen)), stress)


@st.cache_resource(max_entries=8, show_spinner=False)
def _pair(_chosen: Chosen, key: _Key, a: str, b: str) -> PairView:
    return compute_pair(get_view(_chosen), get_directions(_chosen), get_structure(_chosen), a, b)


def get_pair(chosen: Chosen, a: str, b: str) -> PairView:
    """``compute_pair`` of two samples: every click on the heat map asks for it."""
    return _pair(chosen, _key_of(chosen, _structure_stamp(chosen)), a, b)


@st.cache_resource(max_entries=8, show_spinner=False)
def _pair_q_values(_chosen: Chosen, _pair: PairView, key: _Key, a: str, b: str) -> np.ndarray:
    q_values = get_directions(_chosen).null.compute_q_values(_pair.cosines.ravel())
    return q_values.reshape(_pair.cosines.shape)


def get_pair_q_values(chosen: Chosen, pair: PairView) -> np.ndarray:
    """(S_a, S_b) q of ``pair.cosines``, adjusted over all of them."""
    return _pair_q_values(chosen, pair, _key_of(chosen), pair.a, pair.b)
