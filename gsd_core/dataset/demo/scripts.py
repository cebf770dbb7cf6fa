"""From a procedure to one problem: draws the numbers and people, and lists the steps that solve it.

Problem        one drawn problem: slots of its question, its steps with their slots, its answer
draw_numbers   the six numbers that every procedure shows
draw_problem   a problem of one procedure

All procedures draw from one pool: a and b, their sum s, a factor k, the product p = k·s and a number d that
is a limit in some procedures and an irrelevant fact in others. So the numbers do not show the procedure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gsd_core.dataset.demo.procedures import Procedure, StepSpec
from gsd_core.dataset.demo.topics import PEOPLE, Topic

Slots = dict[str, str]
Plan = list[tuple[int, Slots]]  # (index into Procedure.steps, slots of that step)


@dataclass(frozen=True, slots=True)
class Problem:
    """One drawn problem. ``steps`` pairs a step of the procedure (index, spec) with its slots."""

    slots: Slots
    steps: tuple[tuple[int, StepSpec, Slots], ...]
    answer: str
    numbers: dict[str, int]


def draw_numbers(rng: np.random.Generator, heldout: bool) -> dict[str, int]:
    """Six different numbers a, b, s, k, p, d of which training and held-out problems share no triple {a, b}, k."""
    while True:
        a, b = (int(value) for value in rng.integers(2, 20, size=2))
        k = int(rng.integers(2, 7))
        s, p = a + b, k * (a + b)
        is_heldout = (min(a, b) * 7 + max(a, b) * 13 + k * 5) % 8 == 0
        if is_heldout != heldout or k >= s or len({a, b, s, k, p}) < 5:
            continue
        low, high = (int(p * 0.6), int(p * 1.4) + 1) if rng.random() < 0.5 else (5, s + 10)
        d = int(rng.integers(low, high))
        if d not in (a, b, s, k, p):
            return {"a": a, "b": b, "s": s, "k": k, "p": p, "d": d}


def draw_problem(rng: np.random.Generator, procedure: Procedure, topic: Topic, heldout: bool) -> Problem:
    """A problem of ``procedure`` about ``topic``; ``heldout`` picks the number triples of that split."""
    numbers = draw_numbers(rng, heldout)
    people = [PEOPLE[int(i)] for i in rng.permutation(len(PEOPLE))[:7]]
    slots = {name: getattr(topic, name) for name in ("items", "box", "boxes", "kind", "other", "fact")}
    slots |= {name: str(value) for name, value in numbers.items()}
    slots |= {"n": people[5], "m": people[6]}
    everyone = sorted(people)
    plan, answer = _PLANS.get(procedure.name, _plan_count)(rng, procedure, numbers, people, slots)
    shown = sorted(numbers.values(), key=str)  # an order that does not show the roles
    slots |= {"numbers": ", ".join(map(str, shown)), "people": ", ".join(everyone)}
    steps = tuple((index, procedure.steps[index], slots | own) for index, own in plan)
    return Problem(slots, steps, answer, numbers)


def _plan_count(
    _rng: np.random.Generator, procedure: Procedure, numbers: dict[str, int], _people: list[str], slots: Slots
) -> tuple[Plan, str]:
    """All steps in order; only the budget check has words that depend on the outcome."""
    fits = numbers["d"] >= numbers["p"]
    slots |= {"verdict": "yes" if fits else "no", "is_not": "" if fits else "not "}
    return [(index, {}) for index in range(len(procedure.steps))], slots[procedure.answer]


def _list_values(rng: np.random.Generator, people: list[str], values: list[int], slots: Slots) -> list[int]:
    """Shuffles ``values`` over the first people and puts the list and its entries into ``slots``."""
    values = [values[int(i)] for i in rng.permutation(len(values))]
    slots["list"] = ", ".join(f"{name} {value}" for name, value in zip(people, values, strict=False))
    for position, (name, value) in enumerate(zip(people, values, strict=False), start=1):
        slots |= {f"x{position}": name, f"v{position}": str(value)}
    return values


def _plan_scan(
    rng: np.random.Generator, _procedure: Procedure, numbers: dict[str, int], people: list[str], slots: Slots
) -> tuple[Plan, str]:
    values = _list_values(rng, people, [numbers[name] for name in "abskp"], slots)
    best = 0
    plan: Plan = [(0, {"z": people[0], "w": str(values[0])})]
    for i in range(1, 5):
        own = {"y": people[i], "v": str(values[i]), "z": people[best], "w": str(values[best])}
        plan.append((1 if values[i] > values[best] else 2, own))
        best = i if values[i] > values[best] else best
    return [*plan, (3, {"z": people[best]})], people[best]


def _plan_order(
    rng: np.random.Generator, procedure: Procedure, numbers: dict[str, int], people: list[str], slots: Slots
) -> tuple[Plan, str]:
    values = _list_values(rng, people, [numbers[name] for name in "abskp"], slots)
    ranked = sorted(range(5), key=values.__getitem__)
    for position, i in enumerate(ranked, start=1):
        slots |= {f"x{position}": people[i], f"v{position}": str(values[i])}
    return [(index, {}) for index in range(len(procedure.steps))], people[ranked[2]]


def _plan_first(
    rng: np.random.Generator, _procedure: Procedure, numbers: dict[str, int], people: list[str], slots: Slots
) -> tuple[Plan, str]:
    ranked = sorted(numbers[name] for name in "abskp")
    if not ranked[1] < numbers["d"] < ranked[4]:  # two must be under the bar and one above it
        between = [value for value in range(ranked[1] + 1, ranked[4]) if value not in ranked]
        numbers["d"] = between[int(rng.integers(len(between)))]
    over = -1
    while over not in (2, 3):
        values = _list_values(rng, people, ranked, slots)
        over = next(i for i, value in enumerate(values) if value > numbers["d"])
    slots["d"] = str(numbers["d"])
    plan: Plan = [(0, {})]
    plan += [(1, {"y": people[i], "v": str(values[i])}) for i in range(over)]
    found = {"y": people[over], "v": str(values[over])}
    return [*plan, (2, found), (3, found)], people[over]


def _plan_chain(
    rng: np.random.Generator, _procedure: Procedure, numbers: dict[str, int], people: list[str], slots: Slots
) -> tuple[Plan, str]:
    values = _list_values(rng, people, [numbers[name] for name in "abskp"], slots)
    tour = [0, *(int(i) for i in 1 + rng.permutation(4))]
    following = {i: tour[(place + 1) % 5] for place, i in enumerate(tour)}
    slots["links"] = ", ".join(f"{people[i]} to {people[following[i]]}" for i in range(5))
    at = [{"y": people[i], "v": str(values[i])} for i in tour[:4]]
    return [(0, at[0]), *((1, hop) for hop in at[1:]), (2, at[3]), (3, at[3])], at[3]["v"]


def _plan_swap(
    rng: np.random.Generator, _procedure: Procedure, numbers: dict[str, int], people: list[str], slots: Slots
) -> tuple[Plan, str]:
    names = "abskp"
    left_out = int(rng.integers(5))
    held = _list_values(rng, people, [numbers[names[i]] for i in range(5) if i != left_out], slots)
    plan: Plan = [(0, {})]
    told: list[str] = []
    one, two = -1, -1
    for _ in range(3):
        before = {one, two}
        while before == {one, two} or one < 0:
            one, two = (int(i) for i in rng.permutation(4)[:2])
        held[one], held[two] = held[two], held[one]
        told.append(f"{people[one]} with {people[two]}")
        own = {"y": people[one], "m": people[two], "v": str(held[one]), "w": str(held[two])}
        plan.append((1, own))
    asked = one if rng.random() < 0.5 else int(rng.integers(4))
    slots |= {"swaps": ", then ".join(told), "z": people[asked], "u": str(held[asked])}
    return [*plan, (2, {}), (3, {})], str(held[asked])


def _plan_pair(
    rng: np.random.Generator, _procedure: Procedure, numbers: dict[str, int], people: list[str], slots: Slots
) -> tuple[Plan, str]:
    values = _list_values(rng, people, [numbers[name] for name in "abkp"], slots)
    owner = dict(zip(values, people, strict=False))
    a, b, k, p, s = (numbers[name] for name in "abkps")
    wrong: Plan = [(1, {"y": owner[p], "v": str(p)}), (2, {"y": owner[k], "v": str(k), "w": str(s - k)})]
    if rng.random() < 0.5:
        wrong.reverse()
    if rng.random() < 0.5:
        a, b = b, a
    found = {"y": owner[a], "v": str(a), "w": str(b), "z": owner[b]}
    return [(0, {}), *wrong, (3, found), (4, found)], f"{owner[a]} and {owner[b]}"


_PLANS: dict[str, Callable[..., tuple[Plan, str]]] = {
    "scan_largest": _plan_scan,
    "order_middle": _plan_order,
    "first_over": _plan_first,
    "follow_chain": _plan_chain,
    "swap_track": _plan_swap,
    "pair_match": _plan_pair,
}
