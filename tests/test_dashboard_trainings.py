"""The page Training runs: groups with their comparison, single trainings, escaped answers, half-written files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gsd_core.dashboard.trainings import training_figures
from gsd_core.dashboard.trainings.training_queries import SINGLE, load_groups, read_questions
from gsd_core.store import Workspace
from gsd_core.store.trainings import LOG, RECORD, TRIALS, list_trainings, name_answers, read_answers
from tests.page_support import open_page, words

N_STEPS = 5


def write_training(folder: Path, right: bool = True, created: str = "2026-01-02") -> None:
    folder.mkdir(parents=True)
    entry = {"name": "step-00005", "step": N_STEPS, "eval_loss": 1.5, "accuracy": float(right), "mean_tokens": 7.0}
    record = {
        "created": created,
        "status": "trained",
        "data": {"name": "traces", "n_samples": 8},
        "model": {"source": "demo"},
        "recipe": {"steps": N_STEPS, "batch_size": 4, "lora": None},
        "checkpoints": [{"name": "step-00000", "step": 0, "eval_loss": 2.5}, {**entry, "n_answers": 2}],
    }
    (folder / RECORD).write_text(json.dumps(record))
    lines = ["step,epoch,loss,grad_norm,learning_rate,tokens,seconds,trained"]
    lines += [f"{step},0.1,{3 - step / 5},1,1e-3,{40 * step},1.0,{20 * step}" for step in range(1, N_STEPS + 1)]
    (folder / LOG).write_text("\n".join(lines) + "\n6,0.1,")
    rows = [
        {"sample": f"q{at}", "text": "<script>alert(1)</script>", "answer": "<b>1", "wanted": "1", "is_right": right}
        for at in range(2)
    ]
    text = "".join(json.dumps({**row, "n_tokens": 7, "is_cut": False}) + "\n" for row in rows)
    (folder / name_answers(N_STEPS)).write_text(text + '{"sample": "half')


def write_trials(folder: Path) -> None:
    rows: list[dict[str, Any]] = []
    for choice, right in (("full", False), ("random segments", True)):
        for seed in range(2):
            write_training(folder / f"{choice.replace(' ', '-')}-{seed}", right)
        row: dict[str, Any] = {"choice": choice, "seeds": [0, 1], "eval_loss": 1.5, "n_trained": 100.0}
        for name, value in (("accuracy", float(right)), ("tokens", 7.0)):
            row |= {name: value, f"{name}_low": value - 0.1, f"{name}_high": value + 0.1}
        rows.append(row)
    config = {"choices": ["full", "random segments"], "tau": 0.7, "beta": 0.8}
    (folder / TRIALS).write_text(json.dumps({"config": config, "result": {"choices": rows}}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("trainings") / "w"
    home = Workspace.open(made).trainings_dir
    write_trials(home / "first")
    write_training(home / "alone", created="2026-01-01")
    (home / "broken").mkdir()
    (home / "broken" / RECORD).write_text("{")
    return made


def test_groups_and_single_trainings_are_told_apart(folder: Path) -> None:
    groups = load_groups(folder / "trainings")
    assert list(groups) == ["first", SINGLE]
    first = groups["first"]
    assert [(run.choice, run.seed) for run in first.runs] == [
        ("full", 0),
        ("full", 1),
        ("random segments", 0),
        ("random segments", 1),
    ]
    assert first.table["choice"].tolist() == ["full", "random segments"]
    assert [run.label for run in groups[SINGLE].runs] == ["alone"]
    log = first.runs[0].read_log()
    assert log["step"].tolist() == list(range(1, N_STEPS + 1)), "a half-written line counts"
    assert len(list_trainings(folder / "trainings")) == 5
    assert len(read_answers(first.runs[0].info.folder, N_STEPS)) == 2


def test_figures_show_each_choice_and_seed(folder: Path) -> None:
    group = load_groups(folder / "trainings")["first"]
    figure = training_figures.plot_trials(group.table, group.runs, "accuracy", "right", True)
    assert list(figure.data[0].x) == [0.0, 1.0]
    assert sorted(figure.data[1].x) == [0.0, 0.0, 1.0, 1.0]
    losses = training_figures.plot_losses(group.runs, "trained", held_out=False)
    assert [sum(bool(trace.showlegend) for trace in losses.data), len(losses.data)] == [2, 4]
    held = training_figures.plot_losses(group.runs, "tokens", held_out=True)
    assert list(held.data[0].x) == [0.0, 40.0 * N_STEPS]
    assert list(held.data[0].y) == [2.5, 1.5]


def test_the_page_shows_a_group_and_escapes_what_a_model_wrote(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = open_page(folder, "trainings", monkeypatch)
    assert len(at.get("plotly_chart")) == 4
    drawn = " ".join(str(each.proto.body) for each in at.get("html"))
    assert "<script>" not in drawn
    assert "&lt;script&gt;" in drawn
    assert "<b>1" not in words(at)
    single = open_page(folder, "trainings", monkeypatch, group=SINGLE)
    assert len(single.get("plotly_chart")) == 2
    assert read_questions([]).empty


def test_an_empty_workspace_says_how_to_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = open_page(tmp_path / "w", "trainings", monkeypatch)
    assert "gsd trials" in words(at)
