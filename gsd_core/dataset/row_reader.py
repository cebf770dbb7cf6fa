"""Reads the fields of a sample from one row.

RowReader   question, reasoning with steps, answer and id of a row; all other values become its meta
Reasoning   what is read of a reasoning: text, ranges of its steps, answer
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from gsd_core.dataset.answers import read_gold, split_text
from gsd_core.dataset.columns import (
    explain_cell,
    get_alternative,
    get_value,
    is_alternatives,
    number_steps,
    parse_cell,
    split_columns,
)
from gsd_core.dataset.messages import is_chat, read_exchange
from gsd_core.dataset.names import ANSWER_NAMES, REASONING_NAMES, STEP_TEXT_KEYS, normal_name
from gsd_core.dataset.thoughts import trim_turn
from gsd_core.dataset.values import BadValue, check_text, is_missing, parse_json, to_plain, to_text
from gsd_core.types import StepRanges

MAX_ID_CHARS = 200
MAX_NUMBER_CHARS = 24  # of "Step 12:"
_FENCE = re.compile(r"\s*```(?:json)?\s*(\{.*\})\s*```\s*", re.DOTALL)
_STEP_NUMBER = re.compile(r"\W*(?:[Ss]tep|[Tt]hought)?\s*\d+\W*")
Reasoning = tuple[str, Sequence[tuple[int, int]], str]  # text, ranges of its steps, answer found with it


class RowReader:
    """Reads the fields of a row and remembers which columns it used; all other values become meta."""

    def __init__(self, row: dict[str, Any], own_answer: str | None = None, has_marks: bool = True):
        """`own_answer` is the answer that a column of its own holds; None: it is to be found in the reasoning. Without
        `has_marks` every text stays whole."""
        self.row, self.own_answer, self.has_marks = row, own_answer, has_marks
        self._taken: set[str] = set()
        self._derived: dict[str, Any] = {}
        self._dropped: tuple[int, set[int]] = (0, set())  # how many steps there were, and which are missing

    def columns(self, column: str) -> list[str]:
        """The row's columns that a mapped column names."""
        return [column] if column in self.row else split_columns(column, list(self.row))

    def take(self, name: str) -> Any:
        """The value of a column, which is then no part of meta."""
        self._taken.add(name)
        return get_value(self.row, name)

    def id(self, name: str | None) -> str | None:
        """The id as given; None where it is missing or cannot be a name (then it stays in meta)."""
        if name is None:
            return None
        text = to_text(get_value(self.row, name), f"column {name!r}").strip()
        if not text or len(text) > MAX_ID_CHARS or not text.isprintable():
            return None
        self._taken.add(name)
        return text

    def question(self, column: str) -> str:
        """The question; several columns are joined by a blank line."""
        parts = []
        for name in self.columns(column):
            value = parse_cell(self.take(name), is_chat)
            if is_chat(value):
                parts.append(self._chat_question(value, name))
            else:
                parts.append(_option_lines(value, f"column {name!r}"))
        kept = [part for part in parts if part.strip()]
        return kept[0] if len(kept) == 1 else "\n\n".join(kept)

    def _chat_question(self, value: Any, name: str) -> str:
        try:
            return read_exchange(value, name).question
        except BadValue as error:
            if "no assistant turn" not in str(error):
                raise
        # A prompt column holds a chat without reply; with an empty reply the whole prompt is the question.
        return read_exchange([*value, {"role": "assistant", "content": ""}], name).question

    def reasoning(self, column: str, counts: Counter[str]) -> Reasoning:
        """``(text, step ranges, answer)``; ``counts`` gets the marks that split the text."""
        names = self.columns(column)
        if len(names) > 1:
            parts = [to_text(self.take(name), f"column {name!r}") for name in names]
            return self._split("\n\n".join(part for part in parts if part.strip()), counts)
        name = names[0]
        value = parse_cell(self.take(name))
        if is_chat(value):
            return self._chat_reply(value, name, counts)
        value = number_steps(value)
        if isinstance(value, list | tuple):
            if is_alternatives(name, value, self.row):
                if len(value) > 1 or not isinstance(value[0], str):
                    self._taken.discard(name)
                if len(value) > 1:
                    counts[f"first of several {name}"] += 1
                text = next((text for item in value if (text := get_alternative(item)).strip()), "")
                return self._split(text, counts)
            text, steps = self._join_steps(value, name)
            found = split_text(text).answer if self.own_answer is None else None
            if found is not None:
                counts["answer found in the steps"] += 1
            return text, steps, found or ""
        if isinstance(value, dict):
            raise BadValue(
                f"column {name!r} is an object, not text; name a part of it, e.g. --map reasoning={name}.KEY"
            )
        if cause := explain_cell(value):
            raise BadValue(f"column {name!r}: {cause}")
        text = self.text(value, name, counts)
        found_object = self._read_object(text, counts) if self.has_marks and text.rstrip()[-1:] in ("}", "`") else None
        return found_object or self._split(text, counts)

    def text(self, value: Any, name: str, counts: Counter[str], is_answer: bool = False) -> str:
        """A value as text; the name of a missing value, as "nan", is empty, and counted. "None" may be an answer."""
        if (
            isinstance(value, str)
            and is_missing(value)
            and not (is_answer and value.strip().lower() in ("none", "null"))
        ):
            counts[f"{value.strip()!r} taken as empty"] += 1
            return ""
        return to_text(value, f"column {name!r}")

    def short_answer(self, text: str, counts: Counter[str]) -> str:
        """The answer of a column that holds it behind a reference solution (``… #### 12``), which goes into meta."""
        gold = read_gold(text) if self.has_marks else None
        if gold is None:
            return text
        counts["answer behind a reference solution"] += 1
        self._derived["reference_solution"] = text
        return gold

    def _read_object(self, text: str, counts: Counter[str]) -> Reasoning | None:
        """The reasoning of a text that is a JSON object with one, as models write it on request; None for others."""
        fenced = _FENCE.fullmatch(text)
        try:
            found = parse_json(fenced[1]) if fenced else parse_json(text) if text.lstrip()[:1] == "{" else None
        except BadValue:
            return None
        if not isinstance(found, dict):
            return None
        key = next((key for name in REASONING_NAMES for key in found if normal_name(key) == name and found[key]), None)
        if key is None:
            return None
        value = number_steps(found[key])
        if not isinstance(value, str | list):
            return None
        try:
            read, steps = self._join_steps(value, key) if isinstance(value, list) else (value, StepRanges([]))
        except BadValue:
            return None  # it stays the text that it is
        names = ANSWER_NAMES[: ANSWER_NAMES.index("solution")]
        ends = next((each for name in names for each in found if normal_name(each) == name and each != key), None)
        rest = {each: item for each, item in found.items() if each not in (key, ends)}
        if rest:
            self._derived["reply_fields"] = rest
        counts["JSON in the text"] += 1
        answer = "" if ends is None else to_text(found[ends], ends)
        if self.own_answer is not None and answer:
            self._derived["post_reasoning"] = answer
        return read, steps if len(steps) else (), answer if self.own_answer is None else ""

    def _split(self, text: str, counts: Counter[str]) -> Reasoning:
        if not self.has_marks:
            return text, (), ""
        parts = split_text(text, self.own_answer is None, self.own_answer or "")
        for mark in parts.marks:
            counts[mark] += 1
        if parts.before.strip():
            self._derived["pre_reasoning"] = parts.before
        if parts.after.strip():
            self._derived["post_reasoning"] = parts.after
        if parts.between:
            self._derived["between_thoughts"] = list(parts.between)
        return parts.reasoning, (), parts.answer or ""

    def _chat_reply(self, value: Any, name: str, counts: Counter[str]) -> Reasoning:
        exchange = read_exchange(value, name)
        if exchange.is_earlier:
            counts["thought of an earlier turn"] += 1
        if not exchange.reasoning.strip() and not exchange.reply.strip():
            called = any("tool_calls" in each or "content_blocks" in each for each in exchange.extras[-1:])
            raise BadValue(f"the last assistant turn of {name!r} has no text" + (", only a call" if called else ""))
        if exchange.trailing:
            self._derived["later_turns"] = list(exchange.trailing)
        if exchange.extras:
            self._derived["message_fields"] = exchange.extras
        if not exchange.reasoning.strip():
            return self._split(exchange.reply, counts)
        counts["reasoning kept apart by the chat"] += 1
        reply = trim_turn(exchange.reply)[0].strip()
        if self.own_answer is not None and reply:
            self._derived["post_reasoning"] = reply
        return exchange.reasoning, (), reply if self.own_answer is None else ""

    def _join_steps(self, value: Sequence[Any], name: str) -> tuple[str, StepRanges]:
        """Steps joined by newlines, with their ranges; other fields of the steps become lists in meta."""
        if set(map(type, value)) == {str}:
            joined = "\n".join(value)
            try:
                return check_text(joined, f"the steps of {name!r}"), StepRanges(value)
            except BadValue:
                pass  # below, the step with the fault is named
        texts: list[str] = []
        extras: list[dict[str, Any]] = []
        missing = [index for index, step in enumerate(value) if step is None]
        if missing:
            self._dropped = (len(value), set(missing))
        for index, step in enumerate(value, start=1):
            if step is None:
                continue
            where = f"step {index} of {name!r}"
            if isinstance(step, dict):
                key = _step_key(step)
                if key is None:
                    raise BadValue(f"{where} has no text")
                texts.append(_chosen_completion(step, where) if key == "completions" else to_text(step[key], where))
                extras.append({other: item for other, item in step.items() if other != key or key == "completions"})
            elif isinstance(step, list | tuple):
                raise BadValue(f"{where} is a list, not text")
            else:
                texts.append(to_text(step, where))
                extras.append({})
        for key in dict.fromkeys(key for extra in extras for key in extra):
            self._derived[f"step_{key}"] = [to_plain(extra.get(key), f"{key} of {name!r}") for extra in extras]
        return "\n".join(texts), StepRanges(texts)

    def meta(self, counts: Counter[str]) -> dict[str, Any]:
        """All values that were not taken, as plain JSON data; ``counts`` gets columns that cannot be written so."""
        meta: dict[str, Any] = {}
        incoming = parse_cell(self.row.get("meta"), lambda value: isinstance(value, dict))
        if isinstance(incoming, dict) and "meta" not in self._taken:
            meta.update(to_plain(incoming, "meta"))
        dotted = [name for name in self._taken if "." in name]
        for key, value in self.row.items():
            if key in self._taken or (key == "meta" and isinstance(incoming, dict)):
                continue
            inner_taken = [name for name in dotted if name.startswith(f"{key}.")] if dotted else []
            if inner_taken and isinstance(value, dict):
                value = _without(value, [name[len(key) + 1 :] for name in inner_taken])
                if not value:
                    continue
            n_steps, missing = self._dropped
            if missing and isinstance(value, list) and len(value) == n_steps:  # it labels the steps
                value = [each for index, each in enumerate(value) if index not in missing]
            try:
                plain = to_plain(value, f"column {key!r}")
            except BadValue:  # pictures, sounds: no column of no concern costs a row
                counts[f"column {key!r} left out"] += 1
                continue
            # Tables have the fields of meta as columns such as "meta.topic".
            _put(meta, key.removeprefix("meta.") or key, plain)
        for key, value in self._derived.items():
            _put(meta, key, to_plain(value, key))
        return meta


