"""Tier ``span`` in whole passes: one plain forward pass, then W + 1 backward passes that many spans share.

compute_window_batch   a batch of samples → sketched gradients of all their spans through a window
check_windows          whether only attention mixes a model's positions, and whether it is ordinary

With window W the loss of span k goes back only through the positions of the spans k − W … k. Spans W + 1 apart have
disjoint windows that together cover every position once. So pass r (0 … W) takes the losses of all spans k ≡ r modulo
W + 1 at once, and attention keeps their gradients apart [ours]. Each position's share counts for the one span whose
window contains it. The cost depends neither on the number of spans nor on their lengths.

The exact gradient (window None) is the case of one span a pass. ``span.py`` computes it at lower cost in chunks; here
it serves checkpointed layers, which cannot be cut into chunks.

Shapes: B batch, T positions, S spans, D model width, P sketch width.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from gsd_core.capture.attention import UnfamiliarAttention, WindowedAttention
from gsd_core.capture.batches import PaddedChunk, assign_spans, build_chunk, chunk_borders, mark_answers, spread_slopes
from gsd_core.capture.cache import SpanCache
from gsd_core.capture.deferred_head import DeferredHead
from gsd_core.capture.hooks import ModuleTap
from gsd_core.capture.position import PositionSum, make_span_batch, place_ranges
from gsd_core.capture.sketch import Sketch
from gsd_core.capture.tier_capture import ALL_LOSSES, SpanBatch, Wanted
from gsd_core.models.devices import input_device
from gsd_core.types import TokenizedSample

PAST_SHARE = 0.05  # a separate forward pass for fewer positions costs more than it saves


def compute_window_batch(
    model: PreTrainedModel,
    tap: ModuleTap,
    sketch: Sketch,
    samples: Sequence[TokenizedSample],
    window: int | None,
    pad_id: int = 0,
    wanted: Wanted = ALL_LOSSES,
) -> SpanBatch:
    """Sketched gradients of every span's mean loss through `window` (None: all), for a batch of samples.

    Call it inside ``FrozenModel(model)`` and ``tap``, for a model that has passed ``check_windows``.
    """
    device = input_device(model)
    ends = [len(s.token_ids) - 1 if wanted.after_spans else s.spans[-1].end - 1 for s in samples]
    chunk = build_chunk(samples, [(0, end) for end in ends], pad_id, device)
    assert chunk is not None, "a batch without tokens was planned"
    n_spans = max(len(s.spans) for s in samples)
    borders, n_before = _cut(samples, is_exact=window is None)
    past = _choose_past([of_sample[0] for of_sample in borders], chunk.ids.shape[1])
    # From here on positions are counted from the first one that has a graph.
    parts = [list(pairwise(at - past for at in of_sample)) for of_sample in borders]
    n_live, reach = chunk.ids.shape[1] - past, n_spans - 1 if window is None else window
    owner, weights = (
        torch.from_numpy(each[:, past:]).to(device) for each in assign_spans(samples, chunk.positions, chunk.valid)
    )
    if wanted.token_gradients:
        weights[mark_answers(samples, chunk.positions, chunk.valid)[:, past:]] = 1.0  # of no span: `owner` is -1 there
    rows = place_ranges(parts, device)
    gradients = torch.zeros(len(samples), n_spans, sketch.width, device=device)
    coherence = torch.zeros(len(samples), n_spans, device=device)
    with WindowedAttention(model) as attention, DeferredHead(model) as head:
        states, root = _forward(model, head, chunk, past)
        calls = tap.take()
        found = head.differentiate(states[-1], chunk.targets[:, past:], weights, tap, sketch)
        n_passes = min(reach + 1, n_spans)
        for turn in range(n_passes):
            now = ((owner % (reach + 1) == turn) & (owner >= 0))[..., None]
            total = PositionSum(sketch, *rows)
            for module, inputs, deltas in found.calls:
                total.add(module, inputs, deltas * now.to(deltas.device))
            # Of every sample: the parts of each window; the last of them is the span.
            turns = [(max(0, k - reach), k + n_before) for k in range(turn, n_spans, reach + 1)]
            attention.set_windows(_place_windows(parts, turns, n_live), device)
            seed = found.slopes * now.to(found.slopes.device)
            with tap.watching(calls, total.receive):
                torch.autograd.grad(states[-1], root, seed, retain_graph=turn + 1 < n_passes)
            shares, together = total.finish()
            for first, last in turns:
                gradients[:, last - n_before] = shares[:, first : last + 1].sum(1)
                coherence[:, last - n_before] = together[:, last]
        losses = torch.full(chunk.ids.shape, torch.nan, device=device)
        losses[:, past:] = found.losses
        if wanted.all_token_losses:
            head.read_rest(torch.cat([each.detach() for each in states], dim=1), chunk.targets, losses)
    live = (chunk.positions[:, past:], chunk.valid[:, past:])
    by_token = spread_slopes(found.slopes, weights, *live, samples) if wanted.token_gradients else None
    return make_span_batch(gradients, coherence, chunk, losses, samples, by_token)


def check_windows(
    model: PreTrainedModel,
    tap: ModuleTap,
    sketch: Sketch,
    sample: TokenizedSample,
    plain_losses: np.ndarray,
    tolerance: float,
) -> bool:
    """Whether ``compute_window_batch`` serves `model`; if not, windows need ``compute_span_batch``.

    It serves a model that attends in every layer through transformers' interface in an ordinary way, that gives the
    losses of a plain forward pass (`plain_losses` (T,) by token, within `tolerance`), and in which only attention mixes
    positions: with attention's gradients stopped, the gradient of one token's loss is exactly zero at every other
    position. Call it as ``compute_window_batch``.
    """
    device = input_device(model)
    chunk = build_chunk([sample], [(0, len(sample.token_ids) - 1)], 0, device)
    assert chunk is not None, "a sample without tokens was planned"
    # The last token's loss alone: anything that mixes positions passes its gradient to earlier ones.
    weights = torch.zeros(chunk.ids.shape, device=device)
    weights[0, -1] = 1.0
    try:
        with WindowedAttention(model) as attention, DeferredHead(model) as head:
            past = _choose_past([sample.spans[0].start - 1], chunk.ids.shape[1])
            states, root = _forward(model, head, chunk, past)
            tap.take()
            found = head.differentiate(states[-1], chunk.targets[:, past:], weights[:, past:], tap, sketch)
            attention.set_windows(np.full(found.losses.shape, found.losses.shape[1]), device)
            with tap.watching((), lambda *_: None):
                (at_root,) = torch.autograd.grad(states[-1], root, found.slopes)
            everything = torch.cat([each.detach() for each in states], dim=1)
            losses = head.read_losses(everything, chunk.targets, chunk.valid).cpu().numpy()
    except UnfamiliarAttention:
        return False
    is_alike = bool(np.abs(losses - plain_losses[1:]).max() <= tolerance)  # NaN is not alike
    return is_alike and not at_root[0, :-1].any() and bool(at_root[0, -1].any())


def _choose_past(starts: Sequence[int], n_positions: int) -> int:
    """Number of first positions without graph: those before every sample's first span, if enough to save time."""
    past = min(starts)
    return past if past >= PAST_SHARE * n_positions else 0


