"""``gsd train``: checkpoints that capture reads, a log, a resume that changes nothing, and refusals."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gsd_core.dataset.segmenters import make_segmenter
from gsd_core.dataset.tokenization import tokenize_sample
from gsd_core.models.loading import open_model
from gsd_core.store import Workspace
from gsd_core.training import finetune
from gsd_core.types import Sample
from tests.cli_support import make_rows, run_gsd, run_gsd_json, save_tiny_model, write_rows

STEPS = 6


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model, a file to train on and one to measure on."""
    folder = tmp_path_factory.mktemp("train")
    save_tiny_model(folder / "model")
    write_rows(folder / "apples.jsonl", make_rows(12))
    write_rows(folder / "held.jsonl", make_rows(5))
    return folder


def words(home: Path, out: Path, **more: Any) -> list[object]:
    """A command line of six steps; ``more`` flags, None leaves one out."""
    flags = {
        "dataset": home / "apples.jsonl",
        "model": home / "model",
        "out": out,
        "steps": STEPS,
        "batch_size": 4,
        "micro_batch": 2,
        "rate": 1e-3,
        "autocast": "none",
        **more,
    }
    found: list[object] = ["train"]
    for name, value in flags.items():
        if value is not None and value is not False:
            found += [f"--{name.replace('_', '-')}", *([] if value is True else [value])]
    return found


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def are_equal(a: Path, b: Path) -> bool:
    one, other = weights(a), weights(b)
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture(scope="module")
def trained(home: Path) -> dict[str, Any]:
    return run_gsd_json(*words(home, home / "out", eval=home / "held.jsonl"), workspace=home / "w")


def test_it_trains_and_keeps_checkpoints(home: Path, trained: dict[str, Any]) -> None:
    assert [each["step"] for each in trained["checkpoints"]] == [0, 1, 2, 6]
    assert trained["checkpoints"][-1]["eval_loss"] < trained["checkpoints"][0]["eval_loss"], "nothing was learned"
    assert are_equal(home / "model", home / "out" / "step-00000"), "step 0 is not the model itself"
    assert not are_equal(home / "out" / "step-00000", home / "out" / "step-00006")
    log = list(csv.DictReader((home / "out" / "training_log.csv").open()))
    assert [int(line["step"]) for line in log] == list(range(1, STEPS + 1))
    assert not (home / "out" / finetune.STATES).exists(), "the trainer's state was left behind"
    record = json.loads((home / "out" / "training.json").read_text())
    assert record["status"] == "trained"
    assert record["recipe"]["seed"] == 0
    assert record["data"]["data_hash"]


def test_its_checkpoints_can_be_captured(home: Path, trained: dict[str, Any]) -> None:
    result = run_gsd_json(
        *("capture", "--dataset", "apples", "--model", home / "out", "--checkpoints", "all", "--limit", 3),
        *("--run", "tuned", "--window", 1, "--sketch-width", 64),
        workspace=home / "w",
    )
    assert result["checkpoints"] == ["step-00000", "step-00001", "step-00002", "step-00006"]


def test_measuring_does_not_change_the_training(home: Path, trained: dict[str, Any]) -> None:
    run_gsd_json(*words(home, home / "plain"), workspace=home / "w")
    assert are_equal(home / "plain" / "step-00006", home / "out" / "step-00006")


def test_passes_of_another_size_give_the_same_training(home: Path, trained: dict[str, Any]) -> None:
    run_gsd_json(*words(home, home / "whole", micro_batch=4), workspace=home / "w")
    one, other = weights(home / "whole" / "step-00006"), weights(home / "out" / "step-00006")
    # Adam turns rounding of a tiny gradient into a step of full size, so single weights may differ by a few rates.
    assert max(float((one[key] - other[key]).abs().mean()) for key in one) < 2e-4


