"""The run that ships: whole, small, and what a capture on this machine gives again."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from gsd_core.stages.bundled_run import (
    ASSETS,
    BUNDLED,
    DATASET,
    N_PROBLEMS,
    TRIALS_ASSETS,
    TUNED,
    install_bundled,
)
from gsd_core.store import Workspace
from gsd_core.store.trainings import list_trainings, read_answers, read_trials
from tests.cli_support import run_gsd_json

MOST_BYTES = 25_000_000  # a clone carries them
N_AGAIN = 3  # samples that are captured once more


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bundled") / "workspace"
    assert install_bundled(Workspace.open(folder)), "the files of the bundled run are missing"
    return folder


def test_the_files_are_small_and_speak_of_no_machine() -> None:
    assert sum(file.stat().st_size for file in ASSETS.iterdir()) <= MOST_BYTES
    record = json.loads((ASSETS / "training.json").read_text("utf-8"))
    assert record["status"] == "trained"
    assert "/" not in record["data"]["source"]
    with (ASSETS / "training_log.csv").open(newline="", encoding="utf-8") as opened:
        steps = [int(line["step"]) for line in csv.DictReader(opened)]
    assert steps == list(range(1, record["recipe"]["steps"] + 1))


def test_it_holds_a_fine_tune_of_a_real_model(workspace: Path) -> None:
    record = json.loads((ASSETS / "training.json").read_text("utf-8"))
    run = Workspace.open(workspace).open_run(BUNDLED)
    assert run.manifest["status"] == "captured"
    assert len(run.read_samples()) >= N_PROBLEMS
    assert run.checkpoints == [each["name"] for each in record["checkpoints"]]
    assert len(run.checkpoints) >= 4
    counts = {len(run.read_spans(checkpoint)) for checkpoint in run.checkpoints}
    assert len(counts) == 1, "a checkpoint lacks spans"
    assert Workspace.open(workspace).list_runs()[0].status == "analyzed"
    losses = [each["eval_loss"] for each in record["checkpoints"]]
    assert losses[-1] < losses[0], "the fine-tune has taught nothing"


def test_its_trainings_are_listed_with_logs_and_answers(workspace: Path) -> None:
    infos = {info.name: info for info in list_trainings(workspace / "trainings")}
    assert len(infos[TUNED].read_log()) == infos[TUNED].record["recipe"]["steps"]
    trials = {name.partition("/")[0] for name in infos if "/" in name}
    assert trials == {folder.name for folder in TRIALS_ASSETS.glob("*/")}
    for name in trials:
        told = read_trials(workspace / "trainings" / name)
        assert told["result"]["choices"], "trials that did not end are shipped"
        for info in infos.values():
            if info.name.startswith(name):
                assert info.record["status"] == "trained"
                assert not str(info.record["command"]).count("/work"), "a folder of some machine"
                assert read_answers(info.folder, info.record["checkpoints"][-1]["step"])


def test_installing_it_again_changes_nothing(workspace: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in workspace.rglob("*") if path.is_file()}
    assert install_bundled(Workspace.open(workspace))
    assert {path: path.stat().st_mtime_ns for path in workspace.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_a_capture_on_this_machine_gives_the_same_directions(workspace: Path) -> None:
    kept = Workspace.open(workspace).open_run(BUNDLED)
    settings = kept.manifest["flags"]  # of the capture
    run_gsd_json(
        *("capture", "--dataset", DATASET, "--model", "smollm2", "--run", "again", "--limit", N_AGAIN),
        *("--window", settings["window"], "--sketch-width", settings["sketch_width"], "--seed", settings["seed"]),
        workspace=workspace,
    )
    again = Workspace.open(workspace).open_run("again")
    base, now = kept.checkpoints[0], again.checkpoints[0]
    frame, other = kept.read_spans(base), again.read_spans(now)
    at = [list(frame["span"]).index(span) for span in other["span"]]
    assert len(at) > N_AGAIN
    one, two = kept.read_vectors(base)[at], again.read_vectors(now)
    cosines = (one * two).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)
    assert cosines.min() > 0.999, "the run was made by other code, or by another model"
    assert np.allclose(frame["loss"].to_numpy()[at], other["loss"], rtol=1e-3)
