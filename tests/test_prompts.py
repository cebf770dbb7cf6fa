"""Model input: the reasoning stands in it verbatim, whatever the chat template does to messages.

The reason: a template that trims or drops the thought would move every span, or leave gradients of a prompt.
The templates are small imitations of what models ship.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from gsd_core.dataset.prompts import build_input
from gsd_core.errors import UserError
from gsd_core.types import Sample

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|h|>{{ m.role }}<|/h|>\n\n{{ m.content | trim }}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|h|>assistant<|/h|>\n\n{% endif %}"
)
# Drops the thought from the assistant's message and begins one in the generation prompt (R1 distillations).
R1 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}<|U|>{{ m.content }}{% else %}"
    "<|A|>{{ m.content.split('</think>')[-1] }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|A|><think>\n{% endif %}"
)
# Prints a field for the thought, trimmed, and an empty thought where there is none (Qwen3).
QWEN3 = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}<think>\n"
    "{{ m.reasoning_content | default('') | trim }}\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
# Knows think tags only in its generation prompt, and closes them at once by default.
NO_THINK_DEFAULT = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]<think>\n\n</think>\n\n{% endif %}"
)
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for m in messages %}<t>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}</t>\n"
    "{% endfor %}{% if add_generation_prompt %}<t>model\n{% endif %}"
)
# Knows no generation prompt (Llama 2, Mistral).
INST = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content | trim }} [/INST]{% else %}"
    " {{ m.content | trim }}{{ eos_token }}{% endif %}{% endfor %}"
)
# Prints a field for the thought in a channel of its own, and an answer without one in the last channel (gpt-oss).
CHANNELS = (
    "{% for m in messages %}<m>{{ m.role }}{% if m.thinking %}<analysis>{{ m.thinking }}</m><m>assistant{% endif %}"
    "{% if m.role == 'assistant' %}<final>{% endif %}{{ m.content }}</m>{% endfor %}"
    "{% if add_generation_prompt %}<m>assistant{% endif %}"
)
# Speaks of think tags (to drop them), and knows no generation prompt.
DROPS_THOUGHT = "{% for m in messages %}[{{ m.role }}] {{ m.content.split('</think>')[-1] }}{{ eos_token }}{% endfor %}"
# Prints content only as a list of parts.
PARTS = (
    "{% for m in messages %}<{{ m.role }}>{% for p in m.content %}{{ p.text }}{% endfor %}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
# Raises on a conversation that ends with the assistant.
USER_LAST = (
    "{% if messages[-1].role != 'user' %}{{ raise_exception('last message must be from user') }}{% endif %}"
    "<u>{{ messages[0].content }}</u>{% if add_generation_prompt %}<a>{% endif %}"
)
# Says the assistant's message twice, so that no place in the text is the right one.
TWICE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ m.content }}{% endfor %}<assistant>"
DATED = "{{ strftime_now('%Y-%m-%d') }} {{ date_string }}" + CHATML

TEMPLATES = {
    "chatml": CHATML,
    "llama3": LLAMA3,
    "r1": R1,
    "qwen3": QWEN3,
    "no-think-default": NO_THINK_DEFAULT,
    "no-system": NO_SYSTEM,
    "inst": INST,
    "channels": CHANNELS,
    "drops-thought": DROPS_THOUGHT,
    "parts": PARTS,
    "user-last": USER_LAST,
    "twice": TWICE,
    "dated": DATED,
}


def make_tokenizer(template: str | None) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = template
    return tokenizer


TOKENIZERS = {name: make_tokenizer(template) for name, template in TEMPLATES.items()}


def sample(reasoning: str, question: str = "What is 2 + 3?", answer: str = "five") -> Sample:
    return Sample(id="s1", question=question, reasoning=reasoning, answer=answer)


texts = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        ["a", " a ", "\n\nx\n", "<think>", "</think>", "x</think>y", "gsdplaceholder", "{{ 1 }}", "[INST]"]
    ),
)


@pytest.mark.parametrize("name", TEMPLATES)
@settings(max_examples=40, deadline=None)
@given(reasoning=texts, question=texts, answer=texts)
def test_reasoning_is_verbatim_behind_the_question(name: str, reasoning: str, question: str, answer: str) -> None:
    found = build_input(sample(reasoning, question, answer), TOKENIZERS[name])
    assert found.text[found.reasoning_start : found.reasoning_end] == reasoning, "the template altered the reasoning"
    if not (name == "drops-thought" and "</think>" in question):  # what that template makes of it is its own
        assert question.strip() in found.text[: found.reasoning_start], "the question is not in the prompt"
    assert answer.strip() in found.text[found.reasoning_end :], "the answer was lost"
    assert not found.add_special_tokens, "special tokens would be doubled"


# Text before and behind the reasoning, by template; the model was trained on just this frame.
FRAMES = {
    "chatml": ("<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n", "\nAnswer: {a}<|im_end|>\n"),
    "llama3": ("<s><|h|>user<|/h|>\n\n{q}<|eot|><|h|>assistant<|/h|>\n\n", "\nAnswer: {a}<|eot|>"),
    "r1": ("<s><|U|>{q}<|A|><think>\n", "\n</think>\n\n{a}<|end|>"),
    "qwen3": (
        "<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n<think>\n",
        "\n</think>\n\n{a}<|im_end|>\n",
    ),
    "no-think-default": ("[user]{q}[assistant]<think>\n", "\n</think>\n\n{a}"),
    "no-system": ("<t>user\n{q}</t>\n<t>model\n", "\nAnswer: {a}</t>\n"),
    "inst": ("<s>[INST] {q} [/INST] ", "\nAnswer: {a}</s>"),
    "channels": ("<m>user{q}</m><m>assistant<analysis>", "</m><m>assistant<final>{a}</m>"),
    "drops-thought": ("[user] {q}</s>[assistant] <think>\n", "\n</think>\n\n{a}</s>"),
    "parts": ("<user>{q}</s><assistant>", "\nAnswer: {a}</s>"),
    "user-last": ("<u>{q}</u><a>", "\nAnswer: {a}"),
}


@pytest.mark.parametrize("name", FRAMES)
def test_frame_around_the_reasoning_is_what_the_model_was_trained_on(name: str) -> None:
    head, tail = (part.format(q="What is 2 + 3?", a="five") for part in FRAMES[name])
    found = build_input(sample("\n\n 2 + 3 makes it. \n"), TOKENIZERS[name])
    assert found.text == f"{head}\n\n 2 + 3 makes it. \n{tail}"
    bare = build_input(sample("2.", answer=""), TOKENIZERS[name])
    assert "Answer:" not in bare.text, "an empty answer still got its line"
    assert bare.text.startswith(f"{head}2.")


def test_begin_of_sequence_stands_once() -> None:
    for name, tokenizer in TOKENIZERS.items():
        found = build_input(sample("2."), tokenizer)
        assert found.text.count("<s>") <= 1, f"{name} doubles the begin-of-sequence token"


def test_dates_of_templates_stand_still() -> None:
    # A template that prints today would give a run other gradients tomorrow.
    assert build_input(sample("2."), TOKENIZERS["dated"]).text.startswith("2024-07-26 26 Jul 2024<|im_start|>")


def test_without_a_template_plain_lines_are_used_and_the_tokenizer_adds_its_tokens() -> None:
    found = build_input(sample("2.\n3."), make_tokenizer(None))
    assert found.text == "Question: What is 2 + 3?\nReasoning: 2.\n3.\nAnswer: five"
    assert found.text[found.reasoning_start : found.reasoning_end] == "2.\n3."
    assert found.add_special_tokens
    assert build_input(sample("2.", answer=""), make_tokenizer(None)).text == "Question: What is 2 + 3?\nReasoning: 2."


@pytest.mark.parametrize(
    "template", ["{{ raise_exception('never') }}", "{% if %}", "constant", "{{ messages[9].x.y }}"]
)
def test_a_template_that_cannot_be_rendered_is_named_in_one_line(template: str) -> None:
    with pytest.raises(UserError, match=re.escape("chat template")) as caught:
        build_input(sample("2."), make_tokenizer(template))
    assert "\n" not in str(caught.value)


def test_the_default_of_several_templates_is_used() -> None:
    tokenizer = make_tokenizer(None)
    tokenizer.chat_template = {"default": CHATML, "tool_use": "tools"}
    assert build_input(sample("2."), tokenizer).text.startswith("<|im_start|>user")
    tokenizer.chat_template = {"rag": CHATML}
    with pytest.raises(UserError, match="chat template"):
        build_input(sample("2."), tokenizer)
