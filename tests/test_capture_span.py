"""Tier span: what it returns is what dense autograd returns, for every architecture and every window."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from transformers import AttentionInterface
from transformers.models.llama.modeling_llama import eager_attention_forward

from gsd_core.capture.batches import chunk_borders
from gsd_core.capture.capture import CaptureConfig, Capturer
from tests.tiny_models import (
    dense_gradients,
    make_model,
    make_sample,
    make_samples,
    relative_error,
    token_losses,
)

ARCHITECTURES = ["llama", "llama-gqa", "llama-eager", "qwen2", "qwen2-sliding", "qwen3", "gpt2"]


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_full_window_equals_dense_autograd(kind: str) -> None:
    # The tier's whole claim; a failure here points at masks, positions or at a chunk whose gradient is dropped.
    model = make_model(kind)
    samples = make_samples()
    capturer = Capturer(model, CaptureConfig(sketch_width=300))
    batch = capturer.compute_gradients(samples, window=None)
    model.eval()
    for i, sample in enumerate(samples):
        for k, span in enumerate(sample.spans):
            loss = token_losses(model, sample)[span.start - 1 : span.end - 1].mean()
            expected = capturer.sketch.project_dense(dense_gradients(capturer, loss)).detach().numpy()
            error = relative_error(batch.gradients[i][k], expected)
            assert error <= 1e-5, f"{kind}, sample {sample.id}, span {k}: off by {error:.1e}"


def test_a_batch_without_any_prompt_is_exact_too() -> None:
    # Chunk 0 is then never run, and chunks are numbered differently.
    model = make_model("llama-gqa")
    samples = [make_sample("x", 12, [(1, 5), (5, 12)]), make_sample("y", 9, [(1, 9)])]
    capturer = Capturer(model, CaptureConfig(sketch_width=200))
    model.eval()
    for window in (None, 0, 1):
        batch = capturer.compute_gradients(samples, window)
        loss = token_losses(model, samples[1])[0:8].mean()
        expected = capturer.sketch.project_dense(dense_gradients(capturer, loss)).detach().numpy()
        assert relative_error(batch.gradients[1][0], expected) <= 1e-5, f"window {window}"


@contextmanager
def constant_past(model: torch.nn.Module, cut: list[int]) -> Iterator[None]:
    """Whole-sequence attention in which keys and values before position ``cut[0]`` are constants."""

    def forward(module, query, key, value, attention_mask, **kwargs):  # type: ignore[no-untyped-def]
        at = cut[0]
        key = torch.cat([key[:, :, :at].detach(), key[:, :, at:]], dim=2)
        value = torch.cat([value[:, :, :at].detach(), value[:, :, at:]], dim=2)
        return eager_attention_forward(module, query, key, value, attention_mask, **kwargs)

    AttentionInterface.register("eager_constant_past", forward)
    before = model.config._attn_implementation
    model.set_attn_implementation("eager_constant_past")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


@pytest.mark.parametrize("window", [0, 1, 2])
@pytest.mark.parametrize("kind", ["llama-gqa", "qwen3"])
def test_any_window_equals_autograd_with_the_same_keys_and_values_detached(kind: str, window: int) -> None:
    # The reference runs the whole sequence at once and shares no code with the chunked pass.
    model = make_model(kind)
    samples = make_samples()
    capturer = Capturer(model, CaptureConfig(window=window, sketch_width=300))
    batch = capturer.compute_gradients(samples, window)
    model.eval()
    for i, sample in enumerate(samples):
        borders = chunk_borders(sample)
        for k, span in enumerate(sample.spans):
            first = borders[max(1, k + 1 - window)]
            with constant_past(model, [first]):
                full = torch.ones(1, 1, len(sample.token_ids), len(sample.token_ids)).tril()
                mask = torch.zeros_like(full).masked_fill(full == 0, torch.finfo(torch.float32).min)
                ids = torch.from_numpy(sample.token_ids.astype("int64"))
                logits = model(ids[None], attention_mask=mask).logits[0]
            loss = torch.nn.functional.cross_entropy(logits[span.start - 1 : span.end - 1], ids[span.start : span.end])
            # With the past constant, positions before the window still feel the loss through nothing at all.
            expected = capturer.sketch.project_dense(dense_gradients(capturer, loss)).detach().numpy()
            error = relative_error(batch.gradients[i][k], expected)
            assert error <= 1e-5, f"{kind}, window {window}, sample {sample.id}, span {k}: off by {error:.1e}"


def test_a_window_that_reaches_the_prompt_only_differs_from_exact_by_the_prompt() -> None:
    # A window counts spans; the prompt is none, so even a huge window is not the exact gradient …
    model = make_model("llama")
    samples = make_samples()
    capturer = Capturer(model, CaptureConfig(sketch_width=300))
    exact = capturer.compute_gradients(samples, None)
    wide = capturer.compute_gradients(samples, 10)
    wider = capturer.compute_gradients(samples, 50)
    first = relative_error(wide.gradients[0][0], exact.gradients[0][0])
    assert first > 1e-3
    # … except where there is no prompt (sample c starts at token 1), and a wider one changes nothing more.
    assert relative_error(wide.gradients[2], exact.gradients[2]) <= 1e-5
    for a, b in zip(wide.gradients, wider.gradients, strict=True):
        np.testing.assert_array_equal(a, b)


def test_spans_of_a_partition_add_up_to_the_sample_gradient() -> None:
    # Sums instead of means: Σ n_s g_s is the gradient of the summed loss, so a last span may come by subtraction.
    model = make_model("qwen2")
    sample = make_sample("p", 31, [(6, 11), (11, 12), (12, 25), (25, 31)])
    capturer = Capturer(model, CaptureConfig(sketch_width=300))
    gradients = capturer.compute_gradients([sample]).gradients[0]
    lengths = np.array([s.end - s.start for s in sample.spans])
    model.eval()
    whole = dense_gradients(capturer, token_losses(model, sample)[5:].sum())
    expected = capturer.sketch.project_dense(whole).detach().numpy()
    assert relative_error((gradients * lengths[:, None]).sum(0), expected) <= 1e-5


def test_token_losses_are_those_of_a_plain_forward_pass() -> None:
    model = make_model("llama-gqa")
    samples = make_samples()
    capturer = Capturer(model, CaptureConfig(window=1, sketch_width=100))
    results = capturer.capture(samples)
    model.eval()
    for sample, result in zip(samples, results, strict=True):
        expected = token_losses(model, sample).detach().numpy()
        assert np.isnan(result.token_losses[0])
        np.testing.assert_allclose(result.token_losses[1:], expected, atol=2e-4)
        for record in result.records:
            mean = expected[record.span.start - 1 : record.span.end - 1].mean()
            assert record.loss == pytest.approx(mean, abs=2e-4)


def test_coherence_is_one_for_one_token_and_never_more() -> None:
    capturer = Capturer(make_model("llama"), CaptureConfig(window=0, sketch_width=200))
    results = capturer.capture(make_samples())
    one_token = results[1].records[0]
    assert one_token.span.end - one_token.span.start == 1
    assert one_token.coherence == pytest.approx(1.0, abs=1e-5)
    longer = [r.coherence for result in results for r in result.records if r.span.end - r.span.start > 1]
    assert all(0 < c < 1 for c in longer), longer


def test_the_audit_reports_the_cosine_between_window_and_exact() -> None:
    model = make_model("llama")
    samples = make_samples()
    capturer = Capturer(model, CaptureConfig(window=0, sketch_width=300))
    results = capturer.capture(samples, audited={"a"})
    exact = capturer.compute_gradients([samples[0]], None).gradients[0]
    for k, record in enumerate(results[0].records):
        direction = record.direction.astype(np.float64)
        expected = float(direction @ exact[k] / (np.linalg.norm(direction) * np.linalg.norm(exact[k])))
        assert record.window_cosine == pytest.approx(expected, abs=1e-3)
    assert all(r.window_cosine is None for result in results[1:] for r in result.records)
