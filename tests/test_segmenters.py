"""Segmenters: whatever the text, the spans partition it, and a border stands where a reader would set it.

The reason: a lost or doubled character shifts every later span against its tokens, and a run looks plausible all the
same.
"""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gsd_core.dataset.segmenters import CUES, CUES_WIDE, SEGMENTER_SPECS, make_segmenter
from gsd_core.errors import UserError
from gsd_core.types import Sample

SPECS = [
    "steps",
    "sentences",
    "paragraphs",
    "cues",
    "cues-wide",
    "windows:3",
    "regex:^[A-Z]",
    "regex:(?=\\s)",
]

# Pieces that have broken splitters before: line ends of every kind, half-open quotes and formulas, marks that combine.
PIECES = [
    *"aB1 .?!。\n\r\t\"'()[]\\$`*“”…٣\0\x85\u2028\u200d\u0301\ufeff😀👨ا؟",
    "\r\n",
    "\n\n",
    "\\(",
    "\\)",
    "$$",
]
PIECES += ["Dr.", "e.g.", "3.50", "U.S.", "\n\nWait", "\n\nHmm", "    ", "1. ", "no. 5", "e\u0301", "ß", "ﬁ"]
texts = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=40).map("".join))


def sample(reasoning: str, steps: tuple[tuple[int, int], ...] = ()) -> Sample:
    return Sample(id="s1", question="q", reasoning=reasoning, answer="a", steps=steps)


def cut(spec: str, reasoning: str) -> list[str]:
    return [reasoning[span.start : span.end] for span in make_segmenter(spec)(sample(reasoning))]


def joined_steps(steps: list[str]) -> Sample:
    ranges, at = [], 0
    for step in steps:
        ranges.append((at, at + len(step)))
        at += len(step) + 1
    return sample("\n".join(steps), tuple(ranges))


# --- invariants -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SPECS)
@settings(max_examples=150, deadline=None)
@given(text=texts)
def test_spans_partition_the_reasoning_without_blank_pieces(spec: str, text: str) -> None:
    pieces = cut(spec, text)
    assert "".join(pieces) == text, "characters lost, doubled or moved"
    assert all(pieces), "an empty span"
    if text.strip():
        assert not any(piece.isspace() for piece in pieces), "a span of only white space was not merged"
    else:
        assert len(pieces) == (1 if text else 0), "white space alone is one span, nothing is none"


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(texts, min_size=1, max_size=6))
def test_span_k_is_step_k(steps: list[str]) -> None:
    # Labels of steps are looked up by K: a merged or dropped step would shift every label behind it.
    given_steps = joined_steps(steps)
    spans = make_segmenter("steps")(given_steps)
    if not given_steps.reasoning:
        assert spans == []
        return
    assert len(spans) == len(steps), "a step was merged or split"
    for k, (span, step) in enumerate(zip(spans, steps, strict=True)):
        text = given_steps.reasoning[span.start : span.end]
        assert text == step + ("\n" if k < len(steps) - 1 else ""), "the joining newline belongs to the earlier span"


@pytest.mark.parametrize("spec", SPECS)
def test_name_makes_the_segmenter_again(spec: str) -> None:
    segmenter = make_segmenter(spec)
    assert segmenter.name == spec, "the manifest would name another segmenter than the one used"
    assert make_segmenter(segmenter.name) == segmenter


# --- steps, paragraphs ----------------------------------------------------------------------------------------------


def test_a_step_keeps_its_own_leading_newline() -> None:
    given_steps = joined_steps(["one", "\ntwo", "three"])
    spans = make_segmenter("steps")(given_steps)
    assert [given_steps.reasoning[s.start : s.end] for s in spans] == ["one\n", "\ntwo\n", "three"]


def test_without_steps_lines_are_spans_and_one_line_falls_into_sentences() -> None:
    assert cut("steps", "\nOne. Two.\r\n\r\nThree.\rFour.\n") == [
        "\nOne. Two.\r\n\r\n",
        "Three.\r",
        "Four.\n",
    ]
    assert cut("steps", "One. Two.\n") == ["One. ", "Two.\n"]


