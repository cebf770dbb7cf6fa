"""``gsd demo`` can be repeated: it uses a finished demo, resumes an interrupted one, replaces another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from gsd_core.models.sources import resolve_checkpoints
from gsd_core.stages.demo_stage import DEMO_NAME
from gsd_core.store import Workspace
from tests.cli_support import make_rows, run_gsd_json, write_rows, write_run

SAMPLES = 8


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "workspace"


def make_demo(workspace: Path, n_samples: int = SAMPLES) -> dict[str, object]:
    last = resolve_checkpoints("demo")[-1].name
    return run_gsd_json(*("demo", "--no-serve", "--samples", n_samples, "--checkpoints", last), workspace=workspace)


def test_a_finished_demo_is_used_again(workspace: Path) -> None:
    first = make_demo(workspace)
    assert {"run", "n_samples", "n_spans", "n_clusters", "n_twins", "seconds", "url"} <= set(first)
    assert (first["run"], first["n_samples"], first["url"], first["was_complete"]) == (
        "demo",
        SAMPLES,
        None,
        False,
    )
    assert int(str(first["n_spans"])) >= 4 * SAMPLES, "a sample has fewer than four steps"
    again = make_demo(workspace)
    assert again["was_complete"], "a finished demo was captured a second time"
    assert again["n_spans"] == first["n_spans"]


def test_an_interrupted_demo_is_resumed(workspace: Path) -> None:
    make_demo(workspace)
    run = Workspace.open(workspace).open_run(DEMO_NAME)
    created = run.manifest["created"]
    run.update_manifest(status="capturing")
    result = make_demo(workspace)
    manifest = Workspace.open(workspace).open_run(DEMO_NAME).manifest
    assert not result["was_complete"]
    assert manifest["status"] == "captured"
    assert manifest["created"] == created, "the run was replaced, not resumed"


def test_a_demo_with_other_options_is_captured_again(workspace: Path) -> None:
    make_demo(workspace)
    result = make_demo(workspace, SAMPLES + 2)
    assert (result["was_complete"], result["n_samples"]) == (False, SAMPLES + 2)
    assert len(Workspace.open(workspace).open_run(DEMO_NAME).read_samples()) == SAMPLES + 2


def test_a_run_or_data_set_of_the_user_called_demo_is_kept(tmp_path: Path) -> None:
    words = ("demo", "--no-serve", "--samples", SAMPLES)
    file = write_rows(tmp_path / "demo.jsonl", make_rows())
    run_gsd_json("datasets", "add", file, workspace=tmp_path / "a")
    assert "your own" in run_gsd_json(*words, workspace=tmp_path / "a", code=2)["error"]
    write_run(tmp_path / "b", "demo")
    assert "your own" in run_gsd_json(*words, workspace=tmp_path / "b", code=2)["error"]