@pytest.mark.parametrize("stop_at", [2, 5])
def test_a_stopped_training_goes_on_to_the_same_weights(
    home: Path, trained: dict[str, Any], monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    out = home / f"stopped-{stop_at}"
    monkeypatch.setattr(finetune, "SAVE_SECONDS", 0.0)
    real = finetune._Keeper.on_step_end

    def stop(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        real(self, args, state, control, **kwargs)
        if state.global_step == stop_at:
            raise KeyboardInterrupt

    monkeypatch.setattr(finetune._Keeper, "on_step_end", stop)
    stopped = run_gsd("--json", *words(home, out), workspace=home / "w")
    assert stopped.code == 130
    assert "--resume" in stopped.out + stopped.err
    monkeypatch.setattr(finetune._Keeper, "on_step_end", real)
    result = run_gsd_json(*words(home, out, resume=True), workspace=home / "w")
    assert result["resumed_at"] == stop_at - 1, "it began again, or lost more than the step under way"
    assert are_equal(out / "step-00006", home / "out" / "step-00006")
    steps = [int(line["step"]) for line in csv.DictReader((out / "training_log.csv").open())]
    assert steps == list(range(1, STEPS + 1))
    assert [each["step"] for each in result["checkpoints"]] == [0, 1, 2, 6]


def test_adapters_are_trained_and_captured(home: Path) -> None:
    run_gsd_json(*words(home, home / "lora", lora=4, keep=6), workspace=home / "w")
    assert (home / "lora" / "step-00006" / "adapter_model.safetensors").is_file()
    result = run_gsd_json(
        *("capture", "--dataset", "apples", "--model", home / "lora", "--limit", 2, "--run", "lora"),
        *("--window", 1, "--sketch-width", 64),
        workspace=home / "w",
    )
    assert result["checkpoints"] == ["step-00006"]


def test_a_probe_set_is_captured_at_every_kept_step(home: Path, trained: dict[str, Any]) -> None:
    out = home / "probed"
    result = run_gsd_json(*words(home, out, probe=home / "held.jsonl", run="probed"), workspace=home / "w")
    assert result["run"] == "probed"
    run = Workspace.open(home / "w").open_run("probed")
    assert run.checkpoints == ["step-00000", "step-00001", "step-00002", "step-00006"]
    assert are_equal(out / "step-00006", home / "out" / "step-00006"), "tracking changed the training"


def test_the_end_of_text_is_learned_where_no_template_has_it(home: Path) -> None:
    loaded = open_model(str(home / "model"))
    sample = tokenize_sample(
        Sample("a", "How many?", "One and one.\nTwo.", "2"), loaded.tokenizer, make_segmenter("steps"), max_tokens=None
    )
    row = finetune._make_rows([sample], loaded.tokenizer)[0]  # type: ignore[list-item]
    assert row["input_ids"][-1] == loaded.tokenizer.eos_token_id
    assert row["labels"][: sample.prompt_tokens] == [-100] * sample.prompt_tokens  # type: ignore[union-attr]
    assert row["labels"][sample.prompt_tokens :] == row["input_ids"][sample.prompt_tokens :]  # type: ignore[union-attr]


def test_refusals_name_the_way_out(home: Path, trained: dict[str, Any], tmp_path: Path) -> None:
    workspace = home / "w"
    told = run_gsd_json(*words(home, home / "out"), workspace=workspace, code=2)["error"]
    assert "exists already" in told
    assert "--resume" in told
    told = run_gsd_json(*words(home, home / "out", resume=True, rate=1e-2), workspace=workspace, code=2)["error"]
    assert "another rate" in told
    told = run_gsd_json(*words(home, tmp_path / "a", keep=7), workspace=workspace, code=2)["error"]
    assert "--keep" in told
    assert "0 to 6" in told
    told = run_gsd_json(*words(home, tmp_path / "b", micro_batch=3), workspace=workspace, code=2)["error"]
    assert "--micro-batch" in told
    told = run_gsd_json(*words(home, tmp_path / "c", rate=0), workspace=workspace, code=2)["error"]
    assert "above 0" in told
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    told = run_gsd_json(*words(home, tmp_path / "other", resume=True), workspace=workspace, code=2)["error"]
    assert "training.json" in told
    assert [each.name for each in (tmp_path / "other").iterdir()] == ["notes.txt"]
    assert not any((tmp_path / each).exists() for each in "abc"), "a refused training left a folder"


def test_a_loss_that_is_no_number_ends_the_training(home: Path, tmp_path: Path) -> None:
    told = run_gsd_json(*words(home, tmp_path / "wild", rate=1e30), workspace=home / "w", code=2)["error"]
    assert "no number" in told
    assert "--rate" in told
