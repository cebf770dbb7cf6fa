"""Records that pass between the packages of ``gsd_core``.

Sample         one row of a data set: question, reasoning, answer, meta
StepRanges     character ranges of the steps of a sample, in little memory
Rejection      one row that cannot be used, and why
CharSpan       half-open range of characters of a sample's reasoning
TokenSpan      half-open range of target tokens of the model's input
TokenizedSample  a sample as the model reads it, with token spans
SpanRecord     gradient record of one span at one checkpoint
SampleRecords  all records of one sample at one checkpoint
Skipped        a sample that capture left out, and why
name_is_valid, NAME_PATTERN   names of runs and data sets
join_span, split_span   span id ``SAMPLE#K`` from sample and index, and back

Shapes: T tokens of one sample, S spans of one sample, P sketch width.
This module imports neither torch nor the database.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, overload

import numpy as np

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def name_is_valid(name: str) -> bool:
    """Whether `name` is a valid name of a run or data set."""
    return NAME_PATTERN.fullmatch(name) is not None


def join_span(sample: str, index: int) -> str:
    """Span id ``SAMPLE#K``; ``store.views.join_span_ids`` does the same for whole columns."""
    return f"{sample}#{index}"


def split_span(span: str) -> tuple[str, int | None]:
    """Sample and index of a span id; the index is None if ``span`` does not end in ``#K``."""
    sample, sign, number = span.rpartition("#")
    if not sign:
        return span, None
    is_index = number.isdecimal() and str(int(number)) == number
    return sample, int(number) if is_index else None


class StepRanges(Sequence[tuple[int, int]]):
    """Half-open character ranges of texts that a newline joins.

    Behaves as the tuple of its ranges and equals it. A step takes 4 bytes here and about 120 in a tuple, which is more
    than the step itself where steps are short.
    """

    __slots__ = ("_lengths",)

    def __init__(self, texts: Iterable[str]) -> None:
        # Summed lengths without the newlines: nothing but C runs for each step.
        self._lengths = array("I", accumulate(map(len, texts), initial=0))

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Starts and ends, (K,) int32 each."""
        summed = np.frombuffer(self._lengths, np.uint32).astype(np.int32)
        newlines = np.arange(len(self), dtype=np.int32)
        return summed[:-1] + newlines, summed[1:] + newlines

    def __len__(self) -> int:
        return len(self._lengths) - 1

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for newlines, (start, end) in enumerate(zip(self._lengths, self._lengths[1:], strict=False)):
            yield start + newlines, end + newlines

    @overload
    def __getitem__(self, at: int) -> tuple[int, int]: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[tuple[int, int], ...]: ...
    def __getitem__(self, at: int | slice) -> tuple[int, int] | tuple[tuple[int, int], ...]:
        if isinstance(at, slice):
            return tuple(self)[at]
        newlines = range(len(self))[at]
        return self._lengths[newlines] + newlines, self._lengths[newlines + 1] + newlines

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, StepRanges | tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of a chain-of-thought data set, normalised.

    ``reasoning`` is one text. Steps that the source gives as a list are joined by newlines; ``steps`` has their
    half-open character ranges in ``reasoning``, without the newline. ``meta`` has all other fields of the row. A
    ``meta`` list with an entry for each step labels steps.
    """

    id: str
    question: str
    reasoning: str
    answer: str = ""
    steps: Sequence[tuple[int, int]] = ()
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row that cannot be used. ``row`` counts the records of the file from 1."""

    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class CharSpan:
    """Half-open character range ``[start, end)`` in ``Sample.reasoning``; a segmenter's spans partition it."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """Half-open range ``[start, end)`` of target tokens in the model's input.

    ``index`` is K in ``SAMPLE#K``. It counts all spans of the segmenter, also those without tokens. Token ``t`` is
    predicted at input position ``t - 1``, hence ``start >= 1``.
    """

    index: int
    start: int
    end: int
    char_start: int
    char_end: int
    text: str


@dataclass(frozen=True, slots=True)
class TokenizedSample:
    """A sample as the model reads it.

    ``token_ids`` (T,) int32; ``token_starts`` and ``token_ends`` (T,) int32 are characters of ``input_text``; ``spans``
    are in order and do not overlap; ``prompt_tokens`` tokens come before the reasoning, which begins at character
    ``reasoning_start`` of ``input_text``.
    """

    id: str
    input_text: str
    token_ids: np.ndarray
    token_starts: np.ndarray
    token_ends: np.ndarray
    spans: tuple[TokenSpan, ...]
    prompt_tokens: int
    reasoning_start: int
    n_spans_cut: int = 0  # spans lost when the sample was cut to the context on request
    skipped_spans: tuple[tuple[int, str], ...] = ()  # (index, reason): spans without tokens
    n_control: int = 0  # control tokens that the reasoning spells out

    def span_of_token(self) -> np.ndarray:
        """(T,) int32: K of each token's span, -1 outside spans."""
        owner = np.full(len(self.token_ids), -1, dtype=np.int32)
        for span in self.spans:
            owner[span.start : span.end] = span.index
        return owner


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """Gradient record: one span at one checkpoint.

    ``direction`` (P,) float16 has unit norm, or is zero for a zero gradient; ``norm`` is that of the sketched gradient;
    ``loss`` is the mean negative log-likelihood of the tokens in nats; ``coherence`` is in [0, 1]; ``window_cosine`` is
    the cosine to the exact direction, None if not audited; ``spectral`` and ``grace`` are the measures of
    ``capture.measures``, None if not computed.
    """

    span: TokenSpan
    direction: np.ndarray
    norm: float
    loss: float
    coherence: float
    window_cosine: float | None = None
    spectral: float | None = None
    grace: float | None = None


@dataclass(frozen=True, slots=True)
class SampleRecords:
    """All records of one sample at one checkpoint. ``token_losses`` (T,) float32 in nats, NaN if unknown."""

    tokenized: TokenizedSample
    records: tuple[SpanRecord, ...]
    token_losses: np.ndarray


@dataclass(frozen=True, slots=True)
class Skipped:
    """A sample that capture left out, by its id."""

    sample: str
    reason: str
