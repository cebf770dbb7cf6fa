"""Token spans: each reasoning token belongs to exactly one span, and to the one its text stands in.

The reason: gradients are taken over token ranges. One token too many puts a piece of the prompt or of the neighbour
into a span, and nothing later would show it.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizer, PreTrainedTokenizerFast

from gsd_core.dataset.prompts import build_input
from gsd_core.dataset.segmenters import make_segmenter
from gsd_core.dataset.tokenization import check_tokenizer, tokenize_sample
from gsd_core.errors import UserError
from gsd_core.models.loading import load_model
from gsd_core.types import CharSpan, Sample, Skipped, TokenizedSample

LINES = [
    "Question: How many apples does Ann have in 3.50 boxes?",
    "Reasoning: First we add two and three. Then we wait.\n\nWait, no: it is 5.\n",
    "Answer: five apples, e.g. the U.S. ones. Ünïcödé 今天 Δx = 1,000.5",
] * 3
SPECIAL = ["<unk>", "<s>", "</s>", "<pad>"]


def wrap(backend: Tokenizer, **options) -> PreTrainedTokenizerFast:
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **{**names, **options})


def byte_level(*, trim: bool, **options) -> PreTrainedTokenizerFast:
    """GPT-2 and Llama 3 way: one character may be several tokens; `trim` takes white space out of the offsets."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.post_processor = processors.ByteLevel(trim_offsets=trim)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=330, initial_alphabet=alphabet, special_tokens=SPECIAL, show_progress=False
    )
    backend.train_from_iterator(LINES, trainer)
    return wrap(backend, **options)


def word_piece() -> PreTrainedTokenizerFast:
    """BERT way: lower-cases, strips accents and control characters, adds tokens at both ends."""
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    backend.train_from_iterator(
        LINES, trainers.WordPieceTrainer(vocab_size=150, special_tokens=marks, show_progress=False)
    )
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return wrap(backend, unk_token="[UNK]", bos_token="[CLS]", eos_token="[SEP]", pad_token="[PAD]")


def unigram() -> PreTrainedTokenizerFast:
    """T5 way: white space becomes a mark, text is folded by NFKC (so one character may become several)."""
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("\n", " ")])
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    backend.train_from_iterator(LINES, trainer)
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    return wrap(backend)


