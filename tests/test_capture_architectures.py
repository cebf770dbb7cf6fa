"""LoRA models by choice, and clear refusals where a tier cannot serve an architecture."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model

from gsd_core.capture.capture import CaptureConfig, Capturer
from gsd_core.errors import UserError
from tests.tiny_models import (
    dense_gradients,
    make_model,
    make_samples,
    relative_error,
    token_losses,
)


def make_lora_model() -> torch.nn.Module:
    torch.manual_seed(11)
    model = get_peft_model(make_model("llama"), LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"]))
    with torch.no_grad():  # B starts at zero, which would hide every gradient of A
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return model


@pytest.mark.parametrize(("lora", "n_modules"), [("adapters", 18), ("base", 22)])
def test_lora_models_capture_adapters_or_base_exactly(lora: str, n_modules: int) -> None:
    model = make_lora_model()
    flags = [p.requires_grad for p in model.parameters()]
    capturer = Capturer(model, CaptureConfig(sketch_width=400, lora=lora))
    names = [c.name for c in capturer.selection.captured]
    assert len(names) == n_modules
    assert all((".lora_" in name) == (lora == "adapters") for name in names)
    samples = make_samples()
    batch = capturer.compute_gradients(samples)
    assert [p.requires_grad for p in model.parameters()] == flags
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    span = samples[0].spans[1]
    loss = token_losses(model, samples[0])[span.start - 1 : span.end - 1].mean()
    expected = capturer.sketch.project_dense(dense_gradients(capturer, loss)).detach().numpy()
    assert relative_error(batch.gradients[0][1], expected) <= 1e-5


def test_sides_no_wider_than_the_rank_are_kept_whole() -> None:
    # A random projection of a rank-4 factor up to 16 numbers would only add noise.
    capturer = Capturer(make_lora_model(), CaptureConfig(sketch_width=400))
    for module in capturer.sketch.modules:
        if ".lora_A." in module.name:
            assert module.left is None
            assert module.p == 4
        else:
            assert module.right is None
            assert module.q == 4


def test_a_recurrent_model_is_refused_by_span_and_served_by_the_others() -> None:
    model = make_model("mamba")
    with pytest.raises(UserError, match=r"key-value cache.*--tier position, head or hidden"):
        Capturer(model, CaptureConfig(tier="span"))
    for tier in ("position", "hidden"):
        results = Capturer(model, CaptureConfig(tier=tier, sketch_width=64)).capture(make_samples()[:1])
        assert all(r.norm > 0 for r in results[0].records), tier


def test_fused_experts_are_refused_by_name_and_served_by_hidden() -> None:
    model = make_model("mixtral")
    for tier in ("span", "position"):
        with pytest.raises(UserError, match=r"experts are fused.*--tier head or hidden"):
            Capturer(model, CaptureConfig(tier=tier))
    results = Capturer(model, CaptureConfig(tier="hidden")).capture(make_samples())
    assert all(r.norm > 0 for s in results for r in s.records)


def test_a_model_whose_chunks_differ_from_the_whole_is_refused() -> None:
    # Stands for any architecture that ignores positions or masks handed to it: wrong numbers must not pass silently.
    model = make_model("llama")

    def ignore_positions(module, args, kwargs):  # type: ignore[no-untyped-def]
        if (given := kwargs.get("position_ids")) is not None:
            kwargs["position_ids"] = torch.arange(given.shape[1])[None].expand_as(given)
        return args, kwargs

    model.register_forward_pre_hook(ignore_positions, with_kwargs=True)
    capturer = Capturer(model, CaptureConfig(sketch_width=100))
    with pytest.raises(UserError, match="differs from the plain one"):
        capturer.capture(make_samples()[:1])


def test_skipped_modules_are_listed_with_reasons() -> None:
    capturer = Capturer(make_model("gpt2"), CaptureConfig(sketch_width=100, with_head=False))
    skipped = capturer.selection.skipped
    assert skipped["lm_head"] == "output head (left out by --no-head)"
    assert "transformer.wte" in skipped
    assert "transformer.h.0.ln_1" in skipped
    assert skipped["transformer.h.0.attn.c_attn.bias"] == "bias"


def test_an_unknown_tier_names_the_known_ones() -> None:
    with pytest.raises(UserError, match="span, position, head, hidden, state"):
        Capturer(make_model("llama"), CaptureConfig(tier="dense"))
