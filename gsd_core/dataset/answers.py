"""Marks inside one text that separate reasoning from answer.

split_text      splits a solution text: by thinking tags first, then by answer marks
find_answer     the final answer that a text marks: ``####``, ``<answer>``, ``\\boxed{}``, "the answer is"
read_gold       an answer that a whole solution ends in
find_boxed      content of the last ``\\boxed{}``, braces balanced
is_reply        whether a text may be the answer beside an answer that is known
"""

from __future__ import annotations

import re
from dataclasses import replace

from gsd_core.dataset.thoughts import Parts, find_tag, split_thinking, trim_turn

# Tags around the text after the reasoning; they are removed.
REPLY_TAGS = (
    ("<|begin_of_solution|>", "<|end_of_solution|>"),
    ("<|start_response|>", "<|end_response|>"),
    ("<answer>", "</answer>"),
    ("<output>", "</output>"),
    ("<solution>", "</solution>"),
    ("<response>", "</response>"),
)
MAX_ANSWER_WORDS = 12  # of a text that counts as an answer by its length alone
MAX_MARKED_CHARS = 200  # a longer "#### …" is a heading of a document, not an answer
ANSWER_TAG = re.compile(r"<answer>(.*?)</answer>", re.IGNORECASE | re.DOTALL)
BOXED = re.compile(r"\\(?:boxed|fbox)\s*(\{|[^\s{}$\\,;]+)")
ANSWER_FIRST = re.compile(
    r"\A\s*(?:final\s+)?answer\s*[:=]\s*(?P<answer>[^\n]{1,200})\n\s*"
    r"(?:explanation|reasoning|rationale|justification|solution|because)\s*:\s*",
    re.IGNORECASE,
)
ANSWER_HEADING = re.compile(
    r"^[ \t]*(?:#{1,6}[ \t]*|\*\*)(?:final[ \t]+)?answer[ \t]*:?[ \t]*(?:\*\*)?[ \t]*:?[ \t]*\n"
    r"\s*(?P<answer>[^\n]{1,200}?)\s*\Z",
    re.IGNORECASE | re.MULTILINE,
)
ANSWER_IS = re.compile(
    r"(?:^|[\s*_(])(?:the\s+|my\s+)?(?:final\s+|correct\s+|best\s+|right\s+)?answer\s*(?:is\s*:?|:|=)\s*"
    r"(?P<answer>\S.*?)\s*$",
    re.IGNORECASE,
)


def split_text(text: str, wants_answer: bool = True, own_answer: str = "") -> Parts:
    """Split a text that may hold reasoning and answer.

    What thinking tags mark is the reasoning. The text after them is the reply: its marked answer is the answer, else
    the whole reply; without a reply the text before them. Without tags, ``####`` and ``<answer>`` end the reasoning and
    start the answer; ``\\boxed{}`` and "the answer is" give the answer and stay in the reasoning, because they are
    part of a sentence there. Where ``wants_answer`` is False, as a column of its own has ``own_answer``, only thinking
    tags count, and a text without them stays whole. Control tokens of a turn are cut from both ends.
    """
    text, was_trimmed = trim_turn(text)
    parts = _split(text, wants_answer, own_answer)
    return replace(parts, marks=(*parts.marks, "control tokens cut off")) if was_trimmed else parts


def _split(text: str, wants_answer: bool, own_answer: str) -> Parts:
    thinking = split_thinking(text, None if wants_answer else lambda rest: is_reply(rest, own_answer))
    if thinking is None:
        name = find_tag(text)
        parts = _split_by_answer(text) if wants_answer else _cut_known(text, own_answer)
        return replace(parts, marks=(*parts.marks, f"{name} left alone")) if name else parts
    reply, wrapper = _unwrap(thinking.after)
    if thinking.reasoning.strip():
        if not wants_answer:
            return thinking
        return _add_answer(thinking, reply)
    # The model was told not to think: its reply is the only reasoning there is.
    reply = "\n\n".join(filter(None, (*thinking.between, reply)))
    inner = Parts(reply) if wrapper == "<answer>" else _split(reply, wants_answer, own_answer)
    return Parts(
        inner.reasoning,
        inner.answer,
        "\n".join(filter(None, (thinking.before, inner.before))),  # the reply may hold tags of its own
        inner.after,
        (f"empty {thinking.marks[0]}", *inner.marks),
        inner.between,
    )


def _add_answer(thinking: Parts, reply: str) -> Parts:
    """The answer to a thought: in the reply after it, else in the text before it, else at the end of a cut thought."""
    found = find_answer(reply)
    if found is not None:
        after = thinking.after if found[0] != reply else ""
        return replace(thinking, answer=found[0], after=after, marks=(*thinking.marks, found[1]))
    if reply:
        return replace(thinking, answer=reply, after="")  # it needs no second copy in `after`
    before, _ = _unwrap(thinking.before)
    found = find_answer(before)
    if found is None and 0 < len(before.split()) <= MAX_ANSWER_WORDS:
        found = before, "answer before the thought"
    if found is not None:
        left = thinking.before if found[0] != before else ""
        return replace(thinking, answer=found[0], before=left, marks=(*thinking.marks, found[1]))
    tags = list(ANSWER_TAG.finditer(thinking.reasoning))
    if tags and not thinking.reasoning[tags[-1].end() :].strip():  # the thought was never closed
        head = thinking.reasoning[: tags[-1].start()].rstrip()
        return replace(thinking, reasoning=head, answer=tags[-1][1].strip(), marks=(*thinking.marks, "<answer>"))
    return thinking


def _cut_known(text: str, own_answer: str) -> Parts:
    """The text without a last line ``#### 12`` that repeats the answer of a column of its own."""
    head, hashes, tail = text.rpartition("####")
    is_same = hashes and tail.strip() and tail.strip() == own_answer.strip() and not head.endswith("#")
    return Parts(head.rstrip(), marks=("####",)) if is_same and head.strip() else Parts(text)


def _split_by_answer(text: str) -> Parts:
    first = ANSWER_FIRST.match(text)
    if first is not None:
        return Parts(text[first.end() :].strip(), first["answer"].strip(), marks=("answer before the reasoning",))
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


def is_reply(text: str, own_answer: str) -> bool:
    """Whether `text` may be the answer whose short form a column of its own has: empty, short, marked or with it."""
    reply, _ = _unwrap(text)
    if not reply or find_answer(reply) is not None or len(reply.split()) <= MAX_ANSWER_WORDS:
        return True
    own = own_answer.strip()
    return bool(own) and re.search(rf"(?<!\w){re.escape(own)}(?!\w)", reply) is not None


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
    headed = ANSWER_HEADING.search(text.rstrip()[-2 * MAX_MARKED_CHARS :])
    if headed is not None:
        return headed["answer"].strip("*_ "), "a heading Answer"
    return None


def read_gold(text: str) -> str | None:
    """The answer of a reference solution ``… #### 12`` that stands where an answer should; None where it is none."""
    head, hashes, _ = text.rpartition("####")
    found = find_answer(text) if hashes and head.strip() else None
    return found[0] if found is not None and found[1] == "####" else None


def _is_only_answer(lines: list[str]) -> bool:
    return len(lines) == 1 and ANSWER_IS.search(lines[0]) is not None


def find_boxed(text: str) -> str | None:
    """Content of the last ``\\boxed{…}`` or ``\\boxed x`` whose braces balance; None where there is none.

    Escaped braces (``\\{``) do not count as braces.
    """
    for match in reversed(list(BOXED.finditer(text))):
        if match[1] != "{":
            return match[1].rstrip(".")
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
