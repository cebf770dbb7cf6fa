"""Checkpointed layers: the same records from less memory, and a model that is left as it was."""

from __future__ import annotations

import weakref
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from gsd_core.capture.capture import CaptureConfig, Capturer, capture_with_less
from gsd_core.errors import UserError
from gsd_core.types import Skipped
from tests.test_capture_window import make, make_ragged
from tests.tiny_models import make_model, make_sample, make_samples, relative_error

WAYS = [("span", None), ("span", 0), ("span", 2), ("position", None)]


def make_pair(model: Any, tier: str = "span", **others: Any) -> tuple[Capturer, Capturer]:
    """The same capture with its graph kept, and with its layers computed again."""
    plain = Capturer(model, CaptureConfig(tier=tier, sketch_width=300, **others))
    return plain, Capturer(model, CaptureConfig(tier=tier, sketch_width=300, gradient_checkpointing=True, **others))


@pytest.mark.parametrize(
    ("kind", "tier", "window"),
    [
        *(("qwen2-sliding", *way) for way in WAYS),
        ("gpt2", "span", None),
        ("llama-eager", "span", 1),
        ("gemma2", "position", None),
    ],
)
def test_layers_computed_again_change_no_record(kind: str, tier: str, window: int | None) -> None:
    # The long prompt is cut into pieces where the gradient is exact; the ragged samples have none, and gaps.
    samples = [make_sample("long", 90, [(70, 75), (76, 88)]), *make_ragged()]
    plain, again = make_pair(make(kind), tier)
    one, two = plain.compute_gradients(samples, window), again.compute_gradients(samples, window)
    for i in range(len(samples)):
        for k in range(len(samples[i].spans)):
            assert relative_error(two.gradients[i][k], one.gradients[i][k]) <= 1e-5
        np.testing.assert_allclose(two.coherence[i], one.coherence[i], rtol=1e-4)
        np.testing.assert_allclose(two.token_losses[i], one.token_losses[i], atol=2e-4)


def test_the_audit_of_a_window_is_the_same() -> None:
    samples = make_samples()
    found = [capturer.capture(samples, {samples[0].id}) for capturer in make_pair(make("llama-gqa"), window=0)]
    for one, two in zip(*([r.window_cosine for r in each[0].records] for each in found), strict=True):
        assert one == pytest.approx(two, abs=1e-5)
        assert one < 0.999  # else there would be nothing to compare


@pytest.mark.parametrize("tier", ["span", "position"])
def test_no_layer_keeps_its_inner_values_through_the_forward_pass(tier: str) -> None:
    model = make("llama-gqa")
    inner: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []
    for layer in model.model.layers:
        layer.mlp.act_fn.register_forward_hook(lambda *args: inner.append(weakref.ref(args[2])))
    model.model.norm.register_forward_hook(lambda *_: alive.append(sum(each() is not None for each in inner)))
    for capturer, expected in zip(make_pair(model, tier, window=1), (len(model.model.layers), 0), strict=True):
        capturer.implementation.shares_passes = True  # the check of the model is not what is looked at
        inner.clear()
        alive.clear()
        capturer.capture([make_sample("one", 60, [(2, 20), (20, 58)])])
        assert alive[0] == expected


def test_dropout_stays_off_and_layers_are_as_before_whatever_happens() -> None:
    model = make_model("gpt2")
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    model.train()
    layers = list(model.transformer.h)
    layers[0].forward = own = layers[0].forward  # as a model laid over several devices has it
    plain, again = make_pair(model)
    one, two = (each.compute_gradients(make_samples(), 1) for each in (plain, again))
    for a, b in zip(one.gradients, two.gradients, strict=True):
        assert relative_error(b, a) <= 1e-5

    def explode(*_: object) -> None:
        raise ZeroDivisionError

    layers[1].register_forward_hook(explode)
    with pytest.raises(ZeroDivisionError):
        again.compute_gradients(make_samples(), 1)
    assert layers[0].forward is own
    assert "forward" not in vars(layers[1])
    assert all(layer.training for layer in layers)


@pytest.mark.parametrize("tier", ["hidden", "head", "state"])
def test_tiers_without_a_graph_refuse_the_flag(tier: str) -> None:
    with pytest.raises(UserError, match="keeps no graph"):
        make_pair(make("llama"), tier)


def test_chunks_refuse_the_flag_and_name_the_way_out() -> None:
    _, again = make_pair(make("gemma2"))
    with pytest.raises(UserError, match="leave out --gradient-checkpointing"):
        again.compute_gradients(make_samples(), None)


def test_a_model_that_does_not_name_its_layers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gsd_core.capture.checkpointing.GradientCheckpointingLayer", torch.nn.Bilinear)
    with pytest.raises(UserError, match="cannot be computed again"):
        make_pair(make("llama"))


def test_a_sample_too_long_for_the_memory_is_told_of_checkpointing(monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = []
    for capturer in make_pair(make("llama")):
        with monkeypatch.context() as patch:
            patch.setattr(capturer, "capture", Mock(side_effect=MemoryError))
            (skipped,) = capture_with_less(capturer, make_samples()[:1], ())
        assert isinstance(skipped, Skipped)
        reasons.append(skipped.reason)
    assert "try --gradient-checkpointing" in reasons[0]
    assert "try" not in reasons[1]
