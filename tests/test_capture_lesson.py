"""A step on one span: first order agrees with gradients, a small step with first order, and the weights come back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.optim.optimizer import register_optimizer_step_post_hook

from gsd_core.capture.lesson import PROBE, Classroom, LessonStep, check_room, count_moved
from gsd_core.errors import UserError
from tests.tiny_models import make_model, make_samples, token_losses

KINDS = ["llama-gqa", "qwen2-sliding", "qwen3", "gpt2"]


def dense_products(model: torch.nn.Module, room: Classroom, slopes: dict[str, torch.Tensor]) -> np.ndarray:
    """⟨gradient of every span of the pool, slopes⟩ by autograd, in all weights."""
    weights = dict(model.named_parameters())
    found = []
    for sample in room.pool:
        for span in sample.spans:
            loss = token_losses(model, sample)[span.start - 1 : span.end - 1].mean()
            own = torch.autograd.grad(loss, [weights[name] for name in slopes], allow_unused=True)
            found.append(sum(float((a * b).sum()) for a, b in zip(own, slopes.values(), strict=True) if a is not None))
    return np.array(found)


@pytest.mark.parametrize("kind", KINDS)
def test_first_order_is_the_inner_product_of_gradients_in_all_weights(kind: str) -> None:
    model, samples = make_model(kind).eval(), make_samples()
    room = Classroom(model, samples)
    known = room.find_gradient(samples[0], samples[0].spans[1])
    expected = dense_products(model, room, known[1])
    found = room.predict(known)
    own = float(sum(slope.square().sum() for slope in known[1].values()))
    np.testing.assert_allclose(found, expected, rtol=0.02, atol=2e-3 * own)


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_step_teaches_what_first_order_says_and_a_large_one_does_not(kind: str) -> None:
    model, samples = make_model(kind), make_samples()
    room, span = Classroom(model, samples), samples[0].spans[1]
    known = room.find_gradient(samples[0], span)
    slope = room.predict(known)
    small = room.teach(samples[0], span, LessonStep("sgd", 0.01), known)
    assert small.own_before - small.own_after == pytest.approx(0.01 * small.own_before, rel=0.05)
    assert np.corrcoef(small.learned, slope)[0, 1] > 0.999
    large = room.teach(samples[0], span, LessonStep("sgd", 1.0), known)
    assert np.corrcoef(large.learned, slope)[0, 1] < np.corrcoef(small.learned, slope)[0, 1]


def test_several_steps_and_adam_go_as_far_to_first_order() -> None:
    model, samples = make_model("llama"), make_samples()
    room, span = Classroom(model, samples), samples[1].spans[0]
    known = room.find_gradient(samples[1], span)
    for step in (LessonStep("adam", 0.01), LessonStep("sgd", 0.01, 4), LessonStep("adam", 0.01, 4)):
        lesson = room.teach(samples[1], span, step, known)
        assert lesson.own_before - lesson.own_after == pytest.approx(0.01 * lesson.own_before, rel=0.15), step
    adam = room.teach(samples[1], span, LessonStep("adam", PROBE), known)
    foretold = room.predict(known, "adam") * adam.rate
    assert np.corrcoef(adam.learned, foretold)[0, 1] > 0.95


def test_weights_modes_and_flags_are_as_before_also_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    model, samples = make_model("llama").train(), make_samples()
    before = [each.clone() for each in model.parameters()]
    room = Classroom(model, samples)
    room.teach(samples[0], samples[0].spans[0], LessonStep("adam", 0.5, 3))
    assert model.training
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, model.parameters(), strict=True))
    monkeypatch.setattr(room, "_measure", lambda report=None: 1 / 0)
    known = room.find_gradient(samples[0], samples[0].spans[0])
    for call in (lambda: room.teach(samples[0], samples[0].spans[0], LessonStep(), known), lambda: room.predict(known)):
        with pytest.raises(ZeroDivisionError):
            call()
        assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_only_what_training_would_move_is_moved() -> None:
    model = get_peft_model(make_model("llama"), LoraConfig(r=2, target_modules=["q_proj"]))
    samples = make_samples()
    assert count_moved(model) == sum(p.numel() for n, p in model.named_parameters() if "lora_" in n)
    room = Classroom(model, samples)
    lesson = room.teach(samples[0], samples[0].spans[0], LessonStep("sgd", 0.01))
    assert lesson.own_after < lesson.own_before
    for each in model.parameters():
        each.requires_grad_(False)
    with pytest.raises(UserError, match="frozen"):
        Classroom(model, samples)
    with pytest.raises(UserError, match="no sample has a span"):
        Classroom(make_model("llama"), [])


@pytest.mark.parametrize(
    ("step", "copies"), [(LessonStep(), 2), (LessonStep("sgd", 0.1, 2), 3), (LessonStep("adam", 0.1, 2), 5)]
)
def test_lessons_that_do_not_fit_into_memory_are_refused(
    step: LessonStep, copies: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model("llama")
    room = copies * 4 * count_moved(model)
    monkeypatch.setattr("gsd_core.capture.lesson.find_free_bytes", lambda device: room)
    check_room(model, [LessonStep(), step])
    monkeypatch.setattr("gsd_core.capture.lesson.find_free_bytes", lambda device: room - 1)
    with pytest.raises(UserError, match=r"copies of .* weights in float32"):
        check_room(model, [step])
    monkeypatch.setattr("gsd_core.capture.lesson.find_free_bytes", lambda device: room)
    with pytest.raises(UserError, match="GiB are free"):  # half precision is widened first
        check_room(model.half(), [step])


def test_a_lesson_holds_as_many_copies_of_the_weights_as_are_asked_for() -> None:
    model, samples = make_model("llama"), make_samples()
    span = samples[0].spans[1]
    room = Classroom(model, samples)
    held = {}

    def count(optimizer: torch.optim.Optimizer, *rest: object) -> None:
        state = [each for own in optimizer.state.values() for each in own.values() if each.numel() > 1]
        gradients = [each.grad for each in model.parameters() if each.grad is not None]
        later = [each for each in gradients if all(each is not slope for slope in known[1].values())]
        tensors = [*room._kept.values(), *known[1].values(), *state, *later]
        held["bytes"] = sum(each.numel() * 4 for each in tensors)

    for step, copies in ((LessonStep(), 2), (LessonStep("sgd", 0.1, 2), 3), (LessonStep("adam", 0.1, 2), 5)):
        known = room.find_gradient(samples[0], span)
        hook = register_optimizer_step_post_hook(count)
        room.teach(samples[0], span, step, known)
        hook.remove()
        assert held["bytes"] == copies * 4 * count_moved(model), step
