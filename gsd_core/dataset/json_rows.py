"""Rows of JSON Lines and of JSON documents.

Row                 (record number from 1, record or Rejection)
is_json_lines       whether a text that begins with a brace or bracket is JSON Lines, not one document
iter_json_lines     rows of JSON Lines; a bad line is rejected alone
iter_json_document  rows of one JSON document of any shape
unfold_document     the records of a parsed document: list, wrapped list, object of columns, split or keyed records
"""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Iterator
from typing import Any

from gsd_core.dataset.literals import parse_literal
from gsd_core.dataset.messages import is_chat
from gsd_core.dataset.streams import Container, has_suffix, wide_encoding
from gsd_core.dataset.values import DECODER, BadValue, parse_json
from gsd_core.errors import UserError
from gsd_core.types import Rejection

Row = tuple[int, dict[str, Any] | Rejection]

# Keys under which documents store their list of records; the first that fits is used.
RECORD_KEYS = (
    "data",
    "rows",
    "records",
    "examples",
    "samples",
    "instances",
    "items",
    "questions",
    "problems",
)
SPLIT_KEYS = {"train", "training", "test", "testing", "validation", "valid", "val", "dev", "eval"}
# Lists under these keys belong to one record; they are not the list of records.
FIELD_KEYS = {"messages", "conversations", "conversation", "steps", "dialog", "dialogue", "turns", "chat"}


def is_json_lines(container: Container) -> bool:
    """Whether the head holds one JSON value a line, not one document on one or several lines."""
    encoding = wide_encoding(container.head) or "utf-8"
    text = container.head.decode(encoding, errors="replace").lstrip("\ufeff")
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        return False
    first, others = lines[0].strip(), lines[1:]
    if not others:  # one line so far: a single value, or the start of a very long first line
        return first.startswith("{") and len(first) > 1 and has_suffix(container.path, ".jsonl", ".ndjson")
    try:
        value = parse_json(first)
    except BadValue:
        # The first line is broken: it is JSON Lines if the name says so or the next line begins with a brace.
        named = has_suffix(container.path, ".jsonl", ".ndjson")
        return (named and len(first) > 1) or (first[0] == "{" and others[0].startswith("{"))
    start = others[0].lstrip()[:1]
    is_encoded_twice = isinstance(value, str) and value.lstrip().startswith("{") and start == '"'
    return isinstance(value, dict) or (isinstance(value, list) and start in ("[", "{")) or is_encoded_twice


def iter_json_lines(container: Container, notes: list[str]) -> Iterator[Row]:
    """``(number, record | Rejection)`` for every line that is not blank, in order. Lines end at a line feed."""
    row = 0
    said: set[str] = set()
    for line_number, line in _iter_lines(container):
        if isinstance(line, str) and not line.strip():
            continue
        row += 1
        habit = ""
        try:
            if isinstance(line, BadValue):
                raise line
            try:
                record = parse_json(line)
            except BadValue as error:
                record, habit = _parse_odd_line(line, error)
            if isinstance(record, str):
                record, habit = parse_json(record), "each line is a JSON text that holds the record's JSON"
            record = _unwrap_row(record)
            if isinstance(record, list) and record and all(isinstance(each, dict) for each in record):
                records, habit = record, "a line holds several records"
            elif isinstance(record, dict):
                records = [record]
            else:
                raise BadValue(f"the line is {_kind(record)}, not an object")
        except BadValue as error:
            yield row, Rejection(row, f"{'' if row == line_number else f'line {line_number}: '}{error}")
            continue
        if habit and habit not in said:
            said.add(habit)
            notes.append(f"{habit} (first: line {line_number}); they were read as such")
        yield row, records[0]
        for each in records[1:]:
            row += 1
            yield row, each


def _parse_odd_line(line: str, error: BadValue) -> tuple[Any, str]:
    """The value of a line that is JSON but for a habit of the program that wrote it, and the habit; else `error`."""
    text = line.strip()
    if text[:2] == "{'":
        return parse_literal(text), "the lines are Python's objects, not JSON"
    if text.startswith("data:"):
        return parse_json(text[5:]), 'the lines are events of a server, which begin with "data:"'
    if text.endswith(("},", "],")):
        return parse_json(text[:-1]), "a comma ends the lines"
    raise error


