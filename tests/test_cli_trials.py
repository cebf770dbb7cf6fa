"""Selective training from end to end: selections by segments, what carries loss, answers, trials that go on."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsd_core.comparison.segment_choice import choose_segments
from gsd_core.methods.attribute_method import ATTRIBUTION
from gsd_core.stages import trials_stage
from gsd_core.store import Workspace
from gsd_core.store.trainings import list_trainings, read_answers
from tests.cli_support import run_gsd, run_gsd_json, save_tiny_model, write_rows

N = 8


def write_traces(path: Path) -> Path:
    """Traces of five segments that open with cues."""
    rows = []
    for at in range(N):
        words = (
            f"Start at {at}.",
            "Wait, it is {}.",
            "However, we add 2.",
            f"Another step gives {at + 2}.",
            "Wait, yes.",
        )
        reasoning = "\n\n".join(word.format(at) for word in words)
        rows.append({"id": f"t{at}", "question": f"What is {at} and 2?", "reasoning": reasoning, "answer": str(at + 2)})
    return write_rows(path, rows)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with an attributed run of gradients, and a file of held-out questions."""
    folder = tmp_path_factory.mktemp("trials")
    save_tiny_model(folder / "model", context=512)
    write_traces(folder / "traces.jsonl")
    write_traces(folder / "held.jsonl")
    words = ["capture", "--dataset", folder / "traces.jsonl", "--model", folder / "model", "--segmenter", "cues"]
    run_gsd_json(*words, "--run", "own", "--window", 1, "--sketch-width", 64, workspace=folder / "w")
    run_gsd_json("attribute", "--run", "own", "--nodes", "gauss", "--steps", 6, workspace=folder / "w")
    return folder


def select(place: Path, out: Path, by: str, *more: object) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    words = ["select", "--run", "own", "--by", by, "--out", out, "--tau", 0.4, "--beta", 1, *more]
    result = run_gsd_json(*words, workspace=place / "w")
    return result, [json.loads(line) for line in out.read_text().splitlines()]


def train(place: Path, out: Path, *more: object, code: int = 0) -> dict[str, Any]:
    words = ["train", "--dataset", "traces", "--model", place / "model", "--out", out, "--steps", 2]
    words += ["--batch-size", 4, "--micro-batch", 2, "--rate", 1e-3, "--autocast", "none", *more]
    return run_gsd_json(*words, workspace=place / "w", code=code)


def test_segments_are_chosen_by_the_thresholds_and_written_for_every_trace(place: Path, tmp_path: Path) -> None:
    result, lines = select(place, tmp_path / "a.jsonl", "segments")
    run = Workspace.open(str(place / "w")).open_run("own")
    table = run.results.read(ATTRIBUTION, "segments")
    kept = choose_segments(table["mass"].to_numpy(), table["consistency"].to_numpy(), 0.4, 1.0)
    assert result["n_spans_kept"] == int(kept.sum())
    assert [line["sample"] for line in lines] == [f"t{at}" for at in range(N)]
    assert sum(sum(line["mask"]) for line in lines) == int(kept.sum())
    for line in lines:
        assert line["spans"][0][0] == 0
        assert line["spans"][-1][1] == len(line["reasoning"])
    shares = {each["by"] for each in result["agreement"]}
    assert "spectral" in shares


def test_controls_keep_as_much_and_other_segments(place: Path, tmp_path: Path) -> None:
    _, chosen = select(place, tmp_path / "a.jsonl", "segments")
    _, random = select(place, tmp_path / "b.jsonl", "random-segments", "--seed", 3)
    _, rest = select(place, tmp_path / "c.jsonl", "rest-segments")
    for one, other, left in zip(chosen, random, rest, strict=True):
        assert sum(one["mask"]) == sum(other["mask"])
        assert [a != b for a, b in zip(one["mask"], left["mask"], strict=True)] == [True] * len(one["mask"])
    assert any(one["mask"] != other["mask"] for one, other in zip(chosen, random, strict=True))


def test_the_first_solution_ends_the_trace_where_the_answer_is_told(place: Path, tmp_path: Path) -> None:
    _, lines = select(place, tmp_path / "a.jsonl", "first-solution")
    for line in lines:
        texts = [line["reasoning"][start:end] for start, end in line["spans"]]
        words = [set(text.replace(".", " ").split()) for text in texts]
        first = next(at for at, each in enumerate(words) if line["answer"] in each)
        assert line["mask"] == [at <= first for at in range(len(texts))]


