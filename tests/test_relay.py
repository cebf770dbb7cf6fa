"""Picks that one component offers and another part of the page takes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import streamlit as st

from gsd_core.dashboard.components import relay
from gsd_core.dashboard.components.heat import read_cell
from gsd_core.dashboard.components.scatter import read_row
from gsd_core.dashboard.map import map_view
from gsd_core.dashboard.trace import trace_view
from tests.page_support import mount


@pytest.fixture
def mounted(monkeypatch):
    """What the component was given; its answer lies in ``session_state``."""
    return mount(monkeypatch, relay, "_relay")


def test_what_was_taken_is_handed_on_and_nothing_else(mounted):
    heard = []
    relay.take_picks("panel", heard.append)
    assert mounted["data"] == {"name": "panel"}
    mounted["on_taken_change"]()  # nothing was taken yet
    st.session_state[mounted["key"]] = {"taken": [1, 2]}
    mounted["on_taken_change"]()
    st.session_state[mounted["key"]] = {"taken": 0}
    mounted["on_taken_change"]()
    assert heard == [[1, 2], 0], "the first row of a map is a pick like any other"


@pytest.mark.parametrize("sent", [None, "3", -1, 1.0, True, [3], {"row": 3}])
def test_what_is_no_row_is_none(sent):
    assert read_row(sent) is None


@pytest.mark.parametrize("sent", [None, "0-1", [1], [0, 1, 2], [0.0, 1], [2, 0], [0, -1], [True, 0]])
def test_what_is_no_cell_is_none(sent):
    assert read_cell(sent, (2, 3)) is None
    assert read_cell([1, 2], (2, 3)) == (1, 2)


@pytest.mark.parametrize("sent", [None, 3, "s0#99", ["s0#1"], "<script>"])
def test_a_pick_that_is_no_span_of_the_run_changes_nothing(monkeypatch, sent):
    """A browser may send anything."""
    written = []
    view = SimpleNamespace(row_of={"s0#1": 0}, spans=range(1))
    monkeypatch.setattr(trace_view, "write_address", lambda *pair: written.append(pair))
    monkeypatch.setattr(map_view, "write_address", lambda *pair: written.append(pair))
    trace_view._take_span(view, sent)
    map_view._take_row(view, sent)
    assert written == []
    trace_view._take_span(view, "s0#1")
    assert written == [("span", "s0#1")]
