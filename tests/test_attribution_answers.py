"""Which tokens are the answer, and which traces have none."""

from __future__ import annotations

import numpy as np
import pytest

from gsd_core.attribution.answer_traces import PLAIN_BRIDGE, THOUGHT_BRIDGE, choose_bridge, make_answer_trace
from gsd_core.attribution.integrated import AnswerTrace
from gsd_core.dataset.segmenters import make_segmenter
from gsd_core.dataset.tokenization import tokenize_sample
from gsd_core.models.loading import load_model
from gsd_core.types import Sample, Skipped, TokenizedSample


@pytest.fixture(scope="module")
def tokenizer():
    return load_model("demo", device="cpu")[1]


def tokenize(tokenizer, reasoning: str, answer: str = "42") -> TokenizedSample:
    sample = Sample("s", "How many?", reasoning, answer)
    made = tokenize_sample(sample, tokenizer, make_segmenter("cues"), max_tokens=None)
    assert isinstance(made, TokenizedSample)
    return made


@pytest.mark.parametrize("answer", ["42", " 42\n", "-7", "\\frac{1}{2}", "ten apples", "é"])
def test_the_answers_tokens_spell_the_answer_and_nothing_before_it(tokenizer, answer: str) -> None:
    sample = tokenize(tokenizer, "First 40.\n\nWait, 42 is the answer. It is 42.")
    trace = make_answer_trace(sample, answer, tokenizer, PLAIN_BRIDGE)
    assert isinstance(trace, AnswerTrace)
    own = tokenizer.decode(trace.token_ids[trace.answer_start :])
    # A token may reach from the bridge into the answer, or hold half a character.
    assert own.endswith(answer.strip())
    assert len(own) <= len(answer.strip()) + 2
    before = tokenizer.decode(trace.token_ids[: trace.answer_start])
    assert (before + own).endswith(PLAIN_BRIDGE + answer.strip())
    n_head = sample.spans[-1].end
    np.testing.assert_array_equal(trace.token_ids[:n_head], sample.token_ids[:n_head])
    assert trace.n_question == sample.spans[0].start
    assert trace.answer_start > n_head, "an answer that the reasoning repeats is not the one in the box"


def test_samples_without_an_answer_or_too_long_for_the_model_are_reported(tokenizer) -> None:
    sample = tokenize(tokenizer, "First 40.")
    for answer, limit, reason in (("", None, "no answer"), (" \n", None, "no answer"), ("42", 12, "context of 12")):
        found = make_answer_trace(sample, answer, tokenizer, PLAIN_BRIDGE, limit)
        assert isinstance(found, Skipped)
        assert reason in found.reason


def test_the_bridge_closes_a_thought_only_where_the_model_knows_thoughts(tokenizer) -> None:
    assert choose_bridge(tokenizer) == PLAIN_BRIDGE
    other = load_model("demo", device="cpu")[1]
    other.add_tokens(["</think>"])
    assert choose_bridge(other) == THOUGHT_BRIDGE
