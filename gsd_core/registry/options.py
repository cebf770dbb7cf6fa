"""Flags of a command, declared once as a dataclass: name, type, default and help.

option       a field with more than a type and a default
Flag         a field as the command line sees it
iter_flags   every field of a dataclass as a Flag
read_help    field → the docstring below it
to_words     options → the words of a command line
make_flag    a field's name → its flag

A ``bool`` field is a switch. A list takes several words. A field without a default is required.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
import typing
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple


def option(
    default: Any = ...,
    *,
    metavar: str = "",
    choices: Sequence[str] = (),
    is_positional: bool = False,
    check: str = "",
) -> Any:
    """A field of an options dataclass.

    Parameters
    ----------
    default
        The default; a list is copied each time. ``...``: the option is required.
    metavar
        The name of the value in the help.
    choices
        The allowed values.
    is_positional
        Whether it is given without a flag.
    check
        What a value must be: ``"positive"`` or ``"count"`` (a whole number from 1 or 0), ``"above zero"``, ``"port"``,
        ``"window"``, or the name of a ``"tier"`` or ``"export"``.
    """
    said = {"metavar": metavar, "choices": tuple(choices), "is_positional": is_positional, "check": check}
    if isinstance(default, list):
        return dataclasses.field(default_factory=default.copy, metadata=said)
    default = dataclasses.MISSING if default is ... else default
    return dataclasses.field(default=default, metadata=said)


class Flag(NamedTuple):
    """An option on the command line. ``kind`` is str, int, float, bool or Path; the other fields as in `option`."""

    name: str
    kind: type
    is_list: bool
    is_needed: bool
    default: Any
    help: str
    metavar: str
    choices: tuple[str, ...]
    is_positional: bool
    check: str


def make_flag(name: str) -> str:
    """``"other_words"`` → ``"--other-words"``."""
    return f"--{name.replace('_', '-')}"


def read_help(options: type) -> dict[str, str]:
    """Field → the docstring below it, on one line; a field without one has ``""``."""
    body = ast.parse(textwrap.dedent(inspect.getsource(options))).body[0].body  # type: ignore[attr-defined]
    found = {each.name: "" for each in dataclasses.fields(options)}
    for statement, below in pairwise(body):
        if isinstance(statement, ast.AnnAssign) and isinstance(below, ast.Expr):
            found[ast.unparse(statement.target)] = " ".join(str(ast.literal_eval(below.value)).split())
    return found


def iter_flags(options: type) -> Iterator[Flag]:
    """Every field of ``options``, in order. Raises ``TypeError`` for a type that a flag cannot have."""
    hints, told = typing.get_type_hints(options), read_help(options)
    for each in dataclasses.fields(options):
        kind, is_list = _resolve(hints[each.name], f"{options.__name__}.{each.name}")
        is_needed = each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
        default = None if is_needed else each.default
        if each.default_factory is not dataclasses.MISSING:
            default = each.default_factory()
        said = {"metavar": "", "choices": (), "is_positional": False, "check": "", **each.metadata}
        yield Flag(each.name, kind, is_list, is_needed, default, told[each.name], **said)


def _resolve(hint: Any, where: str) -> tuple[type, bool]:
    """The type of one value, and whether the field is a list."""
    kind = next((each for each in typing.get_args(hint) if type(None) in typing.get_args(hint)), hint)
    is_list = typing.get_origin(kind) is list
    kind = typing.get_args(kind)[0] if is_list else kind
    if kind not in (str, int, float, bool, Path):
        raise TypeError(f"{where} is {hint}: use str, int, float, bool, Path or a list of them")
    return kind, is_list


def to_words(options: Any, leave_out: Sequence[str] = ()) -> list[str]:
    """The words that set these options, positional ones first. Defaults are left out."""
    first, rest = [], []
    for flag in iter_flags(type(options)):
        value = getattr(options, flag.name)
        if flag.name in leave_out or (value == flag.default and not flag.is_needed) or value is None:
            continue
        values = [str(each) for each in (value if flag.is_list else [value])]
        if flag.is_positional:
            first += values
        else:
            rest += _give(make_flag(flag.name), [] if flag.kind is bool else values)
    return first + rest


def _give(flag: str, values: list[str]) -> list[str]:
    """Flag and values; ``--flag=-value`` where a value begins with a dash, which would read as another flag."""
    return [f"{flag}={values[0]}"] if values[:1] and values[0].startswith("-") else [flag, *values]
