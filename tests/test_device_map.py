"""A model laid over devices gives the gradients of the same model on one.

Without GPUs the layouts are those that one machine has: all on the CPU by name, and layers that wait on the disk until
they are needed. Activations on different GPUs are not covered here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gsd_core.capture.capture import CaptureConfig, Capturer
from gsd_core.capture.hooks import FrozenModel
from gsd_core.errors import UserError
from gsd_core.models.devices import describe_device, input_device, parse_device_map
from gsd_core.models.loading import compute_model_hash, load_model
from tests.cli_support import make_rows, run_gsd, run_gsd_json, save_tiny_model, write_rows
from tests.tiny_models import make_samples

ON_DISK = {"model.embed_tokens": "cpu", "model.layers.0": "cpu", "model.layers.1": "disk"}
LAYOUTS: dict[str, dict[str, Any]] = {
    "all by name": {"": "cpu"},
    "a layer on the disk": {**ON_DISK, "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu"},
    "all on the disk": {"": "disk"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("layout") / "model")


@pytest.fixture(params=list(LAYOUTS))
def layout(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    file = tmp_path / "map.json"
    file.write_text(json.dumps(LAYOUTS[request.param]), encoding="utf-8")
    return str(file)


@pytest.mark.parametrize("tier", ["hidden", "head", "state", "position", "span"])
def test_a_layout_changes_no_gradient(folder: Path, layout: str, tier: str) -> None:
    config = CaptureConfig(tier=tier, window=None)
    plain, _ = load_model(str(folder), device="cpu")
    laid_out, _ = load_model(str(folder), device_map=layout)
    expected = Capturer(plain, config).compute_gradients(make_samples())
    found = Capturer(laid_out, config).compute_gradients(make_samples())
    for name in ("gradients", "coherence", "token_losses"):
        for one, other in zip(getattr(found, name), getattr(expected, name), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7, err_msg=f"{name} changed")


def test_the_disk_is_really_used(folder: Path, tmp_path: Path) -> None:
    # Else the tests above would compare a model with itself.
    file = tmp_path / "map.json"
    file.write_text(json.dumps(LAYOUTS["a layer on the disk"]), encoding="utf-8")
    model, _ = load_model(str(folder), device_map=str(file))
    devices = {name: p.device.type for name, p in model.named_parameters()}
    assert {kind for name, kind in devices.items() if ".layers.1." in name} == {"meta"}
    assert describe_device(model) == "cpu, disk"


def test_the_hash_is_of_the_weights_wherever_they_are(folder: Path, layout: str) -> None:
    expected = compute_model_hash(load_model(str(folder), device="cpu")[0])
    assert compute_model_hash(load_model(str(folder), device_map=layout)[0]) == expected, (
        "a run on one device could not be resumed with another layout"
    )


def test_flags_are_restored_though_parameters_were_exchanged(folder: Path, layout: str) -> None:
    model, _ = load_model(str(folder), device_map=layout)
    chosen = {name: number % 2 == 0 for number, (name, _) in enumerate(model.named_parameters())}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(chosen[name])
    with FrozenModel(model), torch.no_grad():
        model(torch.tensor([[3, 4, 5]]))
        assert not any(p.requires_grad for p in model.parameters()), "weight gradients would be formed"
    after = {name: p.requires_grad for name, p in model.named_parameters(remove_duplicate=False)}
    assert {name: after[name] for name in chosen} == chosen


def test_inputs_go_where_the_embedding_works(folder: Path, layout: str) -> None:
    assert input_device(load_model(str(folder), device_map=layout)[0]) == torch.device("cpu")


def test_a_run_is_captured_with_a_layout(folder: Path, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "apples.jsonl", make_rows(4))
    layout = tmp_path / "map.json"
    layout.write_text(json.dumps(LAYOUTS["a layer on the disk"]), encoding="utf-8")
    words = ["capture", "--dataset", file, "--model", folder, "--run", "one", "--window", "0"]
    plain = run_gsd_json(*words, workspace=tmp_path / "w")
    again = run_gsd_json(*words, "--device-map", layout, "--resume", workspace=tmp_path / "w")
    assert again["n_spans"] == plain["n_spans"], "the layout is taken for another model"
    words[words.index("one")] = "two"
    assert run_gsd_json(*words, "--device-map", layout, workspace=tmp_path / "w")["n_spans"] == plain["n_spans"]


@pytest.mark.parametrize("name", ["auto", "balanced", "balanced_low_0", "sequential"])
def test_ways_of_laying_out_have_names(name: str) -> None:
    assert parse_device_map(name) == name


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("not json", "not JSON"),
        ("[1, 2]", "no JSON object"),
        ("{}", "no JSON object"),
        ('{"model": true}', "not a device"),
        ('{"model": {"a": 1}}', "not a device"),
        (" " * (2**20 + 1), "larger than a device map"),
    ],
)
def test_a_bad_map_is_told(tmp_path: Path, content: str, says: str) -> None:
    file = tmp_path / "map.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=says):
        parse_device_map(str(file))


def test_a_layout_that_cannot_be_is_told(folder: Path, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "apples.jsonl", make_rows(2))
    nowhere = tmp_path / "nowhere.json"
    nowhere.write_text('{"": "nowhere"}', encoding="utf-8")
    words = ["capture", "--dataset", file, "--model", folder]
    for more, says in (
        (["--device-map", "everywhere"], "--device-map everywhere, give auto"),
        (["--device-map", nowhere], "the model cannot be loaded"),
        (["--device-map", "auto", "--device", "cpu"], "leave one of the flags out"),
    ):
        outcome = run_gsd(*words, *more, workspace=tmp_path / "w")
        assert outcome.code == 2, outcome.err
        assert says in outcome.err
