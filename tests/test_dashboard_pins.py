"""Pinned spans go from page to page, into a link and into a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gsd_core.dashboard.frame.address import SEPARATOR
from gsd_core.dashboard.reading import run_view
from gsd_core.dashboard.spans import pins
from gsd_core.store import Workspace
from tests.page_support import check, open_page, words
from tests.synthetic import build_workspace


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return build_workspace(tmp_path_factory.mktemp("workspace"), n_samples=30)


def link(*spans: str) -> str:
    return SEPARATOR.join(spans)


def labels(at) -> list[str]:
    return [button.label for button in at.button]


@pytest.mark.parametrize("page", ["map", "alignment", "timeline", "evidence"])
def test_a_copied_link_carries_the_pins_to_every_page(folder, monkeypatch, page):
    at = open_page(folder, page, monkeypatch, run="planted", pins=link("sum-3#1", "sum-5#0", "no-such#1"))
    assert "Pinned (2)" in labels(at)


def test_the_pinned_are_listed_and_compared(folder, monkeypatch):
    at = open_page(folder, "trace", monkeypatch, run="planted", pins=link("sum-3#1", "sum-5#0"))
    check(at.button(key="pins_open").click().run())
    assert "Cosines of centred directions" in words(at)
    check(at.button(key="unpin_1").click().run())
    assert at.query_params["pins"] in ("sum-5#0", ["sum-5#0"])


def test_there_is_an_end_to_pinning(monkeypatch):
    kept: dict[str, str] = {}
    monkeypatch.setattr(pins, "read_address", lambda name: kept.get(name, ""))
    monkeypatch.setattr(pins, "write_address", lambda name, value: kept.update({name: value}))
    assert all(pins.toggle_pin(f"a#{number}") for number in range(pins.MOST_PINS))
    assert not pins.toggle_pin("a#999")
    assert pins.toggle_pin("a#3")
    assert pins.toggle_pin("a#999")
    assert len(pins.read_pins()) == pins.MOST_PINS


def test_the_file_names_run_and_checkpoint(folder):
    view = run_view.load_run_view(Workspace.open(folder).open_run("planted"), "step-20")
    table = pins.compute_pin_table(view, ["sum-5#0", "sum-3#1"])
    rows = [json.loads(line) for line in table.to_json(orient="records", lines=True).splitlines()]
    assert [row["span"] for row in rows] == ["sum-5#0", "sum-3#1"]
    assert {(row["run"], row["checkpoint"]) for row in rows} == {("planted", "step-20")}
    assert rows[0]["text"] == view.spans["text"].iloc[view.row_of["sum-5#0"]]


def look_at(at, span: str):
    at.query_params["span"] = span
    return check(at.run())


def test_spans_looked_at_are_listed_latest_first_each_once(folder, monkeypatch):
    at = open_page(folder, "trace", monkeypatch, run="planted", span="sum-3#1")
    for span in ("sum-5#0", "sum-4#1", "sum-3#1"):
        look_at(at, span)
    assert at.session_state[pins._RECENT] == {"planted": ["sum-3#1", "sum-4#1", "sum-5#0"]}
    assert "Recent" in labels(at)
    check(at.button(key="pins_open").click().run())
    assert "Viewed last" in words(at)
    assert {f"repin_{number}" for number in (1, 2, 3)} <= {button.key for button in at.button}
    assert "pins" not in at.query_params, "what was looked at went into the address"


def test_a_recent_span_can_be_pinned_from_the_list(folder, monkeypatch):
    at = open_page(folder, "trace", monkeypatch, run="planted", span="sum-3#1")
    look_at(at, "sum-5#0")
    check(at.button(key="pins_open").click().run())
    check(at.button(key="repin_2").click().run())
    assert at.query_params["pins"] in ("sum-3#1", ["sum-3#1"])
    check(at.button(key="pins_open").click().run())
    keys = {button.key for button in at.button}
    assert "unpin_1" in keys, "the pinned span is not in the first list"
    assert "repin_2" not in keys, "the pinned span is in both lists"


def test_a_span_that_a_page_opens_by_itself_was_not_looked_at(folder, monkeypatch):
    at = open_page(folder, "trace", monkeypatch, run="planted", sample="sum-3")
    assert pins._RECENT not in at.session_state
    check(at.button(key="pins_open").click().run())
    assert "Nothing is pinned" in words(at)


def test_recent_spans_are_few_and_of_their_run(folder, monkeypatch):
    kept: dict[str, dict[str, list[str]]] = {}
    monkeypatch.setattr(pins.st, "session_state", kept)
    for number in range(40):
        pins.note_span("planted", f"sum-{number}#0")
    pins.note_span("other", "sum-1#0")
    view = run_view.load_run_view(Workspace.open(folder).open_run("planted"), "step-20")
    assert kept[pins._RECENT]["other"] == ["sum-1#0"]
    assert kept[pins._RECENT]["planted"] == [f"sum-{number}#0" for number in range(39, 27, -1)]
    assert pins.read_recent(view) == ["sum-29#0", "sum-28#0"], "the run has 30 samples"