def byte_fallback() -> PreTrainedTokenizerFast:
    """Llama 2 way: a mark is put in front, unknown characters fall back to byte tokens."""
    vocab = {token: at for at, token in enumerate(SPECIAL + [f"<0x{byte:02X}>" for byte in range(256)])}
    for token in ["▁", *"abcdefghijklmnopqrstuvwxyzQRA.:?", "th", "the"]:
        vocab[token] = len(vocab)
    backend = Tokenizer(
        models.BPE(vocab, [("t", "h"), ("th", "e")], unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return wrap(backend)


TOKENIZERS = {
    "byte-level": byte_level(trim=False),
    "byte-level-trimmed": byte_level(trim=True),
    "word-piece": word_piece(),
    "unigram": unigram(),
    "byte-fallback": byte_fallback(),
}
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TOKENIZERS["chat"] = byte_level(trim=False, chat_template=CHATML)
BYTE = TOKENIZERS["byte-level"]

PIECES = [
    *"aB1 .?!\n\r\t\0\u200d\u0301\ufeff😀👨ااΔ今ﬁİ",
    "\r\n",
    "\n\n",
    "e\u0301",
    "\n\nWait",
    "    ",
    "👨‍👩‍👧",
    "Two. ",
]
texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.lists(st.sampled_from(PIECES), max_size=25).map("".join),
)


def sample(reasoning: str, steps: tuple[tuple[int, int], ...] = (), answer: str = "five") -> Sample:
    return Sample(id="s1", question="How many?", reasoning=reasoning, answer=answer, steps=steps)


def tokenize(reasoning: str, spec: str = "sentences", tokenizer=BYTE, max_tokens=None, **options):
    return tokenize_sample(sample(reasoning), tokenizer, make_segmenter(spec), max_tokens=max_tokens, **options)


def visible_start(found: TokenizedSample, token: int) -> int:
    """First character of a token that is no white space, found without the code under test."""
    start, end = int(found.token_starts[token]), int(found.token_ends[token])
    for at in range(start, end):
        if not found.input_text[at].isspace():
            return at
    return start


def check_invariants(found: TokenizedSample, reasoning: str) -> None:
    start, stop = found.reasoning_start, found.reasoning_start + len(reasoning)
    assert found.input_text[start:stop] == reasoning, "the reasoning is not where it is said to be"
    assert len(found.token_ids) == len(found.token_starts) == len(found.token_ends)
    owner = found.span_of_token()
    previous_end = max(found.prompt_tokens, 1)
    for span in found.spans:
        assert span.start < span.end, "a span without tokens"
        assert span.start == previous_end, "a reasoning token lies between spans, or in two, or a prompt token in one"
        assert span.text == reasoning[span.char_start : span.char_end], "text and range disagree"
        previous_end = span.end
    for token in range(len(found.token_ids)):
        at, has_extent = visible_start(found, token), found.token_starts[token] < found.token_ends[token]
        if has_extent:
            assert (owner[token] >= 0) == (start <= at < stop and token >= 1), "a token on the wrong side of the border"
    for span in found.spans:
        low, high = start + span.char_start, start + span.char_end
        for token in range(span.start, span.end):
            if found.token_starts[token] < found.token_ends[token]:
                assert low <= visible_start(found, token) < high, "a token's text lies in another span"


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=60, deadline=None)
@given(
    text=texts,
    spec=st.sampled_from(["sentences", "steps", "cues-wide", "windows:1", "windows:3", "regex:(?=.)"]),
)
def test_every_reasoning_token_is_in_exactly_one_span(name: str, text: str, spec: str) -> None:
    found = tokenize(text, spec, TOKENIZERS[name])
    if isinstance(found, Skipped):
        assert not text.strip() or name in {"word-piece", "unigram"}, f"skipped for no reason: {found.reason}"
        return
    check_invariants(found, text)


@pytest.mark.parametrize("name", ["byte-level", "byte-level-trimmed", "chat"])
@settings(max_examples=60, deadline=None)
@given(text=texts.filter(bool))
def test_tokens_are_those_of_the_whole_text(name: str, text: str) -> None:
    # The tokens together say the whole text, and are those that the tokenizer makes of it as a whole.
    found = tokenize(text, "sentences", TOKENIZERS[name])
    assert isinstance(found, TokenizedSample)
    assert TOKENIZERS[name].decode(found.token_ids, clean_up_tokenization_spaces=False) == found.input_text, (
        "other tokens than those of the whole text"
    )
    whole = TOKENIZERS[name](found.input_text, add_special_tokens=name != "chat")["input_ids"]
    assert found.token_ids.tolist() == whole, "the text was tokenised in pieces"


@settings(max_examples=60, deadline=None)
@given(text=texts, spec=st.sampled_from(["sentences", "regex:(?= )", "regex:(?<= )", "windows:2"]))
def test_white_space_trimmed_from_offsets_moves_no_token(text: str, spec: str) -> None:
    # The same tokens with and without trimmed offsets; a trimmed space has no extent and is placed by its gap.
    plain, trimmed = tokenize(text, spec), tokenize(text, spec, TOKENIZERS["byte-level-trimmed"])
    assert isinstance(plain, TokenizedSample) == isinstance(trimmed, TokenizedSample)
    if isinstance(plain, TokenizedSample) and isinstance(trimmed, TokenizedSample):
        assert plain.token_ids.tolist() == trimmed.token_ids.tolist()
        assert plain.spans == trimmed.spans, "a token without extent went to the wrong span"


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(texts, min_size=1, max_size=5))
def test_span_k_stays_step_k_and_white_steps_join_a_neighbour(steps: list[str]) -> None:
    ranges, at = [], 0
    for step in steps:
        ranges.append((at, at + len(step)))
        at += len(step) + 1
    reasoning = "\n".join(steps)
    found = tokenize_sample(sample(reasoning, tuple(ranges)), BYTE, make_segmenter("steps"), max_tokens=None)
    if not reasoning:
        assert isinstance(found, Skipped)
        return
    assert isinstance(found, TokenizedSample)
    check_invariants(found, reasoning)
    # A border inside a byte-level token leaves a step without a token of its own; it is listed, never renumbered.
    listed = [span.index for span in found.spans] + [index for index, _ in found.skipped_spans]
    if reasoning.strip():
        assert sorted(listed) == list(range(len(steps))), "a step is neither captured nor listed"
        assert all(span.text.strip() for span in found.spans), "a span of only white space"
        assert "".join(span.text for span in found.spans) == reasoning or found.skipped_spans


