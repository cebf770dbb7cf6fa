"""Integrated gradients: equal to the formula by autograd and to Captum, complete, and cheap where they can be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients

from gsd_core.attribution.integrated import AnswerGradients, AnswerTrace, PathSettings, count_passes
from tests.tiny_models import make_model, make_sample

KINDS = ["llama-gqa", "qwen2-sliding", "qwen3", "gpt2", "mamba"]
PAD = 5


def make_trace(n_tokens: int = 30, n_answer: int = 3, n_question: int = 8) -> AnswerTrace:
    ids = make_sample("trace", n_tokens, [(n_question, n_tokens)]).token_ids
    return AnswerTrace(ids, n_tokens - n_answer, n_question)


def answer_value(model: torch.nn.Module, embeddings: torch.Tensor, trace: AnswerTrace) -> torch.Tensor:
    """F by its definition, from the logits of all positions."""
    logits = model(inputs_embeds=embeddings).logits.float().log_softmax(-1)
    places = range(trace.answer_start, len(trace.token_ids))
    return torch.stack([logits[:, at - 1, int(trace.token_ids[at])] for at in places]).sum(0)


def embed_ends(model: torch.nn.Module, trace: AnswerTrace, baseline: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings (1, T − 1, D) of baseline and trace."""
    embed = model.get_input_embeddings()
    end = embed(torch.as_tensor(trace.token_ids[:-1].astype(np.int64)))[None].detach()
    start = embed(torch.tensor([PAD])).detach().expand_as(end).clone()
    if baseline == "mean":
        start = embed.weight.detach().mean(0).expand_as(end).clone()
    if baseline == "question":
        start[:, : trace.n_question] = end[:, : trace.n_question]
    return start, end


@pytest.mark.parametrize("baseline", ["pad", "mean", "question"])
@pytest.mark.parametrize("kind", KINDS)
def test_published_scores_are_those_of_the_formula(kind: str, baseline: str) -> None:
    model, trace, n = make_model(kind).eval(), make_trace(), 7
    found = AnswerGradients(model, PAD, PathSettings(baseline, "published", n)).attribute(trace)
    start, end = embed_ends(model, trace, baseline)
    slopes = torch.zeros_like(end, dtype=torch.float64)
    for share in np.linspace(0, 1, n):
        point = (start + float(share) * (end - start)).requires_grad_(True)
        slopes += torch.autograd.grad(answer_value(model, point, trace).sum(), point)[0].double() / n
    expected = (slopes * (end - start).double()).sum(-1)[0].numpy()
    np.testing.assert_allclose(found.scores[:-1], expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    assert found.scores[-1] == 0
    assert found.value == pytest.approx(float(answer_value(model, end, trace)), rel=1e-5)
    assert found.baseline_value == pytest.approx(float(answer_value(model, start, trace)), rel=1e-5)
    assert (found.n_points, found.n_values) == count_passes(PathSettings(baseline, "published", n))


@pytest.mark.parametrize("kind", ["llama-gqa", "gpt2"])
def test_scores_equal_captums(kind: str) -> None:
    model, trace = make_model(kind).eval(), make_trace()
    found = AnswerGradients(model, PAD, PathSettings("pad", "gauss", 20)).attribute(trace)
    start, end = embed_ends(model, trace, "pad")
    oracle = IntegratedGradients(lambda inputs: answer_value(model, inputs, trace))
    expected = oracle.attribute(end, start, n_steps=20, method="gausslegendre").sum(-1)[0].detach().numpy()
    np.testing.assert_allclose(found.scores[:-1], expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("baseline", ["pad", "question"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "mamba"])  # whose F is rugged at these weights
def test_adaptive_nodes_leave_at_most_the_residual_that_was_asked_for(kind: str, baseline: str) -> None:
    model, trace = make_model(kind).eval(), make_trace()
    loose, tight = (
        AnswerGradients(model, PAD, PathSettings(baseline, residual=share)).attribute(trace) for share in (0.05, 0.001)
    )
    for found, share in ((loose, 0.05), (tight, 0.001)):
        assert found.residual <= share * abs(found.value - found.baseline_value)
    assert tight.n_points > loose.n_points >= count_passes(PathSettings())[0]
    fine = AnswerGradients(model, PAD, PathSettings(baseline, "gauss", 400)).attribute(trace)
    assert np.abs(tight.scores - fine.scores).max() < 0.02 * np.abs(fine.scores).max()


def test_adaptive_nodes_give_up_where_they_were_told_to_and_the_residual_says_so() -> None:
    model, trace = make_model("mamba").eval(), make_trace()
    found = AnswerGradients(model, PAD, PathSettings("pad", most_points=40)).attribute(trace)
    assert found.n_points <= 40
    assert found.residual > 0.01 * abs(found.value - found.baseline_value)


def test_batches_and_checkpointing_change_nothing() -> None:
    model, trace = make_model("llama-gqa").eval(), make_trace()
    whole, *others = (
        AnswerGradients(model, PAD, PathSettings("question", "gauss", 9, **more)).attribute(trace).scores
        for more in ({}, {"batch_tokens": 1}, {"batch_tokens": 64}, {"gradient_checkpointing": True})
    )
    for other in others:
        np.testing.assert_allclose(other, whole, rtol=1e-4, atol=1e-6)


def test_a_kept_question_has_no_score_and_is_read_once() -> None:
    model, trace = make_model("llama-gqa").eval(), make_trace()
    widths = []
    model.model.register_forward_pre_hook(
        lambda module, args, kwargs: widths.append(kwargs["inputs_embeds"].shape[:2]), with_kwargs=True
    )
    found = AnswerGradients(model, PAD, PathSettings("question", "gauss", 4)).attribute(trace)
    assert not found.scores[: trace.n_question].any()
    assert found.scores[trace.n_question : -1].all()
    assert widths[0] == (1, trace.n_question)
    rest = len(trace.token_ids) - 1 - trace.n_question
    assert {width for _, width in widths[1:]} == {rest}


def test_an_answer_right_after_the_question_and_one_at_the_first_place_work() -> None:
    model = make_model("llama").eval()
    ids = make_sample("short", 9, [(6, 9)]).token_ids
    for start, n_question in ((6, 6), (1, 0), (8, 6)):
        for baseline in ("pad", "question"):
            found = AnswerGradients(model, PAD, PathSettings(baseline)).attribute(AnswerTrace(ids, start, n_question))
            gap = abs(found.value - found.baseline_value)
            assert found.residual <= max(0.01 * gap, 1e-5)
    with pytest.raises(ValueError, match="baseline 'padd'"):
        PathSettings("padd")
    with pytest.raises(ValueError, match="answer begins"):
        AnswerGradients(model, PAD).attribute(AnswerTrace(ids, 9))


def test_the_model_is_left_as_it_was() -> None:
    model, trace = make_model("llama").train(), make_trace()
    before = [each.clone() for each in model.parameters()]
    AnswerGradients(model, PAD).attribute(trace)
    assert model.training
    assert all(each.requires_grad and each.grad is None for each in model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_half_precision_agrees_with_single() -> None:
    trace = make_trace()
    single, half = (
        AnswerGradients(make_model("llama").to(dtype).eval(), PAD, PathSettings("pad", "gauss", 24)).attribute(trace)
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert np.corrcoef(single.scores, half.scores)[0, 1] > 0.98
