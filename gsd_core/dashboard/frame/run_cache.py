"""What was read of the chosen run, kept for all sessions.

Chosen             the run and checkpoint that a page shows
needs_analysis     whether the checkpoint has no layout yet
get_view           spans, samples and clusters
get_directions     centred directions
get_wording        how alike the texts of its spans are
get_neighbors      the spans best aligned with one span
get_opening        the span that a map opens with
get_structure      stresses and twins
get_occurrences    where a stress occurs
get_pair           two traces compared
get_pair_q_values  q of every cosine of two traces
BY_RUN             makes a Chosen the key of a value that is kept

Every value is shared by all sessions, so never change it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import streamlit as st

from gsd_core.comparison.nearest import Directions
from gsd_core.comparison.wording import Wording
from gsd_core.dashboard.frame.address import address_of
from gsd_core.dashboard.frame.workspaces import open_workspace, workspace_uri
from gsd_core.dashboard.reading.cosine_queries import MOST_OPENED, choose_opening, compute_neighbors, load_wording
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


def _key_of(chosen: Chosen) -> tuple[str, str, str, str]:
    """What a cached value of the chosen run depends on."""
    return workspace_uri(), chosen.info.name, chosen.checkpoint, chosen.stamp


BY_RUN: dict[str | type[Any], Callable[[Any], Any]] = {Chosen: _key_of}


def needs_analysis(chosen: Chosen) -> bool:
    """Whether the chosen checkpoint has no layout yet."""
    return chosen.checkpoint not in (chosen.info.results.get(MAP.name) or {})


@st.cache_resource(max_entries=4, show_spinner="Reading the run …", hash_funcs=BY_RUN)
def get_view(chosen: Chosen) -> RunView:
    """Spans, samples and clusters of the chosen run."""
    return load_run_view(open_workspace().open_run(chosen.info.name), chosen.checkpoint)


@st.cache_resource(max_entries=2, show_spinner="Reading the directions …", hash_funcs=BY_RUN)
def get_directions(chosen: Chosen) -> Directions:
    """Centred directions of the chosen run."""
    reader = open_workspace().open_run(chosen.info.name).snapshot()
    return load_directions(reader, chosen.checkpoint, get_view(chosen).spans["sample"].to_numpy(dtype=object))


@st.cache_resource(max_entries=4, show_spinner="Comparing the words …", hash_funcs=BY_RUN)
def get_wording(chosen: Chosen) -> Wording | None:
    """What counts as other words in the chosen run; None where there is nothing to compare."""
    return load_wording(get_view(chosen))


@st.cache_resource(max_entries=64, show_spinner=False, hash_funcs=BY_RUN)
def get_neighbors(chosen: Chosen, span: str, top: int, is_worded: bool) -> pd.DataFrame:
    """``compute_neighbors`` of a span; with ``is_worded`` only those in other words.

    Kept because the list and the rings on the map ask for the same spans.
    """
    wording = get_wording(chosen) if is_worded else None
    return compute_neighbors(get_view(chosen), get_directions(chosen), span, top, wording)


@st.cache_resource(max_entries=16, show_spinner=False, hash_funcs=BY_RUN)
def get_opening(chosen: Chosen) -> str:
    """``choose_opening`` of the chosen run."""
    view = get_view(chosen)
    if len(view.spans) > MOST_OPENED:
        return ""  # before directions are read
    return choose_opening(view, get_directions(chosen), get_wording(chosen))


@st.cache_resource(max_entries=4, show_spinner="Reading the structure …", hash_funcs=BY_RUN)
def _structure(chosen: Chosen, stamp: str) -> Structure:
    return load_structure(open_workspace().open_run(chosen.info.name), chosen.checkpoint)


def _structure_stamp(chosen: Chosen) -> str:
    """A text that changes whenever the stored structure changes; empty where there is none."""
    # The structure is stored after the layout, so the listing's stamp does not know of it.
    run = open_workspace().open_run(chosen.info.name)
    return describe_stamp(run, chosen.checkpoint) if run.results.has(STRUCTURE, chosen.checkpoint) else ""


def get_structure(chosen: Chosen) -> Structure | None:
    """Stresses and twins of the chosen run; None where they were not computed yet."""
    stamp = _structure_stamp(chosen)
    return _structure(chosen, stamp) if stamp else None


@st.cache_resource(max_entries=16, show_spinner=False, hash_funcs=BY_RUN)
def _occurrences(chosen: Chosen, stamp: str, stress: int) -> pd.DataFrame:
    structure = get_structure(chosen)
    return pd.DataFrame() if structure is None else list_occurrences(get_view(chosen), structure, stress)


def get_occurrences(chosen: Chosen, stress: int) -> pd.DataFrame:
    """``list_occurrences`` of a stress."""
    return _occurrences(chosen, _structure_stamp(chosen), stress)


@st.cache_resource(max_entries=8, show_spinner=False, hash_funcs=BY_RUN)
def _pair(chosen: Chosen, stamp: str, a: str, b: str) -> PairView:
    return compute_pair(get_view(chosen), get_directions(chosen), get_structure(chosen), a, b)


def get_pair(chosen: Chosen, a: str, b: str) -> PairView:
    """``compute_pair`` of two samples: every click on the heat map asks for it."""
    return _pair(chosen, _structure_stamp(chosen), a, b)


@st.cache_resource(max_entries=8, show_spinner=False, hash_funcs={**BY_RUN, PairView: lambda pair: (pair.a, pair.b)})
def get_pair_q_values(chosen: Chosen, pair: PairView) -> np.ndarray:
    """(S_a, S_b) q of ``pair.cosines``, adjusted over all of them."""
    return get_directions(chosen).null.compute_q_values(pair.cosines.ravel()).reshape(pair.cosines.shape)
