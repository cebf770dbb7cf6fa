"""Tier ``position``: each span's share of the ordinary training gradient.

forward_whole            plain forward pass over whole, padded samples
span_rows, gather_rows   values at the positions of every span
make_span_batch          padded vectors and coherence → one array a sample
compute_position_batch   a batch of samples → sketched shares of all their spans

The loss is the sample's mean over its targets, everything after the prompt, as in supervised fine-tuning. Position
``t`` contributes ``δ_t a_tᵀ``; the shares of all positions add up to the gradient that the optimizer takes
(``methods`` §1.1). It is not the gradient of the span's own loss.

Shapes: B batch, T tokens, S spans, n longest span, P sketch width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from gsd_core.capture.accumulate import token_losses_of
from gsd_core.capture.batches import PaddedChunk, build_chunk
from gsd_core.capture.devices import input_device
from gsd_core.capture.hooks import ModuleTap
from gsd_core.capture.sketch import Sketch
from gsd_core.capture.span import SpanBatch
from gsd_core.types import TokenizedSample


def forward_whole(
    model: PreTrainedModel, samples: Sequence[TokenizedSample], pad_id: int, padding: str = "right"
) -> tuple[PaddedChunk, torch.Tensor]:
    """Plain forward pass over whole, padded samples; (chunk, logits (B, T, V))."""
    device = input_device(model)
    bounds = [(0, len(s.token_ids)) for s in samples]
    chunk = build_chunk(samples, bounds, pad_id, device, padding)
    assert chunk is not None, "a batch without tokens was planned"
    arguments = {"input_ids": chunk.ids, "attention_mask": chunk.valid.to(torch.int64), "use_cache": False}
    if not getattr(model, "_is_stateful", False):
        arguments["position_ids"] = chunk.positions
    return chunk, model(**arguments).logits


def unpad_losses(
    chunk: PaddedChunk, losses: torch.Tensor, samples: Sequence[TokenizedSample]
) -> list[np.ndarray]:
    """Losses (B, T) by input position → per sample (T_i,) by token, NaN for the first token."""
    values, valid = losses.detach().cpu().numpy(), chunk.valid.cpu().numpy()
    unpadded = []
    for row, sample in enumerate(samples):
        per_token = np.full(len(sample.token_ids), np.nan, dtype=np.float32)
        per_token[1:] = values[row][valid[row]][:-1]
        unpadded.append(per_token)
    return unpadded


def span_rows(chunk: PaddedChunk, samples: Sequence[TokenizedSample]) -> tuple[torch.Tensor, torch.Tensor]:
    """Padded rows of every span's input positions: (B, S, n) int64 indices and (B, S, n) bool validity."""
    n_spans = max(len(s.spans) for s in samples)
    longest = max((span.end - span.start for s in samples for span in s.spans), default=1)
    rows = torch.zeros(len(samples), n_spans, longest, dtype=torch.int64)
    real = torch.zeros_like(rows, dtype=torch.bool)
    first_valid = chunk.valid.to(torch.int64).argmax(1).cpu()
    for i, sample in enumerate(samples):
        for k, span in enumerate(sample.spans):
            length = span.end - span.start
            rows[i, k, :length] = torch.arange(span.start - 1, span.end - 1) + first_valid[i]
            real[i, k, :length] = True
    return rows.to(chunk.ids.device), real.to(chunk.ids.device)


def gather_rows(values: torch.Tensor, rows: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """(B, T, w) → (B, S, n, w) on the device of the values, zero where not real."""
    rows, real = rows.to(values.device), real.to(values.device)
    batch, n_spans, longest = rows.shape
    flat = rows.flatten(1)[:, :, None].expand(-1, -1, values.shape[-1])
    return values.gather(1, flat).view(batch, n_spans, longest, -1) * real[..., None]


def make_span_batch(
    vectors: torch.Tensor,
    coherence: torch.Tensor,
    chunk: PaddedChunk,
    losses: torch.Tensor,
    samples: Sequence[TokenizedSample],
) -> SpanBatch:
    """Vectors (B, S, P) and coherence (B, S), padded over spans, and losses (B, T) → each sample's own arrays."""
    rows, shares = vectors.cpu().numpy(), coherence.clamp(0, 1).cpu().numpy()
    return SpanBatch(
        [rows[i, : len(s.spans)] for i, s in enumerate(samples)],
        [shares[i, : len(s.spans)] for i, s in enumerate(samples)],
        unpad_losses(chunk, losses, samples),
    )


def compute_position_batch(
    model: PreTrainedModel,
    tap: ModuleTap,
    sketch: Sketch,
    samples: Sequence[TokenizedSample],
    pad_id: int = 0,
    padding: str = "right",
) -> SpanBatch:
    """Sketched shares of every span in its sample's training gradient.

    Call it inside ``FrozenModel(model)`` and ``tap``. Coherence is taken over the span's positions, as in tier span.
    """
    chunk, logits = forward_whole(model, samples, pad_id, padding)
    calls = tap.take()
    losses = token_losses_of(logits, chunk.targets)
    prompt = torch.tensor([s.prompt_tokens for s in samples], device=losses.device)
    is_target = (chunk.targets != -100) & (chunk.positions + 1 >= prompt[:, None])
    loss = ((losses * is_target).sum(1) / is_target.sum(1).clamp_min(1)).sum()
    deltas = torch.autograd.grad(loss, [call.output for call in calls], allow_unused=True)
    rows, real = span_rows(chunk, samples)
    batch, n_spans, _ = rows.shape
    device = losses.device
    sums = [torch.zeros(batch * n_spans, m.p, m.q, device=device) for m in sketch.modules]
    sum_squares = torch.zeros(batch, n_spans, device=device)
    token_squares = torch.zeros(batch, n_spans, rows.shape[2], device=device)
    for call, delta in zip(calls, deltas, strict=True):
        if delta is None:
            continue
        left = gather_rows(sketch.modules[call.module].project_output_gradient(delta), rows, real)
        right = gather_rows(call.inputs.to(delta.device), rows, real)
        share = (left.flatten(0, 1).transpose(1, 2) @ right.flatten(0, 1)).to(device)
        sums[call.module] += share
        sum_squares += share.flatten(1).square().sum(1).view(batch, n_spans)
        token_squares += (left.square().sum(-1) * right.square().sum(-1)).to(device)
    folded = sketch.fold(sums).view(batch, n_spans, -1)
    token_norms = token_squares.sqrt().sum(-1).clamp_min(1e-30)
    return make_span_batch(folded, sum_squares.sqrt() / token_norms, chunk, losses, samples)
