"""Results that a method stores in a run: tables with declared columns.

Column        one column: name, kind of value, meaning
KINDS         all kinds of values
ResultKind    the tables of one result
make_columns  columns from lines of text

This module loads neither torch, Arrow nor the database, because the command line and the pages read declarations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

KINDS = (
    *("text", "int", "int32", "float", "float32", "bool", "bytes", "json"),
    *("list<text>", "list<int>", "list<float>"),
)


class Column(NamedTuple):
    """``kind`` is one of ``KINDS``. ``json`` is any JSON value; it is stored as text and read as the value."""

    name: str
    kind: str
    comment: str


@dataclass(frozen=True)
class ResultKind:
    """A result of a method on a run.

    Parameters
    ----------
    name
        Its name in the store, unique among all methods.
    made_by
        The command that computes it, without ``gsd``; error messages name it.
    tables
        Name of a table → its columns.
    is_by_checkpoint
        Whether each checkpoint has its own result, or the run has one.
    needs
        Names of the results that it is computed from. When one of them is replaced, this one is dropped.
    """

    name: str
    made_by: str
    tables: Mapping[str, tuple[Column, ...]]
    is_by_checkpoint: bool = True
    needs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for a name that cannot be a folder's name."""
        for each in (self.name, *self.tables):
            if not re.fullmatch(r"[a-z][a-z0-9_-]{0,63}", each):
                raise ValueError(f"a result or a table cannot be called {each!r}")

    def names(self, table: str) -> list[str]:
        """The column names of a table, in order."""
        return [column.name for column in self.tables[table]]


def make_columns(text: str) -> tuple[Column, ...]:
    """Columns from lines ``NAME KIND COMMENT``; ``NAME,NAME`` gives several the same kind and comment.

    Raises
    ------
    ValueError
        For a line without a comment, or an unknown kind.
    """
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        names, kind, comment = line.split(maxsplit=2)
        if kind not in KINDS:
            raise ValueError(f"{names} has the unknown kind {kind!r}; known are {', '.join(KINDS)}")
        found += [Column(name, kind, comment) for name in names.split(",")]
    return tuple(found)
