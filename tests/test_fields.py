"""Rows become samples: texts are divided at their marks, columns are mapped, everything else is kept.

Marks inside texts first, then the promises: nothing is dropped, a person's mapping wins, a row that cannot be used
says why. Whole collections are in ``test_layouts.py``.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gsd_core.dataset.answers import find_answer, find_boxed, split_text
from gsd_core.dataset.fields import Mapping, guess_mapping, parse_map_flag, row_to_sample
from gsd_core.dataset.load import load_dataset, preview_dataset
from gsd_core.errors import UserError
from gsd_core.types import Rejection, Sample

ASK = "How many apples has Tom after {n} days?"
WORK = "Each day brings Tom two apples, so after {n} days there are twice {n} of them in his big basket."


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def assistant(text: str | list | None, **more: object) -> dict:
    return {"role": "assistant", "content": text, **more}


STEP = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)


@settings(deadline=None)
@given(steps=st.lists(STEP, min_size=1, max_size=6).filter(lambda steps: "".join(steps).strip()))
def test_step_ranges_give_back_the_steps(steps: list[str]) -> None:
    # Labels in meta go by the step's place, so no step may move, vanish or be trimmed, not even an empty one.
    sample = row_to_sample({"q": "What?", "r": steps}, 1, Mapping("q", "r", layout="steps"))
    assert isinstance(sample, Sample)
    assert [sample.reasoning[start:end] for start, end in sample.steps] == steps
    assert sample.reasoning == "\n".join(steps)


def test_labels_of_steps_become_parallel_lists() -> None:
    row = {
        "question": "What?",
        "steps": [{"text": "A.", "rating": 1}, {"text": "B.", "rating": -1, "by": "x"}],
    }
    sample = row_to_sample(row, 1, guess_mapping([row]))
    assert isinstance(sample, Sample)
    assert sample.meta == {"step_rating": [1, -1], "step_by": [None, "x"]}


def test_nothing_of_a_row_is_dropped() -> None:
    row = {
        "question": "What?", "response": "Hm.<think>It is so.</think>Well, \\boxed{4}.", "topic": "t",
        "meta": {"topic": "other", "k": [1]}, "meta.level": 3, "empty": None,
    }  # fmt: skip
    sample = row_to_sample(row, 1, Mapping("question", "response"))
    assert isinstance(sample, Sample)
    assert (sample.reasoning, sample.answer) == ("It is so.", "4")
    assert sample.meta == {
        "topic": "other", "topic_": "t", "k": [1], "level": 3, "empty": None,
        "pre_reasoning": "Hm.", "post_reasoning": "Well, \\boxed{4}.",
    }  # fmt: skip


def test_further_fields_of_messages_and_later_turns_are_kept() -> None:
    row = {"messages": [user("Q?"), assistant("It is so and so.", name="bot"), user("Thanks.")]}
    sample = row_to_sample(row, 1, guess_mapping([row]))
    assert isinstance(sample, Sample)
    assert sample.meta == {"later_turns": ["User: Thanks."], "message_fields": [{}, {"name": "bot"}, {}]}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "True"),
        (12, "12"),
        (2.5, "2.5"),
        (["a", "b"], "a, b"),
        (["a"], "a"),
        (None, ""),
        ({"a": 1}, '{"a": 1}'),
    ],
)
def test_answers_of_any_type_become_text(value: object, text: str) -> None:
    sample = row_to_sample({"q": "Q?", "r": "So.", "a": value}, 1, Mapping("q", "r", "a"))
    assert isinstance(sample, Sample)
    assert sample.answer == text


def test_an_answer_column_that_is_empty_stays_empty() -> None:
    # The source says that it has no answer; what the text says is another matter.
    sample = row_to_sample({"q": "Q?", "r": "So \\boxed{3}.", "a": ""}, 1, Mapping("q", "r", "a"))
    assert isinstance(sample, Sample)
    assert sample.answer == ""


BOXES = {
    "so \\boxed{5}.": "5",
    "\\boxed{\\frac{1}{2}} then \\boxed{\\sqrt{x^{2}}}": "\\sqrt{x^{2}}",
    "\\boxed{\\{1, 2\\}}": "\\{1, 2\\}",
    "\\boxed 7 is it": "7",
    "\\fbox{a b}": "a b",
    "\\boxed{ok} and \\boxed{never closed": "ok",
    "\\boxed{}": None,
    "no box": None,
    "\\boxed{" + "{" * 2000: None,
}


@pytest.mark.parametrize("text", BOXES, ids=lambda text: text[:20])
def test_boxes_balance_their_braces(text: str) -> None:
    assert find_boxed(text) == BOXES[text]


MARKED = {
    "One.\nTwo.\n#### 1,234": ("One.\nTwo.", "1,234"),
    "One. #### 5": ("One.", "5"),
    "#### Step 1\nWe add.\n#### Step 2\nWe end here.": (
        "#### Step 1\nWe add.\n#### Step 2\nWe end here.",
        None,
    ),
    "Let us see. So the answer is (B).": ("Let us see. So the answer is (B).", "(B)"),
    "We add.\n**Final Answer:** 42": ("We add.\n**Final Answer:** 42", "42"),
    "<think>\na\n</think>\n\nb": ("a", "b"),
    "<think>a</think><answer>b</answer>": ("a", "b"),
    "<THINK>a</THINK> b": ("a", "b"),
    "a</think>b": ("a", "b"),
    "<think>a": ("a", None),
    "<think></think>We add. #### 3": ("We add.", "3"),
    "<think>a</think>b<think>c</think>d": ("a\n\nc", "d"),
    "We add. <answer>6</answer>": ("We add.", "6"),
    "◁think▷a◁/think▷b": ("a", "b"),
    "[THINK]a[/THINK]b": ("a", "b"),
    "plain": ("plain", None),
}


@pytest.mark.parametrize("text", MARKED)
def test_marks_divide_reasoning_from_answer(text: str) -> None:
    parts = split_text(text)
    assert (parts.reasoning, parts.answer) == MARKED[text]


PIECES = [
    "y",
    "z",
    " ",
    "\n",
    "{",
    "}",
    "\\",
    "<think>",
    "</think>",
    "\\boxed{",
    "#### ",
    "<answer>",
    "</answer>",
    "İ",
]


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
@example("<think></think>y<think>")
def test_dividing_loses_nothing_but_marks(text: str) -> None:
    # The two letters occur in no mark, so each of them has to be in one of the parts.
    parts = split_text(text)
    kept = Counter("".join([parts.before, parts.reasoning, parts.answer or "", parts.after, *parts.between]))
    assert all(kept[letter] >= Counter(text)[letter] for letter in "yzİ"), "a letter outside the marks was lost"


def test_a_boxed_answer_stays_in_the_sentence() -> None:
    assert find_answer("So it is \\boxed{4}.") == ("4", "\\boxed{}")
    assert split_text("So it is \\boxed{4}.").reasoning == "So it is \\boxed{4}."


REJECTED = {
    "picture": ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}, assistant("So.")]}, "image_url"),
    "no reply": ({"messages": [user("Q?"), user("Hello?")]}, "no assistant turn"),
    "strange role": ({"messages": [{"role": "wizard", "content": "Q?"}, assistant("So.")]}, "unknown role 'wizard'"),
    "object": ({"messages": [user("Q?"), assistant({"a": 1})]}, "without text"),
    "empty": ({"messages": [user("Q?"), assistant("")]}, "has no text"),
}  # fmt: skip


@pytest.mark.parametrize("name", REJECTED)
def test_a_chat_that_cannot_be_used_says_why(name: str) -> None:
    row, reason = REJECTED[name]
    result = row_to_sample(row, 7, Mapping("messages", "messages", layout="messages"))
    assert isinstance(result, Rejection)
    assert result.row == 7
    assert reason in result.reason


def test_reasoning_that_is_an_object_names_the_way_out() -> None:
    result = row_to_sample({"q": "Q?", "r": {"cot": "So."}}, 1, Mapping("q", "r"))
    assert isinstance(result, Rejection)
    assert "reasoning=r.KEY" in result.reason
    sample = row_to_sample({"q": "Q?", "r": {"cot": "So.", "x": 1}}, 1, Mapping("q", "r.cot"))
    assert isinstance(sample, Sample)
    assert (sample.reasoning, sample.meta) == ("So.", {"r": {"x": 1}})


def test_map_flag_is_parsed() -> None:
    assert parse_map_flag("question=a b,reasoning=c,d,answer=e=f") == {
        "question": "a b",
        "reasoning": "c,d",
        "answer": "e=f",
    }
    assert parse_map_flag("question=q, answer=") == {"question": "q", "answer": ""}


@pytest.mark.parametrize("flag", ["", "question", "quest=a", "question=", "question=a,question=b", "a,question=b"])
def test_a_map_flag_that_cannot_be_parsed_is_refused(flag: str) -> None:
    with pytest.raises(UserError, match="--map"):
        parse_map_flag(flag)


@pytest.fixture
def odd_file(tmp_path: Path) -> Path:
    rows = [
        {"question": "Not this?", "text": WORK.format(n=n), "ask": ASK.format(n=n), "cot": "no", "n": n}
        for n in range(5)
    ]
    path = tmp_path / "odd.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_persons_mapping_wins(odd_file: Path) -> None:
    loaded = load_dataset(odd_file, map={"question": "question+ask", "reasoning": "text", "answer": "n", "id": "n"})
    sample = loaded.samples[2]
    assert sample.question == "Not this?\n\n" + ASK.format(n=2)
    assert (sample.reasoning, sample.answer, sample.id) == (WORK.format(n=2), "2", "2")
    assert loaded.fields["question"] == "question+ask"
    assert sample.meta == {"cot": "no"}


def test_an_unknown_column_is_refused_with_the_columns_and_a_near_name(odd_file: Path) -> None:
    for read in (load_dataset, preview_dataset):
        with pytest.raises(UserError, match=r"did you mean 'text'.* question, text, ask, cot, n"):
            read(odd_file, map={"reasoning": "txet"})


def test_a_mapped_column_may_first_appear_late(tmp_path: Path) -> None:
    rows = [{"question": "Q?", "reasoning": "So."}] * 300 + [{"question": "Q?", "late": "Then."}]
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded = load_dataset(path, map={"reasoning": "late"})
    assert [s.reasoning for s in loaded.samples] == ["Then."]
    assert len(loaded.rejected) == 300


def test_a_preview_without_mapping_shows_reasons_and_a_load_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"foo": 1, "bar": 2}\n{"foo": 3, "bar": 4}\n')
    preview = preview_dataset(path)
    assert preview.columns == ["foo", "bar"]
    assert [item.row for item in preview.rejected] == [1, 2]
    with pytest.raises(UserError, match=r"--map question=COL.* foo, bar"):
        load_dataset(path)


def test_ids_stay_distinct_and_what_was_done_is_said(tmp_path: Path) -> None:
    ids = ["a", "b", "a", "a", "a~2", None, "x\ny", "c", "d", 5]
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps({"id": i, "question": "Q?", "reasoning": "So."}) + "\n" for i in ids))
    loaded = load_dataset(path)
    names = [sample.id for sample in loaded.samples]
    assert names == ["a", "b", "a~2", "a~3", "a~2~2", "row-6", "row-7", "c", "d", "5"]
    assert loaded.samples[3].meta["given_id"] == "a"
    assert loaded.samples[6].meta["id"] == "x\ny"
    assert len(loaded.notes) == 2


def test_an_id_that_names_groups_is_not_an_id(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    rows = [{"id": n // 4, "question": "Q?", "reasoning": "So."} for n in range(12)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded = load_dataset(path)
    assert [loaded.samples[5].id, loaded.samples[5].meta["id"]] == ["row-6", 1]
    assert any("does not tell the rows apart" in note for note in loaded.notes)


def test_what_was_divided_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    rows = [{"question": ASK.format(n=n), "answer": f"{WORK.format(n=n)}\n#### {n}"} for n in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    fields = load_dataset(path).fields
    assert (fields["reasoning"], fields["answer"], fields["split"]) == ("answer", "answer", "#### in 4 rows")


KEYS = st.sampled_from(["question", "messages", "steps", "x.y", "x", "meta", "id", "answer"])
INNER_KEYS = st.sampled_from(["role", "content", "text", "from", "value", "x"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(INNER_KEYS, inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.dictionaries(KEYS, ANYTHING, max_size=5), max_size=4))
def test_no_shape_of_rows_breaks_the_guess(rows: list[dict]) -> None:
    mapping = guess_mapping(rows)
    for number, row in enumerate(rows, start=1):
        assert isinstance(row_to_sample(row, number, mapping), Sample | Rejection)


def test_a_text_in_brackets_is_a_text_and_none_may_be_an_answer() -> None:
    row = {"question": "How many?", "reasoning": "( 10 + 2 ) * ( 4 - 1 ) = 36 , ( 36 / 3 )", "answer": "None"}
    sample = row_to_sample(row, 1, Mapping("question", "reasoning", "answer"))
    assert isinstance(sample, Sample)
    assert (sample.reasoning, sample.answer) == (row["reasoning"], "None")
    cut = row_to_sample({**row, "reasoning": "['a', ..., 'z']"}, 1, Mapping("question", "reasoning", "answer"))
    assert isinstance(cut, Rejection)
    assert "left entries out" in cut.reason


WORKED = "First two and three are added, which gives five. Then five is doubled, so there are ten."


@pytest.mark.parametrize(
    "row",
    [
        {
            "request": {"contents": [user("What is it?") | {"parts": [{"text": "What is it?"}]}]},
            "response": {
                "candidates": [
                    {"content": {"role": "model", "parts": [{"text": WORKED, "thought": True}, {"text": "ten"}]}}
                ]
            },
        },
        {
            "request": {"messages": [user("What is it?")]},
            "response": {"content": [{"type": "thinking", "thinking": WORKED}, {"type": "text", "text": "ten"}]},
        },
        {
            "prompt": "What is it?",
            "content": [{"type": "thinking", "thinking": WORKED}, {"type": "text", "text": "ten"}],
        },
    ],
)
def test_logged_answers_of_interfaces_are_chats(row: dict) -> None:
    sample = row_to_sample(row, 1, guess_mapping([row] * 3))
    assert isinstance(sample, Sample)
    assert (sample.question, sample.reasoning, sample.answer) == ("What is it?", WORKED, "ten")


@pytest.mark.parametrize(
    "header",
    [
        ("Frage", "Begründung", "Antwort"),
        ("Énoncé", "Raisonnement", "Réponse"),
        ("вопрос", "рассуждение", "ответ"),
        ("题目", "解析", "答案"),
        ("q", "cot", "a"),
    ],
)
def test_columns_named_in_other_languages_are_known(header: tuple[str, str, str]) -> None:
    rows = [dict(zip(reversed(header), ("10", WORKED, f"Sum {n}"), strict=True)) for n in range(4)]
    mapping = guess_mapping(rows)
    assert (mapping.question, mapping.reasoning, mapping.answer) == header


def test_texts_without_spaces_are_told_apart_by_content() -> None:
    rows = [{"甲": f"{n}加一等于几？", "乙": f"先写出{n}。再把一加上去。得到的和就是答案。"} for n in range(4)]
    mapping = guess_mapping(rows)
    assert (mapping.question, mapping.reasoning) == ("甲", "乙")


def test_columns_that_hold_a_step_each_are_joined_in_order() -> None:
    rows = [
        {
            "question": f"What is {n}?",
            "step_10": "",
            "step_2": "It is doubled then.",
            "step_1": "We add two.",
            "answer": n,
        }
        for n in range(4)
    ]
    mapping = guess_mapping(rows)
    assert (mapping.reasoning, mapping.answer) == ("step_1+step_2", "answer")
    rows[0]["step_10"] = "So it is ten."
    sample = row_to_sample(rows[0], 1, guess_mapping(rows))
    assert isinstance(sample, Sample)
    assert sample.reasoning == "We add two.\n\nIt is doubled then.\n\nSo it is ten."
    assert guess_mapping([{**rows[0], "reasoning": WORKED}]).reasoning == "reasoning"