def _put(meta: dict[str, Any], key: str, value: Any) -> None:
    """Store under `key`, followed by underscores where another value has that name already."""
    while key in meta and meta[key] != value:
        key += "_"
    meta[key] = value


def _without(value: dict[str, Any], paths: list[str]) -> dict[str, Any]:
    left = {}
    for key, item in value.items():
        if key in paths:
            continue
        deeper = [path[len(key) + 1 :] for path in paths if path.startswith(f"{key}.")]
        left[key] = _without(item, deeper) if deeper and isinstance(item, dict) else item
    return left


def _option_lines(value: Any, name: str) -> str:
    """A part of the question as text; options one a line, with their letters where the source has them."""
    if isinstance(value, dict):
        texts, labels = value.get("text"), value.get("label")
        if isinstance(texts, list) and isinstance(labels, list) and len(texts) == len(labels):
            return "\n".join(
                f"({to_text(label, name)}) {to_text(text, name)}" for label, text in zip(labels, texts, strict=True)
            )
        if value and all(isinstance(item, str | int | float) for item in value.values()):
            return "\n".join(f"({key}) {to_text(item, name)}" for key, item in value.items())
        return json.dumps(to_plain(value, name), ensure_ascii=False)
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return "\n".join(to_text(item, name) for item in value)
    return to_text(value, name)


def _is_number(text: str) -> bool:
    """Whether a text only counts, as "Step 1" or "2."."""
    return len(text) <= MAX_NUMBER_CHARS and _STEP_NUMBER.fullmatch(text) is not None


def _step_key(step: dict[str, Any]) -> str | None:
    """The key of a step's text; "Step 1" beside a sentence is its number."""
    keys = [key for key in STEP_TEXT_KEYS if isinstance(step.get(key), str)]
    told = next((key for key in keys if not _is_number(step[key])), None)
    return told or next(iter(keys), "completions" if isinstance(step.get("completions"), list) else None)


def _chosen_completion(step: dict[str, Any], where: str) -> str:
    """The completion that a process-reward data set continues with: a person's, else the chosen one, else the first."""
    human, completions = step.get("human_completion"), step["completions"]
    if isinstance(human, dict) and isinstance(human.get("text"), str):
        return to_text(human["text"], where)
    chosen = step.get("chosen_completion")
    index = chosen if isinstance(chosen, int) and 0 <= chosen < len(completions) else 0
    if index < len(completions) and isinstance(completions[index], dict):
        return to_text(completions[index].get("text"), where)
    raise BadValue(f"{where} has no completion with a text")
