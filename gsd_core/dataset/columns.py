"""Columns of rows: how to find their values, and what a few rows show about them.

get_value      a row's value under a key or a dotted path
split_columns  the columns of a list joined by "+"
is_steps       whether a value is a list of steps
number_steps   steps that an object numbers, as a list
is_structured, parse_cell, explain_cell   lists and chats that a table stores as texts
is_alternatives, get_alternative  whether a column's list holds several whole answers; the text of one
ColumnStats    what a few rows show about their columns
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gsd_core.dataset.literals import looks_literal, parse_literal
from gsd_core.dataset.messages import is_chat
from gsd_core.dataset.names import ALTERNATIVE_KEYS, ALTERNATIVE_NAMES, STEP_TEXT_KEYS, normal_name
from gsd_core.dataset.transcripts import looks_transcript, read_transcript
from gsd_core.dataset.values import BadValue, is_missing, parse_json

_LISTED = re.compile(r"""\s*(?:\[\s*['"{\[]|(?:np\.)?array\(\s*[\['"]|\{\s*['"]\w+['"]\s*:)""")
_UNSPACED = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]")  # Thai, Japanese, Chinese
_STEP_KEY = re.compile(r"(?:(?:step|thought)[ _-]?)?(\d{1,6})", re.IGNORECASE | re.ASCII)
_CATEGORY = re.compile(r"(?=.{1,24}\Z)[^\W\d]+(?:[ /-][^\W\d]+){0,2}")


def get_value(row: dict[str, Any], column: str) -> Any:
    """The value of one column: a key of the row, else a dotted path; None where there is none."""
    if column in row:
        return row[column]
    head, dot, rest = column.partition(".")
    while dot:
        inner = row.get(head)
        if isinstance(inner, dict):
            found = get_value(inner, rest)
            if found is not None:
                return found
        more, dot, rest = rest.partition(".")
        head = f"{head}.{more}"
    return None


def split_columns(column: str, columns: Sequence[str]) -> list[str]:
    """The columns of a list joined by "+". A column whose own name contains "+" stays one."""
    return [column] if column in columns else [part.strip() for part in column.split("+")]


def is_steps(value: Any) -> bool:
    """Whether `value` is a list of texts, or of objects that each hold a step's text; entries may be missing.

    An object whose keys are the numbers of its texts counts too.
    """
    value = number_steps(value)
    if not isinstance(value, list | tuple):
        return False
    value = [step for step in value if step is not None]
    if not value:
        return False
    if all(isinstance(step, str) for step in value):
        return True
    return (
        all(isinstance(step, dict) for step in value)
        and any(isinstance(step.get(key), str) for key in STEP_TEXT_KEYS for step in value)
    ) or all(isinstance(step, dict) and isinstance(step.get("completions"), list) for step in value)


def number_steps(value: Any) -> Any:
    """``{"1": "…", "2": "…"}`` or ``{"step_1": …}`` as the list of its texts by number; other values unchanged."""
    if not isinstance(value, dict) or not value:
        return value
    numbers = {key: match[1] for key in value if (match := _STEP_KEY.fullmatch(str(key)))}
    if len(numbers) == len(value) and all(isinstance(step, str) for step in value.values()):
        return [value[key] for key in sorted(value, key=lambda key: int(numbers[key]))]
    return value


def is_alternatives(column: str, value: Any, row: dict[str, Any]) -> bool:
    """Whether the list `value` holds several whole answers, of which one is used.

    The column's name decides. A list ``labels`` of the same length shows that the entries are steps after all.
    """
    if not isinstance(value, list | tuple) or normal_name(column) not in ALTERNATIVE_NAMES:
        return False
    labels = row.get("labels")
    is_labelled = isinstance(labels, list) and len(labels) == len(value) > 1
    return any(get_alternative(item) for item in value) and not is_labelled


def get_alternative(item: Any) -> str:
    """The text of one of several whole answers: itself, of an object with the answer, or alone in a list; else ""."""
    if isinstance(item, dict):
        return next((item[key] for key in ALTERNATIVE_KEYS if isinstance(item.get(key), str)), "")
    if isinstance(item, list | tuple) and len(item) == 1:
        item = item[0]
    return item if isinstance(item, str) else ""


def is_structured(value: Any) -> bool:
    """Whether `value` is a list of steps or a chat."""
    return is_steps(value) or is_chat(value)


def parse_cell(value: Any, wanted: Callable[[Any], bool] = is_structured) -> Any:
    """The parsed value of a text that holds something `wanted`, as tables store it; other values unchanged.

    Read are JSON, literals of Python, numpy and pandas, and chats that are written out.
    """
    if not isinstance(value, str):
        return value
    is_literal = looks_literal(value)
    if not is_literal and not looks_transcript(value):
        return value
    for parse in (parse_json, parse_literal) if is_literal else (read_transcript,):
        try:
            parsed = parse(value)
        except BadValue:
            continue
        if wanted(parsed):
            return parsed
    return value


def explain_cell(value: Any) -> str:
    """Why a text that begins like a list of texts or objects could not be read as one; "" where it does not.

    A text in brackets alone is a text: "( 10 + 2 ) * ( 4 )".
    """
    if not isinstance(value, str) or not looks_literal(value) or not _LISTED.match(value):
        return ""
    try:
        parse_literal(value)
    except BadValue as error:
        return str(error)
    return ""


def _count_words(text: str) -> int:
    """Words between white space; where a script writes none between them, a word for two of its characters."""
    return len(text.split()) + (0 if text.isascii() else len(_UNSPACED.findall(text)) // 2)


class ColumnStats:
    """What a few rows show about their columns."""

    def __init__(self, rows: Sequence[dict[str, Any]]):
        self.rows = rows
        names: dict[str, None] = {}
        for row in rows:
            for key, value in row.items():
                names.setdefault(key)
                # Two levels of objects: real data sets nest their fields no deeper.
                if isinstance(value, dict) and key != "meta" and not is_chat(value):
                    for inner, deeper in value.items():
                        names.setdefault(f"{key}.{inner}")
                        if isinstance(deeper, dict):
                            names.update(dict.fromkeys(f"{key}.{inner}.{last}" for last in deeper))
        self.names = list(names)
        self.values = {name: [parse_cell(get_value(row, name)) for row in rows] for name in self.names}
        self.filled = {
            name: [value for value in values if value not in ("", [], {}) and not is_missing(value)]
            for name, values in self.values.items()
        }

    def is_filled(self, name: str) -> bool:
        """Whether at least half of the rows have a value."""
        return len(self.filled[name]) * 2 >= len(self.rows) > 0

    def share(self, name: str, test: Callable[[Any], bool]) -> float:
        """Share of the filled values for which `test` holds; 0 where none is filled."""
        filled = self.filled[name]
        return sum(map(test, filled)) / len(filled) if filled else 0.0

    def is_text(self, name: str) -> bool:
        """Whether most values are texts."""
        return self.share(name, lambda value: isinstance(value, str)) > 0.5

    def mean_words(self, name: str) -> float:
        """Mean words of the texts; 0 where there are none."""
        texts = [value for value in self.filled[name] if isinstance(value, str)]
        return sum(map(_count_words, texts)) / len(texts) if texts else 0.0

    def has_sentence(self, name: str) -> bool:
        """Whether any value is a list of steps, or a text of three words or more."""
        return any(
            _count_words(value) >= 3 if isinstance(value, str) else is_steps(value) for value in self.filled[name]
        )

    def is_category(self, name: str) -> bool:
        """Whether the column labels its rows: a word or two, no sentence, sum or number, as "on", "long", "n/a"."""
        texts = [value for value in self.filled[name] if isinstance(value, str)]
        return bool(texts) and all(_CATEGORY.fullmatch(text.strip()) for text in texts)

    def is_varied(self, name: str) -> bool:
        """Whether the texts differ from row to row, as questions do; a source or a licence repeats."""
        texts = {value for value in self.filled[name] if isinstance(value, str)}
        return len(texts) * 2 > len(self.filled[name]) or len(self.rows) < 4

    def first(self, names: Iterable[str], test: Callable[[str], bool], taken: set[str]) -> str | None:
        """The column whose normal name comes first in `names` and passes `test`; columns of few levels first."""
        for wanted in names:
            for column in sorted(self.names, key=lambda name: name.count(".")):
                if column not in taken and normal_name(column) == wanted and test(column):
                    return column
        return None

    def with_words(self, words: set[str], test: Callable[[str], bool], taken: set[str]) -> str | None:
        """The first column with one of the `words` in its normal name that passes `test`."""
        for column in self.names:
            if column not in taken and words & set(normal_name(column).split("_")) and test(column):
                return column
        return None
