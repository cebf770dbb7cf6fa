"""A model that would be random in part, or that sees the future, is refused before anything is captured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertLMHeadModel, LlamaForCausalLM

from gsd_core.errors import UserError
from gsd_core.models.loading import load_model, open_model
from gsd_core.models.sources import resolve_checkpoints
from tests.cli_support import make_rows, run_gsd, run_gsd_json, save_tiny_model, write_rows

WEIGHTS = "model.safetensors"
REFUSED = {
    "missing-keys": "3 weights of the model are missing in its files and would be random: model.layers.1.mlp.down_proj",
    "more-layers": "9 weights of the model are missing",
    "vocab-small": "the tokenizer has 358 tokens, the model's embedding 318",
    "bert": "not causal",
    "bert-big": "not causal",
    "slowtok": "offsets",
    "no-tokenizer": "no tokenizer lies in the folder",
    "missing-shard": "model-00002-of-00005.safetensors",
    "fake.gguf": "the GGUF file holds no weights",
    "ggufdir": "the GGUF file holds no weights",
    "bnb4": "bitsandbytes",
    "gptq": "optimum",
    "shape-mismatch": "lm_head.weight has shape (358, 32) in the files and (390, 32) in the model",
    "t5": "not a causal language model",
    "trunc-weights": "the weights are cut",
    "lfs-weights": "it is a Git LFS pointer",
}
SERVED = ("bytelevel", "crossmerge", "spm", "nfkc", "tok-trunc", "vocab-padded", "chatdrop", "orig-mod", "ddp-module")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("whole") / "model")


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "copy")


def _rename(folder: Path, prefix: str) -> None:
    weights = load_file(folder / WEIGHTS)
    save_file({prefix + name: tensor.clone() for name, tensor in weights.items()}, folder / WEIGHTS, {"format": "pt"})


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_that_is_not_what_was_saved_is_refused(shared_cases: Path, tmp_path: Path, name: str) -> None:
    file = write_rows(tmp_path / "apples.jsonl", make_rows(2))
    for tier in ("span", "hidden"):
        words = ["capture", "--dataset", file, "--model", shared_cases / "models" / name, "--tier", tier, "--run", "r"]
        outcome = run_gsd(*words, workspace=tmp_path / "w")
        assert outcome.code == 2, outcome.err
        assert REFUSED[name] in outcome.err


@pytest.mark.parametrize("name", SERVED)
def test_a_whole_model_is_captured(shared_cases: Path, tmp_path: Path, name: str) -> None:
    file = write_rows(tmp_path / "apples.jsonl", make_rows(2))
    words = ["capture", "--dataset", file, "--model", shared_cases / "models" / name, "--run", "r"]
    assert run_gsd_json(*words, workspace=tmp_path / "w")["n_spans"] > 0


@pytest.mark.parametrize(
    ("prefix", "said"),
    [
        ("_orig_mod.", ["torch.compile"]),
        ("module.", ["DistributedDataParallel"]),
        ("module._orig_mod.", ["DistributedDataParallel", "torch.compile"]),
        ("_orig_mod.module.", ["torch.compile", "DistributedDataParallel"]),
    ],
)
def test_prefixes_of_training_wrappers_are_taken_off_and_said(
    whole: Path, copy: Path, prefix: str, said: list[str]
) -> None:
    _rename(copy, prefix)
    loaded = open_model(str(copy), device="cpu")
    expected = load_model(str(whole), device="cpu")[0].state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.model.state_dict().items())
    assert [name for note in loaded.notes for name in said if name in note] == said


def test_another_prefix_is_refused_with_names_of_both_sides(copy: Path) -> None:
    _rename(copy, "net.")
    with pytest.raises(UserError, match=r"are missing .*model\.\S+.*the files hold net\.model\."):
        load_model(str(copy), device="cpu")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "cut or damaged"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "Git LFS pointer"),
        (b"\n<!DOCTYPE html><html><body>Not found</body></html>", "web page"),
        (b"\xff" * 400, "cut or damaged"),
        ((2).to_bytes(8, "little") + b"[]", "header of the weights is damaged"),
        ((7).to_bytes(8, "little") + b'{"a":1}', "header of the weights is damaged"),
    ],
)
def test_files_that_are_no_weights_are_named(copy: Path, content: bytes, says: str) -> None:
    (copy / WEIGHTS).write_bytes(content)
    with pytest.raises(UserError, match=says) as found:
        load_model(str(copy), device="cpu")
    assert WEIGHTS in str(found.value)


@pytest.mark.parametrize("cut", [1, 4_000])
def test_a_cut_download_is_told_with_both_sizes(copy: Path, cut: int) -> None:
    file = copy / WEIGHTS
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[: size - cut])
    with pytest.raises(UserError, match=f"{size - cut:,} bytes, its header says {size:,}"):
        load_model(str(copy), device="cpu")


def test_a_token_that_the_embedding_does_not_hold_is_told(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    weights = load_file(copy / WEIGHTS)
    name = next(each for each in weights if each.endswith("embed_tokens.weight"))
    save_file(weights | {name: weights[name][:299].clone()}, copy / WEIGHTS, {"format": "pt"})
    (copy / "config.json").write_text(json.dumps(config | {"vocab_size": 299}))
    with pytest.raises(UserError, match="the tokenizer has 300 tokens, the model's embedding 299"):
        load_model(str(copy), device="cpu")


def test_an_encoder_is_refused_and_the_same_weights_as_a_decoder_are_not(copy: Path) -> None:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=400, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48
    )
    model = BertLMHeadModel(config)
    (copy / WEIGHTS).unlink()
    model.save_pretrained(copy)
    with pytest.raises(UserError, match="a later token changes the logits of earlier ones"):
        load_model(str(copy), device="cpu")
    model.config.is_decoder = True
    model.save_pretrained(copy)
    load_model(str(copy), device="cpu")


def test_an_adapter_with_a_missing_weight_is_refused(whole: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    base = LlamaForCausalLM.from_pretrained(whole)
    adapter = tmp_path / "adapter"
    get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj", "v_proj"])).save_pretrained(adapter)
    assert load_model(str(adapter), device="cpu")[0].peft_config
    file = adapter / "adapter_model.safetensors"
    weights = load_file(file)
    gone = weights.popitem()[0]
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(UserError, match=f"1 weights .*{gone}"):
        load_model(str(adapter), device="cpu")


@pytest.mark.parametrize(
    ("name", "step"), [("smollm2", None), ("checkpoint-500", 500), ("step_20", 20), ("step500", 500), ("7", 7)]
)
def test_a_number_in_a_models_name_is_not_a_step(whole: Path, tmp_path: Path, name: str, step: int | None) -> None:
    folder = shutil.copytree(whole, tmp_path / name)
    assert resolve_checkpoints(str(folder))[0].step == step
