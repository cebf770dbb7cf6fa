"""Windows that share backward passes: equal to autograd with a constant past, and shared only where they may be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPTJConfig,
    GPTJForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedModel,
)
from transformers.masking_utils import eager_mask

from gsd_core.capture import attention
from gsd_core.capture.batches import chunk_borders
from gsd_core.capture.capture import CaptureConfig, Capturer
from gsd_core.capture.hooks import FrozenModel, ModuleTap
from gsd_core.capture.span import SpanBatch, compute_span_batch
from gsd_core.errors import UserError
from gsd_core.types import TokenizedSample
from tests.tiny_models import (
    SIZES,
    dense_gradients,
    make_model,
    make_sample,
    make_samples,
    relative_error,
    untie_head,
)

GEMMA = {"num_key_value_heads": 2, "head_dim": 12, "sliding_window": 7}
MAKERS: dict[str, Callable[[], PreTrainedModel]] = {
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**SIZES | GEMMA)),
    "gemma3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**SIZES | GEMMA)),
    "cohere": lambda: CohereForCausalLM(CohereConfig(**SIZES, logit_scale=0.3)),
    "phi": lambda: PhiForCausalLM(PhiConfig(**SIZES)),
    "gpt-neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES)),
    "gpt-j": lambda: GPTJForCausalLM(
        GPTJConfig(vocab_size=97, n_embd=48, n_layer=2, n_head=4, rotary_dim=8, n_positions=96)
    ),
}
SHARING = [
    "llama-gqa",
    "llama-eager",
    "qwen2-sliding",
    "qwen3",
    "gpt2",
    "gemma3",
    "cohere",
    "phi",
    "gpt-neox",
]


def make(kind: str) -> PreTrainedModel:
    """A seeded random model with a head of its own."""
    if kind not in MAKERS:
        return make_model(kind)
    torch.manual_seed(7)
    return untie_head(MAKERS[kind]().float())


def make_ragged() -> list[TokenizedSample]:
    """Random lengths and gaps, many spans beside one, prompts of none, few and many tokens, tails."""
    random = np.random.default_rng(5)
    samples = make_samples()[1:]
    for name, n_spans in (("r", 7), ("s", 1)):
        edges = np.sort(random.choice(np.arange(1, 60), 2 * n_spans, replace=False))
        samples.append(make_sample(name, 62, [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]))
    return samples


@contextmanager
def constant_past(model: PreTrainedModel, cut: int) -> Iterator[None]:
    """Whole-sequence attention, written out, in which keys and values before position `cut` are constants."""

    def attend(module, query, key, value, mask, scaling=None, softcap=None, **kwargs):  # type: ignore[no-untyped-def]
        shared = query.shape[1] // key.shape[1]
        key, value = (
            torch.cat([each[:, :, :cut].detach(), each[:, :, cut:]], dim=2).repeat_interleave(shared, dim=1)
            for each in (key, value)
        )
        scores = query @ key.mT * (query.shape[-1] ** -0.5 if scaling is None else scaling)
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        return ((scores + mask).softmax(-1) @ value).transpose(1, 2).contiguous(), None

    AttentionInterface.register("constant_past", attend)
    AttentionMaskInterface.register("constant_past", eager_mask)
    before = model.config._attn_implementation
    model.set_attn_implementation("constant_past")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def compute_reference(capturer: Capturer, sample: TokenizedSample, k: int, window: int) -> np.ndarray:
    """The sketched gradient of span k, by autograd over the whole sequence with constants before the window."""
    span, first = sample.spans[k], chunk_borders(sample)[max(1, k + 1 - window)]
    ids = torch.from_numpy(sample.token_ids.astype("int64"))
    with constant_past(capturer.model, first):
        logits = capturer.model(ids[None], use_cache=False).logits[0]
    loss = torch.nn.functional.cross_entropy(logits[span.start - 1 : span.end - 1], ids[span.start : span.end])
    return capturer.sketch.project_dense(dense_gradients(capturer, loss)).detach().numpy()


def capture_in_chunks(capturer: Capturer, samples: list[TokenizedSample], window: int) -> SpanBatch:
    """The same windows by the way for models that cannot share passes."""
    with FrozenModel(capturer.model), ModuleTap(capturer.selection, capturer.sketch) as tap:
        return compute_span_batch(capturer.model, tap, capturer.sketch, samples, window)


@pytest.mark.parametrize(("kind", "window"), [*((kind, 1) for kind in SHARING), ("llama-gqa", 0), ("qwen2-sliding", 3)])
def test_a_shared_window_equals_autograd_with_a_constant_past(kind: str, window: int) -> None:
    # Ragged on purpose; an error here is a leak between windows, or a query's gradient that misses constant keys.
    model, samples = make(kind).eval(), make_ragged()
    capturer = Capturer(model, CaptureConfig(sketch_width=300))
    batch = capturer.compute_gradients(samples, window)
    assert capturer.implementation.shares_passes, f"{kind} was captured in chunks"
    for i, sample in enumerate(samples):
        for k in range(len(sample.spans)):
            error = relative_error(batch.gradients[i][k], compute_reference(capturer, sample, k, window))
            assert error <= 1e-5, f"{kind}, window {window}, sample {sample.id}, span {k}: off by {error:.1e}"


@pytest.mark.parametrize("window", [0, 2])
def test_shared_and_chunked_windows_agree_in_all_they_return(window: int) -> None:
    model, samples = make("qwen2-sliding"), make_ragged()
    capturer = Capturer(model, CaptureConfig(sketch_width=300))
    shared, chunked = (
        capturer.compute_gradients(samples, window),
        capture_in_chunks(capturer, samples, window),
    )
    for i in range(len(samples)):
        assert relative_error(shared.gradients[i], chunked.gradients[i]) <= 1e-5
        np.testing.assert_allclose(shared.coherence[i], chunked.coherence[i], rtol=1e-4)
        np.testing.assert_allclose(shared.token_losses[i], chunked.token_losses[i], atol=2e-4)


@pytest.mark.parametrize("limit", [1, 2**40])
def test_block_sizes_of_attention_and_head_change_no_vector(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # The smallest blocks there can be, and one block for all: borders of blocks must not show.
    capturer = Capturer(make("qwen2-sliding"), CaptureConfig(sketch_width=300))
    samples = [make_sample("l", 90, [(30, 41), (41, 60), (62, 88)]), *make_ragged()]
    usual = capturer.compute_gradients(samples, 1)
    monkeypatch.setattr(attention, "BLOCK_NUMBERS", dict.fromkeys(["cpu", "cuda"], limit))
    monkeypatch.setattr("gsd_core.capture.deferred_head.BLOCK_LOGITS", dict.fromkeys(["cpu", "cuda"], limit))
    for one, two in zip(usual.gradients, capturer.compute_gradients(samples, 1).gradients, strict=True):
        assert relative_error(one, two) <= 1e-5


def test_half_precision_stays_close_to_single() -> None:
    exact = Capturer(make("llama-gqa"), CaptureConfig(sketch_width=300)).compute_gradients(make_ragged(), 1)
    capturer = Capturer(make("llama-gqa").to(torch.bfloat16), CaptureConfig(sketch_width=300))
    half = capturer.compute_gradients(make_ragged(), 1)
    assert capturer.implementation.shares_passes
    rounded = capture_in_chunks(capturer, make_ragged(), 1)
    for i in range(len(exact.gradients)):
        own, other = (relative_error(b.gradients[i], exact.gradients[i]) for b in (half, rounded))
        assert own <= max(0.05, 1.5 * other), f"off by {own:.3f}; torch's own attention by {other:.3f}"


@pytest.mark.parametrize("kind", ["gemma2", "gpt-j"])
def test_attention_that_is_not_ordinary_is_captured_in_chunks(kind: str) -> None:
    # A soft cap that goes through the interface, and attention that never comes by it: neither may be shared.
    model, samples = make(kind).eval(), make_ragged()
    capturer = Capturer(model, CaptureConfig(sketch_width=300))
    batch = capturer.compute_gradients(samples, 1)
    assert not capturer.implementation.shares_passes
    for one, two in zip(batch.gradients, capture_in_chunks(capturer, samples, 1).gradients, strict=True):
        np.testing.assert_array_equal(one, two)
    if kind == "gemma2":
        expected = compute_reference(capturer, samples[0], 1, 1)
        assert relative_error(batch.gradients[0][1], expected) <= 1e-5


def test_a_model_that_mixes_positions_outside_attention_is_not_shared() -> None:
    # A token shift, as in some recurrent blocks: windows would leak, and chunks would miss it, so it is refused.
    model = make("llama")
    shift = lambda module, args: (args[0] + torch.roll(args[0], 1, 1),)  # noqa: E731
    model.model.layers[1].mlp.register_forward_pre_hook(shift)
    capturer = Capturer(model, CaptureConfig(sketch_width=100))
    with pytest.raises(UserError, match="differs from the plain one"):
        capturer.compute_gradients(make_samples(), 0)
    assert not capturer.implementation.shares_passes


def test_the_model_attends_as_before_afterwards_whatever_happens() -> None:
    model = make("llama-eager")
    capturer = Capturer(model, CaptureConfig(sketch_width=100))
    capturer.compute_gradients(make_samples(), 1)
    assert model.config._attn_implementation == "eager"

    def explode(*_: object) -> None:
        raise ZeroDivisionError

    model.model.layers[2].mlp.register_forward_hook(explode)
    with pytest.raises(ZeroDivisionError):
        capturer.compute_gradients(make_samples(), 1)
    assert model.config._attn_implementation == "eager"
    for module in (model.lm_head, model.get_input_embeddings()):
        assert not module._forward_pre_hooks
        assert not module._forward_hooks