def test_white_space_before_a_word_goes_with_the_word_and_line_ends_with_the_line() -> None:
    found = tokenize("we wait.\nWait, no: it", "steps")
    assert isinstance(found, TokenizedSample)
    first, second = found.spans
    tokens = [found.input_text[a:b] for a, b in zip(found.token_starts, found.token_ends, strict=True)]
    assert "".join(tokens[first.start : first.end]) == " we wait.\n", (
        "the prompt's last space is part of the first word"
    )
    assert "".join(tokens[second.start : second.end]) == "Wait, no: it"


def test_bytes_of_one_character_are_never_parted() -> None:
    found = tokenize("😀😀", "windows:1")
    assert isinstance(found, TokenizedSample)
    assert [span.text for span in found.spans] == ["😀", "😀"], "a window ends inside a character"
    assert all(span.end - span.start >= 4 for span in found.spans)


def test_windows_hold_n_tokens_and_partition_the_text() -> None:
    reasoning = "First we add two and three. Then we wait."
    found = tokenize(reasoning, "windows:4")
    assert isinstance(found, TokenizedSample)
    assert {span.end - span.start for span in found.spans[:-1]} == {4}
    assert 1 <= found.spans[-1].end - found.spans[-1].start <= 4
    assert "".join(span.text for span in found.spans) == reasoning


def test_special_tokens_of_the_tokenizer_are_kept_and_in_no_span() -> None:
    for name in ("word-piece", "unigram"):
        tokenizer = TOKENIZERS[name]
        found = tokenize_sample(
            sample("First. Then.", answer=""), tokenizer, make_segmenter("sentences"), max_tokens=None
        )
        assert isinstance(found, TokenizedSample)
        owner = found.span_of_token()
        specials = [at for at, token in enumerate(found.token_ids) if int(token) in tokenizer.all_special_ids]
        specials = [at for at in specials if int(found.token_ids[at]) != tokenizer.unk_token_id]
        assert len(specials) == (2 if name == "word-piece" else 1), "the tokenizer's own tokens are missing or doubled"
        assert all(owner[at] == -1 for at in specials), "an added token counts as reasoning"


def test_a_span_without_tokens_is_listed_with_its_reason() -> None:
    # The BERT way drops control characters: a step of nothing else has no token.
    reasoning, steps = "one\n\0\ntwo", ((0, 3), (4, 5), (6, 9))
    found = tokenize_sample(
        sample(reasoning, steps), TOKENIZERS["word-piece"], make_segmenter("steps"), max_tokens=None
    )
    assert isinstance(found, TokenizedSample)
    assert [span.index for span in found.spans] == [0, 2]
    assert found.skipped_spans == ((1, "no token begins in it"),)


@pytest.mark.parametrize("reasoning", ["", "\0\0"])
def test_reasoning_without_tokens_is_skipped_with_its_reason(reasoning: str) -> None:
    found = tokenize(reasoning, "sentences", TOKENIZERS["word-piece"])
    assert isinstance(found, Skipped)
    assert found.sample == "s1"
    assert found.reason


def test_half_a_character_is_skipped_not_raised() -> None:
    found = tokenize("a \ud800 b.")
    assert isinstance(found, Skipped)
    assert "surrogate" in found.reason


