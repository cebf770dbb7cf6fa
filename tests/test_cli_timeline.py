"""The timeline on the command line: computed after every analysis, stored, and an error if it is impossible."""

from __future__ import annotations

from pathlib import Path

import pytest

from gsd_core.methods.timeline_method import TIMELINE
from gsd_core.store import Workspace
from tests.cli_support import run_gsd, run_gsd_json, write_run
from tests.store_rows import make_batches, make_run

STEPS, SAMPLES = 4, 24


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("timeline") / "workspace"
    write_run(folder, n_samples=SAMPLES, n_steps=STEPS, checkpoints=["early", "middle", "late"])
    write_run(folder, "single", n_samples=8, checkpoints=["only"])
    write_run(folder, "raw", n_samples=8)
    assert run_gsd_json("analyze", "planted", workspace=folder)["has_timeline"]
    return folder


def test_analyze_stores_a_timeline_that_the_command_shows(workspace: Path) -> None:
    result = run_gsd_json("timeline", "planted", workspace=workspace)
    assert result["seconds"] == 0, "a stored timeline was computed again"
    assert [each["checkpoint"] for each in result["checkpoints"]] == ["early", "middle", "late"]
    assert [each["step"] for each in result["checkpoints"]] == [0, 1, 2]
    assert result["n_spans"] == result["n_mapped"] == STEPS * SAMPLES
    for each in result["checkpoints"]:
        measures = each["measures"]
        assert measures["alignment within meta.kinds"]["value"] > 0.5, (
            "spans with the same planted direction are not aligned"
        )
        assert measures["alignment across"]["value"] < 0.1
        assert measures["loss"]["value"] == pytest.approx(STEPS / 2)
        assert set(measures["norm"]) == {"value", "ci_low", "ci_high", "n", "chance"}
    text = run_gsd("timeline", "planted", workspace=workspace)
    assert text.code == 0
    assert "alignment within clusters" in text.out


def test_tables_hold_every_span_at_every_checkpoint(workspace: Path) -> None:
    run = Workspace.open(str(workspace)).open_run("planted")
    drift, layouts = run.results.read(TIMELINE, "drift"), run.results.read(TIMELINE, "layouts")
    assert list(drift.columns) == ["span", "checkpoint", "to_previous", "to_first"]
    assert len(drift) == len(layouts) == 3 * STEPS * SAMPLES
    late = drift[drift["checkpoint"] == "late"]
    assert late["to_previous"].mean() > 0.5, "planted directions changed"
    assert layouts[["x", "y"]].notna().all(axis=None)


def test_another_analysis_keeps_the_timelines_options(workspace: Path) -> None:
    chosen = run_gsd_json("timeline", "planted", "--label", "meta.topic", "--reference", "middle", workspace=workspace)
    assert (chosen["labels"], chosen["reference"]) == (["meta.topic"], "middle")
    run_gsd_json("analyze", "planted", "--again", workspace=workspace)
    info = Workspace.open(str(workspace)).open_run("planted").results.info(TIMELINE)
    assert info["asked"] == {"labels": ["meta.topic"], "reference": "middle"}
    assert run_gsd_json("timeline", "planted", workspace=workspace)["labels"] == ["meta.kinds"]


def test_an_analysis_of_one_checkpoint_updates_the_timeline(workspace: Path) -> None:
    run = Workspace.open(str(workspace)).open_run("planted")
    before = run.results.info(TIMELINE)["source"]
    run_gsd_json("analyze", "planted", "--checkpoint", "late", "--again", workspace=workspace)
    assert run.results.info(TIMELINE)["source"] != before
    assert run_gsd_json("timeline", "planted", workspace=workspace)["seconds"] == 0


def test_timeline_follows_only_spans_of_all_checkpoints(tmp_path: Path) -> None:
    """If a checkpoint's step is unknown, its number in capture order is used."""
    workspace = Workspace.open(str(tmp_path / "w"))
    run = make_run(workspace, "uneven", 12)
    for checkpoint, number, n_batches in (("step-10", 0, 12), ("final", 1, 9)):
        for batch, results in enumerate(make_batches(n_batches, number)):
            run.append_batch(checkpoint, 10 if number == 0 else None, batch, results)
    run.close()
    run_gsd_json("analyze", "uneven", workspace=tmp_path / "w")
    result = run_gsd_json("timeline", "uneven", workspace=tmp_path / "w")
    counts = [run.count_spans(each) for each in ("step-10", "final")]
    assert counts[1] < counts[0], "the fixture leaves no spans out"
    assert result["n_spans"] == counts[1]
    info = run.results.info(TIMELINE)
    assert (info["n_left_out"], info["has_steps"]) == (counts[0] - counts[1], False)
    assert [each["step"] for each in result["checkpoints"]] == [0, 1]
    assert all(each["measures"]["norm"]["n"] == counts[1] for each in result["checkpoints"])


@pytest.mark.parametrize(
    ("words", "needle"),
    [
        (["single"], "--checkpoints"),
        (["raw"], "gsd analyze raw"),
        (["planted", "--label", "meta.nothing"], "meta.topic"),
        (["planted", "--reference", "nowhere"], "early, middle, late"),
        (["nobody"], "nobody"),
    ],
)
def test_errors_of_timeline_are_one_line_that_says_what_to_do(workspace: Path, words: list[str], needle: str) -> None:
    outcome = run_gsd("timeline", *words, workspace=workspace)
    assert outcome.code == 2
    assert needle in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


def test_a_run_with_one_checkpoint_has_no_timeline(workspace: Path) -> None:
    assert not run_gsd_json("analyze", "single", workspace=workspace)["has_timeline"]
    assert not Workspace.open(str(workspace)).open_run("single").results.has(TIMELINE)
