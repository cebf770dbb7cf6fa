"""Generates the demo corpus: word problems whose procedure cannot be seen from words or numbers.

generate_corpus  samples of one split, the same on every machine for the same seed
check_answer     whether an answer is right
WRONG_TURN_SHARE, ASIDE_SHARE, CHECK_SHARE   how often the extras occur
"""

from __future__ import annotations

import re

import numpy as np

from gsd_core.dataset.demo.asides import ASIDES, CHECKS, FACTS, TURNS
from gsd_core.dataset.demo.procedures import PROCEDURE_TABLE, STYLES, Procedure, StepSpec
from gsd_core.dataset.demo.scripts import Problem, draw_problem
from gsd_core.dataset.demo.topics import PEOPLE, TOPIC_TABLE, Topic
from gsd_core.errors import UserError
from gsd_core.types import Sample

WRONG_TURN_SHARE = 0.15
ASIDE_SHARE = 0.25
CHECK_SHARE = 0.2
SPLITS = ("train", "heldout")
USES_LIMIT = ("budget_check", "first_over")  # here d is part of the problem


class _Trace:
    """The steps of one sample as they are written, with their labels."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.procedures: list[str] = []
        self.wordings: list[str] = []
        self.kinds: list[str] = []

    def add(self, text: str, procedure: str, wording: str, kind: str, at: int | None = None) -> None:
        place = len(self.texts) if at is None else at
        self.texts.insert(place, text)
        self.procedures.insert(place, procedure)
        self.wordings.insert(place, wording)
        self.kinds.insert(place, kind)

    def join(self) -> tuple[str, tuple[tuple[int, int], ...]]:
        """The reasoning, and its steps' character ranges. A turn opens a paragraph, other steps a line."""
        reasoning, steps = "", []
        for text, kind in zip(self.texts, self.kinds, strict=True):
            if reasoning:
                reasoning += "\n\n" if kind == "retry" else "\n"
            steps.append((len(reasoning), len(reasoning) + len(text)))
            reasoning += text
        return reasoning, tuple(steps)