def test_top_tokens_are_as_many_as_the_segments_have(place: Path, tmp_path: Path) -> None:
    whole, _ = select(place, tmp_path / "a.jsonl", "segments")
    tokens, single = select(place, tmp_path / "b.jsonl", "top-tokens")
    assert tokens["unit"] == "token"
    assert tokens["token_share"] == pytest.approx(whole["token_share"])
    run = Workspace.open(str(place / "w")).open_run("own")
    scores = run.results.read(ATTRIBUTION, "traces").set_index("sample")["scores"]
    for line in single:
        own = np.abs(np.array(scores[line["sample"]]))
        spans = run.read_spans().query("sample == @line['sample']")
        inside = np.arange(int(spans["token_start"].min()), int(spans["token_end"].max()))
        picked = [at for at, _ in line["kept_tokens"]]
        left = [at for at in inside if at not in set(picked)]
        assert min(own[picked]) >= max(own[left], default=0) - 1e-12
    trained = train(place, tmp_path / "out", "--objective", "selective", "--mask", tmp_path / "b.jsonl", "--bare")
    n_kept = sum(len(line["kept_tokens"]) for line in single)
    n_all = train(place, tmp_path / "full")["n_trained"]
    n_inside = sum(int(n) for n in run.read_spans()[["token_start", "token_end"]].diff(axis=1)["token_end"])
    assert n_all - trained["n_trained"] == n_inside - n_kept


def test_selections_by_segments_refuse_what_makes_no_sense(place: Path, tmp_path: Path) -> None:
    words = ["select", "--run", "own", "--by", "segments", "--out", tmp_path / "a.jsonl"]
    told = run_gsd_json(*words, "--budget", 0.5, workspace=place / "w", code=2)["error"]
    assert "--tau" in told
    assert "keep nothing" in run_gsd_json(*words, "--beta", 1e-9, workspace=place / "w", code=2)["error"]
    words[4] = "random"
    assert "--budget" in run_gsd_json(*words, workspace=place / "w", code=2)["error"]
    assert not (tmp_path / "a.jsonl").exists()


def test_only_kept_segments_carry_loss_and_pruned_traces_are_shorter(place: Path, tmp_path: Path) -> None:
    select(place, tmp_path / "a.jsonl", "segments")
    mask = ("--mask", tmp_path / "a.jsonl")
    full = train(place, tmp_path / "full")
    selective = train(place, tmp_path / "selective", "--objective", "selective", *mask)
    bare = train(place, tmp_path / "bare", "--objective", "selective", "--bare", *mask)
    whole = train(place, tmp_path / "whole", "--objective", "selective", "--whole-below", 10_000, *mask)
    pruned = train(place, tmp_path / "pruned", "--objective", "pruned", "--bare", *mask)
    assert full["n_tokens"] == selective["n_tokens"] == bare["n_tokens"] > pruned["n_tokens"]
    assert full["n_trained"] == whole["n_trained"] > selective["n_trained"] > bare["n_trained"]
    log = list(csv.DictReader((tmp_path / "bare" / "training_log.csv").open()))
    assert 0 < int(log[-1]["trained"]) < int(log[-1]["tokens"])
    record = json.loads((tmp_path / "bare" / "training.json").read_text())
    assert record["recipe"]["objective"] == "selective"
    assert record["data"]["n_trained"] == bare["n_trained"]


def test_a_mask_that_does_not_fit_is_refused(place: Path, tmp_path: Path) -> None:
    _, lines = select(place, tmp_path / "a.jsonl", "segments")
    file = tmp_path / "b.jsonl"

    def told(rows: list[dict[str, Any]], *more: object) -> str:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        words = ("--objective", "selective", "--mask", file, *more)
        return str(train(place, tmp_path / "out", *words, code=2)["error"])

    assert "another reasoning" in told([{**lines[0], "reasoning": lines[0]["reasoning"] + " More."}])
    assert "none of its samples" in told([{**lines[0], "sample": "other"}])
    assert "'spans'" in told([{key: value for key, value in lines[0].items() if key != "spans"}])
    assert "needs a mask" in train(place, tmp_path / "out", "--objective", "selective", code=2)["error"]
    assert "does nothing" in train(place, tmp_path / "out", "--mask", tmp_path / "a.jsonl", code=2)["error"]
    rows = [{"id": "bare", "question": "What?", "reasoning": "Nothing.\n\nWait, nothing.", "answer": ""}]
    write_rows(tmp_path / "bare.jsonl", rows)
    file.write_text(json.dumps({"sample": "bare", "kept": [], "spans": []}) + "\n")
    words = ["train", "--dataset", tmp_path / "bare.jsonl", "--model", place / "model", "--out", tmp_path / "out"]
    words += ["--objective", "selective", "--mask", file, "--bare"]
    assert "'bare' carries loss" in run_gsd_json(*words, workspace=place / "w", code=2)["error"]
    assert not (tmp_path / "out").exists()


