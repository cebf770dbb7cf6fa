"""Segmenters: how a sample's reasoning is cut into spans.

Segmenter        the contract: a name, and sample → character spans that partition the reasoning
make_segmenter   the segmenter of a specification such as ``steps`` or ``windows:32``
SEGMENTER_SPECS  the specifications, for help texts
Steps            the steps of the data set, else lines, else sentences
Sentences        one span a sentence
Paragraphs       blocks between blank lines
Cues             a span opens at each reflection cue (``\\n\\nWait`` …)
Windows          N tokens each; cut later, when the tokenizer is known
RegexOpens       a span opens at each match of a pattern
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import regex

from gsd_core.dataset.sentences import iter_sentence_breaks
from gsd_core.errors import UserError
from gsd_core.types import CharSpan, Sample

SEGMENTER_SPECS = ("steps", "sentences", "paragraphs", "cues", "cues-wide", "windows:N", "regex:RE")

_COMMON_CUES = (
    "Wait",
    "Alternatively",
    "However",
    "Not sure",
    "Going back",
    "Backtrack",
    "Trace back",
    "Another",
)
CUES = (*_COMMON_CUES, "But wait", "But alternatively", "But just to")
CUES_WIDE = (*_COMMON_CUES, "But", "Hmmm", "Hmm")

MAX_PATTERN = 1000  # characters of a regex:RE pattern
REGEX_TIMEOUT_S = 2.0  # for one sample; an ordinary pattern needs milliseconds
MAX_REPEATS = 10_000  # product of a pattern's counted repeats; the time to compile grows with it
MAX_WINDOW = 1_000_000

_COUNTED = re.compile(r"\{\s*([0-9]+)[\s,0-9]*\}")
_LINE_END = re.compile(r"\r\n|\n|\r")


class Segmenter(Protocol):
    """Anything that cuts reasoning into spans.

    ``name`` is its specification. For a segmenter with an integer ``window_tokens``, `gsd_core.dataset.tokenization`
    cuts the reasoning into windows of that many tokens.
    """

    @property
    def name(self) -> str: ...

    def __call__(self, sample: Sample) -> list[CharSpan]:
        """Spans that partition ``sample.reasoning``: in order, without gap or overlap; ``[]`` where it is empty.

        No span is only white space, with two exceptions: a reasoning that is only white space, and `Steps` on given
        steps, where span K is step K.
        """
        ...


def _spans_from_breaks(text: str, breaks: Iterable[int]) -> list[CharSpan]:
    """Partition `text` at `breaks` (in any order, repeats allowed).

    A piece of only white space joins the piece before it; the first piece joins the one after it.
    """
    if not text:
        return []
    edges = [0, *sorted({at for at in breaks if 0 < at < len(text)}), len(text)]
    kept = [0]
    for start, end in pairwise(edges):
        if start == kept[-1]:
            continue
        if text[start:end].isspace():
            continue
        if len(kept) == 1 and text[:start].isspace():
            continue
        kept.append(start)
    return [CharSpan(a, b) for a, b in zip(kept, [*kept[1:], len(text)], strict=True)]


@dataclass(frozen=True)
class Steps:
    """The steps of the data set; without steps, the lines; with a single line, its sentences.

    Characters between two steps (the joining newline) belong to the earlier span; text before the first step belongs
    to the first. Span K is step K, even where a step is empty or only white space. Source: ours.
    """

    name: str = "steps"

    def __call__(self, sample: Sample) -> list[CharSpan]:
        """Raises `UserError` where the steps overlap, go backwards or lie outside the reasoning."""
        text = sample.reasoning
        if not text:
            return []
        if sample.steps:
            return self._given(sample)
        breaks = [match.end() for match in _LINE_END.finditer(text)]
        spans = _spans_from_breaks(text, breaks)
        return spans if len(spans) > 1 else _spans_from_breaks(text, iter_sentence_breaks(text))

    @staticmethod
    def _given(sample: Sample) -> list[CharSpan]:
        last_end = 0
        for start, end in sample.steps:
            if not last_end <= start <= end <= len(sample.reasoning):
                raise UserError(
                    f"the steps of the reasoning overlap or lie outside it (step {start}-{end})",
                    f"sample {sample.id}",
                    "fix the steps, or use --segmenter sentences",
                )
            last_end = end
        starts = [0, *(start for start, _ in sample.steps[1:])]
        return [CharSpan(a, b) for a, b in zip(starts, [*starts[1:], len(sample.reasoning)], strict=True)]


@dataclass(frozen=True)
class Sentences:
    """One span a sentence (`gsd_core.dataset.sentences`). Source: ours."""

    name: str = "sentences"

    def __call__(self, sample: Sample) -> list[CharSpan]:
        return _spans_from_breaks(sample.reasoning, iter_sentence_breaks(sample.reasoning))


@dataclass(frozen=True)
class Paragraphs:
    """One span a block of lines, with the blank lines that end it. Source: ours."""

    name: str = "paragraphs"

    def __call__(self, sample: Sample) -> list[CharSpan]:
        text = sample.reasoning
        breaks, line_start, after_blank = [], 0, False
        for line_end in [match.end() for match in _LINE_END.finditer(text)] + [len(text)]:
            is_blank = not text[line_start:line_end].strip()
            if after_blank and not is_blank:
                breaks.append(line_start)
            after_blank, line_start = is_blank, line_end
        return _spans_from_breaks(text, breaks)


@dataclass(frozen=True)
class Cues:
    r"""A span opens at each reflection cue after a blank line; the ``\n\n`` belongs to the span that it opens.

    Cues are case-sensitive and match as prefixes, as in the published list (methods §2, paper). An empty first piece
    is merged with the next. ``\r\n\r\n`` counts as a blank line too (ours).
    """

    name: str = "cues"
    cues: tuple[str, ...] = CUES

    def __call__(self, sample: Sample) -> list[CharSpan]:
        pattern = rf"(?:\n\n|\r\n\r\n)(?:{'|'.join(re.escape(cue) for cue in self.cues)})"
        return _spans_from_breaks(sample.reasoning, (match.start() for match in re.finditer(pattern, sample.reasoning)))


@dataclass(frozen=True)
class Windows:
    """``window_tokens`` tokens a span, fewer in the last. As characters it is one span: only the tokenizer knows where
    windows end, so `tokenize_sample` cuts them. Source: ours (a control without meaning)."""

    window_tokens: int

    @property
    def name(self) -> str:
        return f"windows:{self.window_tokens}"

    def __call__(self, sample: Sample) -> list[CharSpan]:
        return _spans_from_breaks(sample.reasoning, ())


@dataclass(frozen=True)
class RegexOpens:
    """A span opens where a match of ``pattern`` begins, also an empty match; ``^`` and ``$`` match at lines.

    Syntax of the package ``regex``. Source: ours.
    """

    pattern: str

    @property
    def name(self) -> str:
        return f"regex:{self.pattern}"

    def __post_init__(self) -> None:
        if not self.pattern or len(self.pattern) > MAX_PATTERN:
            raise UserError(
                "the pattern is empty" if not self.pattern else f"the pattern is longer than {MAX_PATTERN} characters",
                "--segmenter regex:RE",
                "give a regular expression, for example 'regex:^Step [0-9]+'",
            )
        # Reading a very long number would itself be slow.
        if math.prod(int(count[:9]) or 1 for count in _COUNTED.findall(self.pattern)) > MAX_REPEATS:
            raise UserError(
                f"the pattern counts more than {MAX_REPEATS} repeats in all",
                f"--segmenter {self.name}",
                "use + or * in place of large or nested {n}",
            )
        try:
            regex.compile(self.pattern, regex.MULTILINE)
        except (regex.error, RecursionError, OverflowError, ValueError, MemoryError) as error:
            raise UserError(
                f"the pattern is not a regular expression ({error})",
                f"--segmenter {self.name}",
                "fix the pattern; quote it so that the shell does not change it",
            ) from error

    def __call__(self, sample: Sample) -> list[CharSpan]:
        """Raises `UserError` where the pattern needs more than two seconds for one sample."""
        compiled = regex.compile(self.pattern, regex.MULTILINE)  # from the package's cache
        try:
            matches = compiled.finditer(sample.reasoning, timeout=REGEX_TIMEOUT_S)
            breaks = [match.start() for match in matches]
        except TimeoutError as error:
            raise UserError(
                f"the pattern takes longer than {REGEX_TIMEOUT_S:g} s",
                f"--segmenter {self.name} on sample {sample.id}",
                "use one without nested repetition",
            ) from error
        return _spans_from_breaks(sample.reasoning, breaks)


def make_segmenter(spec: str) -> Segmenter:
    """The segmenter of a specification: one of `SEGMENTER_SPECS`.

    Raises `UserError` for an unknown name, a window that is not a whole number from 1, or a bad pattern.
    """
    kind, colon, argument = spec.partition(":")
    if kind == "regex" and colon:
        return RegexOpens(argument)
    if kind == "windows":
        if not re.fullmatch(r"[0-9]{1,7}", argument) or not 1 <= int(argument) <= MAX_WINDOW:
            raise UserError(
                "a window is a whole number of tokens from 1",
                f"--segmenter {spec}",
                "write for example windows:32",
            )
        return Windows(int(argument))
    simple: dict[str, Segmenter] = {
        "steps": Steps(),
        "sentences": Sentences(),
        "paragraphs": Paragraphs(),
        "cues": Cues(),
        "cues-wide": Cues("cues-wide", CUES_WIDE),
    }
    if spec in simple:
        return simple[spec]
    near = difflib.get_close_matches(kind, [*simple, "windows", "regex"], n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UserError(
        "unknown segmenter", f"--segmenter {spec[:80]}", f"{hint}choose one of {', '.join(SEGMENTER_SPECS)}"
    )
