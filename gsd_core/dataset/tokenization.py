"""Samples as the model reads them: the tokens of the whole text, and the span that each belongs to.

tokenize_sample   sample → `TokenizedSample`, or `Skipped` with the reason
check_tokenizer   raises where a tokenizer does not report the offsets of its tokens
find_owners       the character of the reasoning that each token of it belongs to

The whole text is tokenized once, and spans follow from the offsets: tokens of pieces would differ from those that the
model sees. A token belongs to the span that contains its first character that is not white space (a token of only white
space: its first character), so a token across a border belongs to one span.

Shapes: T tokens of the sample, S spans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gsd_core.dataset.prompts import ModelInput, build_input
from gsd_core.dataset.segmenters import Segmenter
from gsd_core.errors import UserError
from gsd_core.types import CharSpan, Sample, Skipped, TokenizedSample, TokenSpan, join_span

_PROBE = "One two, 3.14 (four) five.\nSix seven eight?"


@dataclass(frozen=True, slots=True)
class _Tokens:
    """Tokens of a text: ids, character offsets, and the character that decides the span, all (T,) int32.

    ``is_special`` (T,) bool: control tokens, whether the text spells them or the tokenizer added them.
    """

    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    owners: np.ndarray
    is_special: np.ndarray


def check_tokenizer(tokenizer: Any) -> None:
    """Raise `UserError` unless `tokenizer` reports the offsets of its tokens (a "fast" tokenizer does).

    A known line is tokenized, and most of its characters have to lie in a token: wrong offsets would misplace every
    span.
    """
    where = f"tokenizer {getattr(tokenizer, 'name_or_path', '') or type(tokenizer).__name__}"
    fix = "use a model with a fast tokenizer (a tokenizer.json), or convert this one with transformers"
    if not getattr(tokenizer, "is_fast", False):
        raise UserError("the tokenizer reports no offsets of its tokens in the text", where, fix)
    tokens = _tokenize(_PROBE, tokenizer, add_special_tokens=False)
    covered = {at for a, b in zip(tokens.starts, tokens.ends, strict=True) for at in range(a, b)}
    visible = {at for at, char in enumerate(_PROBE) if not char.isspace()}
    if len(visible & covered) < 0.8 * len(visible):
        raise UserError("the tokenizer's offsets do not cover the text", where, fix)


def tokenize_sample(
    sample: Sample,
    tokenizer: Any,
    segmenter: Segmenter,
    *,
    max_tokens: int | None,
    truncate: bool = False,
    model_input: ModelInput | None = None,
    control_tokens: str = "text",
) -> TokenizedSample | Skipped:
    """Tokens and token spans of `sample`.

    Parameters
    ----------
    tokenizer
        A fast tokenizer of transformers; its own truncation and padding settings are not used.
    segmenter
        Cuts the reasoning; one with ``window_tokens`` is cut into windows of that many tokens here.
    max_tokens
        The model's context in tokens; None: no limit.
    truncate
        What to do with a longer sample: False skips it with a reason; True removes whole spans from the end
        (``n_spans_cut`` counts them) and the text after the last one kept. No span is cut in two.
    model_input
        The text that a model has read, where `build_input` did not make it.
    control_tokens
        What a control token is that the reasoning spells out, as ``<|im_end|>``: "text" is read like any other text,
        "control" as the token that ends a turn. ``n_control`` counts them.

    Returns
    -------
    A `TokenizedSample` with at least one span. Spans are in order, do not overlap, lie inside the reasoning and begin
    at position 1 or later, as nothing predicts an input's first token; every other token of the reasoning is in exactly
    one span. ``skipped_spans`` lists spans without a token, and given steps of only white space, whose tokens go to the
    span before. `Skipped` where nothing is left to capture.

    Raises `UserError` for a tokenizer without offsets or a chat template that fails. Source: ours.
    """
    if not getattr(tokenizer, "is_fast", False):
        check_tokenizer(tokenizer)
    char_spans = segmenter(sample)
    if not char_spans:
        return Skipped(sample.id, "the reasoning is empty")
    _check_partition(char_spans, sample)
    model_input = model_input or build_input(sample, tokenizer)
    try:
        model_input.text.encode()
    except UnicodeEncodeError:
        return Skipped(sample.id, "the text contains half a character (a lone surrogate), which no tokenizer can read")
    tokens = _tokenize(model_input.text, tokenizer, add_special_tokens=model_input.add_special_tokens)
    n_control = _count_spelled(tokens, model_input)
    if n_control and control_tokens == "text":
        tokens = _tokenize_as_text(tokens, tokenizer, model_input)
    first, last = np.searchsorted(tokens.owners, [model_input.reasoning_start, model_input.reasoning_end])
    if first == last:
        return Skipped(sample.id, "the reasoning holds no token")
    window = getattr(segmenter, "window_tokens", None)
    if window is None:
        spans, skipped = _spans_from_chars(char_spans, tokens, model_input, sample.reasoning)
    else:
        spans, skipped = _spans_from_windows(int(window), tokens, model_input, sample.reasoning, int(first), int(last))
    if not spans:
        return Skipped(sample.id, "the reasoning is a single token at the start of the input, which nothing predicts")
    fitted = _fit(sample, model_input, tokens, spans, skipped, int(first), max_tokens, truncate)
    return replace(fitted, n_control=n_control) if isinstance(fitted, TokenizedSample) and n_control else fitted


def _check_partition(spans: Sequence[CharSpan], sample: Sample) -> None:
    edges = [0, *(span.end for span in spans)]
    if [span.start for span in spans] != edges[:-1] or edges[-1] != len(sample.reasoning) or edges != sorted(edges):
        raise ValueError(f"the segmenter's spans do not partition the reasoning of sample {sample.id}: {spans}")


def _tokenize(text: str, tokenizer: Any, *, add_special_tokens: bool) -> _Tokens:
    """Tokenize the whole `text` with offsets; ``owners`` never decrease."""
    encoded = tokenizer(
        text,
        add_special_tokens=add_special_tokens,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        return_attention_mask=False,
        return_token_type_ids=False,
        truncation=False,  # also switches off truncation that tokenizer.json may set
        padding=False,
        verbose=False,  # no warning "sequence is longer than …": we report that
    )
    offsets = np.asarray(encoded["offset_mapping"], dtype=np.int32).reshape(-1, 2)
    starts, ends = offsets[:, 0].copy(), offsets[:, 1].copy()
    ids = np.asarray(encoded["input_ids"], dtype=np.int32)
    is_added = np.asarray(encoded["special_tokens_mask"], dtype=bool) & (starts == ends)
    owners = _compute_owners(text, starts, ends, is_added)
    is_special = is_added | np.isin(ids, np.asarray(getattr(tokenizer, "all_special_ids", []), dtype=np.int32))
    return _Tokens(ids, starts, ends, owners, is_special)


def _count_spelled(tokens: _Tokens, model_input: ModelInput) -> int:
    """How many control tokens the reasoning spells out."""
    is_inside = (tokens.starts >= model_input.reasoning_start) & (tokens.ends <= model_input.reasoning_end)
    return int(np.count_nonzero(tokens.is_special & is_inside & (tokens.starts < tokens.ends)))


def _tokenize_as_text(tokens: _Tokens, tokenizer: Any, model_input: ModelInput) -> _Tokens:
    """The tokens where control tokens that the reasoning spells are text; those of the template stay what they are.

    A tokenizer cuts a text at its control tokens first, so the pieces between those that stay are tokenized alone.
    """
    is_inside = (tokens.starts >= model_input.reasoning_start) & (tokens.ends <= model_input.reasoning_end)
    kept = np.flatnonzero(tokens.is_special & ~(is_inside & (tokens.starts < tokens.ends)))
    ids: list[int] = []
    starts: list[int] = []
    ends: list[int] = []
    specials: list[bool] = []
    text, at = model_input.text, 0
    for token in [*kept.tolist(), None]:
        stop = len(text) if token is None else max(at, int(tokens.starts[token]))
        if stop > at:
            piece = tokenizer(
                text[at:stop],
                add_special_tokens=False,
                return_offsets_mapping=True,
                split_special_tokens=True,
                verbose=False,
            )
            ids += piece["input_ids"]
            starts += [at + start for start, _ in piece["offset_mapping"]]
            ends += [at + end for _, end in piece["offset_mapping"]]
            specials += [False] * len(piece["input_ids"])
        if token is not None:
            ids.append(int(tokens.ids[token]))
            starts.append(int(tokens.starts[token]))
            ends.append(int(tokens.ends[token]))
            specials.append(True)
            stop = max(stop, int(tokens.ends[token]))
        at = stop
    numbers = [np.asarray(values, dtype=np.int32) for values in (ids, starts, ends)]
    is_special = np.asarray(specials, dtype=bool)
    owners = _compute_owners(text, numbers[1], numbers[2], is_special & (numbers[1] == numbers[2]))
    return _Tokens(numbers[0], numbers[1], numbers[2], owners, is_special)


def find_owners(sample: TokenizedSample) -> np.ndarray:
    """(n,) int32: for the tokens from the prompt's end to that of the last span, the character of the reasoning that
    decides which part of it each belongs to. It never decreases."""
    stop = sample.spans[-1].end
    starts, ends = sample.token_starts[:stop], sample.token_ends[:stop]
    owners = _compute_owners(sample.input_text, starts, ends, np.zeros(stop, dtype=bool))
    return np.asarray(owners[sample.prompt_tokens :] - sample.reasoning_start)


def _compute_owners(text: str, starts: np.ndarray, ends: np.ndarray, is_added: np.ndarray) -> np.ndarray:
    """(T,) the character that decides which span each token belongs to.

    A token of no characters stands for the gap before it (byte-level tokenizers trim white space from offsets). Tokens
    that the tokenizer added (``is_added``) get -1 at the front and ``len(text)`` at the end.
    """
    if not len(starts):
        return starts
    ends_so_far = np.maximum.accumulate(np.where(is_added, 0, ends))
    gap_starts = np.concatenate([[0], ends_so_far[:-1]]).astype(np.int32)
    begins = np.where(starts < ends, starts, np.minimum(gap_starts, starts))
    is_visible = np.array([not char.isspace() for char in text] + [True])
    positions = np.where(is_visible, np.arange(len(text) + 1), len(text))
    next_visible = np.minimum.accumulate(positions[::-1])[::-1]
    visible = next_visible[begins]
    owners = np.where(visible < ends, visible, begins)
    real = np.flatnonzero(~is_added)
    owners[is_added] = -1
    if len(real):
        owners[real[-1] + 1 :] = len(text)
    return np.maximum.accumulate(owners).astype(np.int32)


def _spans_from_chars(
    char_spans: Sequence[CharSpan], tokens: _Tokens, model_input: ModelInput, reasoning: str
) -> tuple[list[TokenSpan], list[tuple[int, str]]]:
    """Token spans of character spans. One of only white space joins the span before it, or else the one after it."""
    units: list[list[int]] = []  # index, char start, char end
    skipped: list[tuple[int, str]] = []
    has_text = bool(reasoning.strip())
    for index, span in enumerate(char_spans):
        if has_text and not reasoning[span.start : span.end].strip():
            skipped.append((index, "only white space; joined to a neighbour"))
            if units:
                units[-1][2] = span.end
        else:
            units.append([index, span.start if units else 0, span.end])
    edges = [unit[1] for unit in units] + [units[-1][2]]
    borders = np.searchsorted(tokens.owners, np.array(edges) + model_input.reasoning_start)
    spans = []
    for (index, char_start, char_end), start, end in zip(units, borders[:-1], borders[1:], strict=True):
        start = max(int(start), 1)
        if start >= end:
            skipped.append((index, "no token begins in it"))
            continue
        text = reasoning[char_start:char_end]
        spans.append(TokenSpan(index, start, int(end), char_start, char_end, text))
    return spans, sorted(skipped)


def _spans_from_windows(
    window: int, tokens: _Tokens, model_input: ModelInput, reasoning: str, first: int, last: int
) -> tuple[list[TokenSpan], list[tuple[int, str]]]:
    """Windows of `window` tokens over tokens ``[first, last)``. Tokens of one character stay together, so a window may
    be a few tokens longer. The character ranges partition the reasoning."""
    first = max(first, 1)
    starts = []
    at = first
    while at < last:
        starts.append(at)
        at += window
        while at < last and tokens.owners[at] <= tokens.owners[at - 1]:
            at += 1
    chars = [int(tokens.owners[start]) - model_input.reasoning_start for start in starts]
    char_edges = [0, *chars[1:], len(reasoning)]
    spans = [
        TokenSpan(index, start, end, char_start, char_end, reasoning[char_start:char_end])
        for index, (start, end, char_start, char_end) in enumerate(
            zip(starts, [*starts[1:], last], char_edges[:-1], char_edges[1:], strict=True)
        )
    ]
    return spans, []


def _fit(
    sample: Sample,
    model_input: ModelInput,
    tokens: _Tokens,
    spans: list[TokenSpan],
    skipped: list[tuple[int, str]],
    n_prompt: int,
    max_tokens: int | None,
    truncate: bool,
) -> TokenizedSample | Skipped:
    """The tokenized sample, cut or skipped where it exceeds the context, as `tokenize_sample` says."""
    n_tokens, text = len(tokens.ids), model_input.text
    kept, n_keep = spans, n_tokens
    if max_tokens is not None and n_tokens > max_tokens:
        kept = [span for span in spans if span.end <= max_tokens]
        if n_prompt >= max_tokens:
            return Skipped(sample.id, f"the prompt alone is {n_prompt} tokens > context {max_tokens}")
        longest = max(spans, key=lambda span: span.end - span.start)
        n_longest = longest.end - longest.start
        if n_longest > max_tokens and not (truncate and kept):
            return Skipped(
                sample.id,
                f"span {join_span(sample.id, longest.index)} alone is {n_longest} tokens > context {max_tokens}",
            )
        if not truncate:
            return Skipped(sample.id, f"{n_tokens} tokens > context {max_tokens}")
        if not kept:
            return Skipped(sample.id, f"the prompt and the first span are {spans[0].end} tokens > context {max_tokens}")
        n_keep = max_tokens if len(kept) == len(spans) else kept[-1].end
        last_char = model_input.reasoning_start + kept[-1].char_end
        text = text[: max(last_char, int(tokens.ends[:n_keep].max()))]
    return TokenizedSample(
        id=sample.id,
        input_text=text,
        token_ids=tokens.ids[:n_keep],
        token_starts=tokens.starts[:n_keep],
        token_ends=tokens.ends[:n_keep],
        spans=tuple(kept),
        prompt_tokens=n_prompt,
        reasoning_start=model_input.reasoning_start,
        n_spans_cut=len(spans) - len(kept),
        skipped_spans=tuple(entry for entry in skipped if entry[0] <= kept[-1].index or len(kept) == len(spans)),
    )
