"""Tier ``position``: each span's share of the ordinary training gradient.

forward_whole            plain forward pass over whole, padded samples
span_rows, place_spans, place_ranges   positions of every span in a padded batch
gather_rows              values at these positions
make_span_batch          padded vectors and coherence → one array a sample
PositionSum              running ``Σ_t (P δ_t)(Q a_t)ᵀ`` of every span of a batch, module by module
PositionTier             the implementation of the tier
compute_position_batch   a batch of samples → sketched shares of all their spans

The loss is the sample's mean over its targets, everything after the prompt, as in supervised fine-tuning. Position
``t`` contributes ``δ_t a_tᵀ``; the shares of all positions add up to the gradient that the optimizer takes
(``methods`` §1.1). It is not the gradient of the span's own loss.

Shapes: B batch, T tokens, S spans, n longest span, P sketch width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from gsd_core.capture.batches import PaddedChunk, build_chunk, count_padded, spread_losses, spread_slopes
from gsd_core.capture.deferred_head import DeferredHead
from gsd_core.capture.hooks import ModuleTap, TappedCall
from gsd_core.capture.sketch import Sketch
from gsd_core.capture.tier_capture import ALL_LOSSES, ModuleTier, SpanBatch, Wanted
from gsd_core.models.devices import input_device
from gsd_core.types import TokenizedSample

MAX_WAITING = 2**23  # numbers (32 MiB) that a ``PositionSum`` collects before it multiplies them


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


def span_rows(chunk: PaddedChunk, samples: Sequence[TokenizedSample]) -> tuple[torch.Tensor, torch.Tensor]:
    """``place_spans`` for a padded batch."""
    return place_spans(samples, chunk.valid.to(torch.int64).argmax(1).tolist(), chunk.ids.device)


def place_spans(
    samples: Sequence[TokenizedSample], firsts: Sequence[int], device: torch.device | str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Input positions of every span: (B, S, n) int64 indices and (B, S, n) bool validity.

    `firsts` has the column of its row at which each sample begins.
    """
    ranges = [
        [(span.start - 1 + first, span.end - 1 + first) for span in sample.spans]
        for sample, first in zip(samples, firsts, strict=True)
    ]
    return place_ranges(ranges, device)


