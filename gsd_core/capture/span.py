"""Tier ``span``: the exact gradient of each span's own loss, or the same through a window of spans.

compute_span_batch    a batch of samples → sketched gradients of all their spans

The forward pass goes in chunks over a cache whose past is differentiable. The output head runs once for all spans. Then
each span is walked back, chunk by chunk, from the chunk where it ends, as later positions have no influence on it
(``methods`` §1.1). Window ``W`` includes the span's own positions and those of the W spans before it; keys and values
further back, the prompt's too, are constant. ``window=None`` includes everything and gives the gradient of dense
autograd. Windows are computed here only in models that cannot share passes between them (``window.py``).

Shapes: B batch, t chunk length, T columns of all chunks, D model width, S spans, P sketch width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.autograd.graph import get_gradient_edge
from transformers import PreTrainedModel

from gsd_core.capture.accumulate import GradientSum
from gsd_core.capture.batches import assign_spans, mark_answers, spread_losses, spread_slopes
from gsd_core.capture.cache import SpanCache
from gsd_core.capture.chunked_forward import Chunk, ChunkedForward
from gsd_core.capture.chunks import ChunkPlan, cut_at_spans, plan_chunks
from gsd_core.capture.deferred_head import DeferredHead
from gsd_core.capture.hooks import ModuleTap
from gsd_core.capture.sketch import Sketch
from gsd_core.capture.tier_capture import ALL_LOSSES, SpanBatch, Wanted
from gsd_core.errors import UserError
from gsd_core.models.devices import input_device
from gsd_core.types import TokenizedSample


def compute_span_batch(
    model: PreTrainedModel,
    tap: ModuleTap,
    sketch: Sketch,
    samples: Sequence[TokenizedSample],
    window: int | None,
    pad_id: int = 0,
    wanted: Wanted = ALL_LOSSES,
) -> SpanBatch:
    """Sketched gradients of every span's mean loss, for a batch of samples.

    Call it inside ``FrozenModel(model)`` and ``tap``. `window` is W, None for the exact gradient.
    """
    if window is None:
        plans = plan_chunks(samples, input_device(model).type)
    else:  # a window ends at chunk borders
        plans = [ChunkPlan(list(range(len(samples))), cut_at_spans(samples))]
    found: dict[int, tuple[Any, ...]] = {}
    for plan in plans:
        members = [samples[i] for i in plan.members]
        together = _compute_plan(model, tap, sketch, members, plan, window, pad_id, wanted)
        found.update(zip(plan.members, together, strict=True))
    gradients, coherence, losses, *of_tokens = zip(*(found[i] for i in range(len(samples))), strict=True)
    return SpanBatch(list(gradients), list(coherence), list(losses), *map(list, of_tokens))


def _compute_plan(
    model: PreTrainedModel,
    tap: ModuleTap,
    sketch: Sketch,
    samples: Sequence[TokenizedSample],
    plan: ChunkPlan,
    window: int | None,
    pad_id: int,
    wanted: Wanted,
) -> list[tuple[Any, ...]]:
    """Gradients (S_i, P), coherence (S_i,), token losses (T_i,) and what else is `wanted` of every sample of a plan."""
    forward = ChunkedForward(model, samples, plan, wanted.after_spans, pad_id)
    total = GradientSum(sketch, len(samples), forward.positions.shape[1], forward.device)
    with DeferredHead(model) as head:
        chunks = forward.run(head, tap, total)
        owner, weights = assign_spans(samples, forward.positions, forward.valid)
        states = torch.cat([chunk.states.detach() for chunk in chunks], dim=1)
        loads = torch.from_numpy(weights).to(forward.device)
        if wanted.token_gradients:
            loads[mark_answers(samples, forward.positions, forward.valid)] = 1.0  # of no span: `owner` is -1 there
        of_head = head.differentiate(states, forward.targets, loads, tap, sketch)
        head_slots = total.keep([(module, inputs) for module, inputs, _ in of_head.calls], 0)
        losses = of_head.losses
        if wanted.all_token_losses:
            head.read_rest(states, forward.targets, losses)
    gradients = [np.zeros((len(s.spans), sketch.width), dtype=np.float32) for s in samples]
    coherence = [np.zeros(len(s.spans), dtype=np.float32) for s in samples]
    for turn in range(max(len(s.spans) for s in samples)):
        # In turns from the end: the last spans of all samples, then those before, so that their ends are close.
        numbers = [len(s.spans) - 1 - turn for s in samples]
        # Windows end at every span's border and need the same span of all samples.
        if window is not None:
            numbers = [turn if turn < len(s.spans) else -1 for s in samples]
        own = (owner == np.array(numbers)[:, None]) & (owner >= 0)
        near = np.flatnonzero(own.any(0))
        last = next(at for at, chunk in enumerate(chunks) if near[-1] < chunk.stop)
        first = 0 if window is None else max(last - window, last - turn)
        mask = torch.from_numpy(own).to(forward.device)
        _walk_back(chunks[: last + 1], forward.cache, first, of_head.slopes, mask, int(near[0]), total)
        for slot, (_, _, deltas) in zip(head_slots, of_head.calls, strict=True):
            total.write(slot, deltas.to(mask.device) * mask[..., None])
        folded, alike = total.finish(
            slice(chunks[first].start, chunks[last].stop), mask, slice(int(near[0]), int(near[-1]) + 1)
        )
        vectors, shares = folded.cpu().numpy(), alike.cpu().numpy()
        for row, k in enumerate(numbers):
            if k >= 0:
                gradients[row][k], coherence[row][k] = vectors[row], shares[row]
    found: list[list[Any]] = [gradients, coherence, spread_losses(losses, forward.positions, forward.valid, samples)]
    if wanted.token_gradients:
        found.append(spread_slopes(of_head.slopes, loads, forward.positions, forward.valid, samples))
    return list(zip(*found, strict=True))


def _walk_back(
    chunks: Sequence[Chunk],
    cache: SpanCache,
    first: int,
    slopes: torch.Tensor,
    own: torch.Tensor,
    near: int,
    total: GradientSum,
) -> None:
    """Walk back from the last of `chunks` to the chunk `first`, and write the gradients of each to `total`.

    `own` (B, T) bool marks the spans' positions, all from column `near` on; `slopes` (B, T, D) are the gradients at
    the head's input.
    """
    pending: list[torch.Tensor | None] = []
    for at in range(len(chunks) - 1, first - 1, -1):
        chunk = chunks[at]
        columns = slice(chunk.start, chunk.stop)
        outputs: list[torch.Tensor] = []
        seeds: list[torch.Tensor] = []
        if near < chunk.stop:
            outputs, seeds = [chunk.states], [slopes[:, columns] * own[:, columns, None].to(slopes.device)]
        for tensor, gradient in zip(cache.own(at), pending, strict=False):  # `pending` is empty at first
            if gradient is not None and tensor.requires_grad:
                outputs.append(tensor)
                seeds.append(gradient[:, :, columns])
        past = cache.past(at) if at > first else []
        found = torch.autograd.grad(
            outputs,
            [call.edge for call in chunk.calls] + [get_gradient_edge(each) for each in past],
            grad_outputs=seeds,
            retain_graph=True,
            allow_unused=True,
        )
        n_calls = len(chunk.calls)
        total.add(chunk.slots, found[:n_calls], chunk.start, chunk.stop)
        of_past = found[n_calls:]
        if past and not pending:
            pending = [None] * len(past)
            if all(each is None for each in of_past):
                raise UserError(
                    "no gradient came back through the key-value cache, so tier span would be wrong here",
                    "this architecture",
                    "use --tier position, --tier hidden or --window 0",
                )
        for slot, each in enumerate(of_past):
            kept = pending[slot]
            if each is not None and kept is not None:
                kept[:, :, : chunk.start] += each
            elif each is not None:
                pending[slot] = each.clone()  # a view of what the backward pass may still own
