"""The procedures of the demo corpus, read from ``procedures.toml``.

STYLES     names of the wordings, in the order of every table; the first is plain: the demo model was taught it, and
           the corpus does not use it
StepSpec   one step of a procedure: its role, its wordings, which slot is its result
Procedure  a way to solve a problem: question wordings and steps
PROCEDURE_TABLE, PROCEDURES   all procedures, and their names

The slots of a template: ``{n}`` and ``{m}`` people, ``{items}``, ``{box}``, ``{boxes}``, ``{kind}``, ``{other}`` nouns
of the topic, ``{a} {b} {s} {k} {p} {d}`` numbers with s = a + b and p = k·s, ``{x1}…{x5}`` people of a list with their
numbers ``{v1}…{v5}``; ``scripts`` sets the other slots step by step.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

STYLES: tuple[str, ...] = ("amber", "birch", "cobalt", "dune")


@dataclass(frozen=True, slots=True)
class StepSpec:
    """One step of a procedure.

    ``sentences`` has one template a style; no style has a content word of another. ``result`` is the slot that a wrong
    turn gets wrong, ``""`` where a step has nothing to get wrong.
    """

    role: str
    sentences: tuple[str, ...]
    result: str = ""

    def write(self, slots: dict[str, str], style: int) -> str:
        """The sentence of this style."""
        return self.sentences[style].format_map(slots)


@dataclass(frozen=True, slots=True)
class Procedure:
    """A way to solve a problem. ``questions`` has one template a style; ``answer`` is the slot that answers it."""

    name: str
    questions: tuple[str, ...]
    steps: tuple[StepSpec, ...]
    answer: str


def _read() -> tuple[Procedure, ...]:
    table = tomllib.loads(Path(__file__).with_name("procedures.toml").read_text(encoding="utf-8"))
    return tuple(
        Procedure(
            each["name"],
            tuple(each["questions"]),
            tuple(StepSpec(s["role"], tuple(s["sentences"]), s.get("result", "")) for s in each["step"]),
            each["answer"],
        )
        for each in table["procedure"]
    )


PROCEDURE_TABLE: tuple[Procedure, ...] = _read()
PROCEDURES: tuple[str, ...] = tuple(procedure.name for procedure in PROCEDURE_TABLE)
