"""What a method keeps of a run: tables whose columns are declared before anything is written.

Column        one column: name, kind of value, what it means
ResultKind    the tables of one result, and whether a run has one of it or one for each checkpoint
make_columns  columns from a small table of text

Torch, Arrow and the database are not loaded: the command line and the pages read declarations too.
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
    """``kind`` is one of ``KINDS``; ``json`` is any JSON value, kept as text and read back as the value."""

    name: str
    kind: str
    comment: str


@dataclass(frozen=True)
class ResultKind:
    """A result of a method on a run.

    Parameters
    ----------
    name
        How the store files it. Unique among all methods.
    made_by
        The command that computes it, without ``gsd``: what an error tells a person to run.
    tables
        Name of a table → its columns.
    is_by_checkpoint
        Whether each checkpoint has its own, or the run has one.
    needs
        Names of results that it was computed from. When one of them is replaced, this one is dropped.
    """

    name: str
    made_by: str
    tables: Mapping[str, tuple[Column, ...]]
    is_by_checkpoint: bool = True
    needs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for a name that could not be a folder's name."""
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
        For a line without a comment, or a kind that does not exist.
    """
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        names, kind, comment = line.split(maxsplit=2)
        if kind not in KINDS:
            raise ValueError(f"{names} is of the kind {kind!r}; there are {', '.join(KINDS)}")
        found += [Column(name, kind, comment) for name in names.split(",")]
    return tuple(found)