def test_the_first_token_of_an_input_is_no_target() -> None:
    tokenizer = byte_level(trim=False, chat_template="{% for m in messages[1:] %}{{ m.content }}{% endfor %}")
    item = Sample(id="s1", question="", reasoning="First. Then we wait.", answer="")
    found = tokenize_sample(item, tokenizer, make_segmenter("sentences"), max_tokens=None)
    assert isinstance(found, TokenizedSample)
    assert found.prompt_tokens == 0
    assert found.spans[0].start == 1, "a token at position 0 is predicted by nothing"
    one = Sample(id="s1", question="", reasoning="a", answer="")
    assert isinstance(tokenize_sample(one, tokenizer, make_segmenter("sentences"), max_tokens=None), Skipped)


# --- context --------------------------------------------------------------------------------------------------------

REASONING = "First we add two. Then we add three. Then we wait. It is five."


def whole(reasoning: str = REASONING) -> TokenizedSample:
    found = tokenize(reasoning)
    assert isinstance(found, TokenizedSample)
    return found


@pytest.mark.parametrize("truncate", [False, True])
def test_a_sample_that_fits_is_left_alone(truncate: bool) -> None:
    reference = whole()
    found = tokenize(REASONING, max_tokens=len(reference.token_ids), truncate=truncate)
    assert isinstance(found, TokenizedSample)
    assert found.token_ids.tolist() == reference.token_ids.tolist()
    assert (found.spans, found.n_spans_cut) == (reference.spans, 0)


def test_a_sample_too_long_is_skipped_with_both_numbers() -> None:
    n_tokens = len(whole().token_ids)
    found = tokenize(REASONING, max_tokens=n_tokens - 1)
    assert found == Skipped("s1", f"{n_tokens} tokens > context {n_tokens - 1}")


@settings(max_examples=60, deadline=None)
@given(max_tokens=st.integers(1, 200), spec=st.sampled_from(["sentences", "windows:5"]))
def test_truncation_drops_whole_spans_from_the_end_only(max_tokens: int, spec: str) -> None:
    reference = tokenize(REASONING, spec)
    assert isinstance(reference, TokenizedSample)
    found = tokenize(REASONING, spec, max_tokens=max_tokens, truncate=True)
    fitting = [span for span in reference.spans if span.end <= max_tokens]
    if not fitting:
        assert isinstance(found, Skipped), "half a span was kept"
        return
    assert isinstance(found, TokenizedSample)
    assert list(found.spans) == fitting, "a span was cut, renumbered or lost"
    assert found.n_spans_cut == len(reference.spans) - len(fitting)
    n_kept = len(found.token_ids)
    assert n_kept <= max_tokens
    assert found.token_ids.tolist() == reference.token_ids[:n_kept].tolist(), "the cut is not at the end"
    assert reference.input_text.startswith(found.input_text)
    assert found.token_ends.max() <= len(found.input_text)
    if found.n_spans_cut:
        assert n_kept == found.spans[-1].end, "tokens of a cut span were left behind"


def test_reasons_tell_what_is_too_long() -> None:
    prompt = whole().prompt_tokens
    too_long_prompt = tokenize(REASONING, max_tokens=prompt, truncate=True)
    assert isinstance(too_long_prompt, Skipped)
    assert "prompt alone" in too_long_prompt.reason
    endless = "so " * 200
    for truncate in (False, True):
        found = tokenize(endless, max_tokens=prompt + 20, truncate=truncate)
        assert isinstance(found, Skipped)
        assert "s1#0 alone" in found.reason
    tight = tokenize(REASONING, max_tokens=prompt + 2, truncate=True)
    assert isinstance(tight, Skipped)
    assert "first span" in tight.reason


