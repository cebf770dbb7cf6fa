"""From tokenized samples to padded tensors, in an order that depends on nothing but the samples.

plan_batches      samples → lists of indices, by padded token count
count_padded      columns of a batch
chunk_borders     where one sample's forward pass is cut: at its span borders
PaddedChunk       one round of chunks of a batch: ids, positions, targets, validity
build_chunk       borders → padded round
assign_spans      which span each column of padded rounds predicts, and how much its loss counts
mark_answers      which columns predict a token after the last span
spread_losses     losses by column → losses by token
spread_slopes     gradients of a weighted loss by column → each token's own gradient

Shapes: B batch, t padded chunk length, T columns of all chunks. Input position ``t`` predicts token ``t + 1``; the
chunk of span ``[a, b)`` therefore holds the positions ``[a - 1, b - 1)``, and tokens between two spans belong to the
chunk of the earlier one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gsd_core.types import TokenizedSample


def plan_batches(samples: Sequence[TokenizedSample], batch_tokens: int) -> list[list[int]]:
    """Group samples of similar shape so that no batch exceeds `batch_tokens` padded tokens.

    The plan depends only on the samples' lengths and span counts, so a resumed run has the same batches.
    A sample longer than `batch_tokens` is a batch of its own.
    """
    order = sorted(range(len(samples)), key=lambda i: (len(samples[i].spans), len(samples[i].token_ids), samples[i].id))
    batches: list[list[int]] = []
    current: list[int] = []
    longest = 0
    for index in order:
        n_tokens = len(samples[index].token_ids)
        if current and max(longest, n_tokens) * (len(current) + 1) > batch_tokens:
            batches.append(current)
            current, longest = [], 0
        current.append(index)
        longest = max(longest, n_tokens)
    if current:
        batches.append(current)
    return batches


def count_padded(samples: Sequence[TokenizedSample]) -> int:
    """Columns of a batch of whole samples, padding included."""
    return len(samples) * max((len(sample.token_ids) for sample in samples), default=0)


def chunk_borders(sample: TokenizedSample, spans_a_chunk: int = 1) -> list[int]:
    """Input positions that cut the sample: prompt | spans of chunk 1 | spans of chunk 2 | … | end.

    Chunk 0 is the prompt and may be empty; chunk k ≥ 1 holds the next `spans_a_chunk` kept spans.
    """
    starts = [span.start - 1 for span in sample.spans[::spans_a_chunk]]
    return [0, *starts, sample.spans[-1].end - 1] if starts else [0, 0]


@dataclass(frozen=True, slots=True)
class PaddedChunk:
    """``ids``, ``positions``, ``targets`` (B, t) int64; ``valid`` (B, t) bool; ``lengths`` per sample."""

    ids: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    valid: torch.Tensor
    lengths: list[int]


def build_chunk(
    samples: Sequence[TokenizedSample],
    bounds: Sequence[tuple[int, int]],
    pad_id: int,
    device: torch.device | str,
    padding: str = "right",
) -> PaddedChunk | None:
    """Pad the input positions ``[start, stop)`` of each sample to one round; None where all are empty.

    A position without a following token (the very last) has target -100.
    """
    lengths = [max(0, stop - start) for start, stop in bounds]
    width = max(lengths, default=0)
    if width == 0:
        return None
    shape = (len(samples), width)
    ids = torch.full(shape, pad_id, dtype=torch.int64)
    positions = torch.zeros(shape, dtype=torch.int64)
    targets = torch.full(shape, -100, dtype=torch.int64)
    valid = torch.zeros(shape, dtype=torch.bool)
    for row, (sample, (start, _), length) in enumerate(zip(samples, bounds, lengths, strict=True)):
        if length == 0:
            continue
        at = slice(0, length) if padding == "right" else slice(width - length, width)
        tokens = torch.from_numpy(sample.token_ids.astype("int64"))
        ids[row, at] = tokens[start : start + length]
        positions[row, at] = torch.arange(start, start + length)
        following = tokens[start + 1 : start + 1 + length]
        targets[row, at.start : at.start + len(following)] = following
        valid[row, at] = True
    return PaddedChunk(ids.to(device), positions.to(device), targets.to(device), valid.to(device), lengths)


def assign_spans(
    samples: Sequence[TokenizedSample], positions: torch.Tensor, valid: torch.Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """(B, T) int64 span whose token each column predicts, −1 for none; (B, T) float32 weight of its loss.

    `positions` (B, T) are the columns' input positions where `valid`.
    """
    owner = np.full(positions.shape, -1, dtype=np.int64)
    weights = np.zeros(positions.shape, dtype=np.float32)
    for row, (sample, at, real) in enumerate(zip(samples, positions.cpu().numpy(), valid.cpu().numpy(), strict=True)):
        span_of = np.full(len(sample.token_ids), -1)
        weight_of = np.zeros(len(sample.token_ids))
        for k, span in enumerate(sample.spans):
            span_of[span.start - 1 : span.end - 1] = k
            weight_of[span.start - 1 : span.end - 1] = 1.0 / (span.end - span.start)
        owner[row] = np.where(real, span_of[at], -1)
        weights[row] = np.where(real, weight_of[at], 0.0)
    return owner, weights


def mark_answers(samples: Sequence[TokenizedSample], positions: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """(B, T) bool: columns that predict a token after the sample's last span; arguments as of ``assign_spans``."""
    stops = torch.tensor([[s.spans[-1].end - 1, len(s.token_ids) - 1] for s in samples], device=positions.device)
    return valid & (positions >= stops[:, :1]) & (positions < stops[:, 1:])


def spread_slopes(
    slopes: torch.Tensor,
    weights: torch.Tensor,
    positions: torch.Tensor,
    valid: torch.Tensor,
    samples: Sequence[TokenizedSample],
) -> list[torch.Tensor]:
    """Gradients (B, T, D) of ``Σ weights · losses`` by column → (T_i - 1, D) float32 of each token's own loss.

    Row t predicts token t + 1; it is zero where the weight is.
    """
    spread = []
    own = slopes.to(valid.device, torch.float32) / weights.to(valid.device).clamp_min(1e-30)[..., None]
    for row, sample in enumerate(samples):
        by_token = own.new_zeros(len(sample.token_ids), own.shape[-1])
        known = valid[row] & (weights[row] > 0)
        by_token[positions[row][known]] = own[row][known]
        spread.append(by_token[:-1])
    return spread


def spread_losses(
    losses: torch.Tensor, positions: torch.Tensor, valid: torch.Tensor, samples: Sequence[TokenizedSample]
) -> list[np.ndarray]:
    """Losses (B, T) by column → (T_i,) by the token predicted; NaN for the first and for those without."""
    values, at, real = losses.detach().cpu().numpy(), positions.cpu().numpy(), valid.cpu().numpy()
    spread = []
    for row, sample in enumerate(samples):
        by_token = np.full(len(sample.token_ids) + 1, np.nan, dtype=np.float32)  # the last token predicts none
        by_token[at[row][real[row]] + 1] = values[row][real[row]]
        spread.append(by_token[:-1])
    return spread
