"""Tier ``span``: the exact gradient of each span's own loss, or the same through a window of spans.

check_span_tier       refuses architectures that have no cache to differentiate through
compute_span_batch    a batch of samples → sketched gradients of all their spans

One forward pass, cut at span borders, over a cache whose past is differentiable; then one backward pass a span that
asks only for the outputs it needs, so it stops where causality stops (``methods`` §1.1). Window ``W`` keeps the span's
own positions and those of the W spans before it; keys and values further back, the prompt's included, are constant.
``window=None`` keeps everything: the gradient that dense autograd gives.

Shapes: B batch, t chunk length, K cached positions, S spans, P sketch width.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel
from transformers.integrations import sdpa_attention

from gsd_core.capture.accumulate import GradientSum, token_losses_of
from gsd_core.capture.batches import PaddedChunk, build_chunk, chunk_borders
from gsd_core.capture.cache import SpanCache, compute_chunk_mask
from gsd_core.capture.devices import input_device
from gsd_core.capture.hooks import ModuleTap, TappedCall
from gsd_core.capture.sketch import Sketch
from gsd_core.errors import UserError
from gsd_core.types import TokenizedSample

CHUNK_TOKENS = 28  # a sample; measured on two cores, see docs/performance.md
SUPPORTED_ATTENTION = {"full_attention", "sliding_attention"}


def check_span_tier(model: PreTrainedModel) -> None:
    """Refuse a model without a key-value cache that gradients can pass.

    Raises
    ------
    UserError
        Names what is missing and the tiers that work.
    """
    config: Any = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    takes_cache = "past_key_values" in inspect.signature(_inner(model).forward).parameters
    recurrent = bool(kinds - SUPPORTED_ATTENTION) or bool(getattr(model, "_is_stateful", False))
    if recurrent or not takes_cache:
        reason = ", ".join(sorted(kinds - SUPPORTED_ATTENTION)) or "its state is not a key-value cache"
        raise UserError(
            f"tier span needs a differentiable key-value cache, and this architecture has none ({reason})",
            f"model {type(model).__name__}",
            "use --tier position or --tier hidden",
        )


def _inner(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@dataclass(frozen=True, slots=True)
class SpanBatch:
    """``gradients[i]`` (S_i, P) float32, ``coherence[i]`` (S_i,), ``token_losses[i]`` (T_i,) float32 nats."""

    gradients: list[np.ndarray]
    coherence: list[np.ndarray]
    token_losses: list[np.ndarray]


class _Chunk:
    """What later backward passes need of one chunk."""

    __slots__ = ("calls",)

    def __init__(self, calls: list[TappedCall]) -> None:
        self.calls = calls


@contextmanager
def _grouped_attention(device: torch.device) -> Iterator[None]:
    """On a CPU, let attention read grouped keys and values as they are.

    transformers copies them for every query head wherever a mask is given, since fused GPU kernels want it so. The
    CPU's kernel does not, and chunks read all past keys again and again: a third of the cost at 32 spans.
    """
    kept = sdpa_attention.use_gqa_in_sdpa
    if device.type == "cpu":
        sdpa_attention.use_gqa_in_sdpa = lambda *_: True
    try:
        yield
    finally:
        sdpa_attention.use_gqa_in_sdpa = kept


class _Forward:
    """Chunked forward pass of one batch; keeps what has been cached so far."""

    def __init__(self, model: PreTrainedModel, samples: Sequence[TokenizedSample], pad_id: int) -> None:
        self.model, self.samples, self.pad_id = model, samples, pad_id
        self.device = input_device(model)
        self.cache = SpanCache()
        self.config: Any = model.config.get_text_config()
        self.dtype = next(model.parameters()).dtype
        self._key_positions: list[torch.Tensor] = []
        self._key_valid: list[torch.Tensor] = []
        self.losses = [np.full(len(s.token_ids), np.nan, dtype=np.float32) for s in samples]

    def _mask(self, chunk: PaddedChunk) -> Any:
        positions = torch.cat([*self._key_positions, chunk.positions], dim=1)
        valid = torch.cat([*self._key_valid, chunk.valid], dim=1)
        additive = getattr(self.config, "_attn_implementation", "sdpa") == "eager"
        kinds = set(getattr(self.config, "layer_types", None) or ())
        window = getattr(self.config, "sliding_window", None)
        uses_sliding = "sliding_attention" in kinds or (
            not kinds and window is not None and getattr(self.config, "use_sliding_window", True)
        )

        def make(sliding_window: int | None) -> torch.Tensor:
            return compute_chunk_mask(
                chunk.positions, chunk.valid, positions, valid, sliding_window, self.dtype, additive
            )

        if len(kinds) > 1:
            return {kind: make(window if kind == "sliding_attention" else None) for kind in kinds}
        return make(window if uses_sliding else None)

    def run(self, bounds: Sequence[tuple[int, int]]) -> tuple[PaddedChunk, torch.Tensor] | None:
        """Forward one chunk of every sample; (chunk, token losses (B, t) with their graph), None when empty."""
        chunk = build_chunk(self.samples, bounds, self.pad_id, self.device)
        if chunk is None:
            return None
        with _grouped_attention(self.device):
            logits = self.model(
                input_ids=chunk.ids,
                attention_mask=self._mask(chunk),
                position_ids=chunk.positions,
                past_key_values=self.cache,
                use_cache=True,
            ).logits
        losses = token_losses_of(logits, chunk.targets)
        self._key_positions.append(chunk.positions)
        self._key_valid.append(chunk.valid)
        values = losses.detach().cpu().numpy()
        for row, ((start, stop), length) in enumerate(zip(bounds, chunk.lengths, strict=True)):
            known = min(stop + 1, len(self.losses[row])) - (start + 1) if length else 0
            if known > 0:
                self.losses[row][start + 1 : start + 1 + known] = values[row, :known]
        return chunk, losses


def compute_span_batch(
    model: PreTrainedModel,
    tap: ModuleTap,
    sketch: Sketch,
    samples: Sequence[TokenizedSample],
    window: int | None,
    pad_id: int = 0,
    all_token_losses: bool = True,
) -> SpanBatch:
    """Sketched gradients of every span's mean loss, for a batch of samples.

    Call it inside ``FrozenModel(model)`` and ``tap``. `window` is W, None for the exact gradient. With
    `all_token_losses` the tokens after the last span get a loss too, from a forward pass without gradients.
    """
    forward = _Forward(model, samples, pad_id)
    # A window holds gradients at chunk borders, so there every span is a chunk of its own.
    grouped = 1 if window is not None else choose_group(samples)
    borders = [chunk_borders(sample, grouped) for sample in samples]
    n_rounds = max(len(b) - 1 for b in borders)
    gradients = [np.zeros((len(s.spans), sketch.width), dtype=np.float32) for s in samples]
    coherence = [np.zeros(len(s.spans), dtype=np.float32) for s in samples]
    chunks: list[_Chunk | None] = []
    for index in range(n_rounds):
        bounds = [(b[index], b[index + 1]) if index + 1 < len(b) else (b[-1], b[-1]) for b in borders]
        is_prompt = index == 0
        with torch.set_grad_enabled(not is_prompt or window is None):
            result = forward.run(bounds)
        calls = tap.take()
        if result is None:
            continue  # no sample has a prompt token to read: chunks are numbered by what was cached
        forward.cache.close_chunk(differentiable=window is None or (window > 0 and not is_prompt))
        chunks.append(_Chunk(calls))
        if is_prompt:
            continue
        _, losses = result
        newest = len(chunks) - 1
        has_prompt = len(chunks) == index + 1
        first_kept = 0 if window is None else max(newest - window, 1 if has_prompt else 0)
        first = (index - 1) * grouped
        for k in range(first, min(first + grouped, max(len(s.spans) for s in samples))):
            loss, own = _mean_span_loss(losses, samples, k, first)
            total = GradientSum(sketch, len(samples), forward.device)
            _walk_back(loss, chunks, forward.cache, newest, first_kept, total, own if grouped > 1 else True)
            folded, together = total.fold().cpu().numpy(), total.coherence().cpu().numpy()
            for row, sample in enumerate(samples):
                if k < len(sample.spans):
                    gradients[row][k] = folded[row]
                    coherence[row][k] = together[row]
        if window is not None and newest - window >= 0:
            forward.cache.forget_graph(newest - window)
            chunks[newest - window] = None
    if all_token_losses:
        with torch.no_grad():
            forward.run([(b[-1], len(s.token_ids) - 1) for b, s in zip(borders, samples, strict=True)])
    return SpanBatch(gradients, coherence, forward.losses)


def choose_group(samples: Sequence[TokenizedSample]) -> int:
    """How many spans to forward as one chunk, where no window needs a border between them.

    Every backward pass walks every chunk before it, and a chunk of a few tokens costs hardly less than one of
    ``CHUNK_TOKENS``: its kernels are called as often. A span does not see what follows in its chunk (causality), so
    the gradient stays exact; what the backward pass does there is spent in vain, hence not more spans than that.
    """
    n_tokens = sum(sample.spans[-1].end - sample.spans[0].start for sample in samples)
    mean = n_tokens / max(1, sum(len(sample.spans) for sample in samples))
    return max(1, round(CHUNK_TOKENS / max(mean, 1.0)))


def _mean_span_loss(
    losses: torch.Tensor, samples: Sequence[TokenizedSample], k: int, first: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(sum over the batch of the k-th span's mean loss, (B, t) bool positions of that span).

    The chunk begins with span `first`; positions between a span and the next do not count.
    """
    weights = torch.zeros_like(losses)
    for row, sample in enumerate(samples):
        if k < len(sample.spans):
            start = sample.spans[k].start - sample.spans[first].start
            n_targets = sample.spans[k].end - sample.spans[k].start
            weights[row, start : start + n_targets] = 1.0 / n_targets
    return (losses * weights).sum(), weights > 0


