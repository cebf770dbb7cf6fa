"""Texts that a model writes after the prompts of samples.

Rollout          one text
generate_texts   prompts → rollouts, in batches
read_answer      the answer that a text gives
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from gsd_core.dataset.answers import find_answer
from gsd_core.models.devices import input_device
from gsd_core.types import TokenizedSample

_NEXT_QUESTION = re.compile(r"\n\s*Question:")
_ANSWER_LINE = re.compile(r"^\s*Answer:[^\n]*", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Rollout:
    """``text`` after the prompt of ``sample``; ``n_tokens`` with the end of text, ``is_cut``: the end never came."""

    sample: str
    text: str
    n_tokens: int
    is_cut: bool


def generate_texts(
    model: PreTrainedModel,
    tokenizer: Any,
    samples: Sequence[TokenizedSample],
    *,
    max_new_tokens: int,
    batch_size: int = 16,
    report: Callable[[int], None] = lambda _: None,
) -> list[Rollout]:
    """The most probable next token again and again, until the end of text; in the order of ``samples``.

    Prompts are what stands before the reasoning of each sample. They are padded on the left and masked, prompts of like
    length together. ``report`` gets the number of samples of each batch that is done. The model is left as it was.
    """
    found: dict[int, Rollout] = {}
    end = model.generation_config.eos_token_id if model.generation_config is not None else None
    ends = {int(each) for each in np.atleast_1d(tokenizer.eos_token_id if end is None else end) if each is not None}
    pad = next(int(each) for each in (tokenizer.pad_token_id, *sorted(ends), 0) if each is not None)
    order = sorted(range(len(samples)), key=lambda at: -samples[at].prompt_tokens)
    was_training, had_cache = model.training, model.config.use_cache
    model.eval()
    try:
        for first in range(0, len(order), batch_size):
            batch = order[first : first + batch_size]
            prompts = [samples[at].token_ids[: samples[at].prompt_tokens] for at in batch]
            texts = _generate(model, prompts, max_new_tokens, pad, ends)
            for at, ids in zip(batch, texts, strict=True):
                text = str(tokenizer.decode(ids, skip_special_tokens=True))
                is_cut = not (len(ids) and int(ids[-1]) in ends)
                found[at] = Rollout(samples[at].id, text, len(ids), is_cut)
            report(len(batch))
    finally:
        model.train(was_training)
        model.config.use_cache = had_cache
    return [found[at] for at in range(len(samples))]


@torch.no_grad()
def _generate(
    model: PreTrainedModel, prompts: Sequence[np.ndarray], max_new_tokens: int, pad: int, ends: set[int]
) -> list[np.ndarray]:
    """What follows each prompt, up to and with its end of text."""
    width = max(len(each) for each in prompts)
    ids = torch.full((len(prompts), width), pad, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, each in enumerate(prompts):
        ids[row, width - len(each) :] = torch.from_numpy(np.asarray(each, dtype=np.int64))
        mask[row, width - len(each) :] = 1
    device = input_device(model)
    generate: Any = model.generate  # its mixin types `self` as a wider class
    out = generate(
        input_ids=ids.to(device),
        attention_mask=mask.to(device),
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        pad_token_id=pad,
        eos_token_id=sorted(ends) or None,
        use_cache=True,
    )
    found = []
    for row in out[:, width:].cpu().numpy():
        stops = np.flatnonzero(np.isin(row, sorted(ends)))
        found.append(row[: stops[0] + 1] if len(stops) else row)
    return found


def read_answer(text: str) -> str | None:
    """The answer that a text marks; None where it marks none.

    What a model writes after a next ``Question:`` is not an answer to this one, and the first line ``Answer:`` ends it.
    """
    own = _NEXT_QUESTION.split(text, maxsplit=1)[0]
    line = _ANSWER_LINE.search(own)
    found = find_answer(own[: line.end()] if line else own)
    return found[0] if found else None