def test_a_model_in_training_answers_questions(place: Path, tmp_path: Path) -> None:
    more = ("--eval", place / "held.jsonl", "--eval-answers", 3, "--answer-tokens", 8, "--keep", 0, 2)
    result = train(place, tmp_path / "out", *more)
    for entry in result["checkpoints"]:
        rows = read_answers(tmp_path / "out", entry["step"])
        assert [row["sample"] for row in rows] == ["t0", "t1", "t2"]
        assert entry["accuracy"] == np.mean([row["is_right"] for row in rows])
        assert entry["mean_tokens"] == np.mean([row["n_tokens"] for row in rows]) <= 8
    assert "--eval" in train(place, tmp_path / "no", "--eval-answers", 3, code=2)["error"]


def test_without_a_folder_a_training_goes_into_the_workspace(place: Path) -> None:
    words = ["train", "--dataset", "traces", "--model", place / "model", "--steps", 1, "--batch-size", 2]
    out = Path(run_gsd_json(*words, "--micro-batch", 2, workspace=place / "w")["out"])
    assert out == place / "w" / "trainings" / "traces-model-full-0"
    assert "traces-model-full-0" in [each.name for each in list_trainings(place / "w" / "trainings")]


def write_config(path: Path, place: Path, **more: Any) -> Path:
    told = {
        "name": path.stem,
        "run": "own",
        "choices": ["full", "selective", "spectral"],
        "seeds": [0, 1],
        "tau": 0.3,
        "beta": 1,
        **more,
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in told.items()]
    train = {"steps": 1, "batch_size": 4, "micro_batch": 4, "eval": str(place / "held.jsonl"), "eval_answers": 4}
    lines += ["[train]", 'autocast = "none"', "answer_tokens = 6"]
    path.write_text("\n".join([*lines, *(f"{key} = {json.dumps(value)}" for key, value in train.items())]) + "\n")
    return path


def test_trials_train_compare_and_go_on(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write_config(tmp_path / "try.toml", place)
    real, calls = trials_stage.run_train, []

    def stop(*arguments: Any) -> dict[str, Any]:
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(arguments[1].out)
        return real(*arguments)

    monkeypatch.setattr(trials_stage, "run_train", stop)
    assert run_gsd("--json", "trials", config, workspace=place / "w").code == 130
    monkeypatch.setattr(trials_stage, "run_train", lambda *each: calls.append(each[1].out) or real(*each))
    result = run_gsd_json("trials", config, workspace=place / "w")
    assert len(calls) == len(set(calls)) == 6, "a finished training was done again"
    rows = {row["choice"]: row for row in result["choices"]}
    assert set(rows) == {"full", "selective", "spectral"}
    assert rows["full"]["n_trained"] > rows["selective"]["n_trained"] > 0
    for row in rows.values():
        assert row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"]
        assert row["tokens"] <= 6
    assert rows["full"]["accuracy_difference"] == rows["full"]["tokens_difference"] == 0
    again = run_gsd_json("trials", config, workspace=place / "w")
    assert again["choices"] == result["choices"]
    assert len(calls) == 6
    told = run_gsd_json("trials", write_config(config, place, tau=0.2), workspace=place / "w", code=2)["error"]
    assert "another tau" in told


@pytest.mark.parametrize(
    ("flag", "value"), [("steps", '"six"'), ("steps", "0"), ("rate", "0"), ("autocast", '"half"'), ("truncate", "1")]
)
def test_a_flag_of_the_training_is_refused_as_on_a_command_line(
    place: Path, tmp_path: Path, flag: str, value: str
) -> None:
    config = write_config(tmp_path / "c.toml", place)
    lines = [line for line in config.read_text().splitlines() if not line.startswith(f"{flag} =")]
    config.write_text("\n".join([*lines, f"{flag} = {value}"]) + "\n")
    assert f"[train] {flag} is" in run_gsd_json("trials", config, workspace=place / "w", code=2)["error"]


def test_a_training_with_another_mask_is_not_gone_on_with(place: Path, tmp_path: Path) -> None:
    select(place, tmp_path / "a.jsonl", "segments")
    more = ("--objective", "selective", "--mask", tmp_path / "a.jsonl")
    train(place, tmp_path / "out", *more)
    select(place, tmp_path / "a.jsonl", "rest-segments")
    assert "another mask" in train(place, tmp_path / "out", *more, "--resume", code=2)["error"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"choices": ["full", "fuller"]}, "'fuller'"),
        ({"seeds": [1.5]}, "seeds"),
        ({"name": "../x"}, "name"),
        ({"rate": 1}, "rate is not known"),
        ({"tau": "much"}, "tau is 'much'"),
        ({"target": 3}, "target is 3"),
    ],
)
def test_a_configuration_is_refused_with_what_is_wrong(
    place: Path, tmp_path: Path, more: dict[str, Any], told: str
) -> None:
    config = write_config(tmp_path / "c.toml", place, **more)
    assert told in run_gsd_json("trials", config, workspace=place / "w", code=2)["error"]
