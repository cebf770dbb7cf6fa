"""Plain texts and JSON values from what a reader gives.

BadValue      a value that cannot be kept; its text is the reason for the rejection
to_text       a scalar, list or object as the text of a field
to_plain      a value as plain JSON data for ``Sample.meta``
Unreadable    a cell that a reader could not read; refused where it is needed
is_missing    whether a value stands for none: None, NaN, or their names as text
check_text    refuses text that neither a tokenizer nor the database can hold
parse_json    strict JSON of one record: no repeated keys, no endless nesting
DECODER       the decoder behind it
"""

from __future__ import annotations

import datetime
import decimal
import json
import math
import uuid
from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 64  # levels of lists and objects in one record
SHOWN_CHARS = 60
# What programs write for a missing value when they turn a table into text.
MISSING_WORDS = frozenset(("nan", "NaN", "NAN", "None", "NULL", "null", "<NA>", "NaT"))


def is_missing(value: Any) -> bool:
    """Whether a value stands for none: None, NaN, or one of ``MISSING_WORDS`` alone."""
    if isinstance(value, str):
        return len(value) <= 8 and value.strip() in MISSING_WORDS
    return value is None or (isinstance(value, float) and math.isnan(value))


class BadValue(ValueError):
    """A value that cannot be kept; ``str(error)`` is the reason, for a person."""


class Unreadable:
    """A cell that could not be read: "column 'x' `reason`"."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def check_text(text: str, name: str) -> str:
    """Return `text`; raise `BadValue` where it holds a NUL or half of a surrogate pair (neither can be stored)."""
    if "\x00" in text:
        raise BadValue(f"{name} contains a NUL character")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            code = ord(text[error.start])
            if 0xDC80 <= code <= 0xDCFF:
                raise BadValue(f"{name} contains the byte 0x{code - 0xDC00:02x}, which is not valid UTF-8") from None
            raise BadValue(f"{name} contains half of a surrogate pair (U+{code:04X})") from None
    return text


def to_text(value: Any, name: str) -> str:
    """The text of a field that should be one text.

    None gives "", a list its entries joined by ", ", an object its JSON; numbers and booleans are
    written as Python writes them. Raises `BadValue` (see `check_text`).
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return check_text(value, name)
    if isinstance(value, list | tuple) and not any(isinstance(item, list | tuple | dict) for item in value):
        return ", ".join(to_text(item, name) for item in value)
    plain = to_plain(value, name)
    if isinstance(plain, dict | list):
        return json.dumps(plain, ensure_ascii=False)
    return check_text(str(plain), name)


def to_plain(value: Any, name: str = "value", depth: int = 0) -> Any:
    """`value` as plain JSON data: dict with text keys, list, str, int, float, bool or None.

    NaN becomes None and an infinity its name, as JSON has neither. Dates become ISO texts, exact
    decimals stay exact as text, bytes that are UTF-8 become text. Raises `BadValue` for the rest.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return check_text(value, name)
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return None if math.isnan(value) else str(value)
    if depth >= MAX_DEPTH:
        raise BadValue(f"{name} is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, Mapping):
        return {
            check_text(str(key), f"a key of {name}"): to_plain(item, name, depth + 1) for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [to_plain(item, name, depth + 1) for item in value]
    if isinstance(value, datetime.date | datetime.time | datetime.datetime):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | uuid.UUID | datetime.timedelta):
        return str(value)
    if isinstance(value, bytes | bytearray):
        try:
            return check_text(bytes(value).decode("utf-8"), name)
        except UnicodeDecodeError:
            raise BadValue(f"{name} holds {len(value)} bytes of binary data") from None
    if isinstance(value, Unreadable):
        raise BadValue(f"{name} {value.reason}")
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # a numpy scalar
        return to_plain(value.item(), name, depth)
    raise BadValue(f"{name} is a {type(value).__name__}, which is neither text nor JSON data")


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise BadValue(f"the key {key[:SHOWN_CHARS]!r} appears twice in one object")
            seen.add(key)
    return record


DECODER = json.JSONDecoder(object_pairs_hook=_refuse_repeated_keys)


def parse_json(text: str) -> Any:
    """The value of one JSON text. Raises `BadValue` with the place and cause."""
    try:
        return DECODER.decode(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise BadValue(f"not valid JSON: {error.msg.removesuffix(' at')} at {where}column {error.colno}") from None
    except RecursionError:
        raise BadValue("nested too deeply to read") from None
    except BadValue:
        raise
    except ValueError as error:  # e.g. an integer of thousands of digits
        raise BadValue(f"not usable JSON: {str(error).split(';')[0]}") from None
