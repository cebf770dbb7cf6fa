"""What must not change a vector: batch, padding, order; what must: the seed. And what must be left behind: nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gsd_core.capture import position as position_tier
from gsd_core.capture.batches import plan_batches
from gsd_core.capture.capture import (
    CaptureConfig,
    Capturer,
    capture_with_less,
    choose_audited,
    iter_captured,
)
from gsd_core.capture.hidden import compute_hidden_batch
from gsd_core.capture.hooks import FrozenModel, ModuleTap
from gsd_core.types import SampleRecords, Skipped
from tests.tiny_models import (
    dense_gradients,
    make_model,
    make_sample,
    make_samples,
    relative_error,
    token_losses,
)


@pytest.mark.parametrize(
    ("tier", "window"),
    [("span", None), ("span", 1), ("position", None), ("hidden", None), ("head", None), ("state", None)],
)
def test_batch_and_order_change_no_vector(tier: str, window: int | None) -> None:
    # Alone there is no padding; in the batch every sample but one is padded, and chunks are padded inside too.
    capturer = Capturer(make_model("llama-gqa"), CaptureConfig(tier=tier, window=window, sketch_width=300))
    samples = make_samples()
    together = capturer.compute_gradients(samples, window)
    backwards = capturer.compute_gradients(samples[::-1], window)
    for i, sample in enumerate(samples):
        alone = capturer.compute_gradients([sample], window).gradients[0]
        assert relative_error(together.gradients[i], alone) <= 1e-4, f"{tier}: padding leaks into sample {i}"
        assert relative_error(backwards.gradients[-1 - i], alone) <= 1e-4, f"{tier}: order matters for sample {i}"


@pytest.mark.parametrize("tier", ["position", "hidden"])
def test_padding_side_changes_no_vector(tier: str) -> None:
    model = make_model("qwen2")
    capturer = Capturer(model, CaptureConfig(tier=tier, sketch_width=300))
    samples = make_samples()
    right = capturer.compute_gradients(samples)
    with FrozenModel(model):
        if tier == "hidden":
            left = compute_hidden_batch(model, capturer.sketch, samples, padding="left")
        else:
            with ModuleTap(capturer.selection, capturer.sketch) as tap:
                left = position_tier.compute_position_batch(model, tap, capturer.sketch, samples, padding="left")
    for a, b in zip(right.gradients, left.gradients, strict=True):
        assert relative_error(a, b) <= 1e-4
    for a, b in zip(right.token_losses, left.token_losses, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_position_shares_add_up_to_the_gradient_the_optimizer_takes() -> None:
    # Spans over every target token: with the prompt of one token, their positions are all that the loss can reach.
    model = make_model("llama-gqa")
    sample = make_sample("q", 26, [(1, 7), (7, 8), (8, 19), (19, 26)])
    capturer = Capturer(model, CaptureConfig(tier="position", sketch_width=300))
    shares = capturer.compute_gradients([sample]).gradients[0]
    model.eval()
    step = dense_gradients(capturer, token_losses(model, sample).mean())
    expected = capturer.sketch.project_dense(step).detach().numpy()
    assert relative_error(shares.sum(0), expected) <= 1e-5
    own = dense_gradients(capturer, token_losses(model, sample)[0:6].mean())
    not_it = capturer.sketch.project_dense(own).detach().numpy()
    assert relative_error(shares[0], not_it) > 0.1, "a share is not the gradient of the span's own loss"


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_hidden_tier_is_unembedding_times_residual(kind: str) -> None:
    # The formula of methods §1.1, computed here from logits alone.
    model = make_model(kind)
    sample = make_samples()[0]
    capturer = Capturer(model, CaptureConfig(tier="hidden", sketch_width=300))
    batch = capturer.compute_gradients([sample])
    model.eval()
    ids = torch.from_numpy(sample.token_ids.astype("int64"))
    with torch.no_grad():
        probabilities = torch.softmax(model(ids[None]).logits[0], -1)
    residual = probabilities[:-1] - torch.nn.functional.one_hot(ids[1:], probabilities.shape[-1])
    per_token = (residual @ model.get_output_embeddings().weight).detach().numpy()
    assert capturer.width == 48, "a direction no wider than the sketch must be kept whole"
    for k, span in enumerate(sample.spans):
        expected = per_token[span.start - 1 : span.end - 1]
        assert relative_error(batch.gradients[0][k], expected.mean(0)) <= 1e-5
        ratio = np.linalg.norm(expected.sum(0)) / np.linalg.norm(expected, axis=1).sum()
        assert batch.coherence[0][k] == pytest.approx(ratio, rel=1e-4)


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_head_tier_is_the_output_heads_weight_gradient(kind: str) -> None:
    # Against dense autograd, with the head untied: a tied table would add the token embedding's part.
    model = make_model(kind)
    head = model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().clone())
    capturer = Capturer(model, CaptureConfig(tier="head", sketch_width=300))
    sketch = capturer.sketch
    assert sketch.width == capturer.width <= 300
    samples = make_samples()
    batch = capturer.compute_gradients(samples)
    model.eval()
    for i, sample in enumerate(samples):
        for k, span in enumerate(sample.spans):
            loss = token_losses(model, sample)[span.start - 1 : span.end - 1].mean()
            (dense,) = torch.autograd.grad(loss, [head.weight])
            expected = (sketch.modules[0].left @ dense @ sketch.modules[0].right.T).flatten().numpy()
            assert relative_error(batch.gradients[i][k], expected) <= 1e-5
            assert 0 < batch.coherence[i][k] <= 1


def test_state_baseline_is_the_mean_of_the_models_own_final_states() -> None:
    model = make_model("llama")
    capturer = Capturer(model, CaptureConfig(tier="state", sketch_width=300))
    samples = make_samples()
    batch = capturer.compute_gradients(samples)
    model.eval()
    for i, sample in enumerate(samples):
        ids = torch.from_numpy(sample.token_ids.astype("int64"))[None]
        with torch.no_grad():
            states = model(ids, output_hidden_states=True).hidden_states[-1][0]
        for k, span in enumerate(sample.spans):
            expected = states[span.start : span.end].mean(0).numpy()
            assert relative_error(batch.gradients[i][k], expected) <= 1e-5


def test_same_seed_same_bytes_other_seed_other_vectors() -> None:
    def directions(seed: int) -> bytes:
        capturer = Capturer(make_model("llama"), CaptureConfig(window=1, sketch_width=200, seed=seed))
        return b"".join(r.direction.tobytes() for s in capturer.capture(make_samples()) for r in s.records)

    assert directions(3) == directions(3)
    assert directions(3) != directions(4)


def test_hooks_flags_and_modes_are_as_before_after_an_exception() -> None:
    # A crash in the middle must not leave a model that silently records or refuses to train.
    model = make_model("llama")
    model.train()
    model.model.layers[1].eval()
    next(model.parameters()).requires_grad_(False)
    flags = [p.requires_grad for p in model.parameters()]
    modes = [m.training for m in model.modules()]
    capturer = Capturer(model, CaptureConfig(window=1, sketch_width=100))

    class Broken(RuntimeError):
        pass

    def explode(*_: object) -> None:
        raise Broken

    handle = model.model.layers[2].mlp.register_forward_hook(explode)
    with pytest.raises(Broken):
        capturer.capture(make_samples())
    handle.remove()
    hooks = [h for m in model.modules() for h in (*m._forward_hooks.values(), *m._forward_pre_hooks.values())]
    assert not hooks
    assert [p.requires_grad for p in model.parameters()] == flags
    assert [m.training for m in model.modules()] == modes
    assert len(capturer.capture(make_samples())) == 4, "the same capturer works once the cause is gone"


class _Hungry:
    """Stands for a capturer whose memory holds at most `room` samples and never sample 'c'."""

    def __init__(self, room: int) -> None:
        self.room, self.calls, self.config = room, [], CaptureConfig()

    def capture(self, samples, audited, report):  # type: ignore[no-untyped-def]
        self.calls.append(len(samples))
        if len(samples) > self.room or any(s.id == "c" for s in samples):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return [SampleRecords(s, (), np.zeros(len(s.token_ids))) for s in samples]


def test_out_of_memory_halves_the_batch_and_goes_on() -> None:
    hungry = _Hungry(room=1)
    results = capture_with_less(hungry, make_samples(), set())  # type: ignore[arg-type]
    assert hungry.calls[0] == 4
    assert [r.sample if isinstance(r, Skipped) else r.tokenized.id for r in results] == ["a", "b", "c", "d"]
    assert isinstance(results[2], Skipped)
    assert "out of memory at 25 tokens" in results[2].reason


def test_a_sample_whose_gradient_overflows_is_skipped_and_the_rest_goes_on() -> None:
    model = make_model("llama")
    samples = make_samples()
    with torch.no_grad():  # the one token that only sample "d" holds, embedded as infinity
        only_d = set(samples[3].token_ids) - {t for s in samples[:3] for t in s.token_ids}
        model.get_input_embeddings().weight[int(min(only_d))] = float("inf")
    results = Capturer(model, CaptureConfig(tier="hidden")).capture(samples)
    assert isinstance(results[3], Skipped)
    assert "not finite" in results[3].reason
    assert all(isinstance(r, SampleRecords) for r in results[:3])


def test_other_errors_are_not_taken_for_lack_of_memory() -> None:
    class Wrong:
        def capture(self, samples, audited, report):  # type: ignore[no-untyped-def]
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        capture_with_less(Wrong(), make_samples(), set())  # type: ignore[arg-type]


def test_plan_keeps_every_sample_once_and_within_the_token_budget() -> None:
    samples = [make_sample(f"s{i}", 20 + i % 7, [(5, 20)]) for i in range(40)]
    samples.append(make_sample("long", 90, [(5, 90)]))
    plan = plan_batches(samples, 80)
    assert sorted(i for batch in plan for i in batch) == list(range(41))
    for batch in plan:
        padded = max(len(samples[i].token_ids) for i in batch) * len(batch)
        assert padded <= 80 or len(batch) == 1
    assert plan == plan_batches(samples, 80)


def test_skipping_done_batches_yields_the_same_records_for_the_rest() -> None:
    capturer = Capturer(make_model("llama"), CaptureConfig(window=1, sketch_width=100, batch_tokens=45))
    samples = make_samples()
    whole = dict(iter_captured(capturer, samples))
    rest = dict(iter_captured(capturer, samples, done={0}))
    assert set(whole) - set(rest) == {0}
    for index, results in rest.items():
        for a, b in zip(whole[index], results, strict=True):
            assert [r.direction.tobytes() for r in a.records] == [r.direction.tobytes() for r in b.records]


def test_audited_samples_do_not_depend_on_order() -> None:
    samples = [make_sample(f"s{i}", 10, [(2, 10)]) for i in range(100)]
    chosen = choose_audited(samples, 0.05, seed=1)
    assert len(chosen) == 5
    assert chosen == choose_audited(samples[::-1], 0.05, seed=1)
    assert chosen != choose_audited(samples, 0.05, seed=2)


def test_the_output_head_is_a_block_of_its_own_with_half_the_width() -> None:
    capturer = Capturer(make_model("llama"), CaptureConfig(sketch_width=400))
    head = capturer.blocks[-1]
    assert head.layer == "output head"
    assert head.stop - head.start == 200
    assert capturer.width <= 400
    without = Capturer(make_model("llama"), CaptureConfig(sketch_width=400, with_head=False))
    assert [block.layer for block in without.blocks] == [block.layer for block in capturer.blocks[:-1]]


@pytest.mark.parametrize("tier", ["span", "position"])
def test_a_tied_head_gives_the_heads_part_of_the_shared_weight(tier: str) -> None:
    model = make_model("llama")
    with torch.no_grad():
        model.lm_head.weight.copy_(model.model.embed_tokens.weight)
    untied = Capturer(model, CaptureConfig(tier=tier, sketch_width=400)).compute_gradients(make_samples())
    model.lm_head.weight = model.model.embed_tokens.weight
    tied = Capturer(model, CaptureConfig(tier=tier, sketch_width=400)).compute_gradients(make_samples())
    for one, two in zip(untied.gradients, tied.gradients, strict=True):
        assert np.array_equal(one, two)
