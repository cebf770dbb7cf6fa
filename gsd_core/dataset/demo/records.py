"""Records of the demo corpus' tables.

STYLES     ids of the wordings, in the order in which every table lists them; the first is the plain one, which the
           corpus leaves out and the demo model speaks
StepSpec   one step of a procedure: its role, its wordings, which slot is its result
Procedure  a way to solve a problem: question wordings and steps

A template's slots: ``{n}`` and ``{m}`` people, ``{items}``, ``{box}``, ``{boxes}``, ``{kind}``, ``{other}``
nouns of the topic, ``{a} {b} {s} {k} {p} {d}`` numbers with s = a + b and p = k·s, ``{x1}…{x5}`` people of
a list with their numbers ``{v1}…{v5}``; the other slots are set step by step (``scripts``).
"""

from __future__ import annotations

from dataclasses import dataclass

STYLES: tuple[str, ...] = ("amber", "birch", "cobalt", "dune")


@dataclass(frozen=True, slots=True)
class StepSpec:
    """One step of a procedure.

    ``frames`` has one sentence a style, made of function words and slots; ``{1}``, ``{2}``, … stand for the content
    words. ``words`` has, for each of these, the words of all styles in order ("adding pooling …"): any of them
    fits any frame, and no style has a word of another. ``result`` is the slot that a wrong turn gets wrong, ``""``
    where a step has nothing to get wrong.
    """

    role: str
    frames: tuple[str, str, str, str]
    words: tuple[str, ...]
    result: str = ""

    def write(self, slots: dict[str, str], frame: int, words: tuple[int, ...]) -> str:
        """The sentence with this frame and, for each content word, the word of this style."""
        chosen = [row.split()[style] for row, style in zip(self.words, words, strict=True)]
        return self.frames[frame].format("", *chosen, **slots)


@dataclass(frozen=True, slots=True)
class Procedure:
    """A way to solve a problem. ``questions`` has one template a style; ``answer`` is the slot that answers it."""

    name: str
    questions: tuple[str, str, str, str]
    steps: tuple[StepSpec, ...]
    answer: str
