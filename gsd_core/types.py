"""Records that pass between the packages of ``gsd_core``.

Sample         one row of a data set: question, reasoning, answer, meta
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
from dataclasses import dataclass, field
from typing import Any

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
    steps: tuple[tuple[int, int], ...] = ()
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
