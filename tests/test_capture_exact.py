"""The second stage agrees with autograd, and the sketch with it: products by forward mode, dense gradients by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from gsd_core.capture.capture import CaptureConfig, Capturer
from gsd_core.capture.exact import compute_dense, compute_products
from gsd_core.capture.modules import select_modules
from tests.tiny_models import dense_gradients, make_model, make_samples, token_losses

KINDS = ["llama-gqa", "llama-eager", "qwen2", "qwen3", "gpt2"]


@pytest.mark.parametrize("kind", KINDS)
def test_dense_gradients_are_those_of_autograd(kind: str) -> None:
    model, sample = make_model(kind).eval(), make_samples()[0]
    capturer = Capturer(model, CaptureConfig(sketch_width=64))
    assert capturer.selection is not None
    for span in sample.spans:
        found = compute_dense(model, capturer.selection, sample, span)
        expected = dense_gradients(capturer, token_losses(model, sample)[span.start - 1 : span.end - 1].mean())
        for a, b in zip(found.weights, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
        assert found.norm == pytest.approx(sum(float(w.square().sum()) for w in expected) ** 0.5, rel=1e-4)


@pytest.mark.parametrize("kind", [*KINDS, "qwen2-sliding"])
def test_one_forward_mode_pass_gives_the_product_with_every_span(kind: str) -> None:
    model, samples = make_model(kind), make_samples()
    selection = select_modules(model)
    query = compute_dense(model, selection, samples[0], samples[0].spans[1])
    products = compute_products(model, selection, samples, query)
    for sample, tokens in zip(samples, products, strict=True):
        assert tokens.shape == (len(sample.token_ids),)
        for span in sample.spans:
            expected = compute_dense(model, selection, sample, span).dot(query)
            found = float(tokens[span.start : span.end].mean())
            assert found == pytest.approx(expected, rel=2e-3, abs=1e-4 * query.norm), f"{kind}: span {span.index}"


def test_shared_heads_and_adapters_count_only_what_is_captured() -> None:
    model = make_model("llama")
    model.lm_head.weight = model.model.embed_tokens.weight  # the embedding's part of the shared weight stays out
    adapted = get_peft_model(make_model("llama"), LoraConfig(r=3, target_modules=["q_proj", "down_proj"]))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
    for each in (model, adapted):
        selection = select_modules(each)
        a, b = make_samples()[:2]
        query = compute_dense(each, selection, a, a.spans[0])
        (tokens,) = compute_products(each, selection, [b], query)
        for span in b.spans:
            expected = compute_dense(each, selection, b, span).dot(query)
            assert float(tokens[span.start : span.end].mean()) == pytest.approx(expected, rel=2e-3, abs=1e-4)


def test_sketched_cosines_estimate_the_exact_ones() -> None:
    model, samples = make_model("llama"), make_samples()
    capturer = Capturer(model, CaptureConfig(sketch_width=20_000, sketch_rank=48))
    assert capturer.selection is not None
    query = compute_dense(model, capturer.selection, samples[0], samples[0].spans[0])
    sketched = capturer.compute_gradients(samples)
    own = sketched.gradients[0][0]
    gaps = []
    for sample, gradients, tokens in zip(
        samples, sketched.gradients, compute_products(model, capturer.selection, samples, query), strict=True
    ):
        for span, vector in zip(sample.spans, gradients, strict=True):
            norm = compute_dense(model, capturer.selection, sample, span).norm
            exact = float(tokens[span.start : span.end].mean()) / (norm * query.norm)
            rough = float(vector @ own / np.linalg.norm(vector) / np.linalg.norm(own))
            gaps.append(abs(exact - rough))
    assert float(np.sqrt(np.mean(np.square(gaps)))) < 0.05


def test_the_model_is_left_as_it_was() -> None:
    model, sample = make_model("llama"), make_samples()[0]
    model.train()  # no dropout in this one
    selection = select_modules(model)
    before = token_losses(model, sample).detach()
    query = compute_dense(model, selection, sample, sample.spans[0])
    compute_products(model, selection, [sample], query)
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())
    torch.testing.assert_close(token_losses(model, sample).detach(), before)
