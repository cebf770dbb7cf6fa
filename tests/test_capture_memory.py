"""A capture fits its batches to the memory that is free, says so, and refuses what cannot fit before it is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from gsd_core.capture import memory as capture_memory
from gsd_core.capture.capture import CaptureConfig, Capturer
from gsd_core.capture.memory import Need, _GraphWatch, estimate_need, fit_tokens
from gsd_core.console.progress import Progress
from gsd_core.driver.capture_memory import fit_memory, leave_out_longest
from gsd_core.driver.capture_run import RunSamples
from gsd_core.errors import UserError
from gsd_core.methods.capture_method import CaptureOptions
from gsd_core.models import memory as model_memory
from gsd_core.models.memory import find_free_bytes
from gsd_core.models.sources import Checkpoint
from tests.cli_support import make_rows, run_gsd, run_gsd_json, save_tiny_model, write_rows
from tests.tiny_models import make_model, make_samples

CPU = torch.device("cpu")
GIB = 2.0**30


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> list[object]:
    folder = tmp_path_factory.mktemp("memory")
    file = write_rows(folder / "apples.jsonl", make_rows(20))
    return ["capture", "--dataset", file, "--model", save_tiny_model(folder / "model"), "--window", "1"]


def _set_free(monkeypatch: pytest.MonkeyPatch, free: float) -> None:
    monkeypatch.setattr(capture_memory, "find_free_bytes", lambda device: free)


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({"memory.max": "1000", "memory.current": "700", "memory.stat": "anon 5\ninactive_file 200\n"}, 500),
        ({"memory.max": "max", "memory.current": "700", "memory.stat": ""}, None),
        (
            {
                "memory/memory.limit_in_bytes": "900",
                "memory/memory.usage_in_bytes": "100",
                "memory/memory.stat": "total_inactive_file 50\n",
            },
            850,
        ),
        ({}, None),
        ({"memory.max": "1000"}, None),
    ],
)
def test_a_control_group_limits_what_is_free(
    files: dict[str, str], left: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(model_memory, "CGROUP_ROOT", tmp_path)
    found = find_free_bytes(CPU)
    if left is None:
        assert found == pytest.approx(psutil.virtual_memory().available, rel=0.2)
    else:
        assert found == left


def test_a_graph_is_counted_once_for_each_storage_and_let_go() -> None:
    watch = _GraphWatch(torch.nn.Module())
    x = torch.ones(1000, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(watch.hold, lambda held: held.tensor):
        first = x.exp()  # holds its output
        second = first * first  # holds the same tensor twice
    assert watch.peak == 4000
    second.sum().backward()
    del first, second
    assert watch._now == 0
    assert x.grad is not None


def test_weights_are_no_part_of_a_graph() -> None:
    layer = torch.nn.Linear(50, 70)
    watch = _GraphWatch(layer)
    with torch.autograd.graph.saved_tensors_hooks(watch.hold, lambda held: held.tensor):
        layer(torch.ones(3, 50, requires_grad=True))
    assert watch.peak == 3 * 50 * 4, "the input is held for the weight's gradient"


def test_tiers_that_go_back_need_more_and_checkpointed_layers_less() -> None:
    model, sample = make_model("llama"), make_samples()[0]

    def by_token(tier: str, **more: object) -> float:
        return estimate_need(Capturer(model, CaptureConfig(tier=tier, sketch_width=64, **more)), sample).by_token

    span = by_token("span", window=1)
    assert by_token("state") < by_token("position")
    assert by_token("span", window=1, gradient_checkpointing=True) < span


def test_the_largest_batch_that_fits() -> None:
    need = Need(fixed=1_000.0, by_token=10.0, free=100_000.0)
    assert fit_tokens(need) == 7_872, "(80 % of what is free - what is fixed) / 10, a multiple of 64"
    assert need.total(fit_tokens(need)) <= 0.8 * need.free
    assert fit_tokens(need, n_workers=4) == 1_856
    assert fit_tokens(Need(1_000.0, 10.0, 1_200.0)) == 0


def test_little_memory_means_smaller_batches_which_are_said_and_kept(
    words: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = capture_memory.BLOCK_COPIES * capture_memory.BLOCK_LOGITS["cpu"] * 4
    _set_free(monkeypatch, (fixed + 4 * 2**20) / capture_memory.FREE_SHARE)
    outcome = run_gsd("--json", *words, "--run", "little", workspace=tmp_path)
    assert outcome.code == 0, outcome.err
    manifest = json.loads((tmp_path / "runs" / "little" / "run.json").read_text())
    batch = manifest["batch_tokens"]
    assert batch < 4096
    assert f"batches of {batch:,} tokens" in outcome.err
    assert manifest["memory"]["batch_tokens"] == batch
    found = json.loads(outcome.out)
    assert found["estimated_memory_bytes"] > psutil.Process().memory_info().rss / 2
    _set_free(monkeypatch, 64 * GIB)
    assert run_gsd_json(*words, "--run", "little", "--resume", workspace=tmp_path)["n_spans"] == found["n_spans"]
    run_gsd_json(*words, "--run", "given", "--batch-tokens", batch, workspace=tmp_path)
    vectors = []
    for name in ("little", "given"):
        run_gsd_json("export", name, "--what", "vectors", "--out", tmp_path / f"{name}.npz", workspace=tmp_path)
        vectors.append(np.load(tmp_path / f"{name}.npz")["vectors"])
    np.testing.assert_array_equal(*vectors)


def test_a_sample_that_does_not_fit_alone_is_skipped_and_named(
    words: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = make_rows(4)
    rows[2]["steps"] = rows[2]["steps"] * 3
    file = write_rows(tmp_path / "uneven.jsonl", rows)
    monkeypatch.setattr("gsd_core.driver.capture_memory.fit_tokens", lambda need, n_workers: 100)
    mine = [file if isinstance(each, Path) and each.suffix == ".jsonl" else each for each in words]
    found = run_gsd_json(*mine, "--run", "r", workspace=tmp_path / "w")
    assert found["n_samples"] == 3
    (skipped,) = found["skipped"]
    assert skipped["sample"] == rows[2]["id"]
    assert "need more memory than was free" in skipped["reason"]
    monkeypatch.undo()
    again = run_gsd_json(*mine, "--run", "r", "--resume", workspace=tmp_path / "w")
    assert again["n_samples"] == 3, "a run that goes on keeps its plan"


def test_on_a_gpu_which_tells_that_memory_runs_out_nothing_is_refused_on_an_estimate() -> None:
    samples = RunSamples([], make_samples())
    longest = max(len(each.token_ids) for each in samples.tokenized)

    class Crew:
        def ask(self, *_: object) -> tuple[Need, int]:
            return Need(fixed=6 * GIB, by_token=1e6, free=4 * GIB), 0

    def fit(device: str) -> dict:
        options = CaptureOptions(dataset="d", model="m")
        config = CaptureConfig(window=1)
        checkpoint = Checkpoint("m", None, "m")
        return fit_memory(Crew(), checkpoint, device, config, options, samples, None, Progress(quiet=True))

    with pytest.raises(UserError, match="not one sample fits"):
        fit("cpu")
    found = fit("cuda")
    assert found["batch_tokens"] < 4096
    assert found["most_tokens"] == longest
    assert leave_out_longest(samples, found).tokenized == samples.tokenized


def test_where_nothing_fits_the_capture_is_refused(
    words: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _set_free(monkeypatch, 1_000.0)
    outcome = run_gsd(*words, "--run", "r", workspace=tmp_path)
    assert outcome.code == 2
    assert "not one sample fits into memory" in outcome.err
    assert not (tmp_path / "runs" / "r").exists()


def test_weights_that_do_not_fit_are_refused_before_they_are_loaded(
    words: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_memory, "find_free_bytes", lambda device: 1_000.0)

    def load(*_: object, **__: object) -> None:
        raise AssertionError("the model is loaded")

    monkeypatch.setattr("gsd_core.models.loading.AutoModelForCausalLM.from_pretrained", load)
    outcome = run_gsd(*words, "--run", "r", workspace=tmp_path)
    assert outcome.code == 2
    assert "weights need 0.0 GiB as float32, and 0.0 GiB are free" in outcome.err
