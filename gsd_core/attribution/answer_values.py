"""The log-probability of an answer where the trace before it is changed: cut short, or without some of its segments.

AnswerValues       a model; values after prefixes and of parts of a trace, losses and entropies of its tokens
SegmentValues      what is known of each segment without a gradient
Removal            F where only some segments are left
measure_segments   one trace → `SegmentValues`
measure_removals   one trace → F where only chosen segments are left
GRID_TAUS, GRID_BETAS   thresholds that `measure_removals` tries

Everything here is forward passes. Sources: confidence gain, perplexity and entropy are baselines of arXiv 2602.00425;
what is left after removal is asked for by its reviewers. Shapes: T tokens, n segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel

from gsd_core.attribution.integrated import AnswerTrace
from gsd_core.capture.hooks import FrozenModel
from gsd_core.comparison.segment_choice import choose_segments, draw_segments
from gsd_core.models.devices import input_device

GRID_TAUS = (0.3, 0.5, 0.7, 0.9)
GRID_BETAS = (0.6, 0.8, 1.0)
BLOCK = 1024  # tokens whose logits are held at once


class SegmentValues(NamedTuple):
    """(n,) each: mean ``losses`` and ``entropies`` of its tokens in nats, and ``gains``: how much more likely the
    answer is right after it than right before it, nats."""

    losses: np.ndarray
    entropies: np.ndarray
    gains: np.ndarray


@dataclass(frozen=True, slots=True)
class Removal:
    """F in nats where of a trace only some segments are left. ``choice`` is chosen, random, none or all; ``share`` of
    the segments' tokens is left."""

    choice: str
    tau: float
    beta: float
    value: float
    share: float


