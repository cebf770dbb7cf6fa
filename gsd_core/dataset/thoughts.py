"""Marks of thinking inside one text: tags of many vendors, harmony channels, the beginning and end of a turn.

Parts           a text split into reasoning, answer and rest, with the marks that split it
split_thinking  the thoughts of a text that is built like one, and the text around them
find_tag        the first tag of a text, also one that is only mentioned
trim_turn       a text without the control tokens at its beginning and end

A tag splits a text only where it stands as a mark and not as a word: outside code and quotes, and an opening one at the
beginning of the text or of a line, behind another tag or a whole sentence, or after a thought that has ended.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Parts:
    """A text that was split. ``answer`` is None where none is marked.

    ``before`` and ``after`` are the texts before the first and after the last thought, ``between`` what stood between
    thoughts, and calls and results of tools. ``marks`` names what split it, for example ("<think>", "\\\\boxed{}").
    """

    reasoning: str
    answer: str | None = None
    before: str = ""
    after: str = ""
    marks: tuple[str, ...] = ()
    between: tuple[str, ...] = ()


# Groups: "close" is filled in closing tags. Words of one kind open and close one another.
_KINDS = {"think": "think", "thinking": "think", "thought": "think", "thoughts": "think"}
_TAG = re.compile(
    r"""
    (?:<|＜|&lt;) \s* (?P<close>\\?/)? \s*
        (?P<word>think|thinking|thoughts?|reasoning|scratchpad|seed:think|antml:thinking)
        (?:\s+[\w:-]+\s*=[^<>]*)? \s* (?:>|＞|&gt;)
  | <\| \s* (?P<pipe_close>/|end_of_|end_)? (?:begin_of_|start_)? (?P<pipe>think|thinking|thoughts?)
        (?:_start|_begin)? (?P<pipe_end>_end)? \s* \|>
  | \[ (?P<bracket_close>/)? (?P<bracket>think|thinking) \]
  | ◁ (?P<kimi_close>/)? (?P<kimi>think) ▷
  | (?P<gemma><unused94>(?:thought\n?)?|<\|channel>thought\n?) | (?P<gemma_close><unused95>|<channel\|>)
  | (?P<details><details\s+type=["']reasoning["'][^>]*>\s*(?:<summary>.*?</summary>)?) | (?P<details_close></details>)
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_HINT = re.compile(r"think|thought|reasoning|scratchpad|unused9[45]|<\|channel|assistantfinal", re.IGNORECASE)
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "(": ")", "„": "“"}
_TOOL_TAG = re.compile(
    r"<(?P<close>/)?(?P<name>tool_calls?|tool_responses?|tool_results?|tool_outputs?|function_calls?|function_results?"
    r"|search|information|observation)\b[^<>]*>|<\|(?P<edge>begin|end)_(?P<search>search_query|search_result)\|>",
    re.IGNORECASE,
)
_CHANNEL = re.compile(
    r"(?:<\|start\|>(?P<role>[^<]*))?<\|channel\|>(?P<channel>[^<]*)(?:<\|constrain\|>[^<]*)?<\|message\|>(?P<text>.*?)"
    r"(?:<\|end\|>|<\|return\|>|<\|call\|>|(?=<\|start\|>)|(?=<\|channel\|>)|\Z)",
    re.DOTALL,
)
# Harmony of which a decoder has removed the control tokens.
_BARE_CHANNEL = re.compile(r"(?:^|assistant)(?P<channel>analysis|commentary|final)(?=[^a-z]|to=)")
# What models that write no tags say instead.
_PHRASES = re.compile(
    r"\A\s*+Here(?: is|['’]s) my thought process:\s*+(?P<thought>.*?)Here(?: is|['’]s) my response:\s*+(?P<reply>.*)\Z",
    re.IGNORECASE | re.DOTALL,
)
_TURN_START = re.compile(
    r"\A\s*+(?:(?:<s>|<bos>|<\|begin_of_text\|>|<｜begin▁of▁sentence｜>)\s*+)?(?:<\|im_start\|>\s*assistant\s*|"
    r"<\|start_header_id\|>\s*assistant\s*<\|end_header_id\|>\s*|<\|assistant\|>\s*|<｜Assistant｜>\s*|"
    r"<start_of_turn>\s*model\s*|<\|turn>model\s*|\[/INST\]\s*)",
    re.IGNORECASE,
)
# In lower case; they end a turn, or stand behind its end.
_TURN_ENDS = (
    "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|end|>", "<|return|>", "</s>",
    "<eos>", "<｜end▁of▁sentence｜>", "<|end_of_turn_token|>", "<end_of_turn>", "<turn|>",
)  # fmt: skip


@dataclass(slots=True)
class _Tag:
    """One tag. ``kind`` tells which tags open and close one another, ``name`` is how a person knows it."""

    start: int
    end: int
    kind: str
    name: str
    is_open: bool


@dataclass(slots=True)
class _Block:
    """A thought: its text lies between the tags ``start`` to ``content_start`` and ``content_end`` to ``end``."""

    start: int
    content_start: int
    content_end: int = -1
    end: int = -1
    inner: list[_Tag] = field(default_factory=list)  # nested tags, which are removed


def trim_turn(text: str) -> tuple[str, bool]:
    """`text` without the control tokens that begin and end a turn, and whether there were any."""
    found = _TURN_START.match(text)
    trimmed = text[found.end() :] if found else text
    while (tail := trimmed[-400:].rstrip().lower()).endswith(_TURN_ENDS):
        end = next(filter(tail.endswith, _TURN_ENDS))
        trimmed = trimmed.rstrip()[: -len(end)].rstrip()
    return (trimmed, True) if len(trimmed) != len(text) else (text, False)


def find_tag(text: str) -> str | None:
    """The name of the first tag of thinking, wherever it stands; None where there is none."""
    if not _HINT.search(text):
        return None
    return next((tag.name for tag in _iter_tags(text) if tag.kind != "details" or tag.is_open), None)


def split_thinking(text: str, is_answer: Callable[[str], bool] | None = None) -> Parts | None:
    """The thoughts of a text, joined by blank lines, and the text around them; None where it is not built of thoughts.

    A thought that is never closed runs to the end, as it was cut. A closing tag without opening one ends a thought that
    began with the text, as templates often supply the opening tag. Where the answer has a column of its own,
    ``is_answer`` says whether a text may be an answer: then a text that does not begin with a thought is split only if
    what follows its thoughts is one.
    """
    if not _HINT.search(text):
        return None
    parts = _split_channels(text) or _split_bare_channels(text)
    if parts is not None:
        return parts
    if said := _PHRASES.match(text):
        return Parts(said["thought"].strip(), None, "", said["reply"].strip(), ("Here is my thought process:",))
    for kind, tags in _group(text).items():
        blocks, mark = _find_blocks(text, tags)
        if not blocks:
            continue
        rest = text[blocks[-1].end :]
        begins = tags[0].is_open and not text[: blocks[0].start].strip()
        if is_answer is not None and not begins and not is_answer(rest):
            continue
        return _make_parts(text, blocks, mark, kind)
    return None


def _iter_tags(text: str) -> Iterator[_Tag]:
    for match in _TAG.finditer(text):
        group = match.groupdict()
        if group["word"]:
            word, close = group["word"].lower(), group["close"]
            kind, name = _KINDS.get(word, word), f"<{word}>"
        elif group["pipe"]:
            close = group["pipe_close"] or group["pipe_end"]
            kind, name = "pipe", match[0].lower()
        elif group["bracket"]:
            close, kind, name = group["bracket_close"], "bracket", f"[{group['bracket'].lower()}]"
        elif group["kimi"]:
            close, kind, name = group["kimi_close"], "kimi", "◁think▷"
        elif group["gemma"] or group["gemma_close"]:
            close, kind, name = group["gemma_close"], "gemma", match[0].strip().removesuffix("thought")
        else:
            close, kind, name = group["details_close"], "details", "<details>"
        if close and not name.startswith(("<|", "<unused", "<channel")):
            name = name[0] + "/" + name[1:]
        yield _Tag(match.start(), match.end(), kind, name, not close)


def _group(text: str) -> dict[str, list[_Tag]]:
    """Tags that stand as marks or may do so, by kind, kinds in order of appearance; those in code or quotes are out."""
    code = [match.span() for match in _CODE.finditer(text)] if "`" in text else []
    starts = [start for start, _ in code]
    found: dict[str, list[_Tag]] = {}
    for tag in _iter_tags(text):
        at = bisect.bisect_right(starts, tag.start) - 1
        is_code = at >= 0 and tag.start < code[at][1]
        is_quoted = _QUOTES.get(text[tag.start - 1 : tag.start]) == text[tag.end : tag.end + 1] != ""
        if not is_code and not is_quoted:
            found.setdefault(tag.kind, []).append(tag)
    return found


def _find_blocks(text: str, tags: list[_Tag]) -> tuple[list[_Block], str]:
    """The thoughts that `tags` of one kind mark, and the name of the mark."""
    last_close = max((at for at, tag in enumerate(tags) if not tag.is_open and not _is_word(text, tag)), default=-1)
    blocks: list[_Block] = []
    current: _Block | None = None
    pending: list[_Tag] = []
    spoken: _Tag | None = None  # a closing tag that reads like a word
    name = ""
    for at, tag in enumerate(tags):
        if tag.is_open and current is None:
            if blocks or _stands_first(text, tag):
                current, pending, spoken, name = _Block(tag.start, tag.end), [], None, name or tag.name
        elif tag.is_open and current is not None:
            if not text[current.content_start : tag.start].strip():
                current.content_start = tag.end  # opened twice
            elif not _is_word(text, tag):
                pending.append(tag)
        elif current is not None and pending and at != last_close:
            current.inner += [pending.pop(), tag]
        elif _is_word(text, tag):
            spoken = tag
        elif current is not None:
            current.content_end, current.end = tag.start, tag.end
            blocks.append(current)
            current = None
        elif blocks:
            if not text[blocks[-1].end : tag.start].strip():
                blocks[-1].end = tag.end  # closed twice
        elif tag.kind != "details":
            blocks.append(_Block(0, 0, tag.start, tag.end))
            name = tag.name
    if current is not None:
        blocks.append(current)
        if spoken is None:
            current.content_end = current.end = len(text)
            return blocks, f"{name} never closed"
        current.content_end, current.end = spoken.start, spoken.end  # nothing else can have closed it
    return blocks, name if len(blocks) < 2 else f"{name} several times"


def _stands_first(text: str, tag: _Tag) -> bool:
    """Whether an opening tag stands at the beginning of the text or of a line, behind another tag or a sentence."""
    line = text[text.rfind("\n", 0, tag.start) + 1 : tag.start].rstrip()
    return not line or line[-1] in ".!?…。！？>])"


def _is_word(text: str, tag: _Tag) -> bool:
    """Whether a tag is a word of a sentence: "the </think> tag", "I stop before </think>, and …"."""
    before = text[max(0, tag.start - 40) : tag.start]
    words = before.rstrip(" \t")
    if words == before or not words or words.endswith("\n") or words[-1] in ".!?:…。！？>])}":
        return False
    following = text[tag.end : tag.end + 40].lstrip(" \t")[:1]
    return following.islower() or (following != "" and following in ".,;:)!?")


def _make_parts(text: str, blocks: list[_Block], mark: str, kind: str) -> Parts:
    thoughts, between = [], []
    for number, block in enumerate(blocks):
        if number:
            between.append(text[blocks[number - 1].end : block.start].strip())
        thought, tools = _clean(text, block)
        if kind == "details":
            thought = re.sub(r"(?m)^> ?", "", thought)
        thoughts.append(thought.strip())
        between += tools
    return Parts(
        "\n\n".join(filter(None, thoughts)),
        None,
        text[: blocks[0].start].strip(),
        text[blocks[-1].end :].strip(),
        (mark,),
        tuple(filter(None, between)),
    )


def _clean(text: str, block: _Block) -> tuple[str, list[str]]:
    """The thought without nested tags and tools, and what the tools said."""
    pieces, at = [], block.content_start
    for tag in sorted(block.inner, key=lambda tag: tag.start):
        pieces.append(text[at : tag.start])
        at = tag.end
    thought = "".join([*pieces, text[at : block.content_end]])
    tools = _find_tools(thought)
    if not tools:
        return thought, []
    starts, ends = [0, *(end for _, end in tools)], [*(start for start, _ in tools), len(thought)]
    said = [thought[start:end].strip() for start, end in zip(starts, ends, strict=True)]
    return "\n".join(filter(None, said)), [thought[start:end] for start, end in tools]


def _find_tools(text: str) -> list[tuple[int, int]]:
    """Where calls and results of tools stand, with their tags; one that is never closed is text."""
    found: list[tuple[int, int]] = []
    opened: tuple[str, int] | None = None
    for tag in _TOOL_TAG.finditer(text):
        name = (tag["name"] or tag["search"]).lower()
        if tag["close"] or (tag["edge"] or "").lower() == "end":
            if opened is not None and opened[0] == name:
                found.append((opened[1], tag.end()))
                opened = None
        elif opened is None:
            opened = (name, tag.start())
    return found


def _split_channels(text: str) -> Parts | None:
    """Harmony: the channel analysis is thought, final is the reply, all else is kept apart."""
    if "<|channel|>" not in text or "<|message|>" not in text:
        return None
    matches = list(_CHANNEL.finditer(text))
    found = [
        ((match["channel"].split() or [""])[0], (match["role"] or "assistant").strip(), match["text"].strip())
        for match in matches
    ]
    parts = _join_channels(found, "<|channel|>analysis<|message|>")
    if parts is None:
        return None
    gaps = [text[one.end() : other.start()].strip() for one, other in pairwise(matches)]
    before, after = text[: matches[0].start()].strip(), text[matches[-1].end() :].strip()
    return replace(
        parts,
        before=before,
        after="\n\n".join(filter(None, (parts.after, after))),
        between=(*parts.between, *filter(None, gaps)),
    )


def _split_bare_channels(text: str) -> Parts | None:
    if not text.lstrip().startswith("analysis") or "assistantfinal" not in text:
        return None
    trimmed = text.lstrip()
    marks = list(_BARE_CHANNEL.finditer(trimmed))
    ends = [*(mark.start() for mark in marks[1:]), len(trimmed)]
    found = [
        (mark["channel"], "assistant", trimmed[mark.end() : end].strip()) for mark, end in zip(marks, ends, strict=True)
    ]
    return _join_channels(found, "analysis … assistantfinal")


def _join_channels(found: list[tuple[str, str, str]], mark: str) -> Parts | None:
    thoughts, replies, between = [], [], []
    for channel, role, said in found:
        is_own = role in ("", "assistant")
        if is_own and channel == "analysis":
            thoughts.append(said)
        elif is_own and channel == "final":
            replies.append(said)
        else:
            between.append(said)
    if not thoughts and not replies:
        return None
    name = mark if len(thoughts) < 2 else f"{mark} several times"
    return Parts("\n\n".join(thoughts), None, "", "\n\n".join(replies), (name,), tuple(filter(None, between)))
