"""Tiny random models and samples for tests of capture, and the dense gradients they are compared with."""

from __future__ import annotations

import numpy as np
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from gsd_core.capture.capture import Capturer
from gsd_core.types import TokenizedSample, TokenSpan

VOCABULARY = 97
SIZES = dict(
    vocab_size=VOCABULARY,
    hidden_size=48,
    intermediate_size=64,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=4,
    max_position_embeddings=96,
    bos_token_id=1,
    eos_token_id=2,
)


LACKS: dict[str, set[str]] = {
    "mamba": {"cache"},
    "mixtral": {"modules"},
    "bent-head": {"linear head"},
}
"""Kinds of models that lack what some tiers need, as ``gsd_core.tiers.NEEDS`` calls it."""


class BentHead(torch.nn.Module):
    """An output head that is more than one matrix."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return 8 * torch.tanh(self.inner(states) / 8)


def make_model(kind: str) -> PreTrainedModel:
    """A seeded random model: llama, llama-gqa, llama-eager, qwen2, qwen2-sliding, qwen3, gpt2, or one of ``LACKS``."""
    torch.manual_seed(7)
    grouped = SIZES | {"num_key_value_heads": 2}
    if kind == "llama":
        model: PreTrainedModel = LlamaForCausalLM(LlamaConfig(**SIZES))
    elif kind == "llama-gqa":
        model = LlamaForCausalLM(LlamaConfig(**grouped))
    elif kind == "llama-eager":
        model = LlamaForCausalLM(LlamaConfig(**grouped, attn_implementation="eager"))
    elif kind == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(**grouped))
    elif kind == "qwen2-sliding":
        sliding = {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1}
        model = Qwen2ForCausalLM(Qwen2Config(**grouped, **sliding))
    elif kind == "qwen3":
        model = Qwen3ForCausalLM(Qwen3Config(**grouped, head_dim=12))
    elif kind == "gpt2":
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=VOCABULARY,
                n_embd=48,
                n_layer=3,
                n_head=4,
                n_positions=96,
                bos_token_id=1,
                eos_token_id=2,
                tie_word_embeddings=False,  # autograd's gradient of a shared weight has the embedding's part too
            )
        )
    elif kind == "mamba":
        model = MambaForCausalLM(
            MambaConfig(vocab_size=VOCABULARY, hidden_size=32, state_size=4, num_hidden_layers=2, time_step_rank=4)
        )
    elif kind == "mixtral":
        model = MixtralForCausalLM(MixtralConfig(**SIZES, num_local_experts=2, num_experts_per_tok=1))
    elif kind == "bent-head":
        model = LlamaForCausalLM(LlamaConfig(**SIZES))
        model.set_output_embeddings(BentHead(model.get_output_embeddings()))
    else:
        raise ValueError(kind)
    # Random weights of the usual size give nearly equal logits; larger ones make every path count.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(4.0)
    return model.float()


def make_sample(name: str, n_tokens: int, bounds: list[tuple[int, int]]) -> TokenizedSample:
    """A sample of random tokens whose spans are the given target ranges."""
    seed = sum(ord(c) for c in name) + n_tokens
    tokens = np.random.default_rng(seed).integers(3, VOCABULARY, n_tokens).astype(np.int32)
    spans = tuple(TokenSpan(k, a, b, 0, 0, "") for k, (a, b) in enumerate(bounds))
    zeros = np.zeros(n_tokens, dtype=np.int32)
    return TokenizedSample(name, "", tokens, zeros, zeros, spans, bounds[0][0], 0)


def make_samples() -> list[TokenizedSample]:
    """Uneven lengths, one-token spans, an empty prompt, gaps between spans, a tail after the last span."""
    return [
        make_sample("a", 40, [(8, 15), (15, 22), (22, 36)]),
        make_sample("b", 30, [(5, 6), (6, 20)]),
        make_sample("c", 25, [(1, 9), (9, 12), (12, 20), (20, 25)]),
        make_sample("d", 33, [(10, 14), (16, 20), (25, 33)]),
    ]


def dense_gradients(capturer: Capturer, loss: torch.Tensor) -> list[torch.Tensor]:
    """Dense weight gradients (d_out, d_in) of the captured modules, from autograd; zero where the loss is blind."""
    assert capturer.selection is not None
    modules = [c.module for c in capturer.selection.captured]
    grads = torch.autograd.grad(loss, [m.weight for m in modules], allow_unused=True)
    dense = [torch.zeros_like(m.weight) if g is None else g for m, g in zip(modules, grads, strict=True)]
    return [g.T if type(m).__name__ == "Conv1D" else g for m, g in zip(modules, dense, strict=True)]


def untie_head(model: PreTrainedModel) -> PreTrainedModel:
    """Give the output head a weight of its own: a shared one's dense gradient has the embedding's part too."""
    head = model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().clone())
    return model


def token_losses(model: PreTrainedModel, sample: TokenizedSample) -> torch.Tensor:
    """(T − 1,) losses of tokens 1 … T − 1 from a plain forward pass, with their graph."""
    ids = torch.from_numpy(sample.token_ids.astype("int64"))
    logits = model(ids[None]).logits[0]
    return torch.nn.functional.cross_entropy(logits[:-1].float(), ids[1:], reduction="none")


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """‖found − expected‖ / ‖expected‖."""
    return float(np.linalg.norm(found - expected) / max(np.linalg.norm(expected), 1e-12))