class AnswerValues:
    """Values of one model, which is frozen while it works and left as it was. Tokens are those of an `AnswerTrace`."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model

    @torch.no_grad()
    def measure(self, token_ids: np.ndarray, answer_start: int) -> float:
        """F: sum of the log-probabilities of the tokens from ``answer_start`` on, nats."""
        losses, _ = self._read(np.asarray(token_ids), first=answer_start)
        return -float(losses[answer_start:].sum())

    @torch.no_grad()
    def read(self, token_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(T,) loss of each token and entropy of what was expected in its place, nats; the first are NaN."""
        return self._read(np.asarray(token_ids), first=1)

    @torch.no_grad()
    def after_prefixes(self, trace: AnswerTrace, n_head: int, ends: Sequence[int]) -> np.ndarray:
        """(len(ends),) F where the trace's reasoning stops at each of ``ends`` (tokens, ascending); what follows token
        ``n_head``, words before the answer and the answer, comes right after. The cache of what stays is kept."""
        tail = trace.token_ids[n_head:]
        n_before = trace.answer_start - n_head
        found = np.zeros(len(ends))
        longest = max(ends)
        with FrozenModel(self.model):
            past = self._fill(trace.token_ids[:longest])
            for at in np.argsort(ends)[::-1].tolist():
                end = int(ends[at])
                if past is None:
                    ids = np.concatenate([trace.token_ids[:end], tail])
                    losses, _ = self._read(ids, first=end + n_before)
                    found[at] = -float(losses[end + n_before :].sum())
                    continue
                past.crop(end - past.get_seq_length())
                found[at] = self._follow(past, tail, n_before)
        return found

    def _fill(self, token_ids: np.ndarray) -> Any:
        """The cache of these tokens; None where a model has none that can be cut."""
        past = None
        for first in range(0, len(token_ids), BLOCK):
            ids = self._place(token_ids[first : first + BLOCK])
            found = self.model(input_ids=ids, past_key_values=past, use_cache=True)
            past = getattr(found, "past_key_values", None)
            if not getattr(past, "is_croppable", False):
                return None
        return past

    def _follow(self, past: Any, tail: np.ndarray, n_before: int) -> float:
        logits = self.model(input_ids=self._place(tail[:-1]), past_key_values=past, use_cache=True).logits[0].float()
        wanted = torch.as_tensor(tail[n_before:].astype(np.int64), device=logits.device)
        told = logits[n_before - 1 :].log_softmax(-1)
        return float(told.gather(-1, wanted[:, None]).sum())

    def _read(self, token_ids: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray]:
        """Losses and entropies from token ``first`` on; logits of ``BLOCK`` tokens at once where there is a cache."""
        n_tokens = len(token_ids)
        losses, entropies = np.full(n_tokens, np.nan), np.full(n_tokens, np.nan)
        past, has_cache = None, n_tokens > BLOCK
        with FrozenModel(self.model):
            start = 0
            while start < n_tokens - 1:
                stop = min(n_tokens - 1, start + BLOCK) if has_cache else n_tokens - 1
                ids = self._place(token_ids[start:stop])
                more = {"past_key_values": past, "use_cache": True} if has_cache else {"use_cache": False}
                out = self.model(input_ids=ids, **more)
                past = getattr(out, "past_key_values", None)
                if has_cache and past is None:
                    has_cache = False  # the whole at once
                    continue
                begin = max(start, first - 1)
                if begin < stop:
                    told = out.logits[0, begin - start :].float().log_softmax(-1)
                    wanted = torch.as_tensor(token_ids[begin + 1 : stop + 1].astype(np.int64), device=told.device)
                    losses[begin + 1 : stop + 1] = -told.gather(-1, wanted[:, None])[:, 0].cpu().numpy()
                    entropies[begin + 1 : stop + 1] = -(told.exp() * told).nan_to_num().sum(-1).cpu().numpy()
                start = stop
        return losses, entropies

    def _place(self, ids: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(np.asarray(ids, dtype=np.int64), device=input_device(self.model))[None]


def measure_segments(values: AnswerValues, trace: AnswerTrace, ranges: Sequence[tuple[int, int]]) -> SegmentValues:
    """What is known of segments at half-open token ``ranges``, in order and one after the other."""
    losses, entropies = values.read(trace.token_ids)
    told = values.after_prefixes(trace, ranges[-1][1], [ranges[0][0], *(end for _, end in ranges)])
    return SegmentValues(
        np.array([np.nanmean(losses[start:end]) for start, end in ranges]),
        np.array([np.nanmean(entropies[start:end]) for start, end in ranges]),
        np.diff(told),
    )


def measure_removals(
    values: AnswerValues,
    trace: AnswerTrace,
    ranges: Sequence[tuple[int, int]],
    masses: np.ndarray,
    consistency: np.ndarray,
    seed: int = 0,
) -> list[Removal]:
    """F with only the segments that each pair of thresholds chooses, with as many at random, with none and with all.

    ``masses`` and ``consistency`` (n,) are those of `comparison.segment_choice`. Sets that are the same are measured
    once.
    """
    sizes = np.array([end - start for start, end in ranges])
    known: dict[bytes, float] = {}

    def measure(choice: str, tau: float, beta: float, kept: np.ndarray) -> Removal:
        if kept.tobytes() not in known:
            is_left = np.ones(len(trace.token_ids), dtype=bool)
            is_left[ranges[0][0] : ranges[-1][1]] = False
            for (start, end), is_kept in zip(ranges, kept, strict=True):
                is_left[start:end] = is_kept
            answer_start = int(is_left[: trace.answer_start].sum())
            known[kept.tobytes()] = values.measure(trace.token_ids[is_left], answer_start)
        return Removal(choice, tau, beta, known[kept.tobytes()], float(sizes[kept].sum() / max(1, sizes.sum())))

    nothing = np.zeros(len(ranges), dtype=bool)
    one = np.zeros(len(ranges), dtype=np.int64)
    found = [measure("none", 0.0, 0.0, nothing), measure("all", 1.0, 1.0, ~nothing)]
    for tau in GRID_TAUS:
        for beta in GRID_BETAS:
            kept = choose_segments(masses, consistency, tau, beta)
            found.append(measure("chosen", tau, beta, kept))
            found.append(measure("random", tau, beta, draw_segments(kept, one, seed)))
    return found