def _iter_lines(container: Container) -> Iterator[tuple[int, str | BadValue]]:
    """``(line number, text)``; instead of a text that cannot be decoded, the reason."""
    encoding = wide_encoding(container.head)
    max_bytes = container.limits.max_record_bytes
    with container.open() as stream:
        if encoding and encoding != "utf-8-sig":
            try:
                yield from enumerate(io.TextIOWrapper(stream, encoding, newline="\n"), start=1)
            except UnicodeDecodeError as error:
                raise _undecodable(container, encoding, error) from None
            return
        if b"\n" not in container.head and b"}\r{" in container.head:  # lines that end as on very old machines
            # Broken bytes become surrogates, for which a row is rejected alone.
            lines = io.TextIOWrapper(stream, encoding or "utf-8", "surrogateescape", None)
            for number, line in enumerate(iter(lambda: lines.readline(max_bytes + 1), ""), start=1):
                is_long = len(line) > max_bytes
                yield number, BadValue(f"the line is longer than {max_bytes >> 20} MiB") if is_long else line
            return
        number = 0
        while data := stream.readline(max_bytes + 1):
            number += 1
            if len(data) > max_bytes and not data.endswith(b"\n"):
                while data and not data.endswith(b"\n"):
                    data = stream.readline(max_bytes)
                yield number, BadValue(f"the line is longer than {max_bytes >> 20} MiB")
                continue
            data = data.removeprefix(codecs.BOM_UTF8)  # of any line: files that were joined have one in the middle
            try:
                yield number, data.decode("utf-8")
            except UnicodeDecodeError as error:
                broken = data[error.start]
                yield number, BadValue(f"byte {error.start + 1} of the line (0x{broken:02x}) is not UTF-8")


def _undecodable(container: Container, encoding: str, error: UnicodeDecodeError) -> UserError:
    return UserError(
        f"the text is not valid {encoding.removesuffix('-sig')} at byte {error.start + 1}",
        str(container.path),
        "save the file as UTF-8",
    )


def iter_json_document(container: Container, notes: list[str]) -> Iterator[Row]:
    """``(number, record | Rejection)`` of a document, or of several documents that follow each other.

    Raises `UserError` with line and column where the document cannot be parsed: nothing after the error can be read,
    so nothing of the file is used.
    """
    limit = container.limits.max_document_bytes
    where = str(container.path)
    with container.open() as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise UserError(f"the JSON document is larger than {limit >> 20} MiB", where, "write it as JSON Lines")
    encoding = wide_encoding(container.head) or "utf-8"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise _undecodable(container, encoding, error) from None
    del data
    documents = list(_parse_documents(text, where))
    del text
    if not documents:
        return
    if len(documents) > 1:
        notes.append(f"{len(documents)} JSON documents follow each other in the file; each is one record")
        records: list[Any] = documents
    else:
        try:
            records = unfold_document(documents[0], notes)
        except BadValue as error:
            raise UserError(str(error), where, "make its columns equally long, or write one record a line") from None
    for number, record in enumerate(records, start=1):
        if isinstance(record, dict):
            yield number, record
        else:
            yield number, Rejection(number, f"the record is {_kind(record)}, not an object")


def _parse_documents(text: str, where: str) -> Iterator[Any]:
    position = 0
    while True:
        while position < len(text) and text[position] in " \t\r\n":
            position += 1
        if position == len(text):
            return
        try:
            value, position = DECODER.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise UserError(
                f"not valid JSON: {error.msg.removesuffix(' at')} at line {error.lineno}, column {error.colno}",
                where,
                "fix the file, or write it as JSON Lines, where an error costs one record only",
            ) from None
        except (BadValue, RecursionError, ValueError) as error:
            reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).split(";")[0]
            raise UserError(f"the JSON document cannot be read: {reason}", where, "fix the file") from None
        yield value