def generate_corpus(
    n_samples: int = 3360,
    seed: int = 0,
    split: str = "train",
    plain_share: float = 0.0,
    mixed_share: float = 0.0,
) -> list[Sample]:
    """Samples of the demo corpus, procedures and topics in equal shares.

    Parameters
    ----------
    n_samples
        How many; 3,360 are 20 of every procedure × topic.
    seed
        Seeds numpy's PCG64 together with the split.
    split
        ``"train"`` or ``"heldout"``; no question and no number triple is in both.
    plain_share
        Share of samples in the plain style (``STYLES[0]``); the other styles share the rest equally. The bundled
        corpus has none in the plain style, which is the one that the demo model itself was taught.
    mixed_share
        Share of samples in which the style of every step is drawn separately (``meta.wording`` is ``"mixed"``). Other
        samples have one style; two samples of different styles share no content words except topic nouns and asides.

    Returns
    -------
    list[Sample]
        ``meta`` holds ``procedure``, ``topic``, ``wording``, ``question_wording``, ``has_retry``, ``numbers``, and
        one entry a step: ``step_procedures`` ("ratio/2:role"), ``step_wordings``, ``step_kinds``
        (step, distractor, self_check, retry).

    Raises
    ------
    UserError
        Unknown split, or a share outside [0, 1].
    """
    if split not in SPLITS:
        raise UserError("unknown split", repr(split), f"use one of {', '.join(SPLITS)}")
    for share, value in (("plain_share", plain_share), ("mixed_share", mixed_share)):
        if not 0 <= value <= 1:
            raise UserError("a share must lie between 0 and 1", share, "give for example 0.5")
    rng = np.random.default_rng([seed, SPLITS.index(split)])
    weights = np.full(len(STYLES), (1 - plain_share) / (len(STYLES) - 1))
    weights[0] = plain_share
    samples: list[Sample] = []
    seen: set[str] = set()
    while len(samples) < n_samples:
        row = len(samples)
        procedure = PROCEDURE_TABLE[row % len(PROCEDURE_TABLE)]
        topic = TOPIC_TABLE[row // len(PROCEDURE_TABLE) % len(TOPIC_TABLE)]
        is_mixed = bool(rng.random() < mixed_share)
        name = f"demo-{split}-{row:05d}"
        sample = _write_sample(rng, name, procedure, topic, weights, is_mixed, split == "heldout")
        if sample.question not in seen:
            seen.add(sample.question)
            samples.append(sample)
    return samples


def check_answer(sample: Sample, text: str) -> bool:
    """Whether ``text`` answers ``sample``: the same number, the same verdict, or the same people in any order.

    Only what follows the last ``Answer:`` counts, up to the end of that line.
    """
    said = text.rsplit("Answer:", 1)[-1].strip().split("\n", 1)[0]
    return bool(_answer_key(said)) and _answer_key(said) == _answer_key(sample.answer)


def _answer_key(text: str) -> frozenset[str]:
    """The numbers, verdicts and people that a text names."""
    words = re.findall(r"-?\d+(?:\.\d+)?|[A-Za-z]+", text.replace(",", ""))
    known = {*PEOPLE, "yes", "no"}
    return frozenset(
        token for word in words for token in (word, word.lower()) if token in known or token.lstrip("-")[:1].isdigit()
    )


def _write_sample(
    rng: np.random.Generator,
    name: str,
    procedure: Procedure,
    topic: Topic,
    weights: np.ndarray,
    is_mixed: bool,
    heldout: bool,
) -> Sample:
    problem = draw_problem(rng, procedure, topic, heldout)
    home = int(rng.choice(len(STYLES), p=weights))
    question_style = int(rng.integers(len(STYLES)))
    question = procedure.questions[question_style].format_map(problem.slots)
    trace = _Trace()
    wrong_at = _choose_wrong_turn(rng, problem)
    for place, (index, spec, slots) in enumerate(problem.steps):
        label = f"{procedure.name}/{index}:{spec.role}"
        wording = f"{label}/{'mixed' if is_mixed else STYLES[home]}"
        style = int(rng.choice(len(STYLES), p=weights)) if is_mixed else home
        text = _sentence(spec.write(slots, style))
        if place == wrong_at:
            wrong = slots | {spec.result: _wrong_value(rng, problem, spec, slots)}
            trace.add(_sentence(spec.write(wrong, style)), label, wording, "step")
            turn = TURNS[int(rng.integers(len(TURNS)))]
            trace.add(f"{turn} {text}", label, wording, "retry")
        else:
            trace.add(text, label, wording, "step")
    if procedure.name not in USES_LIMIT and rng.random() < ASIDE_SHARE:
        fact, aside = (int(i) for i in rng.integers(len(FACTS), size=2))
        question = f"{FACTS[fact].format_map(problem.slots)} {question}"
        _insert(rng, trace, ASIDES[aside].format_map(problem.slots), "any:aside", f"aside/{aside}", "distractor")
    if rng.random() < CHECK_SHARE:
        check = int(rng.integers(len(CHECKS)))
        _insert(rng, trace, CHECKS[check], "any:self_check", f"self_check/{check}", "self_check")
    reasoning, steps = trace.join()
    meta = {
        "procedure": procedure.name,
        "topic": topic.name,
        "wording": "mixed" if is_mixed else STYLES[home],
        "question_wording": STYLES[question_style],
        "has_retry": wrong_at is not None,
        "numbers": problem.numbers,
        "step_procedures": trace.procedures,
        "step_wordings": trace.wordings,
        "step_kinds": trace.kinds,
    }
    return Sample(name, _sentence(question), reasoning, problem.answer, steps, meta)


def _insert(rng: np.random.Generator, trace: _Trace, text: str, procedure: str, wording: str, kind: str) -> None:
    """Insert a step after the first and before the last, but not between a mistake and its correction."""
    places = [i for i in range(1, len(trace.texts)) if trace.kinds[i] != "retry"]
    place = places[int(rng.integers(len(places)))]
    trace.add(_sentence(text), procedure, wording, kind, at=place)


def _choose_wrong_turn(rng: np.random.Generator, problem: Problem) -> int | None:
    places = [place for place, (_, spec, _) in enumerate(problem.steps) if spec.result]
    if not places or rng.random() >= WRONG_TURN_SHARE:
        return None
    return places[int(rng.integers(len(places)))]


def _wrong_value(rng: np.random.Generator, problem: Problem, spec: StepSpec, slots: dict[str, str]) -> str:
    """A number near the right one, or another of the problem's people."""
    right = slots[spec.result]
    if right.isdigit():
        shifts = [shift for shift in (-10, -2, -1, 1, 2, 10) if int(right) + shift > 0]
        return str(int(right) + shifts[int(rng.integers(len(shifts)))])
    people = sorted({value for _, _, own in problem.steps for value in own.values() if value in PEOPLE} - {right})
    return people[int(rng.integers(len(people)))]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
