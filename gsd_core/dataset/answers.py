"""Marks inside one text that separate reasoning from answer.

Parts           a text split into reasoning, answer and rest, with the marks that split it
split_text      splits a solution text: by thinking tags first, then by answer marks
split_thinking  the text inside thinking tags, and the text before and after them
find_answer     the final answer that a text marks: ``####``, ``<answer>``, ``\\boxed{}``, "the answer is"
find_boxed      content of the last ``\\boxed{}``, braces balanced
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Tags around reasoning. A closing tag alone counts too: chat templates often supply the opening one.
THINKING_TAGS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<thoughts>", "</thoughts>"),
    ("<reasoning>", "</reasoning>"),
    ("<scratchpad>", "</scratchpad>"),
    ("<seed:think>", "</seed:think>"),
    ("[think]", "[/think]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel|>analysis<|message|>", "<|end|>"),
)
# Tags around the text after the reasoning; they are removed.
REPLY_TAGS = (
    ("<|begin_of_solution|>", "<|end_of_solution|>"),
    ("<|start|>assistant<|channel|>final<|message|>", "<|return|>"),
    ("<answer>", "</answer>"),
    ("<output>", "</output>"),
    ("<solution>", "</solution>"),
    ("<response>", "</response>"),
)
MAX_MARKED_CHARS = 200  # a longer "#### …" is a heading of a document, not an answer
ANSWER_TAG = re.compile(r"<answer>(.*?)</answer>", re.IGNORECASE | re.DOTALL)
BOXED = re.compile(r"\\(?:boxed|fbox)\s*(\{|[^\s{}$\\.,;])")
ANSWER_IS = re.compile(
    r"(?:^|[\s*_(])(?:the\s+|my\s+)?(?:final\s+|correct\s+|best\s+|right\s+)?answer\s*(?:is\s*:?|:|=)\s*"
    r"(?P<answer>\S.*?)\s*$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Parts:
    """A text that was split. ``answer`` is None where none is marked.

    ``before`` and ``after`` are the texts before the opening and after the closing tag, "" where there is none.
    ``marks`` names the marks that split it, for example ("<think>", "\\\\boxed{}").
    """

    reasoning: str
    answer: str | None = None
    before: str = ""
    after: str = ""
    marks: tuple[str, ...] = ()


def split_text(text: str, wants_answer: bool = True) -> Parts:
    """Split a text that may hold reasoning and answer.

    The text inside thinking tags is the reasoning. The text after them is the reply: its marked answer is the answer,
    else the whole reply. Without tags, ``####`` and ``<answer>`` end the reasoning and start the answer; ``\\boxed{}``
    and "the answer is" give the answer and stay in the reasoning, because they are part of a sentence there.
    Where ``wants_answer`` is False only thinking tags count, and a text without them stays whole.
    """
    thinking = split_thinking(text)
    if thinking is not None:
        reply, wrapper = _unwrap(thinking.after)
        if thinking.reasoning.strip():
            if not wants_answer:
                return thinking
            found = find_answer(reply)
            if found is None:
                # Unlike a marked answer inside a reply, the reply itself needs no second copy in `after`.
                return Parts(thinking.reasoning, reply or None, thinking.before, "", thinking.marks)
            after = thinking.after if found[0] != reply else ""
            return Parts(thinking.reasoning, found[0], thinking.before, after, (*thinking.marks, found[1]))
        # The model was told not to think: its reply is the only reasoning there is.
        inner = split_text(reply, wants_answer) if not wrapper or wrapper != "<answer>" else Parts(reply)
        return Parts(
            inner.reasoning,
            inner.answer,
            "\n".join(filter(None, (thinking.before, inner.before))),  # the reply may hold tags of its own
            inner.after,
            (f"empty {thinking.marks[0]}", *inner.marks),
        )
    if not wants_answer:
        return Parts(text)
    found = find_answer(text)
    if found is None:
        return Parts(text)
    answer, mark = found
    if mark == "####":
        head, _, tail = text.rpartition("####")
        rest = tail.strip().partition("\n")[2].strip()
        if head.strip():
            return Parts(head.rstrip(), answer, "", rest, (mark,))
    elif mark == "<answer>":
        match = list(ANSWER_TAG.finditer(text))[-1]
        if text[: match.start()].strip():
            return Parts(text[: match.start()].rstrip(), answer, "", text[match.end() :].strip(), (mark,))
    return Parts(text, answer, marks=(mark,))


def split_thinking(text: str) -> Parts | None:
    """The text inside thinking tags (trimmed), before and after them; None where there are no tags.

    Several blocks count as one, from the first opening to the last closing tag. A block without closing tag runs to
    the end, as the trace was cut. A closing tag without opening tag ends a block that began with the text.
    """
    low = text.lower()
    if len(low) != len(text):  # some letters (Turkish) have a longer lower case, which would shift positions
        low = text
    for opening, closing in THINKING_TAGS:
        start, end = low.find(opening), low.rfind(closing)
        if start < 0 and (end < 0 or closing == "<|end|>"):
            continue
        if start < 0:
            return Parts(text[:end].strip(), None, "", text[end + len(closing) :].strip(), (closing,))
        body = start + len(opening)
        before = text[:start].strip()
        if end < body:
            return Parts(text[body:].strip(), None, before, "", (f"{opening} never closed",))
        n_blocks = low.count(opening)
        mark = opening if n_blocks == 1 else f"{opening} several times"
        return Parts(text[body:end].strip(), None, before, text[end + len(closing) :].strip(), (mark,))
    return None


def _unwrap(reply: str) -> tuple[str, str]:
    """`reply` without the tags around all of it, and the opening tag that was removed."""
    text = reply.strip()
    low = text.lower()
    for opening, closing in REPLY_TAGS:
        if low.startswith(opening):
            body = text[len(opening) :]
            if low.endswith(closing):
                body = body[: -len(closing)]
            if closing not in body.lower():
                return body.strip(), opening
    return text, ""


def find_answer(text: str) -> tuple[str, str] | None:
    """``(answer, mark)`` where the text marks its final answer, else None; of several equal marks the last counts."""
    head, hashes, tail = text.rpartition("####")
    if hashes and not head.endswith("#"):
        lines = [line.strip() for line in tail.split("\n") if line.strip()]
        # MetaMath repeats the answer in a sentence after the mark; anything more is a document with headings.
        if lines and len(lines[0]) <= MAX_MARKED_CHARS and (len(lines) == 1 or _is_only_answer(lines[1:])):
            return lines[0], "####"
    tags = ANSWER_TAG.findall(text)
    if tags and tags[-1].strip():
        return tags[-1].strip(), "<answer>"
    boxed = find_boxed(text)
    if boxed:
        return boxed, "\\boxed{}"
    last_line = text.rstrip().rpartition("\n")[2][-2 * MAX_MARKED_CHARS :]
    matches = list(ANSWER_IS.finditer(last_line))
    if matches:
        answer = matches[-1]["answer"].strip("*_ ").removesuffix(".").strip("*_ ")
        if answer and len(answer) <= MAX_MARKED_CHARS:
            return answer, "the answer is"
    return None


def _is_only_answer(lines: list[str]) -> bool:
    return len(lines) == 1 and ANSWER_IS.search(lines[0]) is not None


def find_boxed(text: str) -> str | None:
    """Content of the last ``\\boxed{…}`` or ``\\boxed x`` whose braces balance; None where there is none.

    Escaped braces (``\\{``) do not count as braces.
    """
    for match in reversed(list(BOXED.finditer(text))):
        if match[1] != "{":
            return match[1]
        depth, position = 1, match.end()
        while position < len(text) and depth:
            if text[position] == "\\":
                position += 1
            elif text[position] == "{":
                depth += 1
            elif text[position] == "}":
                depth -= 1
            position += 1
        if depth == 0:
            content = text[match.end() : position - 1].strip()
            if content:
                return content
    return None