def _walk_back(
    loss: torch.Tensor,
    chunks: Sequence[_Chunk | None],
    cache: SpanCache,
    newest: int,
    first_kept: int,
    total: GradientSum,
    own: torch.Tensor | bool = True,
) -> None:
    """Take `loss` back through the chunks ``first_kept … newest``, adding each one's share to `total`.

    `own`: which positions of the newest chunk are the span's.
    """
    pending: dict[int, list[torch.Tensor | None]] = {
        c: [None] * len(cache.proxies(c)) for c in range(first_kept, newest)
    }
    outputs: list[torch.Tensor] = [loss]
    seeds: list[torch.Tensor] | None = None
    for at in range(newest, first_kept - 1, -1):
        chunk = chunks[at]
        assert chunk is not None, "a chunk inside the window lost its graph"
        if at < newest:
            live = cache.lives(at)
            reached = [
                (tensor, grad)
                for tensor, grad in zip(live, pending.pop(at), strict=True)
                if grad is not None and tensor.requires_grad
            ]
            if not reached:
                continue
            outputs, seeds = [t for t, _ in reached], [g for _, g in reached]
        leaves = [leaf for c in pending for leaf in cache.proxies(c)]
        found = torch.autograd.grad(
            outputs,
            [call.output for call in chunk.calls] + leaves,
            grad_outputs=seeds,
            retain_graph=True,
            allow_unused=True,
        )
        n_calls = len(chunk.calls)
        total.add(chunk.calls, found[:n_calls], own=own if at == newest else False)
        cursor = n_calls
        for kept in pending.values():
            for slot in range(len(kept)):
                grad = found[cursor]
                if grad is not None:
                    earlier = kept[slot]
                    kept[slot] = grad if earlier is None else earlier + grad
                cursor += 1
        if at == newest and pending and all(g is None for kept in pending.values() for g in kept):
            raise UserError(
                "no gradient came back through the key-value cache, so tier span would be wrong here",
                "this architecture",
                "use --tier position, --tier hidden or --window 0",
            )
