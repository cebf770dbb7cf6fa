"""Pinned spans go from page to page, into a link and into a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gsd_core.dashboard import pins, queries
from gsd_core.dashboard.address import SEPARATOR
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
    view = queries.load_run_view(Workspace.open(folder).open_run("planted"), "step-20")
    table = pins.compute_pin_table(view, ["sum-5#0", "sum-3#1"])
    rows = [json.loads(line) for line in table.to_json(orient="records", lines=True).splitlines()]
    assert [row["span"] for row in rows] == ["sum-5#0", "sum-3#1"]
    assert {(row["run"], row["checkpoint"]) for row in rows} == {("planted", "step-20")}
    assert rows[0]["text"] == view.spans["text"].iloc[view.row_of["sum-5#0"]]
