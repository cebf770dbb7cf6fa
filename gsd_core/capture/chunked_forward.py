"""The forward pass of a batch in chunks over one cache, through which backward walks can go.

Chunk             the data of one chunk that walks need
ChunkedForward    all chunks of a batch, and the column of every position

Shapes: B batch, t chunk length, T columns of all chunks, D model width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.integrations import sdpa_attention

from gsd_core.capture.accumulate import GradientSum
from gsd_core.capture.batches import PaddedChunk, build_chunk
from gsd_core.capture.cache import SpanCache, compute_chunk_mask
from gsd_core.capture.chunks import ChunkPlan
from gsd_core.capture.deferred_head import DeferredHead
from gsd_core.capture.hooks import ModuleTap, TappedCall
from gsd_core.models.devices import input_device
from gsd_core.types import TokenizedSample


@dataclass(slots=True)
class Chunk:
    """The data that walks need of one round of the forward pass, the columns ``[start, stop)``.

    ``states`` (B, t, D) is the head's input and ``calls`` are the captured modules', both with their graph; ``slots``
    are the calls' in the sum.
    """

    start: int
    stop: int
    states: torch.Tensor
    calls: list[TappedCall]
    slots: list[int]


@contextmanager
def _grouped_attention(device: torch.device) -> Iterator[None]:
    """On a CPU, let attention read grouped keys and values without copies.

    With a mask, transformers copies them for every query head, because fused GPU kernels need it. The CPU's kernel does
    not, and as every chunk reads all past keys, the copies are a third of the cost at 32 spans.
    """
    kept = sdpa_attention.use_gqa_in_sdpa
    if device.type == "cpu":
        sdpa_attention.use_gqa_in_sdpa = lambda *_: True
    try:
        yield
    finally:
        sdpa_attention.use_gqa_in_sdpa = kept


class ChunkedForward:
    """Chunked forward pass of a batch; the tokens after the last span come last, without a graph."""

    def __init__(
        self,
        model: PreTrainedModel,
        samples: Sequence[TokenizedSample],
        plan: ChunkPlan,
        with_rest: bool,
        pad_id: int,
    ) -> None:
        self.model, self.samples = model, samples
        self.device = input_device(model)
        self.config: Any = model.config.get_text_config()
        self.dtype = next(model.parameters()).dtype
        rounds = [list(pairwise(cuts)) for cuts in plan.borders]
        if with_rest:
            for each, sample in zip(rounds, samples, strict=True):
                each.append((each[-1][1], len(sample.token_ids) - 1))
        built = [build_chunk(samples, bounds, pad_id, self.device) for bounds in zip(*rounds, strict=True)]
        self.has_rest = with_rest and built[-1] is not None
        self.rounds = [chunk for chunk in built if chunk is not None]
        self.positions = torch.cat([chunk.positions for chunk in self.rounds], dim=1)
        self.valid = torch.cat([chunk.valid for chunk in self.rounds], dim=1)
        self.targets = torch.cat([chunk.targets for chunk in self.rounds], dim=1)
        self.cache = SpanCache(self.positions.shape[1], differentiable=True)

    def _mask(self, chunk: PaddedChunk, stop: int) -> Any:
        positions, valid = self.positions[:, :stop], self.valid[:, :stop]
        kinds = set(getattr(self.config, "layer_types", None) or ())
        window = getattr(self.config, "sliding_window", None)
        uses_sliding = "sliding_attention" in kinds or (
            not kinds and window is not None and getattr(self.config, "use_sliding_window", True)
        )

        def make(sliding_window: int | None) -> torch.Tensor:
            return compute_chunk_mask(chunk.positions, chunk.valid, positions, valid, sliding_window, self.dtype)

        if len(kinds) > 1:
            return {kind: make(window if kind == "sliding_attention" else None) for kind in kinds}
        return make(window if uses_sliding else None)

    def run(self, head: DeferredHead, tap: ModuleTap, total: GradientSum) -> list[Chunk]:
        """All chunks, in order."""
        chunks: list[Chunk] = []
        for number, padded in enumerate(self.rounds):
            is_rest = self.has_rest and number == len(self.rounds) - 1
            start = chunks[-1].stop if chunks else 0
            stop = start + padded.ids.shape[1]
            with _grouped_attention(self.device), torch.set_grad_enabled(not is_rest):
                self.model(
                    input_ids=padded.ids,
                    attention_mask=self._mask(padded, stop),
                    position_ids=padded.positions,
                    past_key_values=self.cache,
                    use_cache=True,
                )
            calls = tap.take()
            slots = total.keep([(call.module, call.inputs) for call in calls], start)
            chunks.append(Chunk(start, stop, head.take_states(), calls, slots))
        return chunks
