"""The timeline page: what it shows, what it says where there is none, and how its choices live in the address."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from gsd_core.dashboard.timeline import timeline_figures
from gsd_core.dashboard.timeline.timeline_view import describe_emergence, load_timeline
from gsd_core.store import Workspace
from tests import page_support
from tests.cli_support import run_gsd_json, write_run
from tests.page_support import check, list_loaded, words


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("timeline") / "workspace"
    write_run(folder, n_samples=20, checkpoints=["early", "middle", "late"])
    run_gsd_json("analyze", "planted", workspace=folder)
    write_run(folder, "single", n_samples=8, checkpoints=["only"])
    write_run(folder, "raw", n_samples=8)
    write_run(folder, "partly", n_samples=16)
    run_gsd_json("analyze", "partly", "--checkpoint", "step-1", workspace=folder)
    return folder


def open_page(folder: Path, monkeypatch: pytest.MonkeyPatch, **query: str) -> AppTest:
    return page_support.open_page(folder, "timeline", monkeypatch, **query)


def test_the_page_says_where_alignment_is_highest_and_what_flatters_it(workspace, monkeypatch):
    at = open_page(workspace, monkeypatch, run="planted")
    assert "is highest at" in words(at)
    assert "is favoured at" in words(at), "clusters of one checkpoint favour it, and the page must say so"
    assert "by chance" in words(at) or "chance" in words(at)


def test_the_slider_and_the_checkpoint_are_one_choice(workspace, monkeypatch):
    at = open_page(workspace, monkeypatch, run="planted", checkpoint="middle")
    assert at.select_slider(key="timeline_step").value == "middle"
    check(at.select_slider(key="timeline_step").set_value("early").run())
    assert at.selectbox(key="address_checkpoint").value == "early"
    assert "This is the first checkpoint" in words(at)
    check(at.selectbox(key="address_checkpoint").select("late").run())
    assert at.select_slider(key="timeline_step").value == "late"
    assert "This is the first checkpoint" not in words(at)


def test_a_span_in_the_address_shows_its_text_and_its_own_way(workspace, monkeypatch):
    at = open_page(workspace, monkeypatch, run="planted", span="s3#1", checkpoint="late")
    assert "Step 1 of tale 3." in words(at)
    assert "Click a point" not in "".join(each.value for each in at.info)
    at = open_page(workspace, monkeypatch, run="planted", span="../no#9", checkpoint="nowhere", measures="x")
    assert "Click a point" in "".join(each.value for each in at.info)


def test_one_checkpoint_is_told_how_to_get_more(workspace, monkeypatch):
    at = open_page(workspace, monkeypatch, run="single")
    assert "--checkpoints" in words(at)
    assert not [button for button in at.button if "timeline" in button.label]


@pytest.mark.parametrize(("run", "label"), [("raw", "Analyse this run"), ("partly", "Compute the timeline")])
def test_a_run_without_a_timeline_offers_what_is_missing(workspace, monkeypatch, run, label):
    at = open_page(workspace, monkeypatch, run=run)
    assert label in [button.label for button in at.button]
    assert f"gsd timeline {run}" in words(at)


def test_an_empty_workspace_says_what_to_do(tmp_path, monkeypatch):
    assert any("own data" in button.label for button in open_page(tmp_path / "new", monkeypatch).button)


def test_curves_hold_every_asked_measure_with_band_and_chance(workspace):
    timeline = load_timeline(Workspace.open(workspace).open_run("planted"))
    assert list(timeline.ticks.values()) == ["0", "1", "2"]
    measures = ["alignment within clusters", "cosine to previous", "norm"]
    figure = timeline_figures.plot_curves(
        timeline.curves, measures, timeline.ticks, at="late", reference=timeline.info["reference"]
    )
    assert [note.text for note in figure.layout.annotations] == measures
    lines = [trace for trace in figure.data if trace.mode == "lines+markers"]
    stored = timeline.curves.set_index(["measure", "checkpoint"])["value"]
    assert [list(line.y) for line in lines] == [list(stored[name]) for name in measures]
    assert [len(line.x) for line in lines] == [3, 2, 3], "nothing is drifted from at the first checkpoint"
    assert len([trace for trace in figure.data if trace.line.dash == "dot"]) == 2, "norm has no chance"
    assert describe_emergence(timeline).startswith("**Alignment within meta")


def test_a_map_names_no_markup_from_data(workspace):
    timeline = load_timeline(Workspace.open(workspace).open_run("planted"))
    places = timeline.layouts[timeline.layouts["checkpoint"] == "late"].reset_index(drop=True)
    places = places.assign(cluster=0, text="<b>bold</b> & more")
    figure = timeline_figures.plot_moment(
        places, {}, {0: "0 · <i>x</i>"}, ([0, 1], [0, 1]), chosen=str(places["span"].iloc[0])
    )
    hovers = [text for trace in figure.data if trace.hovertext for text in trace.hovertext]
    assert len(hovers) == len(places)
    assert all("&lt;b&gt;bold" in text and "<i>" not in text for text in hovers)
    assert all("<i>" not in note.text for note in figure.layout.annotations)


def test_the_page_loads_nothing_that_belongs_to_the_command_line(workspace):
    names = ("torch", "umap", "numba", "gsd_core.analysis")
    assert list_loaded(workspace, ["timeline"], {"run": "planted"}, names) == []
