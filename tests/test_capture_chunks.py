"""Where batches of exact spans are cut: every sample once, every position in order, and no way that is dearer."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from gsd_core.capture.capture import CaptureConfig, Capturer
from gsd_core.capture.chunks import ChunkPlan, cut_at_spans, plan_chunks
from gsd_core.types import TokenizedSample
from tests.tiny_models import make_model, make_sample, make_samples, relative_error


def make_batch(n_samples: int, n_spans: int, n_tokens: int, even: bool) -> list[TokenizedSample]:
    """Samples with an eighth of prompt whose spans, of equal or random length, fill the rest."""
    random = np.random.default_rng(3)
    first, samples = n_tokens // 8, []
    for number in range(n_samples):
        edges = np.linspace(first, n_tokens, n_spans + 1).astype(int)
        if not even:
            edges[1:-1] = np.sort(random.choice(np.arange(first + 1, n_tokens), n_spans - 1, replace=False))
        bounds = [(int(a), int(b)) for a, b in pairwise(edges)]
        samples.append(make_sample(str(number), n_tokens, bounds))
    return samples


def count_columns(plans: list[ChunkPlan]) -> int:
    """Padded columns of the plans' forward passes, over all samples."""
    return sum(len(plan.members) * int(np.diff(np.array(plan.borders), axis=1).max(0).sum()) for plan in plans)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_plan_holds_every_sample_once_and_cuts_all_that_its_spans_can_reach(device: str) -> None:
    samples = [*make_samples(), *make_batch(9, 4, 60, even=False)]
    plans = plan_chunks(samples, device)
    assert sorted(i for plan in plans for i in plan.members) == list(range(len(samples)))
    for plan in plans:
        assert len({len(cuts) for cuts in plan.borders}) == 1, "rounds of unequal number"
        for i, cuts in zip(plan.members, plan.borders, strict=True):
            assert cuts == sorted(cuts)
            assert (cuts[0], cuts[-1]) == (0, samples[i].spans[-1].end - 1)


def test_equal_spans_are_cut_at_their_borders_and_stay_together() -> None:
    # Nothing is padded and nothing walked in vain then, so every other way is dearer.
    samples = make_batch(16, 8, 256, even=True)
    (plan,) = plan_chunks(samples, "cpu")
    assert plan.borders == cut_at_spans(samples)


def test_spans_of_random_length_are_hardly_padded() -> None:
    samples = make_batch(16, 8, 256, even=False)
    everything = list(range(len(samples)))
    at_spans = count_columns([ChunkPlan(everything, cut_at_spans(samples))])
    tokens = sum(sample.spans[-1].end - 1 for sample in samples)
    assert at_spans > 2 * tokens, "the batch is no test of padding"
    assert count_columns(plan_chunks(samples, "cpu")) <= 1.1 * tokens


def test_where_calls_are_dear_fewer_chunks_are_walked() -> None:
    samples = make_batch(16, 32, 256, even=False)
    cheap, dear = (plan_chunks(samples, device) for device in ("cpu", "cuda"))
    assert sum(len(plan.borders[0]) for plan in dear) < sum(len(plan.borders[0]) for plan in cheap)


@pytest.mark.parametrize("price", [0, 10**6])
@pytest.mark.parametrize("kind", ["llama-gqa", "qwen2-sliding", "gpt2"])
def test_no_plan_changes_a_vector(kind: str, price: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Single samples cut as short as can be, and one chunk for all: spans then lie in several chunks or share one.
    capturer = Capturer(make_model(kind), CaptureConfig(sketch_width=300))
    samples = [*make_samples(), *make_batch(3, 6, 80, even=False)]
    usual = capturer.compute_gradients(samples)
    monkeypatch.setattr("gsd_core.capture.chunks.CALL_COST", dict.fromkeys(["cpu", "cuda"], price))
    monkeypatch.setattr("gsd_core.capture.chunks.SPANS_A_CHUNK", ())
    monkeypatch.setattr("gsd_core.capture.chunks.GRIDS", (3,) if price == 0 else (4096,))
    other = capturer.compute_gradients(samples)
    for i, sample in enumerate(samples):
        assert relative_error(other.gradients[i], usual.gradients[i]) <= 1e-5, f"sample {sample.id}"
        np.testing.assert_allclose(other.coherence[i], usual.coherence[i], rtol=1e-4)
        np.testing.assert_allclose(other.token_losses[i], usual.token_losses[i], atol=2e-4)
