"""Attention whose backward pass keeps the windows of several spans apart.

WindowedAttention     context in which a model attends through it; its backward pass follows the windows that are set
UnfamiliarAttention   raised where a model's attention is more than scaled scores under a mask

The gradient at each position has to come from one window only. Only attention mixes positions. So one backward pass can
serve many disjoint windows, as long as keys and values get gradients from queries of their own window only. The query's
own gradient uses every key that it reads, because keys further back are constant, not absent [ours].

    with WindowedAttention(model) as attention:
        states = ...                            # forward pass, no padding on the left
        attention.set_windows(first_keys)       # before every backward pass
        torch.autograd.grad(states, ...)

Probabilities are computed again in blocks of queries, in float32 for half precision, so memory grows with the tokens,
not with their square. Shapes: B batch, T queries, H heads, K key heads, G = H / K, n queries of a block, d head width.
There may be `past` keys before the first query; they are constant for all queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import causal_mask_function, sdpa_mask

NAME = "gsd_windows"
BLOCK_NUMBERS = {"cpu": 2**20, "cuda": 2**26}
"""Scores (B, H, n, T) of a block: as many as a CPU's caches hold, or as keep a GPU's cores busy."""
# Arguments of attention that change nothing, or that the mask contains already.
HARMLESS = {
    "cache_position",
    "layer_idx",
    "output_attentions",
    "output_hidden_states",
    "position_embeddings",
    "position_ids",
    "return_dict",
    "sliding_window",
    "use_cache",
}


class UnfamiliarAttention(Exception):
    """A model's attention needs more than scores, scale and mask: soft caps, sinks, position biases …"""


class WindowedAttention:
    """Make `model` attend through this object, and undo it on exit whatever happens."""

    def __init__(self, model: PreTrainedModel) -> None:
        model_config: Any = model.config
        self._config: Any = model_config.get_text_config()
        self._before: str | None = None
        self._starts: np.ndarray | None = None
        self._first_keys: torch.Tensor | None = None

    def __enter__(self) -> WindowedAttention:
        AttentionInterface.register(NAME, self._attend)
        AttentionMaskInterface.register(NAME, _make_mask)
        self._before = self._config._attn_implementation
        self._config._attn_implementation = NAME
        return self

    def __exit__(self, *details: object) -> None:
        self._config._attn_implementation = self._before
        AttentionInterface.register(NAME, _refuse)  # a later use of the name raises, and nothing is kept alive

    def set_windows(self, first_keys: np.ndarray, device: torch.device | str) -> None:
        """Set for the next backward pass how far back each query's gradient goes.

        `first_keys` (B, T) int64 holds the first position whose key gets gradients from the query, counted from the
        first query. T means none, not even its own; it also suits a query that no gradient reaches, as blocks of such
        queries are skipped.
        """
        self._starts, self._first_keys = first_keys.min(0), torch.from_numpy(first_keys).to(device)

    def get_first_key(self, start: int, stop: int) -> int:
        """First key that gets gradients from a query in ``[start, stop)``; T where none does."""
        assert self._starts is not None, "a backward pass came before set_windows"
        return int(self._starts[start:stop].min())

    def get_outside(self, start: int, stop: int, first: int) -> torch.Tensor:
        """(B, 1, 1, n, stop − first) bool: which keys ``[first, stop)`` lie before the window of each query."""
        assert self._first_keys is not None
        keys = torch.arange(first, stop, device=self._first_keys.device)
        return (keys < self._first_keys[:, start:stop, None])[:, None, None]

    def _attend(
        self,
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        scaling: float | None = None,
        dropout: float = 0.0,
        **others: Any,
    ) -> tuple[torch.Tensor, None]:
        """Called by transformers: queries (B, H, T, d), keys and values (B, K, past + T, d) → (B, T, H, d)."""
        is_causal = others.pop("is_causal", None)
        strange = [name for name, given in others.items() if given is not None and name not in HARMLESS]
        if attention_mask is None:
            ordinary = getattr(module, "is_causal", True) if is_causal is None else is_causal
        else:
            ordinary = attention_mask.shape[1] == 1  # the same for every head
        if strange or dropout or not ordinary:
            raise UnfamiliarAttention(", ".join(strange) or "no causal attention over one text")
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        out = _KeepApart.apply(query, key, value, attention_mask, float(scale), self)
        return out.transpose(1, 2).contiguous(), None


def _make_mask(mask_function: Any = causal_mask_function, **sizes: Any) -> torch.Tensor | None:
    """The mask for one kind of layer: (B, 1, T, past + T) bool; None for all keys up to the query."""
    if mask_function is causal_mask_function and sizes.get("attention_mask") is None:
        return None
    return sdpa_mask(mask_function=mask_function, **sizes)


def _refuse(*_: Any, **__: Any) -> None:
    raise RuntimeError(f"attention {NAME!r} works only while a capture runs")