def place_ranges(
    ranges: Sequence[Sequence[tuple[int, int]]], device: torch.device | str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Columns ``[start, stop)`` of each sample's ranges: (B, S, n) int64 indices and (B, S, n) bool validity."""
    n_ranges = max(map(len, ranges))
    longest = max((stop - start for of_sample in ranges for start, stop in of_sample), default=1)
    rows = torch.zeros(len(ranges), n_ranges, longest, dtype=torch.int64)
    real = torch.zeros_like(rows, dtype=torch.bool)
    for i, of_sample in enumerate(ranges):
        for k, (start, stop) in enumerate(of_sample):
            rows[i, k, : stop - start] = torch.arange(start, stop)
            real[i, k, : stop - start] = True
    return rows.to(device), real.to(device)


def gather_rows(values: torch.Tensor, rows: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """(B, T, w) → (B, S, n, w) on the device of the values, zero where not real.

    `values` may hold several batches of B, one after the other.
    """
    rows, real = rows.to(values.device), real.to(values.device)
    batch, n_spans, longest = rows.shape
    n_batches, n_tokens = len(values) // batch, values.shape[1]
    starts = torch.arange(batch, device=rows.device)[:, None, None] * n_tokens
    flat = (rows + starts).flatten()
    # One index a row: several times faster than a gather of single numbers.
    found = values.reshape(n_batches, batch * n_tokens, -1).index_select(1, flat)
    return found.view(n_batches * batch, n_spans, longest, -1) * real.repeat(n_batches, 1, 1)[..., None]


def make_span_batch(
    vectors: torch.Tensor,
    coherence: torch.Tensor,
    chunk: PaddedChunk,
    losses: torch.Tensor,
    samples: Sequence[TokenizedSample],
    token_gradients: list[torch.Tensor] | None = None,
) -> SpanBatch:
    """Vectors (B, S, P) and coherence (B, S), padded over spans, and losses (B, T) → each sample's own arrays."""
    rows, shares = vectors.cpu().numpy(), coherence.clamp(0, 1).cpu().numpy()
    return SpanBatch(
        [rows[i, : len(s.spans)] for i, s in enumerate(samples)],
        [shares[i, : len(s.spans)] for i, s in enumerate(samples)],
        spread_losses(losses, chunk.positions, chunk.valid, samples),
        token_gradients,
    )


class PositionSum:
    """Sketched shares of every span of a batch, and the token norms for coherence.

    `rows`, `real` (B, S, n) come from ``span_rows``. Modules are added in any order, and one may be added several
    times. They are collected and multiplied many at a time, because one module's product is small beside the call's
    cost.
    """

    def __init__(self, sketch: Sketch, rows: torch.Tensor, real: torch.Tensor) -> None:
        self._sketch, self._rows, self._real = sketch, rows, real
        batch, n_spans, longest = rows.shape
        self._sums: list[torch.Tensor | None] = [None] * len(sketch.modules)
        self._token_squares = torch.zeros(batch, n_spans, longest, device=rows.device)
        self._waiting: list[tuple[int, torch.Tensor, torch.Tensor]] = []
        self._n_waiting = 0
        self._seen: set[int] = set()

    @property
    def missing(self) -> list[int]:
        """Indices in ``Sketch.modules`` of the modules that were not added."""
        return [index for index in range(len(self._sketch.modules)) if index not in self._seen]

    def add(self, module: int, inputs: torch.Tensor, deltas: torch.Tensor) -> None:
        """Add one call of a module: its inputs (B, T, q) and its output's gradients (B, T, p), both projected."""
        device = self._rows.device  # modules may be on several
        self._waiting.append((module, inputs.to(device), deltas.to(device)))
        self._seen.add(module)
        self._n_waiting += inputs.numel() + deltas.numel()
        if self._n_waiting > MAX_WAITING:
            self._multiply()

    def receive(self, call: TappedCall, delta: torch.Tensor) -> None:
        """Add a watched call with its output's gradient (B, T, d_out)."""
        self.add(call.module, call.inputs, self._sketch.modules[call.module].project_output_gradient(delta))

    def finish(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Sketched gradients (B, S, P) and coherence (B, S), float32; a module that was not added counts as zero."""
        self._multiply()
        batch, n_spans, _ = self._rows.shape
        sums = [
            torch.zeros(batch * n_spans, m.p, m.q, device=self._rows.device) if each is None else each
            for m, each in zip(self._sketch.modules, self._sums, strict=True)
        ]
        squares = torch.stack([each.flatten(1).square().sum(1) for each in sums]).sum(0).view(batch, n_spans)
        token_norms = self._token_squares.sqrt().sum(-1).clamp_min(1e-30)
        return self._sketch.fold(sums).view(batch, n_spans, -1), squares.sqrt() / token_norms

    def _multiply(self) -> None:
        """Multiply and add what was collected, modules of equal rank together."""
        by_rank: dict[tuple[int, int], list[tuple[int, torch.Tensor, torch.Tensor]]] = {}
        for each in self._waiting:
            by_rank.setdefault((each[2].shape[-1], each[1].shape[-1]), []).append(each)
        self._waiting, self._n_waiting = [], 0
        for (p, q), group in by_rank.items():
            n_spans, longest = self._rows.shape[0] * self._rows.shape[1], self._rows.shape[2]
            left = gather_rows(torch.cat([deltas for _, _, deltas in group]), self._rows, self._real)
            right = gather_rows(torch.cat([inputs for _, inputs, _ in group]), self._rows, self._real)
            shares = left.view(-1, longest, p).transpose(1, 2) @ right.view(-1, longest, q)
            tokens = left.square().sum(-1) * right.square().sum(-1)
            self._token_squares += tokens.view(len(group), *self._token_squares.shape).sum(0)
            for (module, _, _), share in zip(group, shares.view(len(group), n_spans, p, q), strict=True):
                earlier = self._sums[module]
                self._sums[module] = share if earlier is None else earlier + share


def compute_position_batch(
    model: PreTrainedModel,
    tap: ModuleTap,
    sketch: Sketch,
    samples: Sequence[TokenizedSample],
    pad_id: int = 0,
    padding: str = "right",
    wanted: Wanted = ALL_LOSSES,
) -> SpanBatch:
    """Sketched shares of every span in its sample's training gradient.

    Call it inside ``FrozenModel(model)`` and ``tap``. Coherence is taken over the span's positions, as in tier span.
    """
    with DeferredHead(model) as head:
        chunk, _ = forward_whole(model, samples, pad_id, padding)
        states, calls = head.take_states(), tap.take()
        prompt = torch.tensor([s.prompt_tokens for s in samples], device=chunk.ids.device)
        is_target = (chunk.targets != -100) & (chunk.positions + 1 >= prompt[:, None])
        weights = is_target / is_target.sum(1, keepdim=True).clamp_min(1)
        found = head.differentiate(states, chunk.targets, weights, tap, sketch)
        total = PositionSum(sketch, *span_rows(chunk, samples))
        for each in found.calls:
            total.add(*each)
        with tap.watching(calls, total.receive):
            states.backward(found.slopes)  # parameters are frozen: only the embeddings' output gets a gradient
        losses = found.losses
        if wanted.all_token_losses:
            head.read_rest(states, chunk.targets, losses)
    by_token = None
    if wanted.token_gradients:
        by_token = spread_slopes(found.slopes, weights, chunk.positions, chunk.valid, samples)
    return make_span_batch(*total.finish(), chunk, losses, samples, by_token)


class PositionTier(ModuleTier):
    """Shares of the ordinary training gradient; a ``TierCapture``."""

    def __call__(self, samples: Sequence[TokenizedSample], window: int | None = None) -> SpanBatch:
        """See ``compute_position_batch``."""
        with ModuleTap(self.selection, self.sketch) as tap:
            return compute_position_batch(self.model, tap, self.sketch, samples, self.pad_id, wanted=self.config.wanted)

    def count_passes(self, samples: Sequence[TokenizedSample], window: int | None = None) -> float:
        """One forward and one backward pass."""
        return 2 * count_padded(samples)