def _forward(model: Any, head: DeferredHead, chunk: PaddedChunk, past: int) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Head inputs of the first `past` positions, if any, without a graph, and of the rest; the rest's embeddings."""
    cache = SpanCache(chunk.ids.shape[1], differentiable=False, open_from=past)
    states: list[torch.Tensor] = []
    for start, stop in ((0, past), (past, chunk.ids.shape[1])):
        if start == stop:
            continue
        with torch.set_grad_enabled(stop > past):
            model(
                input_ids=chunk.ids[:, start:stop],
                position_ids=chunk.positions[:, start:stop],
                past_key_values=cache,
                use_cache=True,
            )
        states.append(head.take_states())
    assert head.root is not None, "the token embedding was not called"
    return states, head.root


def _place_windows(
    parts: Sequence[Sequence[tuple[int, int]]], turns: Sequence[tuple[int, int]], width: int
) -> np.ndarray:
    """(B, T) int64 first position of the window that holds each position; T where none does.

    ``parts[i]`` are the positions of sample i, part by part; a window holds those from one part to another.
    """
    first = np.full((len(parts), width), width, dtype=np.int64)
    for row, of_sample in enumerate(parts):
        for start, last in turns:
            if last < len(of_sample):
                first[row, of_sample[start][0] : of_sample[last][1]] = of_sample[start][0]
    return first


def _cut(samples: Sequence[TokenizedSample], is_exact: bool) -> tuple[list[list[int]], int]:
    """Borders of every sample's parts (its spans with the text after each), and the number of parts before them.

    Where the gradient `is_exact`, pieces of the prompt about as long as spans come first, because positions are padded
    to the longest part.
    """
    borders = [chunk_borders(s) for s in samples]
    if not is_exact:
        return [each[1:] for each in borders], 0
    longest = max(stop - start for each in borders for start, stop in pairwise(each[1:]))
    n_before = max(1, max(-(-each[1] // longest) for each in borders))
    cuts = [np.linspace(0, each[1], n_before + 1).astype(int).tolist()[:-1] for each in borders]
    return [[*before, *each[1:]] for before, each in zip(cuts, borders, strict=True)], n_before
