"""``gsd select``: choose samples or spans to train on.

SelectOptions   the flags
MEASURES        the measures that can rank within a budget
BY_SEGMENTS     choices that follow from an attribution and its thresholds
SELECT          the method
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gsd_core.registry.method import Method
from gsd_core.registry.options import option

MEASURES = ("alignment", "semantic", "spectral", "grace", "random")
BY_SEGMENTS = ("segments", "random-segments", "rest-segments", "first-solution", "top-tokens")


@dataclass(frozen=True, slots=True)
class SelectOptions:
    """Flags of ``gsd select``."""

    run: str = option(metavar="NAME")
    """The run."""
    by: str = option(choices=(*MEASURES, *BY_SEGMENTS))
    """The measure that ranks; or, of an attributed run, the segments that bear on the answer, as many others of each
    trace, those that are left, those up to the first that tells the answer, or as many single tokens."""
    out: Path = option(metavar="FILE")
    """The file: JSON Lines with a sample and its mask on each line."""
    budget: float | None = option(None, metavar="F")
    """Share of the spans' tokens to keep, above 0, up to 1. Choices from an attribution go by --tau and --beta."""
    tau: float = option(0.7, metavar="SHARE", check="above zero")
    """Of each trace the strongest segments that together hold this share of the strength ..."""
    beta: float = option(0.8, metavar="SHARE", check="above zero")
    """... and of those the ones whose consistency is at most this."""
    no_against: bool = False
    """Leave out segments that clearly lower the answer's probability."""
    target: str | None = option(None, metavar="meta.FIELD=VALUE|RUN")
    """What to resemble: samples of the run, which are then not selected, or another run."""
    unit: str | None = option(None, choices=("sample", "span"))
    """What is selected. Default: span for spectral and grace, else sample."""
    checkpoint: str | None = None
    """The checkpoint. Default: the run's default checkpoint."""
    seed: int = 0
    """Seed of the random selection and of ties."""


SELECT = Method(
    "select",
    "choose samples or spans to train on",
    SelectOptions,
    run="gsd_core.stages.select_stage:run_select",
    describe="gsd_core.stages.select_stage:describe_selection",
    order=60,
    notes="A measure correlates with what training does; it does not promise a better model.",
)
