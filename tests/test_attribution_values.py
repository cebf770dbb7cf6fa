"""Values of answers: after prefixes, without segments, losses and entropies, against whole forward passes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gsd_core.attribution import answer_values
from gsd_core.attribution.answer_values import AnswerValues, measure_removals, measure_segments
from gsd_core.attribution.integrated import AnswerTrace
from gsd_core.comparison.segment_choice import choose_segments
from tests.tiny_models import make_model

RANGES = [(5, 12), (12, 15), (15, 30)]
TRACE = AnswerTrace(np.arange(3, 41).astype(np.int32), 35, 5)


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request: pytest.FixtureRequest) -> torch.nn.Module:
    return make_model(request.param).eval()


def read_directly(model: torch.nn.Module, ids: np.ndarray) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor(ids[None].astype(np.int64))).logits[0, :-1].double().log_softmax(-1)


def value_directly(model: torch.nn.Module, ids: np.ndarray, first: int) -> float:
    told = read_directly(model, ids)
    return float(sum(told[at - 1, int(ids[at])] for at in range(first, len(ids))))


def test_losses_and_entropies_are_those_of_one_pass(model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    told = read_directly(model, TRACE.token_ids)
    wanted = [-float(told[at - 1, int(TRACE.token_ids[at])]) for at in range(1, 38)]
    entropy = (-(told.exp() * told).sum(-1)).numpy()
    for block in (1024, 7):
        monkeypatch.setattr(answer_values, "BLOCK", block)
        losses, entropies = AnswerValues(model).read(TRACE.token_ids)
        assert np.isnan(losses[0])
        np.testing.assert_allclose(losses[1:], wanted, atol=1e-4)
        np.testing.assert_allclose(entropies[1:], entropy, atol=1e-4)


def test_gains_are_differences_of_the_answer_after_prefixes(model: torch.nn.Module) -> None:
    values = AnswerValues(model)
    found = measure_segments(values, TRACE, RANGES)
    tail = TRACE.token_ids[30:]
    direct = [value_directly(model, np.concatenate([TRACE.token_ids[:end], tail]), end + 5) for end in (5, 12, 15, 30)]
    np.testing.assert_allclose(found.gains, np.diff(direct), atol=1e-4)
    losses, entropies = values.read(TRACE.token_ids)
    np.testing.assert_allclose(found.losses[1], losses[12:15].mean())
    np.testing.assert_allclose(found.entropies[2], entropies[15:30].mean())


def test_a_model_without_a_cache_to_cut_gives_the_same(model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    with_cache = measure_segments(AnswerValues(model), TRACE, RANGES)
    monkeypatch.setattr(AnswerValues, "_fill", lambda *_: None)
    np.testing.assert_allclose(measure_segments(AnswerValues(model), TRACE, RANGES).gains, with_cache.gains, atol=1e-4)


def test_removal_leaves_question_chosen_segments_and_answer(model: torch.nn.Module) -> None:
    masses, consistency = np.array([0.6, 0.9, 0.0]), np.array([0.5, 0.9, 0.7])
    found = measure_removals(AnswerValues(model), TRACE, RANGES, masses, consistency)
    ids = TRACE.token_ids
    for each in found:
        if each.choice == "chosen":
            kept = choose_segments(masses, consistency, each.tau, each.beta)
            parts = [ids[start:end] for (start, end), is_kept in zip(RANGES, kept, strict=True) if is_kept]
            left = np.concatenate([ids[:5], *parts, ids[30:]])
            assert each.value == pytest.approx(value_directly(model, left, len(left) - 3), abs=1e-4)
            assert each.share == pytest.approx(sum(map(len, parts)) / 25)
    by_choice = {each.choice: each for each in found}
    assert by_choice["all"].value == pytest.approx(value_directly(model, ids, 35), abs=1e-4)
    assert by_choice["none"].share == 0
    pairs = [(each.tau, each.beta) for each in found if each.choice == "random"]
    assert pairs == [(each.tau, each.beta) for each in found if each.choice == "chosen"]
    assert len(pairs) == len(set(pairs)) == 12