def unfold_document(document: Any, notes: list[str]) -> list[Any]:
    """The records of one parsed document; `notes` gets a sentence about what was unwrapped.

    Understood: a list of records; an object with one list of records inside, or with one list for each split, or with
    an object of these; an object of columns (equal lists, or pandas' objects by row label); pandas' ``split`` layout;
    an object of records by key. Anything else is one record. Raises `BadValue` for columns of different lengths.
    """
    if isinstance(document, list):
        return [_unwrap_row(record) for record in document]
    if not isinstance(document, dict) or not document:
        return [document]
    values = list(document.values())
    names, data = document.get("columns"), document.get("data")
    if isinstance(names, list) and isinstance(data, list) and data and isinstance(data[0], list):
        notes.append("the records were read from pandas' 'split' layout")
        return [
            dict(zip(map(str, names), row, strict=True)) if isinstance(row, list) and len(row) == len(names) else row
            for row in data
        ]
    if _is_splits(document):
        notes.append(f"the records of {', '.join(document)} were joined; 'split' names where each came from")
        return [
            {"split": split, **record} if isinstance(record, dict) else record
            for split, records in document.items()
            for record in records
        ]
    has_texts = any(isinstance(value, str) for value in values)
    inner = [
        key
        for key, value in document.items()
        if key.lower() in RECORD_KEYS and (_is_splits(value) or (_is_keyed(value) and not has_texts))
    ]
    if len(inner) == 1:
        return unfold_document(document[inner[0]], notes)
    holders = [key for key, value in document.items() if _is_records(value) and not _is_field(key, value)]
    holders.sort(key=lambda key: RECORD_KEYS.index(key.lower()) if key.lower() in RECORD_KEYS else 99)
    # A record of its own may hold a list of objects under any name, but then it also holds texts.
    is_wrapped = holders and (holders[0].lower() in RECORD_KEYS or not has_texts)
    if is_wrapped:
        left = [key for key in document if key != holders[0]]
        also = f"; not read: {', '.join(left)}" if left else ""
        notes.append(f"the records were read from the list under {holders[0]!r}{also}")
        return [_unwrap_row(record) for record in document[holders[0]]]
    # Lists of equal length are columns, unless one is a field that by itself makes this a record.
    is_record = any(_is_field(key, value) and _is_records(value) for key, value in document.items())
    n_entries = {len(value) if isinstance(value, list) else -1 for value in values}
    is_columns = not is_record and len(n_entries) == 1 and -1 not in n_entries
    lengths = {key: len(value) for key, value in document.items() if isinstance(value, list)}
    if (
        not is_record
        and len(values) > 1
        and len(lengths) == len(values)
        and not is_columns
        and max(lengths.values()) > 1
    ):
        told = ", ".join(f"{key} {n}" for key, n in list(lengths.items())[:6])
        raise BadValue(f"the columns have different lengths ({told})")
    if is_columns and (len(values) > 1 or not _is_records(values[0])):
        return [dict(zip(document, row, strict=True)) for row in zip(*values, strict=True)]
    if all(isinstance(value, dict) and value for value in values):
        labels = list(values[0])
        if all(list(value) == labels for value in values) and all(str(label).isdecimal() for label in labels):
            return [{name: column[label] for name, column in document.items()} for label in labels]
        notes.append("the document's keys were taken as the records' ids")
        return [{"id": key, **record} for key, record in document.items()]
    return [document]


def _is_splits(value: Any) -> bool:
    """Whether an object has a list of records for each split."""
    return (
        isinstance(value, dict)
        and bool(value)
        and {str(key).lower() for key in value} <= SPLIT_KEYS
        and all(_is_records(each) for each in value.values())
    )


def _is_keyed(value: Any) -> bool:
    """Whether an object has a record under each of several keys."""
    return (
        isinstance(value, dict) and len(value) > 1 and all(isinstance(each, dict) and each for each in value.values())
    )


def _is_field(key: str, value: Any) -> bool:
    """Whether a list belongs to one record: a chat, or steps; a list of whole chats does not."""
    has_chats = _is_records(value) and all(
        any(isinstance(each.get(name), list) for name in FIELD_KEYS) for each in value
    )
    return key.lower() in FIELD_KEYS and not has_chats


def _is_records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(record, dict) for record in value)


def _unwrap_row(record: Any) -> Any:
    """The record inside ``{"row_idx": …, "row": {…}}``, as data set viewers export it; a chat alone as a record."""
    if isinstance(record, list) and is_chat(record):
        return {"messages": record}
    if isinstance(record, dict) and isinstance(record.get("row"), dict) and "row_idx" in record:
        return record["row"]
    return record


def _kind(value: Any) -> str:
    names = {list: "a list", str: "a text", bool: "a boolean", type(None): "null", dict: "an object"}
    return names.get(type(value), "a number")
