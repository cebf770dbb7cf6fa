"""A key-value cache that autograd can walk through, one chunk at a time.

SpanCache         transformers cache whose past chunks are leaves that gradients can be asked for
SpanCacheLayer    one layer of it
compute_chunk_mask  attention mask of a chunk over everything cached, from true positions

Each chunk's keys and values live twice: *live*, with the graph that made them, and as a *proxy*, a leaf that
later chunks attend to. A backward pass stops at the proxies; whoever wants to go on hands the proxies' gradients to the
live tensors. That is how a window is held: gradients beyond it are simply not asked for.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin


class SpanCacheLayer(CacheLayerMixin):
    """Keys and values of one layer, (B, heads, t, head width) a chunk."""

    is_sliding = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__()
        self.live: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.proxy: list[tuple[torch.Tensor, torch.Tensor]] = []

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append a chunk; return past proxies and the live chunk, joined along the sequence."""
        self.is_initialized = True
        keys = torch.cat([*(k for k, _ in self.proxy), key_states], dim=-2)
        values = torch.cat([*(v for _, v in self.proxy), value_states], dim=-2)
        self.live.append((key_states, value_states))
        return keys, values

    def close_chunk(self, differentiable: bool) -> None:
        """Make the newest chunk's proxies; `differentiable` ones can be asked for gradients."""
        keys, values = self.live[-1]
        self.proxy.append(
            (keys.detach().requires_grad_(differentiable), values.detach().requires_grad_(differentiable))
        )

    def forget_graph(self, chunk: int) -> None:
        """Drop the graph behind a chunk that no window reaches any more; its values stay attended to."""
        keys, values = self.proxy[chunk]
        self.live[chunk] = (keys.detach(), values.detach())

    def get_seq_length(self) -> int:
        return sum(k.shape[-2] for k, _ in self.proxy)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        return -1


class SpanCache(Cache):
    """Cache of all layers; see the module's introduction."""

    layers: list[SpanCacheLayer]  # type: ignore[assignment]  # only this class of layer is ever made

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=SpanCacheLayer)

    def close_chunk(self, differentiable: bool) -> None:
        """End the current chunk in every layer."""
        for layer in self.layers:
            layer.close_chunk(differentiable)

    def forget_graph(self, chunk: int) -> None:
        """Drop the graph of a chunk in every layer."""
        for layer in self.layers:
            layer.forget_graph(chunk)

    def proxies(self, chunk: int) -> list[torch.Tensor]:
        """Leaves of a chunk: keys, values of layer 0, keys, values of layer 1, …"""
        return [tensor for layer in self.layers for tensor in layer.proxy[chunk]]

    def lives(self, chunk: int) -> list[torch.Tensor]:
        """Live tensors of a chunk in the order of :meth:`proxies`."""
        return [tensor for layer in self.layers for tensor in layer.live[chunk]]


def compute_chunk_mask(
    query_positions: torch.Tensor,
    query_valid: torch.Tensor,
    key_positions: torch.Tensor,
    key_valid: torch.Tensor,
    sliding_window: int | None,
    dtype: torch.dtype,
    additive: bool,
) -> torch.Tensor:
    """(B, 1, t, K) mask: a query sees valid keys at positions up to its own, at most `sliding_window` back.

    A padding query sees itself only, so that no softmax is empty. `additive` gives 0 / −max instead of booleans, as
    eager attention wants it. The chunk's own keys are the last t of K.
    """
    behind = key_positions[:, None, :] <= query_positions[:, :, None]
    seen = behind & key_valid[:, None, :] & query_valid[:, :, None]
    if sliding_window is not None:
        seen &= key_positions[:, None, :] > query_positions[:, :, None] - sliding_window
    n_queries, n_keys = query_positions.shape[1], key_positions.shape[1]
    own = torch.zeros(n_queries, n_keys, dtype=torch.bool, device=seen.device)
    own[torch.arange(n_queries), torch.arange(n_keys - n_queries, n_keys)] = True
    seen = (seen | (own[None] & ~query_valid[:, :, None]))[:, None]
    if not additive:
        return seen
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)