def test_settings_of_the_tokenizer_cut_and_pad_nothing(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = byte_level(trim=False, model_max_length=8, truncation_side="left", padding_side="left")
    tokenizer.backend_tokenizer.enable_truncation(8, direction="left")
    tokenizer.backend_tokenizer.enable_padding(length=512)
    with caplog.at_level(logging.WARNING):
        found = tokenize(REASONING, tokenizer=tokenizer)
    assert isinstance(found, TokenizedSample)
    assert found.token_ids.tolist() == whole().token_ids.tolist()
    assert not caplog.records, "the tokenizer's own warning about length reaches the user"


# --- tokenizers that cannot serve, segmenters that lie ----------------------------------------------------------------


class SlowTokenizer(PreTrainedTokenizer):
    """A tokenizer in Python, without offsets."""

    vocab_size = 1

    def get_vocab(self) -> dict[str, int]:
        return {"a": 0}

    def _tokenize(self, text: str, **_: object) -> list[str]:
        return list(text)

    def _convert_token_to_id(self, token: str) -> int:
        return 0


def test_a_tokenizer_without_offsets_is_refused() -> None:
    slow = SlowTokenizer()
    with pytest.raises(UserError, match="no offsets"):
        check_tokenizer(slow)
    with pytest.raises(UserError, match="no offsets"):
        tokenize(REASONING, tokenizer=slow)


def test_offsets_that_do_not_cover_the_text_are_refused() -> None:
    class Liar:
        is_fast, name_or_path = True, "liar"

        def __call__(self, text: str, **_: object) -> dict[str, list]:
            return {"input_ids": [1, 2], "offset_mapping": [(0, 0), (1, 1)], "special_tokens_mask": [0, 0]}

    with pytest.raises(UserError, match="do not cover the text, tokenizer liar"):
        check_tokenizer(Liar())


@pytest.mark.parametrize("name", TOKENIZERS)
def test_honest_tokenizers_pass_the_check(name: str) -> None:
    check_tokenizer(TOKENIZERS[name])


@pytest.mark.parametrize("spans", [[(0, 2)], [(0, 3), (2, 4)], [(1, 4)], [(0, 4), (4, 2), (2, 4)]])
def test_a_segmenter_that_is_no_partition_is_a_programming_error(spans: list[tuple[int, int]]) -> None:
    class Wrong:
        name = "wrong"

        def __call__(self, _: Sample) -> list[CharSpan]:
            return [CharSpan(*span) for span in spans]

    with pytest.raises(ValueError, match="partition"):
        tokenize_sample(sample("abcd"), BYTE, Wrong(), max_tokens=None)


def test_token_positions_agree_with_the_input_that_was_built() -> None:
    item = sample(REASONING)
    for tokenizer in (BYTE, TOKENIZERS["chat"]):
        found = tokenize_sample(item, tokenizer, make_segmenter("sentences"), max_tokens=None)
        assert isinstance(found, TokenizedSample)
        built = build_input(item, tokenizer)
        assert (found.input_text, found.reasoning_start) == (built.text, built.reasoning_start)
        assert found.token_ids.dtype == found.token_starts.dtype == found.token_ends.dtype == np.int32


def test_control_tokens_that_a_reasoning_spells_are_text_unless_asked_for() -> None:
    tokenizer = load_model("demo")[1]
    end = tokenizer.eos_token
    sample = Sample("c", "How many?", f"Three boxes.{end}\nFour each.", "12")
    text = tokenize_sample(sample, tokenizer, make_segmenter("steps"), max_tokens=None)
    control = tokenize_sample(sample, tokenizer, make_segmenter("steps"), max_tokens=None, control_tokens="control")
    assert isinstance(text, TokenizedSample)
    assert isinstance(control, TokenizedSample)
    assert (text.n_control, control.n_control) == (1, 1)
    assert tokenizer.eos_token_id in control.token_ids
    assert tokenizer.eos_token_id not in text.token_ids
    for found in (text, control):
        assert [span.text for span in found.spans] == [f"Three boxes.{end}\n", "Four each."]
    bare = replace(sample, reasoning="Three boxes.\nFour each.")
    plain = tokenize_sample(bare, tokenizer, make_segmenter("steps"), max_tokens=None)
    assert isinstance(plain, TokenizedSample)
    assert plain.n_control == 0
    n_before = int(np.searchsorted(text.token_starts, text.reasoning_start))
    assert text.token_ids[:n_before].tolist() == plain.token_ids[:n_before].tolist(), "the prompt has changed"
    said = [text.input_text[a:b] for a, b in zip(text.token_starts, text.token_ends, strict=True)]
    assert end in "".join(said), "the spelled token is lost"
