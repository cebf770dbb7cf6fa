"""Tier ``position``: each span's share of the ordinary training gradient.

forward_whole            plain forward pass over whole, padded samples
span_rows, place_spans   positions of every span in a padded batch
gather_rows              values at these positions
make_span_batch          padded vectors and coherence → one array a sample
PositionSum              running ``Σ_t (P δ_t)(Q a_t)ᵀ`` of every span of a batch, module by module
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
from gsd_core.capture.hooks import ModuleTap
from gsd_core.capture.sketch import Sketch
from gsd_core.capture.span import SpanBatch
from gsd_core.types import TokenizedSample


def forward_whole(
    model: PreTrainedModel, samples: Sequence[TokenizedSample], pad_id: int, padding: str = "right"
) -> tuple[PaddedChunk, torch.Tensor]:
    """Plain forward pass over whole, padded samples; (chunk, logits (B, T, V))."""
    device = next(model.parameters()).device
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
    """Padded rows of every span's input positions, as ``place_spans`` gives them."""
    return place_spans(samples, chunk.valid.to(torch.int64).argmax(1).tolist(), chunk.ids.device)


def place_spans(
    samples: Sequence[TokenizedSample], firsts: Sequence[int], device: torch.device | str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Input positions of every span: (B, S, n) int64 indices and (B, S, n) bool validity.

    `firsts` tells at which column of its row each sample begins.
    """
    n_spans = max(len(s.spans) for s in samples)
    longest = max((span.end - span.start for s in samples for span in s.spans), default=1)
    rows = torch.zeros(len(samples), n_spans, longest, dtype=torch.int64)
    real = torch.zeros_like(rows, dtype=torch.bool)
    for i, sample in enumerate(samples):
        for k, span in enumerate(sample.spans):
            length = span.end - span.start
            rows[i, k, :length] = torch.arange(span.start - 1, span.end - 1) + firsts[i]
            real[i, k, :length] = True
    return rows.to(device), real.to(device)


def gather_rows(values: torch.Tensor, rows: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """(B, T, w) → (B, S, n, w), zero where not real."""
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


class PositionSum:
    """Sketched shares of every span of a batch, (B·S, p, q) float32 a module, and the token norms for coherence.

    `rows`, `real` (B, S, n) are of ``span_rows``. Modules come in any order, and one may come several times.
    """

    def __init__(self, sketch: Sketch, rows: torch.Tensor, real: torch.Tensor) -> None:
        self._sketch, self._rows, self._real = sketch, rows, real
        batch, n_spans, longest = rows.shape
        self._sums: list[torch.Tensor | None] = [None] * len(sketch.modules)
        self._sum_squares = torch.zeros(batch, n_spans, device=rows.device)
        self._token_squares = torch.zeros(batch, n_spans, longest, device=rows.device)

    @property
    def is_empty(self) -> bool:
        """Whether no module has come yet."""
        return all(each is None for each in self._sums)

    @property
    def missing(self) -> list[int]:
        """Modules, as indices of ``Sketch.modules``, that have not come."""
        return [index for index, each in enumerate(self._sums) if each is None]

    def add(self, module: int, inputs: torch.Tensor, delta: torch.Tensor) -> None:
        """Add one call of a module: its projected `inputs` (B, T, q) and its output's gradient (B, T, d_out)."""
        rows, real = self._rows, self._real
        left = gather_rows(self._sketch.modules[module].project_output_gradient(delta), rows, real)
        right = gather_rows(inputs, rows, real)
        share = left.flatten(0, 1).transpose(1, 2) @ right.flatten(0, 1)
        earlier = self._sums[module]
        self._sums[module] = share if earlier is None else earlier + share
        self._sum_squares += share.flatten(1).square().sum(1).view(self._sum_squares.shape)
        self._token_squares += left.square().sum(-1) * right.square().sum(-1)

    def finish(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Sketched gradients (B, S, P) and coherence (B, S), float32; a module that never came counts as zero."""
        batch, n_spans, _ = self._rows.shape
        sums = [
            torch.zeros(batch * n_spans, m.p, m.q, device=self._rows.device) if each is None else each
            for m, each in zip(self._sketch.modules, self._sums, strict=True)
        ]
        token_norms = self._token_squares.sqrt().sum(-1).clamp_min(1e-30)
        return self._sketch.fold(sums).view(batch, n_spans, -1), self._sum_squares.sqrt() / token_norms


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
    total = PositionSum(sketch, *span_rows(chunk, samples))
    for call, delta in zip(calls, deltas, strict=True):
        if delta is not None:
            total.add(call.module, call.inputs, delta)
    return make_span_batch(*total.finish(), chunk, losses, samples)
