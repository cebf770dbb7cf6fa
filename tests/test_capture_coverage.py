"""Every run says how much of its model it holds, and a model of which too little can be captured is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from gsd_core.capture.modules import check_coverage, compute_coverage, describe_coverage, select_modules
from gsd_core.errors import UserError
from tests.cli_support import make_rows, run_gsd, run_gsd_json, save_tiny_model, write_rows

SIZES = {"vocab_size": 90, "hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_hidden_layers": 2}
LAYER = 4 * 16 * 16 + 3 * 16 * 24  # weights of a layer's seven linear modules
NORMS = 5 * 16


def _llama(**more: object) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=2, **more))


def _by_reason(coverage: dict) -> dict[str, tuple[int, int]]:
    return {each["reason"].split(" ")[0]: (each["n_modules"], each["n_parameters"]) for each in coverage["left_out"]}


@pytest.mark.parametrize("tied", [True, False])
def test_parameters_are_counted_once_also_where_modules_share_them(tied: bool) -> None:
    model = _llama(tie_word_embeddings=tied)
    coverage = compute_coverage(model, select_modules(model))
    assert coverage["n_captured"] == 2 * LAYER + 90 * 16
    assert coverage["n_parameters"] == sum(p.numel() for p in model.parameters())
    assert coverage["share"] == pytest.approx(coverage["n_captured"] / (coverage["n_captured"] + NORMS))
    left_out = {"LlamaRMSNorm": (5, NORMS)} | ({} if tied else {"Embedding": (1, 90 * 16)})
    assert _by_reason(coverage) == left_out


def test_a_head_that_is_left_out_on_purpose_is_listed_and_not_held_against_the_model() -> None:
    model = _llama(tie_word_embeddings=False)
    coverage = compute_coverage(model, select_modules(model, with_head=False))
    assert _by_reason(coverage)["output"] == (1, 90 * 16)
    assert coverage["share"] == pytest.approx(2 * LAYER / (2 * LAYER + NORMS))


def test_biases_are_one_group() -> None:
    model = GPT2LMHeadModel(GPT2Config(vocab_size=90, n_embd=16, n_layer=2, n_head=2, n_positions=32))
    coverage = compute_coverage(model, select_modules(model))
    assert coverage["n_parameters"] == sum(p.numel() for p in model.parameters())
    assert _by_reason(coverage)["bias"] == (8, 2 * (3 + 1 + 4 + 1) * 16)
    assert describe_coverage(coverage).count("bias") == 1


def test_frozen_weights_under_adapters_are_listed_and_not_held_against_the_model() -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(_llama(), LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    coverage = compute_coverage(model, select_modules(model))
    assert coverage["n_captured"] == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert coverage["share"] == 1
    assert _by_reason(coverage)["base"][1] > coverage["n_captured"]


def test_below_the_threshold_the_left_out_kinds_are_named() -> None:
    model = _llama()
    coverage = compute_coverage(model, select_modules(model))
    check_coverage(coverage, coverage["share"])
    with pytest.raises(UserError, match=r"only 99% .* left out: .*LlamaRMSNorm"):
        check_coverage(coverage, 1.0)


def test_a_run_carries_its_coverage_and_a_refused_one_is_not_made(tmp_path: Path) -> None:
    file, model = write_rows(tmp_path / "apples.jsonl", make_rows(2)), save_tiny_model(tmp_path / "model")
    words = ["capture", "--dataset", file, "--model", model, "--run", "r"]
    refused = run_gsd(*words, "--min-coverage", "1", workspace=tmp_path / "w")
    assert refused.code == 2
    assert "--min-coverage" in refused.err
    for wrong in ("-1", "2", "nan"):
        assert run_gsd(*words, "--min-coverage", wrong, workspace=tmp_path / "w").code == 2
    captured = run_gsd_json(*words, workspace=tmp_path / "w")
    assert captured["coverage"]["share"] > 0.9
    assert len(captured["coverage"]["left_out"]) == 1
    assert run_gsd_json(*words[:-1], "h", "--tier", "hidden", workspace=tmp_path / "w")["coverage"] is None
