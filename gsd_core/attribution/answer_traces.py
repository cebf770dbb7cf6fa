"""The trace whose answer is attributed: question and reasoning as captured, then words that lead to the answer.

THOUGHT_BRIDGE, PLAIN_BRIDGE   words between reasoning and answer, for models with think tags and for others
choose_bridge       the one that suits a tokenizer
make_answer_trace   sample and answer → `AnswerTrace`, or `Skipped` with the reason

The published words close the thought and open a box (arXiv 2602.00425); only what is in the box counts as the answer,
so how a trace words its end does not matter. A model without think tags gets the same words without the tag [ours].
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gsd_core.attribution.integrated import AnswerTrace
from gsd_core.types import Skipped, TokenizedSample

THOUGHT_BRIDGE = "\n</think> So, the final answer is \\boxed{"
PLAIN_BRIDGE = "\nSo, the final answer is \\boxed{"
CLOSING_TAG = "</think>"


def choose_bridge(tokenizer: Any) -> str:
    """``THOUGHT_BRIDGE`` where the closing think tag is one token, as in models that were trained with it."""
    return THOUGHT_BRIDGE if CLOSING_TAG in tokenizer.get_vocab() else PLAIN_BRIDGE


def make_answer_trace(
    sample: TokenizedSample, answer: str, tokenizer: Any, bridge: str, max_tokens: int | None = None
) -> AnswerTrace | Skipped:
    """Tokens up to the end of the last span, then those of ``bridge`` and ``answer``.

    A token that holds a character of the answer belongs to it. ``max_tokens`` is the model's context. `Skipped` where
    the answer is empty, has no token, or the trace is too long.
    """
    wanted = answer.strip()
    if not wanted:
        return Skipped(sample.id, "it has no answer: without one nothing can be attributed to")
    found = tokenizer(bridge + wanted, add_special_tokens=False, return_offsets_mapping=True)
    ends = np.array([end for _, end in found["offset_mapping"]], dtype=np.int64)
    tail = np.array(found["input_ids"], dtype=np.int32)
    first = int(np.searchsorted(ends, len(bridge), side="right"))
    head = np.asarray(sample.token_ids[: sample.spans[-1].end], dtype=np.int32)
    if first == len(tail) or not first:
        return Skipped(sample.id, f"the answer {wanted[:40]!r} has no token of its own")
    n_tokens = len(head) + len(tail)
    if max_tokens is not None and n_tokens > max_tokens:
        return Skipped(
            sample.id, f"{n_tokens} tokens with the answer are more than the model's context of {max_tokens}"
        )
    return AnswerTrace(np.concatenate([head, tail]), len(head) + first, sample.spans[0].start)
