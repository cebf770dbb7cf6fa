"""Long traces: two questions solved in one trace, between segments that wander off or check without need.

generate_long_traces   samples whose segments are known to be needed or not
KINDS, FRAMES          what a segment may be; those at the ends
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gsd_core.dataset.demo.asides import CHECKS, CLOSINGS, CUED, OPENINGS, RAMBLES
from gsd_core.dataset.demo.generate import SPLITS
from gsd_core.dataset.demo.procedures import PROCEDURE_TABLE, STYLES, Procedure
from gsd_core.dataset.demo.scripts import draw_problem
from gsd_core.dataset.demo.topics import TOPIC_TABLE, Topic
from gsd_core.errors import UserError
from gsd_core.types import Sample

KINDS = ("opening", "needed", "filler", "self_check", "closing")
FRAMES = ("opening", "closing")
"""Kinds that stand at the ends, where a choice by the published rule keeps everything."""
ORDER_WORDS = ("First", "Second")
FILLERS, SELF_CHECKS = (2, 4), (1, 2)  # least and most of a trace
MOST_NUMBER = 400  # of the things that a filler speaks of


def generate_long_traces(n_samples: int, seed: int = 0, split: str = "train") -> list[Sample]:
    """Traces of seven to ten segments, of which exactly two are needed: each solves one of the two questions.

    The answer names both results, and nothing but its own segment tells either. Every segment but the first opens with
    a cue that the segment cutter knows, drawn alike for all kinds, so ``--segmenter cues`` and ``steps`` cut alike.
    The two needed segments keep their order; with fillers and self-checks they are in random places between an opening
    and a closing, since whatever stands last before an answer bears on its form.

    Parameters
    ----------
    seed
        Seeds numpy's PCG64 together with the split; numbers of the splits differ as in `generate_corpus`.

    Returns
    -------
    list[Sample]
        ``meta`` holds ``procedures``, ``topic``, ``wording``, and ``segment_kinds``, one of `KINDS` for each segment.

    Raises
    ------
    UserError
        Unknown split.
    """
    if split not in SPLITS:
        raise UserError("unknown split", repr(split), f"use one of {', '.join(SPLITS)}")
    rng = np.random.default_rng([seed, SPLITS.index(split), 2])
    return [_write_trace(rng, f"long-{split}-{row:05d}", split == "heldout") for row in range(n_samples)]


def _write_trace(rng: np.random.Generator, name: str, heldout: bool) -> Sample:
    topic = TOPIC_TABLE[int(rng.integers(len(TOPIC_TABLE)))]
    style = 1 + int(rng.integers(len(STYLES) - 1))
    procedures = [PROCEDURE_TABLE[int(at)] for at in rng.permutation(len(PROCEDURE_TABLE))[:2]]
    questions, solutions, answers = [], [], []
    for word, procedure in zip(ORDER_WORDS, procedures, strict=True):
        question, steps, answer = _solve(rng, procedure, topic, style, heldout)
        questions.append(f"{word}: {question}")
        solutions.append(f"{word}: {steps}")
        answers.append(answer)
    others = ["filler"] * int(rng.integers(*FILLERS, endpoint=True))
    others += ["self_check"] * int(rng.integers(*SELF_CHECKS, endpoint=True))
    kinds = ["needed", "needed", *others]
    kinds = ["opening", *(kinds[int(at)] for at in rng.permutation(len(kinds))), "closing"]
    left = iter(solutions)
    texts = [_write_segment(rng, kind, left) for kind in kinds]
    reasoning, ranges = "", []
    for text in texts:
        reasoning += "\n\n" if reasoning else ""
        ranges.append((len(reasoning), len(reasoning) + len(text)))
        reasoning += text
    meta = {
        "procedures": [procedure.name for procedure in procedures],
        "topic": topic.name,
        "wording": STYLES[style],
        "segment_kinds": kinds,
    }
    return Sample(name, " ".join(questions), reasoning, "; ".join(answers), tuple(ranges), meta)


def _solve(
    rng: np.random.Generator, procedure: Procedure, topic: Topic, style: int, heldout: bool
) -> tuple[str, str, str]:
    """Question, all steps in one line, answer."""
    problem = draw_problem(rng, procedure, topic, heldout)
    question = procedure.questions[int(rng.integers(len(STYLES)))].format_map(problem.slots)
    steps = " ".join(_sentence(spec.write(slots, style)) for _, spec, slots in problem.steps)
    return _sentence(question), steps, problem.answer


def _write_segment(rng: np.random.Generator, kind: str, solutions: Iterator[str]) -> str:
    if kind in ("opening", "closing"):
        return _draw(rng, OPENINGS if kind == "opening" else CLOSINGS, 1)
    if kind == "needed":
        text = next(solutions)
    elif kind == "filler":
        fact = TOPIC_TABLE[int(rng.integers(len(TOPIC_TABLE)))].fact
        text = _draw(rng, RAMBLES, 1 + int(rng.integers(2))).format(d=int(rng.integers(2, MOST_NUMBER)), fact=fact)
    else:
        text = _draw(rng, CHECKS, 1 + int(rng.integers(2)))
    return f"{_draw(rng, CUED, 1)} {text}"


def _draw(rng: np.random.Generator, sentences: Sequence[str], n: int) -> str:
    """``n`` different sentences."""
    return " ".join(sentences[int(at)] for at in rng.permutation(len(sentences))[:n])


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
