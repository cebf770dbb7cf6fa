"""``gsd lesson``: spans are taught, others watched, and what foretold it is scored, stored and shown."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from gsd_core.dashboard.reading.lesson_queries import load_lesson, load_scores
from gsd_core.methods.lesson_method import LESSON
from gsd_core.stages import lesson_stage
from gsd_core.store import Workspace
from tests.cli_support import make_rows, run_gsd_json, save_tiny_model, write_rows

SMALL = ("--queries", "4", "--samples", "10")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lesson")
    save_tiny_model(folder / "model", context=512)
    rows = write_rows(folder / "rows.jsonl", make_rows(14))
    for run, *flags in (("own", "--sketch-width", "4096"), ("state", "--tier", "state")):
        words = ["capture", "--dataset", rows, "--model", folder / "model", "--run", run, *flags]
        run_gsd_json(*words, workspace=folder / "workspace")
    return folder


def teach(place: Path, *words: object, code: int = 0) -> dict:
    return run_gsd_json("lesson", "own", *words, workspace=place / "workspace", code=code)


def open_own(place: Path):
    return Workspace.open(str(place / "workspace")).open_run("own")


def test_first_order_foretells_a_small_step_and_controls_do_not(place: Path) -> None:
    found = teach(place, *SMALL, "--step-size", "0.01", "0.5", "--against", "state")["checkpoints"][0]
    assert found["n_taught"] == 4
    assert found["n_moved"] > 0
    rows = {(r["representation"], r["metric"], r["share"]): r for r in found["scores"]}
    names = {r["representation"] for r in found["scores"]}
    assert {"mean hidden state", "TF-IDF of the words", "random", "sentence embedding"} <= names
    exact = "first order, all weights"
    assert rows[exact, "rank correlation", 0.01]["value"] > 0.99
    assert rows[exact, "rank correlation", 0.01]["value"] >= rows[exact, "rank correlation", 0.5]["value"]
    for control in ("random", f"shuffled ({exact})"):
        assert rows[control, "rank correlation", 0.01]["value"] < 0.7
    own = next(r for r in found["scores"] if r["kind"] == "gradient" and r["metric"] == "rank correlation")
    assert own["ceiling"] == pytest.approx(rows[exact, "rank correlation", 0.01]["value"])
    assert found["verdict"]["metric"].startswith("rank correlation")
    scores = load_scores(open_own(place), found["checkpoint"])
    assert len(scores) == len(found["scores"])
    assert set(scores["step"]) == {
        "one SGD step, 1 % of its loss to first order".replace(" %", "%"),
        "one SGD step, 50% of its loss to first order",
    }


def test_a_lesson_is_the_change_of_losses_that_a_reader_can_check(place: Path) -> None:
    teach(place, *SMALL)
    run = open_own(place)
    learned = run.results.read(LESSON, "learned")
    losses = run.read_spans(columns=["span", "loss"]).set_index("span")["loss"]
    np.testing.assert_allclose(learned["before"], losses[learned["span"]], rtol=1e-3)
    taught = run.results.read(LESSON, "taught")
    np.testing.assert_allclose(taught["own_before"], losses[taught["span"]], rtol=1e-3)
    assert (taught["own_after"] < taught["own_before"]).all()
    itself = learned[learned["taught"] == learned["span"]].merge(
        taught, left_on=[*lesson_stage.KEY], right_on=["span", "optimizer", "share", "n_steps"]
    )
    np.testing.assert_allclose(itself["learned"], itself["own_before"] - itself["own_after"], atol=1e-3)


def test_a_stopped_command_goes_on_and_nothing_is_taught_twice(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = place / "again"
    shutil.copytree(place / "workspace", workspace)
    run = Workspace.open(str(workspace)).open_run("own")
    run.results.drop(LESSON)
    whole = lesson_stage.Classroom.teach
    calls: list[int] = []

    def stop(self, *args, **kwargs):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(1)
        return whole(self, *args, **kwargs)

    monkeypatch.setattr(lesson_stage.Classroom, "teach", stop)
    run_gsd_json("lesson", "own", *SMALL, workspace=workspace, code=130)
    assert len(run.results.read(LESSON, "taught")) == 2
    monkeypatch.setattr(lesson_stage.Classroom, "teach", lambda *a, **k: calls.append(1) or whole(*a, **k))
    run_gsd_json("lesson", "own", *SMALL, workspace=workspace)
    assert len(calls) == 4
    run_gsd_json("lesson", "own", *SMALL, workspace=workspace)
    assert len(calls) == 4, "a stored lesson was repeated"
    run_gsd_json("lesson", "own", *SMALL, "--again", workspace=workspace)
    assert len(calls) == 8


def test_a_span_that_was_asked_for_stands_beside_the_spans_aligned_with_it(place: Path) -> None:
    run = open_own(place)
    span = run.read_spans()["span"].iloc[5]
    before = load_scores(run, run.default_checkpoint)
    found = teach(place, "--spans", span, "--samples", "3")["checkpoints"][0]
    assert found["n_taught"] == 1
    assert found["scores"] == []
    (own,) = found["taught"]
    assert own["span"] == span
    assert all(each["span"].split("#")[0] != span.split("#")[0] for each in own["best"])
    lesson = load_lesson(run, found["checkpoint"], span)
    assert lesson is not None
    assert lesson.own_after < lesson.own_before
    near = run_gsd_json("neighbors", "own", "--span", span, "--top", "10", workspace=place / "workspace")
    assert {each["span"] for each in near["neighbors"]} <= set(lesson.learned)
    assert len(load_scores(run, run.default_checkpoint)) == len(before), "the scores of drawn spans are lost"
    assert load_lesson(run, found["checkpoint"], "nobody#0") is None


def test_what_is_wrong_is_named(place: Path) -> None:
    assert "no span 'x#0'" in teach(place, "--spans", "x#0", code=2)["error"]
    assert "no field 'meta.nothing'" in teach(place, *SMALL, "--differ", "meta.nothing", code=2)["error"]
    other = place / "elsewhere"
    (place / "model").rename(other)
    try:
        error = teach(place, *SMALL, "--again", code=2)["error"]
        assert "not on this machine" in error
        assert "--model" in error
        assert teach(place, *SMALL, "--again", "--model", other)["checkpoints"]
    finally:
        other.rename(place / "model")
