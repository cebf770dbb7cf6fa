"""A tag of thinking splits a text where it stands as a mark, and never where it is a word."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gsd_core.dataset.answers import split_text
from gsd_core.dataset.thoughts import find_tag, split_thinking, trim_turn

OPENINGS = {
    "<think>": "</think>",
    "<Thinking>": "</Thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "<scratchpad>": "</scratchpad>",
    '<think duration="3">': "</think>",
    "< think >": "</ think >",
    "&lt;think&gt;": "&lt;/think&gt;",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|think|>": "<|/think|>",
    "<|thinking_start|>": "<|thinking_end|>",
    "[THINK]": "[/THINK]",
    "◁think▷": "◁/think▷",
    "<unused94>thought\n": "<unused95>",
    "<|channel>thought\n": "<channel|>",
}


@pytest.mark.parametrize("opening", OPENINGS)
def test_every_vendor_is_read(opening: str) -> None:
    closing = OPENINGS[opening]
    parts = split_text(f"{opening}Two and two.\nSo four.{closing}It is 4.")
    assert (parts.reasoning, parts.answer) == ("Two and two.\nSo four.", "It is 4.")
    parts = split_text(f"{opening}One.{closing}\n{opening}Two.{closing}\nIt is 4.")
    assert (parts.reasoning, parts.answer) == ("One.\n\nTwo.", "It is 4.")
    assert split_text(f"{opening}One, two").reasoning == "One, two"


def test_phrases_in_place_of_tags_are_read() -> None:
    parts = split_text("Here is my thought process:\nTwo and two.\n\nHere is my response:\nIt is 4.")
    assert (parts.reasoning, parts.answer) == ("Two and two.", "It is 4.")


MENTIONS = (
    "The prompt asks for <think> and </think> around this.\nTwo and two make 4.",
    "Use `<think>` first.\nThen add.",
    "The regex `<think>(.*?)</think>` cuts it.\nThen add.",
    'Write "<think>" and then "</think>".\nThen add.',
    "It prints (<think>) too.\nThen add.",
    "```\n<think>\nx\n</think>\n```\nThis code prints a thought.",
    "I stop before </think>, as told.\nThen add.",
    "Models that think, as <think> models do, are slow.\nThen add.",
)


@pytest.mark.parametrize("text", MENTIONS)
def test_a_tag_that_is_only_mentioned_splits_nothing(text: str) -> None:
    assert split_text(text, wants_answer=False, own_answer="4").reasoning == text
    assert find_tag(text) is not None
    assert "left alone" in split_text(text, wants_answer=False).marks[-1]


def test_with_an_answer_of_its_own_only_what_leads_to_an_answer_is_split() -> None:
    text = "Some notes.\n<think>\nTwo and two.\n</think>\n" + "And then a long essay follows here. " * 9
    assert split_text(text, wants_answer=False, own_answer="4").reasoning == text
    assert split_text(text + "So 4.", wants_answer=False, own_answer="4").reasoning == "Two and two."


def test_what_tools_said_is_kept_apart() -> None:
    text = "<think>I search.<tool_call>{}</tool_call>\n<tool_response>12</tool_response>It says 12.</think>12"
    parts = split_text(text)
    assert parts.reasoning == "I search.\nIt says 12."
    assert parts.between == ("<tool_call>{}</tool_call>", "<tool_response>12</tool_response>")
    parts = split_text("<think>A.</think><search>x</search><information>y</information><think>B.</think>C.")
    assert (parts.reasoning, parts.answer) == ("A.\n\nB.", "C.")
    assert parts.between == ("<search>x</search><information>y</information>",)


def test_nested_tags_go_and_mentioned_ones_stay() -> None:
    assert split_text("<think>A. <think>b</think> c.</think>D.").reasoning == "A. b c."
    assert split_text("<think>The <think> tag is meant. So 4.</think>D.").reasoning == "The <think> tag is meant. So 4."
    assert split_text("<think><think>A.</think></think>D.").reasoning == "A."


def test_control_tokens_are_cut_from_both_ends_only() -> None:
    assert trim_turn("<|im_start|>assistant\nA <|im_end|> b.<|im_end|>\n<|endoftext|>") == ("A <|im_end|> b.", True)
    assert trim_turn("Plain.") == ("Plain.", False)
    assert split_text("So 12.</s>").reasoning == "So 12."


PIECES = ["<think>", "</think>", "`", '"', "\n", " ", "word", ". ", "<|channel|>analysis<|message|>", "<|end|>", "12"]


@settings(deadline=None, max_examples=400)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_no_word_is_lost_and_nothing_fails(text: str) -> None:
    parts = split_thinking(text)
    if parts is None:
        return
    kept = " ".join([parts.before, parts.reasoning, parts.after, *parts.between])
    assert kept.count("word") == text.count("word")
    assert kept.count("12") == text.count("12")


LONG = 200_000
HOSTILE = {
    "white space": " " * LONG + "x<think>",
    "blank lines": "Answer: 4\n" + "\n" * LONG + "x",
    "openings": "<think>" * (LONG // 8),
    "closings": "</think>" * (LONG // 8),
    "tools that never end": "<think>" + "<tool_call>" * (LONG // 12) + "</think>x",
    "code": "`a`<think>" * (LONG // 10),
    "channels": "<|channel|>analysis<|message|>" * (LONG // 30),
    "dashes": "-" * LONG + "x",
    "backslashes": "\\" * LONG + "boxed{",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_long_texts_without_sense_are_read_in_a_moment(kind: str) -> None:
    # Nothing is timed: work that grows with the square of the length would not end within the test run.
    split_text(HOSTILE[kind])
    split_text(HOSTILE[kind], wants_answer=False, own_answer="4")
