"""One row to a sample, by a mapping of columns.

Mapping          the columns of a data set's fields (from ``guess``)
guess_mapping    a mapping guessed from a few rows (from ``guess``)
ROLES            the fields that a mapping can name
find_unknown     the first column of a mapping that no row has
parse_map_flag   ``question=COL,reasoning=COL,answer=COL`` to a dict
apply_map        a guessed mapping with a person's corrections
row_to_sample    one row to a `Sample`, or to a `Rejection` with the reason
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gsd_core.dataset.columns import get_value, is_steps, split_columns
from gsd_core.dataset.guess import Mapping, guess_mapping
from gsd_core.dataset.messages import is_chat
from gsd_core.dataset.row_reader import RowReader
from gsd_core.dataset.thoughts import trim_turn
from gsd_core.dataset.values import BadValue, is_missing
from gsd_core.errors import UserError
from gsd_core.types import Rejection, Sample

__all__ = ["Mapping", "apply_map", "guess_mapping", "parse_map_flag", "row_to_sample"]

ROLES = ("question", "reasoning", "answer", "id")


def parse_map_flag(text: str) -> dict[str, str]:
    """``"question=COL,reasoning=COL,answer=COL"`` to ``{"question": "COL", …}``; ``id=COL`` is allowed too.

    Column names may contain commas and equal signs. ``answer=`` with nothing after it says that no column holds the
    answer, which is then searched in the reasoning. Raises `UserError` for an unknown or repeated field, and for a
    question or reasoning without a column.
    """
    where, fix = f"--map {text}", "write --map question=COL,reasoning=COL,answer=COL"
    starts = list(re.finditer(r"(?:^|,)\s*([A-Za-z]+)\s*=", text))
    if not starts or starts[0].start() != 0:
        raise UserError("the mapping cannot be read", where, fix)
    chosen: dict[str, str] = {}
    for index, match in enumerate(starts):
        role = match[1].lower()
        end = starts[index + 1].start() if index + 1 < len(starts) else len(text)
        column = text[match.end() : end].strip()
        _check_role(role, where)
        if role in chosen:
            raise UserError(f"{role!r} is mapped twice", where, "name it once; join columns with +")
        if not column and role in ("question", "reasoning"):
            raise UserError(f"{role!r} is mapped to nothing", where, fix)
        chosen[role] = column
    return chosen


def _check_role(role: str, where: str) -> None:
    if role not in ROLES:
        raise UserError(f"{role!r} is not a field that can be mapped", where, f"use {', '.join(ROLES)}")


def find_unknown(column: str, rows: Sequence[dict[str, Any]]) -> str | None:
    """The first of the columns that `column` names which none of the `rows` has; None where there is none."""
    known: set[str] = set().union(*rows)
    for name in split_columns(column, list(known)) if column else []:
        if name not in known and all(get_value(row, name) is None for row in rows):
            return name
    return None


def apply_map(guess: Mapping, chosen: dict[str, str], rows: Sequence[dict[str, Any]], where: str) -> Mapping:
    """The guess with a person's choices. Raises `UserError` with the names of all columns where one does not exist."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    for role, column in chosen.items():
        _check_role(role, "--map")
        name = find_unknown(column, rows)
        if name is not None:
            near = difflib.get_close_matches(name, columns, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UserError(
                f"there is no column {name!r} for the {role}",
                where,
                f"{hint}the columns are {', '.join(columns)}",
            )
    changes: dict[str, Any] = {role: column or None for role, column in chosen.items()}
    if "reasoning" in chosen:
        changes["runner_up"] = None
    # A column that a person chose for one field is not guessed for another.
    for role in ("answer", "id"):
        if role not in chosen and getattr(guess, role) in chosen.values():
            changes[role] = None
    if "question" in chosen and "reasoning" not in chosen and guess.reasoning == chosen["question"]:
        again = guess_mapping([{k: v for k, v in row.items() if k != chosen["question"]} for row in rows])
        changes["reasoning"] = again.reasoning
    reasoning = changes.get("reasoning", guess.reasoning)
    if reasoning != guess.reasoning:
        values = [get_value(row, reasoning) for row in rows] if reasoning else []
        changes["layout"] = (
            "messages" if any(map(is_chat, values)) else "steps" if any(map(is_steps, values)) else "columns"
        )
    return replace(guess, **changes)


def row_to_sample(
    row: dict[str, Any],
    row_number: int,
    mapping: Mapping,
    split_counts: Counter[str] | None = None,
    *,
    has_marks: bool = True,
) -> Sample | Rejection:
    """One row to a sample by `mapping`.

    A sample needs a question and a reasoning that are not blank. Where the mapping names no answer column, or names
    the reasoning's, the answer is searched in the reasoning text (`answers.split_text`); `split_counts` counts the
    marks that were found. Every value that is not part of question, reasoning, answer or id goes into ``meta``: the
    fields of a ``meta`` object, other columns under their names, and the text around thinking tags as
    ``pre_reasoning`` and ``post_reasoning``. Without ``has_marks`` every text stays whole.
    """
    try:
        return _to_sample(row, row_number, mapping, Counter() if split_counts is None else split_counts, has_marks)
    except BadValue as error:
        return Rejection(row_number, str(error))


def _to_sample(
    row: dict[str, Any], number: int, mapping: Mapping, split_counts: Counter[str], has_marks: bool
) -> Sample:
    for role in ("question", "reasoning"):
        if getattr(mapping, role) is None:
            raise BadValue(f"no {role} was found among the columns; name it with --map {role}=COLUMN")
    assert mapping.question is not None  # for the type checker, like the next line
    assert mapping.reasoning is not None
    has_own = mapping.answer is not None and mapping.answer != mapping.reasoning
    reader = RowReader(row, has_marks=has_marks)
    if has_own:
        assert mapping.answer is not None
        texts = [
            reader.text(reader.take(name), name, split_counts, is_answer=True)
            for name in reader.columns(mapping.answer)
        ]
        reader.own_answer = reader.short_answer(trim_turn("\n\n".join(filter(None, texts)))[0], split_counts)
    question = reader.question(mapping.question)
    if is_missing(question):
        split_counts[f"{question.strip()!r} taken as empty"] += 1
        question = ""
    reasoning, steps, answer = reader.reasoning(mapping.reasoning, split_counts)
    answer = answer if reader.own_answer is None else reader.own_answer
    if not question.strip():
        raise BadValue(f"the question is empty (column {mapping.question!r})")
    if not reasoning.strip():
        raise BadValue(f"the reasoning is empty (column {mapping.reasoning!r})")
    sample_id = reader.id(mapping.id) or f"row-{number}"
    return Sample(sample_id, question, reasoning, answer, steps, reader.meta(split_counts))
