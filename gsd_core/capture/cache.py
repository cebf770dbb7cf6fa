"""A key-value cache that a backward pass can go through, one chunk at a time.

SpanCache           transformers cache into which each chunk's keys and values are written once
SpanCacheLayer      one layer of it
compute_chunk_mask  attention mask of a chunk over everything cached, from true positions

A chunk attends to a view of one buffer: the past, a leaf whose gradients can be computed, followed by the chunk's own
keys and values with their graph. A backward pass stops at the past. To continue, its gradients are passed to the
earlier chunks' own tensors. A window ends where this is not done.

Shapes: B batch, t chunk length, K cached positions, d head width.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin


class _Append(torch.autograd.Function):
    """Past and own keys (or values) joined without a copy; the gradient is split into views again."""

    @staticmethod
    def forward(ctx: Any, past: torch.Tensor, own: torch.Tensor, joined: tuple[torch.Tensor]) -> torch.Tensor:
        """`joined` holds the view (B, heads, past + t, d) of the buffer, into which `own` was written before."""
        ctx.n_past = past.shape[-2]
        return joined[0]

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of past and own."""
        (gradient,) = gradients
        return gradient[..., : ctx.n_past, :], gradient[..., ctx.n_past :, :], None


class SpanCacheLayer(CacheLayerMixin):
    """Keys and values of one layer, (B, heads, capacity, d)."""

    is_sliding = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__()
        self.capacity, self.differentiable, self.length = 0, False, 0
        self.open_from: int | None = None
        self.own: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.past: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._buffers: tuple[torch.Tensor, torch.Tensor] | None = None

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append a chunk and return everything cached, the chunk last. One that begins at ``open_from`` is not kept."""
        self.is_initialized = True
        own = (key_states, value_states)
        if self._buffers is None:
            shapes = [(*each.shape[:2], self.capacity, each.shape[-1]) for each in own]
            self._buffers = (key_states.new_empty(shapes[0]), value_states.new_empty(shapes[1]))
        start, stop = self.length, self.length + key_states.shape[-2]
        past = [buffer[:, :, :start].detach().requires_grad_(self.differentiable) for buffer in self._buffers]
        joined = []
        for buffer, behind, each in zip(self._buffers, past, own, strict=True):
            # Through ``data``: for autograd this write would otherwise change what earlier chunks have read.
            buffer.data[:, :, start:stop] = each.detach()
            joined.append(_Append.apply(behind, each, (buffer.data[:, :, :stop],)))
        if start == self.open_from:
            return joined[0], joined[1]
        self.length = stop
        self.own.append(own)
        self.past.append((past[0], past[1]))
        return joined[0], joined[1]

    def get_seq_length(self) -> int:
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_max_length(self) -> int:
        return -1


class SpanCache(Cache):
    """Cache of all layers; see the module's introduction.

    It has room for `capacity` positions (K at most). With `differentiable`, gradients of the past can be computed;
    without it the past is constant. A chunk that begins at `open_from` reads the cache and is not stored, so that it
    can be computed again.
    """

    layers: list[SpanCacheLayer]  # type: ignore[assignment]  # only this class of layer is ever made

    def __init__(self, capacity: int, differentiable: bool, open_from: int | None = None) -> None:
        def make(**kwargs: Any) -> SpanCacheLayer:
            layer = SpanCacheLayer(**kwargs)
            layer.capacity, layer.differentiable = capacity, differentiable
            layer.open_from = open_from
            return layer

        super().__init__(layer_class_to_replicate=make)  # type: ignore[arg-type]  # called, and nothing else

    def past(self, chunk: int) -> list[torch.Tensor]:
        """A chunk's past: keys, values of layer 0, keys, values of layer 1, …"""
        return [tensor for layer in self.layers for tensor in layer.past[chunk]]

    def own(self, chunk: int) -> list[torch.Tensor]:
        """A chunk's own keys and values with their graph, in the order of :meth:`past`."""
        return [tensor for layer in self.layers for tensor in layer.own[chunk]]


def compute_chunk_mask(
    query_positions: torch.Tensor,
    query_valid: torch.Tensor,
    key_positions: torch.Tensor,
    key_valid: torch.Tensor,
    sliding_window: int | None,
    dtype: torch.dtype,
) -> torch.Tensor:
    """(B, 1, t, K) mask, 0 or −max: a query sees valid keys at positions up to its own, at most `sliding_window` back.

    A padding query sees only itself, so that no softmax is empty. The chunk's own keys are the last t of K. The mask
    holds numbers: attention would convert booleans to numbers, and a graph would store them for each layer.
    """
    behind = key_positions[:, None, :] <= query_positions[:, :, None]
    seen = behind & key_valid[:, None, :] & query_valid[:, :, None]
    if sliding_window is not None:
        seen &= key_positions[:, None, :] > query_positions[:, :, None] - sliding_window
    n_queries, n_keys = query_positions.shape[1], key_positions.shape[1]
    own = torch.zeros(n_queries, n_keys, dtype=torch.bool, device=seen.device)
    own[torch.arange(n_queries), torch.arange(n_keys - n_queries, n_keys)] = True
    seen = (seen | (own[None] & ~query_valid[:, :, None]))[:, None]
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)