class _KeepApart(torch.autograd.Function):
    """Ordinary attention forward; backward in blocks of queries, to keys and values inside each query's window."""

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        scale: float,
        windows: WindowedAttention,
    ) -> torch.Tensor:
        """(B, H, T, d) output; without a mask every query sees the keys up to its own. Its own are the last T keys."""
        out = _attend_all(query, key, value, mask, scale)
        ctx.save_for_backward(query, key, value, mask, out)
        ctx.scale, ctx.windows = scale, windows
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of query, key and value."""
        query, key, value, mask, out = ctx.saved_tensors
        windows: WindowedAttention = ctx.windows
        work = torch.promote_types(query.dtype, torch.float32)
        batch, heads, n_tokens, _ = query.shape
        past = key.shape[2] - n_tokens
        shape = (batch, key.shape[1], heads // key.shape[1], n_tokens)
        queries, above = query.view(*shape, -1), gradients[0].reshape(*shape, -1)
        keys, values = key.to(work), value.to(work)
        means = (above.to(work) * out.view_as(above)).sum(-1, keepdim=True)
        to_query = torch.zeros_like(queries)
        to_key, to_value = torch.zeros_like(keys), torch.zeros_like(values)
        for start, stop in _iter_blocks(query, key):
            first = windows.get_first_key(start, stop)
            if first >= n_tokens:
                continue
            asked = _join_group(queries[:, :, :, start:stop].to(work) * ctx.scale)
            given = _join_group(above[:, :, :, start:stop].to(work))
            size = (*shape[:3], stop - start, past + stop)
            seen, near = slice(past + stop), slice(past + first, past + stop)
            scores = (asked @ keys[:, :, seen].mT).view(size)
            shares = _mask_scores(scores, mask, start).softmax(-1)
            slopes = (given @ values[:, :, seen].mT).view(size)
            slopes = slopes.sub_(means[:, :, :, start:stop]).mul_(shares)
            found = _join_group(slopes) @ keys[:, :, seen]
            to_query[:, :, :, start:stop] = (found * ctx.scale).view(*size[:-1], -1)
            outside = windows.get_outside(start, stop, first)
            to_value[:, :, near] += _join_group(shares[..., near].masked_fill(outside, 0.0)).mT @ given
            to_key[:, :, near] += _join_group(slopes[..., near].masked_fill(outside, 0.0)).mT @ asked
        return to_query.view_as(query), to_key.to(key.dtype), to_value.to(value.dtype), None, None, None


def _attend_all(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scale: float
) -> torch.Tensor:
    """torch's own attention: in one call, or in blocks where there are past keys and no mask."""
    shared = query.shape[1] // key.shape[1]
    past = key.shape[2] - query.shape[2]
    # GPU kernels that read grouped keys directly need half precision and no mask.
    is_grouped = query.device.type == "cpu" or (mask is None and not past and query.element_size() == 2)
    if shared > 1 and not is_grouped:
        key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)

    def attend(start: int, stop: int, seen: torch.Tensor | None) -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(
            query[:, :, start:stop],
            key[:, :, : past + stop],
            value[:, :, : past + stop],
            seen,
            is_causal=seen is None,
            scale=scale,
            enable_gqa=shared > 1 and is_grouped,
        )

    if mask is not None or not past:
        return attend(0, query.shape[2], mask)
    blocks = []
    for start, stop in _iter_blocks(query, key):
        ones = torch.ones(stop - start, past + stop, dtype=torch.bool, device=query.device)
        blocks.append(attend(start, stop, ones.tril(past + start)))
    return torch.cat(blocks, dim=2)


def _iter_blocks(query: torch.Tensor, key: torch.Tensor) -> Sequence[tuple[int, int]]:
    """Query ranges whose scores (B, H, n, keys) suit the device; at least 16 queries each."""
    batch, heads, n_tokens, _ = query.shape
    limit = BLOCK_NUMBERS.get(query.device.type, BLOCK_NUMBERS["cuda"])
    step = max(16, limit // (batch * heads * key.shape[2]))
    return [(at, min(at + step, n_tokens)) for at in range(0, n_tokens, step)]


def _join_group(values: torch.Tensor) -> torch.Tensor:
    """(B, K, G, n, w) → (B, K, G·n, w): heads that share keys are rows of one product."""
    return values.reshape(*values.shape[:2], -1, values.shape[-1])


def _mask_scores(scores: torch.Tensor, mask: torch.Tensor | None, start: int) -> torch.Tensor:
    """Scores (B, K, G, n, seen) of the queries from `start` on, changed in place: −inf where a query must not look."""
    n_queries, seen = scores.shape[-2:]
    if mask is None:
        ahead = torch.ones(n_queries, n_queries, dtype=torch.bool, device=scores.device).triu(1)
        scores[..., seen - n_queries :].masked_fill_(ahead, -torch.inf)
        return scores
    block = mask[:, :, start : start + n_queries, :seen].unsqueeze(2)  # (B or 1, 1, 1, n, seen)
    return scores.masked_fill_(~block, -torch.inf) if block.dtype == torch.bool else scores.add_(block)
