"""From the rounds of a race to its figures, and from the figures to targets.

Ratio            median, lowest and highest over rounds of a quotient formed within the round
compute_ratio    of two contestants' seconds
compute_memory   peak of a contestant's process beside another's, whole and without what it held before any work
race_key         the name of a size in a result
MAIN             that of the size all ways run on
Target           what was promised beside what was reached
compute_targets  all promises that a result can answer
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any

from tests.benchmarks.race_work import BERGSON_WAYS, PLAIN, Size

Result = dict[str, Any]
MASKED, CUT = BERGSON_WAYS


@dataclass(frozen=True, slots=True)
class Ratio:
    """Quotients over rounds."""

    median: float
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True)
class Target:
    """``wanted`` is a limit from above, or from below where ``at_least``; ``reached`` is None where nothing ran."""

    what: str
    wanted: float
    reached: float | None
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        """Whether what was reached keeps the limit; false where nothing ran."""
        if self.reached is None:
            return False
        return self.reached >= self.wanted if self.at_least else self.reached <= self.wanted


def race_key(size: Size) -> str:
    """``256 x 8``: tokens, spans, and whether the spans differ in length."""
    return f"{size.tokens} x {size.spans}{' uneven' if size.uneven else ''}"


MAIN = race_key(Size())


def compute_ratio(result: Result, way: str, base: str = PLAIN, clock: str = "cpu_s") -> Ratio:
    """Seconds of `way` over those of `base`, by `clock` (``cpu_s`` or ``wall_s``)."""
    quotients = [a / b for a, b in zip(result["ways"][way][clock], result["ways"][base][clock], strict=True)]
    return Ratio(median(quotients), min(quotients), max(quotients))


def compute_memory(result: Result, way: str, base: str = PLAIN) -> tuple[float, float]:
    """(peak, growth over what was held before any work) of `way`, both over those of `base`."""
    own, other = result["ways"][way], result["ways"][base]
    growth = (own["peak_bytes"] - own["held_bytes"]) / (other["peak_bytes"] - other["held_bytes"])
    return own["peak_bytes"] / other["peak_bytes"], growth


def compute_targets(races: dict[str, Result]) -> list[Target]:
    """Every promise about cost, with what `races` (by :func:`race_key`) say of it."""

    def cost(key: str, way: str, base: str = PLAIN) -> float | None:
        result = races.get(key)
        if result is None or way not in result["ways"] or base not in result["ways"]:
            return None
        return compute_ratio(result, way, base).median

    def growth(way: str) -> float | None:
        few, many = cost("256 x 8", way), cost("256 x 32", way)
        return None if few is None or many is None else many / few

    main = races.get(MAIN)
    memory = compute_memory(main, "exact") if main and "exact" in main["ways"] else (None, None)
    return [
        Target("exact / plain step, 8 spans", 2.6, cost(MAIN, "exact")),
        Target("window 0 / plain step, 8 spans", 1.05, cost(MAIN, "window 0")),
        Target("window 1 / plain step, 8 spans", 1.4, cost(MAIN, "window 1")),
        Target("hidden / plain step", 0.45, cost(MAIN, "hidden")),
        Target("Bergson's masked rows / exact, 8 spans", 2.75, cost(MAIN, MASKED, "exact"), at_least=True),
        Target("Bergson's cut rows / exact, 8 spans", 1.6, cost(MAIN, CUT, "exact"), at_least=True),
        Target("Bergson's masked rows / exact, 32 spans", 3.0, cost("256 x 32", MASKED, "exact"), at_least=True),
        Target("Bergson's cut rows / exact, 32 spans", 1.8, cost("256 x 32", CUT, "exact"), at_least=True),
        Target("exact, 32 spans over 8 spans (linear: 4)", 4.0, growth("exact")),
        Target("window 0, 32 spans over 8 spans", 1.2, growth("window 0")),
        Target("window 1, 32 spans over 8 spans", 1.2, growth("window 1")),
        Target("peak memory, exact / plain step", 1.1, memory[0]),
        Target("peak memory beyond model and libraries, exact / plain step", 1.1, memory[1]),
    ]
