"""What the demo corpus promises: known structure that neither words nor numbers give away."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from gsd_core.dataset.demo import PROCEDURES, STYLES, TOPICS, check_answer, generate_corpus
from gsd_core.dataset.demo.asides import TURNS
from gsd_core.dataset.demo.long_traces import generate_long_traces
from gsd_core.dataset.demo.procedures import PROCEDURE_TABLE, Procedure
from gsd_core.dataset.demo.topics import PEOPLE, TOPIC_TABLE
from gsd_core.dataset.segmenters import make_segmenter
from gsd_core.errors import UserError
from gsd_core.types import Sample

CUES = (
    *("Wait", "Alternatively", "But wait", "But alternatively", "But just to", "However", "Not sure"),
    *("Going back", "Backtrack", "Trace back", "Another"),
)
# Words that any sentence may need: they may stand in several wordings of one step.
FUNCTION_TEXT = """
    a an the this that these those it its they them their theirs he she we us our i my me you his her of in on
    at by to from with for into out off up down over under per as than so then and or but if when while since because
    what which who whose where how is are was were be been being am do does did done has have had having will would
    can could must may should might there here not no nor one ones two three four five each every all both any some
    such own only just more most many much very too also after before until till now once again still even never
    about through across between along among against above below beside besides next last first second third yes
    nobody nothing somebody everybody everything everyone anything either another hence let else end times within
    having well three five both though"""
FUNCTION_WORDS = frozenset(FUNCTION_TEXT.split())


@cache
def corpus(split: str = "train") -> tuple[Sample, ...]:
    return tuple(generate_corpus(3360 if split == "train" else 672, split=split))


def compute_stem(word: str) -> str:
    """A rough stem: no ending, six letters."""
    return re.sub(r"(ing|es|ed|s|d|e)$", "", word)[:6]


def compute_precision(features: np.ndarray, samples: list[Sample], other_wording: bool) -> float:
    """P@10 of the same procedure among samples of other topics (and other wordings), by cosine."""
    procedure, topic, wording = (
        np.array([sample.meta[key] for sample in samples]) for key in ("procedure", "topic", "wording")
    )
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    allowed = topic[:, None] != topic[None]
    if other_wording:
        allowed &= wording[:, None] != wording[None]
    nearest = np.argsort(-np.where(allowed, unit @ unit.T, -2.0), axis=1)[:, :10]
    return float((procedure[nearest] == procedure[:, None]).mean())


def test_corpus_is_large_balanced_and_labelled():
    samples = corpus()
    assert (len(PROCEDURES) >= 12, len(TOPICS) >= 14, len(STYLES) >= 4, len(samples) >= 3000) == (True,) * 4
    cells = Counter((sample.meta["procedure"], sample.meta["topic"]) for sample in samples)
    assert len(cells) == len(PROCEDURES) * len(TOPICS)
    assert max(cells.values()) - min(cells.values()) <= 1, "cells differ: is the order of rows still procedure-major?"
    assert len({sample.id for sample in samples}) == len(samples)
    assert 0.1 < np.mean([sample.meta["has_retry"] for sample in samples]) < 0.2


def test_same_seed_same_corpus_and_another_seed_another():
    assert generate_corpus(60) == list(corpus()[:60]), "a shorter corpus is not a prefix: something counts n_samples"
    assert generate_corpus(60, seed=1) != generate_corpus(60)


def test_heldout_shares_no_question_and_no_numbers_with_training():
    def triples(samples: tuple[Sample, ...]) -> set[tuple[int, int, int]]:
        numbers = [sample.meta["numbers"] for sample in samples]
        return {(min(n["a"], n["b"]), max(n["a"], n["b"]), n["k"]) for n in numbers}

    assert not {s.question for s in corpus()} & {s.question for s in corpus("heldout")}
    assert not triples(corpus()) & triples(corpus("heldout"))


def test_steps_join_to_the_reasoning_and_every_label_list_has_their_length():
    for sample in corpus():
        ends = [0, *(end for _, end in sample.steps)]
        gaps = [sample.reasoning[end:start] for end, (start, _) in zip(ends, sample.steps, strict=False)]
        kinds = sample.meta["step_kinds"]
        wanted = ["", *("\n\n" if kind == "retry" else "\n" for kind in kinds[1:])]
        assert gaps == wanted, sample.id
        assert ends[-1] == len(sample.reasoning), sample.id
        for key in ("step_procedures", "step_wordings", "step_kinds"):
            assert len(sample.meta[key]) == len(sample.steps), (sample.id, key)


def test_wrong_turns_open_with_a_cue_of_the_segment_cutter():
    assert all(turn.startswith(CUES) for turn in TURNS)
    for sample in corpus():
        for (start, end), kind in zip(sample.steps, sample.meta["step_kinds"], strict=True):
            assert sample.reasoning[start:end].startswith(TURNS) == (kind == "retry"), sample.id


@pytest.mark.parametrize("procedure", PROCEDURE_TABLE, ids=lambda procedure: procedure.name)
def test_wordings_of_a_procedure_share_no_content_word(procedure: Procedure):
    # A word in two wordings of one procedure would let any bag of words find the procedure.
    assert 4 <= len(procedure.steps) <= 7
    assert all(len(set(step.sentences)) == len(STYLES) for step in procedure.steps)
    said = []
    for style in range(len(STYLES)):
        written = " ".join(step.sentences[style] for step in procedure.steps).lower()
        said.append(re.findall(r"[a-z]{2,}", re.sub(r"\{\w+\}", " ", written)))
    by_style = [{compute_stem(word) for word in words if word not in FUNCTION_WORDS} for words in said]
    for i in range(len(STYLES)):
        for j in range(i):
            assert not by_style[i] & by_style[j], f"{STYLES[j]} and {STYLES[i]} both say {by_style[i] & by_style[j]}"


def test_samples_of_different_style_share_no_content_word():
    # The same on the written text, where a template filled wrongly would show.
    mine: dict[tuple[str, str], set[str]] = {}
    nouns = {word for topic in TOPIC_TABLE for word in (topic.items, topic.box, topic.boxes, topic.kind, topic.other)}
    for sample in corpus():
        for (start, end), kind in zip(sample.steps, sample.meta["step_kinds"], strict=True):
            if kind == "step":
                words = set(re.findall(r"[a-z]{2,}", sample.reasoning[start:end].lower()))
                words -= FUNCTION_WORDS | nouns | {name.lower() for name in PEOPLE}
                mine.setdefault((sample.meta["procedure"], sample.meta["wording"]), set()).update(words)
    for (procedure, style), words in mine.items():
        for other in STYLES[1:]:
            if other != style:
                assert not words & mine[procedure, other], (
                    procedure,
                    style,
                    other,
                    words & mine[procedure, other],
                )


def test_neither_words_nor_numbers_give_the_procedure_away():
    samples = list(corpus())
    texts = [sample.reasoning for sample in samples]
    words = TfidfVectorizer().fit_transform(texts).toarray()
    numbers = [re.findall(r"\d+", text) for text in texts]
    bag = TfidfVectorizer(token_pattern=r"\S+").fit_transform([" ".join(row) for row in numbers]).toarray()
    drawn = np.log([[sample.meta["numbers"][name] for name in "abskpd"] for sample in samples])
    values = {
        "tf-idf": compute_precision(words, samples, other_wording=True),
        "numbers shown": compute_precision(bag, samples, other_wording=True),
        "numbers drawn": compute_precision(drawn - drawn.mean(axis=0), samples, other_wording=True),
        "tf-idf, any wording": compute_precision(words, samples, other_wording=False),
    }
    chance = 1 / len(PROCEDURES)
    for name in ("tf-idf", "numbers shown", "numbers drawn"):
        assert values[name] <= chance + 0.1, (
            f"{name} finds the procedure: {values[name]:.2f} against chance {chance:.2f}"
        )
    assert values["tf-idf, any wording"] > 0.6, "the control fails too: this test could not notice a giveaway"


def test_no_operator_signs_stand_in_the_text():
    for sample in corpus():
        assert not re.search(r"[+*/=×÷<>]|\d\s*-\s*\d", sample.question + sample.reasoning), sample.id


def solve(sample: Sample) -> str:
    """The answer by an independent way: from the drawn numbers, or from the list that the question shows."""
    n, name = sample.meta["numbers"], sample.meta["procedure"]
    held = {who: int(value) for who, value in re.findall(r"([A-Z][a-z]+) (\d+)", sample.question) if who in PEOPLE}
    ranked = sorted(held, key=held.__getitem__)
    if name in ("combine_scale", "undo_change"):
        return str((n["a"] + n["b"]) * n["k"])
    if name in ("share_remove", "share_compare"):
        return str(n["p"] // n["k"] - n["a"])
    if name == "combine_fit":
        return str(n["p"] // (n["a"] + n["b"]))
    if name == "budget_check":
        return "yes" if n["d"] >= n["k"] * (n["a"] + n["b"]) else "no"
    if name == "scan_largest":
        return ranked[-1]
    if name == "order_middle":
        return ranked[2]
    if name == "first_over":
        return next(who for who, value in held.items() if value > n["d"])
    if name == "follow_chain":
        links = dict(re.findall(r"([A-Z][a-z]+) to ([A-Z][a-z]+)", sample.question))
        at = next(iter(links))  # of every list, the first one is where the way starts
        for _ in range(3):
            at = links[at]
        return str(held[at])
    if name == "swap_track":
        for one, two in re.findall(r"([A-Z][a-z]+) with ([A-Z][a-z]+)", sample.question):
            held[one], held[two] = held[two], held[one]
        asked = [who for who in re.findall(r"[A-Z][a-z]+", sample.question) if who in held][-1]
        return str(held[asked])
    return next(f"{x} and {y}" for x in held for y in held if x != y and held[x] + held[y] == n["s"])


def test_answers_are_right_and_checked_by_program():
    for sample in (*corpus(), *corpus("heldout")):
        assert check_answer(sample, f"Answer: {solve(sample)}"), (
            sample.question,
            sample.answer,
            solve(sample),
        )
        assert check_answer(sample, f"Answer: {sample.answer}"), sample.id
        assert not any(check_answer(sample, text) for text in ("", "Answer: 1234567")), sample.id


def test_check_answer_reads_what_a_model_writes():
    sample = next(s for s in corpus() if s.meta["procedure"] == "pair_match")
    one, two = sample.answer.split(" and ")
    assert check_answer(sample, f"It is late.\nAnswer: {two} and {one}.\nQuestion: next")
    assert not check_answer(sample, f"Answer: {one}")
    number = next(s for s in corpus() if s.meta["procedure"] == "combine_scale")
    assert check_answer(number, f" so.\nAnswer: {number.answer} apples")
    assert not check_answer(number, f"Answer: {number.answer}1")


def test_plain_style_stands_only_where_it_is_asked_for():
    assert {sample.meta["wording"] for sample in corpus()} == set(STYLES[1:])
    mixed = generate_corpus(400, seed=3, plain_share=0.8, mixed_share=0.5)
    wordings = Counter(sample.meta["wording"] for sample in mixed)
    assert wordings[STYLES[0]] > 3 * sum(wordings[style] for style in STYLES[1:])
    assert 150 < wordings["mixed"] < 250


def test_unknown_split_is_refused():
    with pytest.raises(UserError, match="unknown split"):
        generate_corpus(1, split="test")
    with pytest.raises(UserError, match="share"):
        generate_corpus(1, mixed_share=2.0)
    with pytest.raises(UserError, match="share"):
        generate_corpus(1, plain_share=-0.1)


def test_long_traces_are_cut_alike_by_cues_and_steps_and_hold_what_they_say() -> None:
    samples = generate_long_traces(80)
    assert samples == generate_long_traces(80)
    for sample in samples:
        kinds = sample.meta["segment_kinds"]
        cut = make_segmenter("cues")(sample)
        assert len(cut) == len(kinds) == len(sample.steps)
        texts = [sample.reasoning[start:end] for start, end in sample.steps]
        assert [sample.reasoning[each.start : each.end].strip() for each in cut] == texts
        assert (kinds[0], kinds[-1], kinds.count("needed")) == ("opening", "closing", 2)
        assert 7 <= len(kinds) <= 10
        needed = [text for text, kind in zip(texts, kinds, strict=True) if kind == "needed"]
        for part, text in zip(sample.answer.split("; "), needed, strict=True):
            assert all(word in text for word in part.split(" and ")) or part in ("yes", "no")
    openers = {
        kind: Counter(
            text.split(".")[0]
            for sample in samples
            for (start, end), own in zip(sample.steps, sample.meta["segment_kinds"], strict=True)
            for text in [sample.reasoning[start:end]]
            if own == kind
        )
        for kind in ("needed", "filler", "self_check")
    }
    assert set(openers["needed"]) == set(openers["filler"]) == set(openers["self_check"]), "the opening tells the kind"


def test_long_traces_of_the_two_splits_share_no_question() -> None:
    train, heldout = ({s.question for s in generate_long_traces(200, split=name)} for name in ("train", "heldout"))
    assert not train & heldout
    with pytest.raises(UserError, match="unknown split"):
        generate_long_traces(1, split="test")
