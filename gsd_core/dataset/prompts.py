"""The text that the model reads: question, reasoning and answer, with the reasoning unchanged.

ModelInput     the text, the place of the reasoning in it, and whether the tokenizer adds its special tokens
build_input    sample + tokenizer → `ModelInput`

A chat template is a program that came with the model. Many trim the assistant's message, delete the text between think
tags, or insert an empty thought. So the reasoning never goes through the template: the template is rendered with a
placeholder, or up to the point where the model would start to write, and then we insert the reasoning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gsd_core.errors import UserError
from gsd_core.types import Sample

# Tags that templates of reasoning models put around a thought.
THINK_TAGS = (("<think>", "</think>"), ("[THINK]", "[/THINK]"), ("<seed:think>", "</seed:think>"))

_PLACEHOLDER = "gsdplaceholder"
# Some templates print today's date. Equal data must give equal text on every day, so a macro replaces the clock. Its
# date is Friday, 26 July 2024, which Llama 3 templates use where no date is given.
_DATE_PARTS = {
    "%Y": "2024", "%y": "24", "%m": "07", "%d": "26", "%b": "Jul", "%B": "July", "%a": "Fri", "%A": "Friday",
    "%H": "12", "%I": "12", "%M": "00", "%S": "00", "%p": "PM", "%j": "208",
}  # fmt: skip
_CLOCK_MACRO = (
    "{%- macro strftime_now(format) -%}{{ format"
    + "".join(f"|replace('{code}', '{value}')" for code, value in _DATE_PARTS.items())
    + " }}{%- endmacro -%}"
)


@dataclass(frozen=True, slots=True)
class ModelInput:
    """What the model reads for one sample: ``text[reasoning_start:reasoning_end]`` is the reasoning, unchanged.

    ``add_special_tokens``: whether the tokenizer adds its own; a chat template has written them already.
    """

    text: str
    reasoning_start: int
    reasoning_end: int
    add_special_tokens: bool = True


def build_input(sample: Sample, tokenizer: Any) -> ModelInput:
    """The model's input for `sample`, through the tokenizer's chat template where it has one.

    Without a template the lines are ``Question: …``, ``Reasoning: …`` and, where there is an answer, ``Answer: …``.
    With a template the question is the user's message. The assistant's message is the first of these that works: the
    reasoning in the template's field for thoughts (``reasoning_content``, ``reasoning``, ``thinking``) and the answer
    as content; where the template knows think tags, the reasoning between them after the generation prompt, then the
    answer; else the reasoning and a line ``Answer: …``. Source: ours.

    The template may trim the question. Raises `UserError` where the question cannot be rendered.
    """
    if not getattr(tokenizer, "chat_template", None):
        head = f"Question: {sample.question}\nReasoning: "
        return _assemble(head, sample.reasoning, _answer_line(sample), add_special_tokens=True)
    return _build_chat_input(sample, tokenizer)


def _assemble(head: str, reasoning: str, tail: str, *, add_special_tokens: bool) -> ModelInput:
    start, end = len(head), len(head) + len(reasoning)
    return ModelInput(head + reasoning + tail, start, end, add_special_tokens)


def _answer_line(sample: Sample) -> str:
    return f"\nAnswer: {sample.answer}" if sample.answer else ""


def _build_chat_input(sample: Sample, tokenizer: Any) -> ModelInput:
    placeholder = _PLACEHOLDER
    while placeholder in sample.question or placeholder in sample.answer:
        placeholder += "x"
    rendered = _render_all(sample, placeholder, tokenizer)
    before, found, after = _split_once(rendered.with_thought, placeholder)
    if found and sample.answer.strip() in after:
        return _assemble(before, sample.reasoning, after, add_special_tokens=False)

    head = rendered.head
    before, found, after = _split_once(rendered.conversation, placeholder)
    if found and before.startswith(head):
        head = before  # also where the template has no generation prompt
    tags = _find_think_tags(head, tokenizer)
    if tags and head:
        opening, closing = tags
        head = _open_thought(head, opening, closing)
        tail = f"\n{closing}" + (f"\n\n{sample.answer}" if sample.answer else "") + after
    elif found:
        head, tail = before, _answer_line(sample) + after
    else:
        tail = _answer_line(sample)
    return _assemble(head, sample.reasoning, tail, add_special_tokens=False)


def _split_once(text: str, placeholder: str) -> tuple[str, bool, str]:
    """The text before and after `placeholder`; not found where the template dropped or repeated it."""
    if text.count(placeholder) != 1:
        return "", False, ""
    before, _, after = text.partition(placeholder)
    return before, True, after


def _open_thought(head: str, opening: str, closing: str) -> str:
    """The generation prompt `head`, changed so that it ends with an open thought and a new line."""
    bare = head.rstrip()
    if bare.endswith(closing):  # an empty thought, from templates that do not think by default
        start = bare.rfind(opening)
        if start >= 0 and not bare[start + len(opening) : -len(closing)].strip():
            return f"{bare[:start]}{opening}\n"
    if bare.endswith(opening):
        return head if head.endswith("\n") else f"{head}\n"
    return f"{head}{opening}\n"


def _find_think_tags(head: str, tokenizer: Any) -> tuple[str, str] | None:
    """The pair of think tags that the chat template contains, if any."""
    template = tokenizer.chat_template
    source = "\n".join(map(str, template.values())) if isinstance(template, dict) else str(template)
    for opening, closing in THINK_TAGS:
        if opening in source or closing in source or head.rstrip().endswith(opening):
            return opening, closing
    return None


@dataclass(frozen=True, slots=True)
class _Rendered:
    """What the template gives for one sample; ``""`` where it fails."""

    head: str  # the generation prompt
    conversation: str  # with the placeholder as the assistant's message
    with_thought: str  # with the placeholder as the assistant's thought, in the fields that templates know


def _render_all(sample: Sample, placeholder: str, tokenizer: Any) -> _Rendered:
    """Render the question, and the conversation with `placeholder` for the reasoning.

    Raises `UserError` where the template gives neither the generation prompt nor the conversation.
    """
    errors: list[str] = []

    def attempt(messages: list[dict[str, Any]], add_generation_prompt: bool = False) -> str:
        try:
            return _render(messages, tokenizer, add_generation_prompt=add_generation_prompt)
        except Exception as error:  # a template is a program of its own and may raise anything
            errors.append(str(error))
            return ""

    question = sample.question.strip()
    wraps: tuple[Callable[[str], Any], ...] = (str, lambda text: [{"type": "text", "text": text}])
    for wrap in wraps:
        user = {"role": "user", "content": wrap(sample.question)}
        thought = {"reasoning_content": placeholder, "reasoning": placeholder, "thinking": placeholder}
        head = attempt([user], add_generation_prompt=True)
        conversation = attempt([user, {"role": "assistant", "content": wrap(placeholder)}])
        is_usable = question in head or (question in conversation and placeholder in conversation)
        if not is_usable and (head or placeholder in conversation):
            # The template changes this question, or is one for lists of parts and prints no plain string.
            other = {"role": "user", "content": wrap(placeholder)}
            is_usable = placeholder in attempt([other], add_generation_prompt=True)
        if is_usable:
            answered = {"role": "assistant", "content": wrap(sample.answer), **thought}
            return _Rendered(head, conversation, attempt([user, answered]))
    reason = errors[0] if errors else "it does not print the question"
    raise UserError(
        f"the tokenizer's chat template cannot be used ({reason[:200]})",
        f"tokenizer {getattr(tokenizer, 'name_or_path', '')}",
        "fix or remove its chat template; without one the question and the reasoning are written as plain text",
    )


def _render(messages: list[dict[str, Any]], tokenizer: Any, *, add_generation_prompt: bool) -> str:
    """The tokenizer's default template on `messages`, with thinking switched on and a fixed date."""
    template = tokenizer.get_chat_template()
    if "strftime_now" in template:
        template = _CLOCK_MACRO + template
    return tokenizer.apply_chat_template(
        messages,
        chat_template=template,
        tokenize=False,
        add_generation_prompt=add_generation_prompt,
        enable_thinking=True,
        thinking=True,
        date_string="26 Jul 2024",
    )
