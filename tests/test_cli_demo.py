"""``gsd demo`` can be repeated: it uses a finished demo, resumes an interrupted one, replaces another one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gsd_core.cli import demo_command
from gsd_core.methods.analyze_method import MAP
from gsd_core.models.sources import resolve_checkpoints
from gsd_core.stages import bundled_run, demo_stage
from gsd_core.stages.demo_stage import DEMO_NAME
from gsd_core.store import Workspace
from gsd_core.store.archive import pack_run
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


class Server:
    """A dashboard that is up and ends at once."""

    url = "http://127.0.0.1:1"

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def wait(self, announce: Callable[[], None]) -> int:
        announce()
        return 0


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """An installation with a bundled run, whose server ends at once; the commands of the jobs that were started."""
    write_run(tmp_path / "made", bundled_run.BUNDLED)
    pack_run(Workspace.open(tmp_path / "made"), bundled_run.BUNDLED, tmp_path / "assets")
    monkeypatch.setattr(bundled_run, "ASSETS", tmp_path / "assets")
    monkeypatch.setattr(demo_command, "start_server", lambda *_, **__: Server())
    started: list[list[str]] = []
    monkeypatch.setattr(demo_command, "start_job", lambda _uri, _title, commands, *_: started.append(commands[0]))
    return started


def test_the_bundled_run_is_there_at_once_and_a_job_captures_the_corpus(look: list[list[str]], tmp_path: Path) -> None:
    result = run_gsd_json("demo", "--samples", SAMPLES, workspace=tmp_path / "w")
    assert result["url"] == f"{Server.url}/map?run={bundled_run.BUNDLED}"
    assert [run.name for run in Workspace.open(tmp_path / "w").list_runs()] == [bundled_run.BUNDLED]
    assert len(look) == 1
    assert look[0][-4:] == ["demo", "--no-serve", "--samples", str(SAMPLES)]


def test_without_a_bundled_run_the_dashboard_opens_at_once_too(
    look: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundled_run, "ASSETS", tmp_path / "nowhere")
    result = run_gsd_json("demo", "--samples", SAMPLES, workspace=tmp_path / "w")
    assert (result["run"], result["url"], result["is_capturing"]) == (DEMO_NAME, Server.url, True)
    assert len(look) == 1


def test_a_corpus_that_is_there_is_not_captured_again(look: list[list[str]], tmp_path: Path) -> None:
    make_demo(tmp_path / "w")
    last = resolve_checkpoints("demo")[-1].name
    result = run_gsd_json("demo", "--samples", SAMPLES, "--checkpoints", last, workspace=tmp_path / "w")
    assert not result["is_capturing"]
    assert not look


def test_a_run_of_the_bundled_name_stays(look: list[list[str]], tmp_path: Path) -> None:
    write_run(tmp_path / "w", bundled_run.BUNDLED, n_samples=3)
    run_gsd_json("demo", "--samples", SAMPLES, workspace=tmp_path / "w")
    assert len(Workspace.open(tmp_path / "w").open_run(bundled_run.BUNDLED).read_samples()) == 3


def test_the_first_checkpoint_can_be_looked_at_before_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured: list[list[str]] = []
    real = demo_stage._capture

    def note(workspace: Workspace, name: str, checkpoints: list[str], *rest: Any) -> None:
        if name == DEMO_NAME and captured:
            run = workspace.open_run(DEMO_NAME)
            assert run.results.has(MAP, demo_stage.FIRST), "the first checkpoint is not analysed yet"
        captured.append(checkpoints)
        real(workspace, name, checkpoints, *rest)

    monkeypatch.setattr(demo_stage, "_capture", note)
    run_gsd_json(
        *("demo", "--no-serve", "--samples", SAMPLES, "--checkpoints", "step-00000", demo_stage.FIRST),
        workspace=tmp_path / "w",
    )
    assert captured[0] == [demo_stage.FIRST]
    assert Workspace.open(tmp_path / "w").open_run(DEMO_NAME).checkpoints == ["step-00000", demo_stage.FIRST]
