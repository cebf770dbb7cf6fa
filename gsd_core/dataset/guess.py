"""Which column is the question, which the reasoning, which the answer.

Mapping        the columns of a data set's fields
guess_mapping  a mapping from a few rows: by the columns' names first, by their content second
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gsd_core.dataset.answers import find_answer
from gsd_core.dataset.columns import ColumnStats, is_alternatives, is_steps, split_columns
from gsd_core.dataset.messages import Exchange, is_chat, read_exchange
from gsd_core.dataset.names import (
    ANSWER_KEYS,
    ANSWER_NAMES,
    ANSWER_WORDS,
    CHAT_NAMES,
    CONTEXT_NAMES,
    ID_NAMES,
    OPTION_NAMES,
    QUESTION_NAMES,
    REASONING_NAMES,
    REASONING_WORDS,
    SOLUTION_NAMES,
    SYSTEM_NAMES,
    normal_name,
)
from gsd_core.dataset.thoughts import split_thinking
from gsd_core.dataset.values import BadValue

_NUMBERED = re.compile(r"(?:reasoning_)?(?:step|thought)_?(\d{1,3})")
MAX_ANSWER_WORDS = 12.0  # most mean words of a column that counts as answers by its content alone
MIN_DISTINCT_IDS = 0.6  # least share of distinct values in a column called "id" that identifies rows


@dataclass(frozen=True, slots=True)
class Mapping:
    """Columns of the fields; None where a data set has no such field.

    A column is a key of the row, a dotted path into objects (``question.problem``), or several joined by "+"
    (``Body+Question``), whose texts are joined by a blank line. ``layout``: "columns", "steps" (reasoning as a
    list), "alpaca", "messages" or "conversations". ``runner_up`` is the column that comes next as reasoning.
    """

    question: str | None
    reasoning: str | None
    answer: str | None = None
    id: str | None = None
    layout: str = "columns"
    runner_up: str | None = None


def guess_mapping(rows: Sequence[dict[str, Any]]) -> Mapping:
    """Guess a mapping from a few rows. Never fails: a field that is not found is None. Source: ours.

    A chat is used where its replies contain thinking, or where no other column is named like reasoning. Else names
    decide among the columns whose content fits: a column of single words labels its rows, whatever its name. Where no
    name is known, thinking tags, question marks and lengths do.
    """
    columns = ColumnStats([row for row in rows if isinstance(row, dict)])
    chat = _find_chat(columns)
    question = _find_question(columns)
    reasoning = _find_reasoning(columns, {question} if question else set())
    if chat and (_chat_share(columns, chat, _thinks) > 0.2 or not reasoning or not question):
        return _chat_mapping(columns, chat, question)
    if question is None or reasoning is None:
        question, reasoning = _by_content(columns, question, reasoning)
    if question is None or reasoning is None:
        # A chat whose replies are empty: every row can then be told why it cannot be used.
        silent = next((name for name in columns.names if columns.share(name, is_chat) > 0.5), None)
        if silent and (reasoning is None or silent == question):
            return _chat_mapping(columns, silent, question)
    taken = {part for name in (question, reasoning) if name for part in split_columns(name, columns.names)}
    answer = _find_answer_column(columns, taken, reasoning)
    layout = "columns"
    if question and reasoning in columns.values:
        if normal_name(question) == "instruction" and normal_name(reasoning) in ("output", "response"):
            layout = "alpaca"
        elif columns.share(reasoning, is_chat) > 0.5:
            layout = "messages"
        elif columns.share(reasoning, is_steps) > 0.5 and not any(
            is_alternatives(reasoning, value, row)
            for value, row in zip(columns.values[reasoning], columns.rows, strict=True)
        ):
            layout = "steps"
    runner_up = _find_reasoning(columns, taken | {answer or ""}) if reasoning else None
    if question:
        question = _with_companions(columns, question, taken | {answer or ""})
    return Mapping(question, reasoning, answer, _find_id(columns), layout, runner_up)


def _find_chat(columns: ColumnStats) -> str | None:
    def test(name: str) -> bool:
        is_often_chat = columns.share(name, is_chat) > 0.5  # else its values cannot be read as chats
        return is_often_chat and _chat_share(columns, name, lambda each: bool(each.reply or each.reasoning)) > 0.5

    return columns.first(CHAT_NAMES, test, set()) or next(filter(test, columns.names), None)


def _chat_share(columns: ColumnStats, name: str, test: Callable[[Exchange], bool]) -> float:
    """Share of the filled values that are chats for which `test` holds."""

    def is_fit(value: Any) -> bool:
        try:
            return test(read_exchange(value))
        except BadValue:
            return False

    return columns.share(name, is_fit)


def _thinks(exchange: Exchange) -> bool:
    return bool(exchange.reasoning) or split_thinking(exchange.reply) is not None


def _chat_mapping(columns: ColumnStats, chat: str, question: str | None) -> Mapping:
    asks = chat if not question or _chat_share(columns, chat, lambda each: each.has_user) > 0.5 else question
    system = columns.first(SYSTEM_NAMES, columns.is_text, {chat})
    # A chat's reply is the answer unless a field is clearly the short answer.
    answer = columns.first(
        ANSWER_NAMES[: ANSWER_NAMES.index("result")], lambda name: _is_answer(columns, name), {chat, asks}
    )
    first: Any = next((value for value in columns.filled[chat] if is_chat(value)), [])
    first_message = first[0] if isinstance(first, list | tuple) else first
    layout = "conversations" if "from" in first_message else "messages"
    return Mapping(f"{system}+{asks}" if system else asks, chat, answer, _find_id(columns), layout)


def _find_question(columns: ColumnStats) -> str | None:
    def test(name: str) -> bool:
        if not columns.is_filled(name):
            return False
        if columns.share(name, is_chat) > 0.5:
            return True
        if not columns.is_text(name):
            return False
        # "source" is a question in a few collections, and names the origin in most.
        return normal_name(name) not in ("source", "title", "text") or (
            columns.is_varied(name) and columns.mean_words(name) >= 4
        )

    return columns.first(QUESTION_NAMES, test, set())


def _find_reasoning(columns: ColumnStats, taken: set[str]) -> str | None:
    def test_sparse(name: str) -> bool:
        return columns.share(name, _is_reasoning) > 0.5 and not columns.is_category(name)

    def test(name: str) -> bool:
        return columns.is_filled(name) and test_sparse(name)

    def is_wordy(name: str) -> bool:
        return columns.share(name, is_steps) > 0.5 or columns.mean_words(name) >= 3

    def test_wordy(name: str) -> bool:
        return test(name) and is_wordy(name)

    def test_solution(name: str) -> bool:
        if not test(name):
            return False
        if normal_name(name) not in ("answer", "target", "attempt", "output", "evidence"):
            return True
        # A column "answer" holds the reasoning only where it is longer than an answer.
        long = columns.mean_words(name) > MAX_ANSWER_WORDS or columns.share(name, _has_marks) > 0.3
        return long or columns.share(name, is_steps) > 0.5

    return (
        columns.first(REASONING_NAMES, test, taken)
        or _find_numbered(columns, taken)
        or columns.with_words(REASONING_WORDS, test_wordy, taken)
        # Thoughts that few rows have are thoughts; the other rows are rejected one by one.
        or columns.first(REASONING_NAMES, lambda name: test_sparse(name) and columns.has_sentence(name), taken)
        or columns.first(SOLUTION_NAMES, test_solution, taken)
        or columns.with_words({"solution", "response", "output", "completion"}, test_wordy, taken)
        or columns.first(("answer", "output", "target"), test_wordy, taken)
    )


def _find_numbered(columns: ColumnStats, taken: set[str]) -> str | None:
    """Columns that hold a step each, as step_1, step_2, …; the last ones are empty where a row has fewer steps."""
    found = {
        int(match[1]): name
        for name in columns.names
        if (match := _NUMBERED.fullmatch(normal_name(name))) and name not in taken and columns.is_text(name)
    }
    names = [found[number] for number in sorted(found)]
    if len(names) < 2 or not columns.is_filled(names[0]) or not columns.has_sentence(names[0]):
        return None
    return "+".join(names)


def _is_reasoning(value: Any) -> bool:
    return isinstance(value, str | list | tuple) or is_steps(value) or is_chat(value)


def _has_marks(value: Any) -> bool:
    return isinstance(value, str) and (split_thinking(value) is not None or find_answer(value) is not None)


def _asks(value: Any) -> bool:
    return isinstance(value, str) and ("?" in value or "？" in value)


def _by_content(columns: ColumnStats, question: str | None, reasoning: str | None) -> tuple[str | None, str | None]:
    """Choose by content: text with thinking tags, else the longest, is reasoning; question marks show the question."""
    free = [
        name
        for name in columns.names
        if name not in (question, reasoning, "meta")
        and columns.is_filled(name)
        and columns.share(name, _is_reasoning) > 0.5
    ]
    free = [name for name in free if columns.mean_words(name) >= 3 or columns.share(name, is_steps) > 0.5]
    if question is None and free:
        asks = {name: columns.share(name, _asks) for name in free}
        longest = max(free, key=columns.mean_words)
        best = max(free, key=lambda name: (round(asks[name], 1), name != longest))
        # Without question marks the first text that is not the longest is the question.
        question = best if asks[best] > 0.2 else next((name for name in free if name != longest), None)
        free = [name for name in free if name != question]
    if reasoning is None and free:
        steps = [name for name in free if columns.share(name, is_steps) > 0.5]
        marked = [name for name in free if columns.share(name, _has_marks) > 0.3]
        reasoning = next(iter(steps), None) or next(iter(marked), None) or max(free, key=columns.mean_words)
    return question, reasoning


def _is_answer(columns: ColumnStats, name: str) -> bool:
    if not columns.filled[name] or columns.share(name, is_chat) > 0.5:
        return False
    is_flag = columns.share(name, lambda value: isinstance(value, bool)) > 0.5
    is_number = columns.share(name, lambda value: isinstance(value, int | float)) > 0.5
    if normal_name(name) in ("correct", "expected", "gold", "target") and is_flag:
        return False  # it says whether an answer is right, not which it is
    if normal_name(name) in ("label", "prediction", "pred") and is_number:
        return False  # a class or the index of a step
    if columns.share(name, lambda value: isinstance(value, dict)) > 0.5:
        return False
    return columns.share(name, lambda value: isinstance(value, list) and len(value) > 1) <= 0.5


def _find_answer_column(columns: ColumnStats, taken: set[str], reasoning: str | None) -> str | None:
    def test(name: str) -> bool:
        # A column with few values is the answer only where its name says so.
        return _is_answer(columns, name) and (columns.is_filled(name) or normal_name(name) in ANSWER_NAMES[:2])

    def test_worded(name: str) -> bool:
        words = set(normal_name(name).split("_"))
        return test(name) and not words & {
            "type",
            "correct",
            "is",
            "id",
            "index",
            "choices",
            "format",
            "length",
        }

    named = columns.first(ANSWER_NAMES, test, taken)
    if named and normal_name(named) in ANSWER_NAMES[: ANSWER_NAMES.index("solution")]:
        return named
    named = _find_inner_answer(columns, taken, reasoning) or named
    own_name = normal_name(reasoning) if reasoning else ""
    if own_name in (*REASONING_NAMES, "facts", "decomposition"):
        return named or columns.with_words(ANSWER_WORDS, test_worded, taken)
    if REASONING_WORDS & set(own_name.split("_")):
        # "deepseek_reasoning" goes with "deepseek_solution" before any other solution.
        prefix = own_name.partition("_")[0]
        mate = columns.with_words(ANSWER_WORDS, lambda name: test(name) and normal_name(name).startswith(prefix), taken)
        return mate or named or columns.with_words(ANSWER_WORDS, test_worded, taken)
    # Where the reasoning is a solution text, a second solution text is not its answer.
    by_word = columns.with_words(ANSWER_WORDS - {"solution"}, test_worded, taken)
    return by_word or _short_column(columns, taken)


def _find_inner_answer(columns: ColumnStats, taken: set[str], reasoning: str | None) -> str | None:
    """The answer in an object: ``{"answer": {"value": 12, "unit": …}}``, ``{"response": {"reasoning": …, "content":
    …}}``."""

    def test(path: str) -> bool:
        return path in columns.names and path not in taken and columns.is_filled(path) and _is_answer(columns, path)

    def is_object(name: str) -> bool:
        return name not in taken and columns.share(name, lambda value: isinstance(value, dict)) > 0.5

    holder = columns.first(ANSWER_NAMES[: ANSWER_NAMES.index("solution")], is_object, taken)
    paths = [f"{holder}.{key}" for key in ANSWER_KEYS] if holder else []
    around, dot, _ = (reasoning or "").rpartition(".")
    paths += [f"{around}.{key}" for key in ANSWER_KEYS] if dot else []
    return next(filter(test, paths), None)


def _short_column(columns: ColumnStats, taken: set[str]) -> str | None:
    """In a table without header: the shortest text beside question and reasoning."""
    if not all(re.fullmatch(r"column_\d+", name) for name in columns.names):
        return None
    short = [
        name
        for name in columns.names
        if name not in taken and columns.is_filled(name) and 0 < columns.mean_words(name) <= MAX_ANSWER_WORDS
    ]
    return min(short, key=columns.mean_words) if short else None


def _with_companions(columns: ColumnStats, question: str, taken: set[str]) -> str:
    """The question joined with the columns that belong to it: system prompt, context, Alpaca's input, options."""

    def test(name: str) -> bool:
        return bool(columns.filled[name]) and columns.is_text(name) and "." not in name

    before = [columns.first(SYSTEM_NAMES, test, taken), columns.first(CONTEXT_NAMES, test, taken)]
    after = []
    if normal_name(question) == "instruction":
        after.append(columns.first(("input", "context"), test, taken))
    if normal_name(question) == "premise":
        after.append(columns.first(("hypothesis",), test, taken))
    options = columns.first(OPTION_NAMES, lambda name: bool(columns.filled[name]) and "." not in name, taken)
    if options and columns.share(options, lambda value: isinstance(value, list | dict)) > 0.5:
        after.append(options)
    names = dict.fromkeys(name for name in [*before, question, *after] if name)
    return "+".join(names)


def _find_id(columns: ColumnStats) -> str | None:
    def test(name: str) -> bool:
        filled = columns.filled[name]
        if "." in name or not all(isinstance(value, str | int) and not isinstance(value, bool) for value in filled):
            return False
        distinct = len({str(value) for value in filled})
        # A column called "id" may repeat by mistake; any other column that repeats names something else.
        needed = MIN_DISTINCT_IDS if normal_name(name) == "id" else 1.0
        return columns.is_filled(name) and distinct >= needed * len(filled)

    return columns.first(ID_NAMES, test, set())