@pytest.mark.parametrize("steps", [((0, 4), (2, 6)), ((3, 5), (0, 2)), ((0, 99),), ((-1, 3),), ((4, 2),)])
def test_impossible_steps_are_refused_by_name(steps: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(UserError, match="sample s1"):
        make_segmenter("steps")(sample("abcdefgh", steps))


def test_blank_lines_end_paragraphs_and_indentation_stays_with_its_line() -> None:
    assert cut("paragraphs", "a\nb\n\n  c\n \t\r\n\nd\n\n") == ["a\nb\n\n", "  c\n \t\r\n\n", "d\n\n"]
    assert cut("paragraphs", "\n\na") == ["\n\na"]


# --- sentences ------------------------------------------------------------------------------------------------------

# "|" marks each border that has to be found; no other may be.
SENTENCES = [
    "Dr. Smith met Mr. J. R. Lee, Prof. A. Kay and Mrs. Poe vs. St. John. |He left.",
    "Fruit, e.g. apples, i.e. pomes, costs $3.50 at No. 5. |It was 0.2 more, 1,000.5 in all. |End.",
    "See Fig. 3, Eq. (4), Sec. 2 and pp. 5-7. |No. |That is wrong. |Is it? |Yes.",
    "The U.S. economy grew. |She moved to the U.S. |He stayed in the U.K. |They met at 5 p.m. sharp.",
    "Apples, pears etc. are fruit. |It took 5 min. to do. |Then it took 3 hr. |Done by Jan. 5.",
    "Hmm... let me think… so it is 5... |Then 6. |Wait... |No.",
    'He said "Stop." |Then he left. |(It was late.) |"Really?" she asked. |«Oui.» |Bon.',
    "We have \\(x = 3. Then y\\) so. |Let $a = 1. B = 2$ be. |\\[ A. B \\] is it. |`a. B` is code. |Done.",
    "It is $5. |Then she paid $6. |So $11 in all.",
    "There are 5! ways. |And n! is big. |5! = 120. |It is 5! |Great!",
    "今天天气好。|我们去公园！|好吗？|他说：“好。”|走了。",
    "1. First do this. |2. Then that.\n|a. An item.\n|- (b) another\n|**Step 1.** |Do it. |**Now.** |Go.",
    "The answer is B. |So option A. |But plan C. |Smith said so.",
    "so x is 2. |therefore y is 3 . |then z = 4.",
    "A wrapped line\ngoes on here. |A list:\n|one\ntwo\n|Three",
    "Is it?! |Yes!! |¿Cómo? |مرحبا. |كيف؟ |नमस्ते। |ठीक।",
    "One. \r\n|Two.\r\n\r\n|Three\n\n|four",
    "v1.2.3 of Node.js at example.com is out. |OK.",
]


@pytest.mark.parametrize("marked", SENTENCES)
def test_sentence_borders_stand_where_a_reader_sets_them(marked: str) -> None:
    assert cut("sentences", marked.replace("|", "")) == marked.split("|")


@pytest.mark.parametrize("unit", ["a. ", "\\(", "$x ", "`", "“", ".", "\n", " \n", "A.", "Dr. ", "1. ", "(", "! ", "*"])
def test_sentence_splitting_is_linear_enough_for_hostile_repetition(unit: str) -> None:
    # 200,000 characters of the worst text; a quadratic rule would hang here rather than fail.
    text = unit * (200_000 // len(unit))
    assert "".join(cut("sentences", text)) == text


def test_sentences_agree_with_hand_labelled_traces(shared_data) -> None:
    # The labelled traces were cut by a simpler rule; agreement far below this means a broken one of ours.
    hits = found = labelled = 0
    for line in (shared_data / "thought_anchors_labelled.jsonl").read_text(encoding="utf-8").splitlines()[:10]:
        trace = joined_steps(json.loads(line)["reasoning"])
        expected = {start for start, _ in trace.steps[1:]}
        bare = dataclasses.replace(trace, steps=())
        got = {span.start for span in make_segmenter("sentences")(bare)} - {0}
        hits, found, labelled = hits + len(got & expected), found + len(got), labelled + len(expected)
    assert hits / labelled > 0.9, "sentence borders are missed"
    assert hits / found > 0.8, "sentences are cut in pieces"


# --- cues, windows, regex -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cue", CUES)
def test_a_span_opens_at_each_cue_and_owns_the_blank_line(cue: str) -> None:
    assert cut("cues", f"So 5.\n\n{cue}, no.\n\nThen 6.") == ["So 5.", f"\n\n{cue}, no.\n\nThen 6."]


def test_cues_are_exactly_the_published_list() -> None:
    assert set(CUES) == {
        *("Wait", "Alternatively", "But wait", "But alternatively", "But just to", "However", "Not sure"),
        *("Going back", "Backtrack", "Trace back", "Another"),
    }
    assert set(CUES_WIDE) == {cue for cue in CUES if not cue.startswith("But")} | {"But", "Hmmm", "Hmm"}


def test_cues_need_their_case_and_blank_line_and_an_empty_first_piece_is_merged() -> None:
    assert cut("cues", "a\n\nwait\nWait\n\nBut so\n\nHmm") == ["a\n\nwait\nWait\n\nBut so\n\nHmm"]
    assert cut("cues-wide", "a\n\nwait\nWait\n\nBut so\n\nHmm") == [
        "a\n\nwait\nWait",
        "\n\nBut so",
        "\n\nHmm",
    ]
    assert cut("cues", " \n\nWait a\n\nHowever b") == [" \n\nWait a", "\n\nHowever b"]
    assert cut("cues", "\n\nWait a\r\n\r\nWait b") == ["\n\nWait a", "\r\n\r\nWait b"]


def test_windows_carry_their_length_for_the_tokenizer() -> None:
    segmenter = make_segmenter("windows:32")
    assert getattr(segmenter, "window_tokens", None) == 32
    assert cut("windows:32", "a b c") == ["a b c"]


def test_regex_opens_a_span_at_each_match_also_an_empty_one() -> None:
    assert cut("regex:Step \\d", "Hi. Step 1 a. Step 2 b.") == ["Hi. ", "Step 1 a. ", "Step 2 b."]
    assert cut("regex:^", "a\nb\nc") == ["a\n", "b\n", "c"]
    assert cut("regex:(?=b)|c", "abac") == ["a", "ba", "c"]


@pytest.mark.parametrize(
    "spec",
    [
        *(
            "",
            "step",
            "windows",
            "windows:",
            "windows:0",
            "windows:-1",
            "windows:1.5",
            "windows:٣",
            "windows:99999999",
        ),
        *(
            "regex",
            "regex:",
            "regex:(",
            "regex:[a",
            "regex:*",
            "regex:" + "a" * 2000,
            "steps:3",
            "STEPS",
            "cues-wider",
        ),
    ],
)
def test_unusable_specifications_are_refused_in_one_line(spec: str) -> None:
    with pytest.raises(UserError) as caught:
        make_segmenter(spec)
    message = str(caught.value)
    assert "\n" not in message
    assert "--segmenter" in message


def test_unknown_segmenter_names_the_near_one_and_all_others() -> None:
    with pytest.raises(UserError, match="did you mean sentences") as caught:
        make_segmenter("sentence")
    assert all(spec in str(caught.value) for spec in SEGMENTER_SPECS)


def test_a_catastrophic_pattern_ends_in_an_error_not_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gsd_core.dataset.segmenters.REGEX_TIMEOUT_S", 0.05)
    segmenter = make_segmenter("regex:(?:a|aa|b?a)+$")
    with pytest.raises(UserError, match="sample s1"):
        segmenter(sample("a" * 5000 + "!"))
