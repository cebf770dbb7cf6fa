"""``gsd select``: choose samples or spans to train on.

SelectOptions   the flags
MEASURES        the measures that can rank
SELECT          the method
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gsd_core.registry.method import Method
from gsd_core.registry.options import option

MEASURES = ("alignment", "semantic", "spectral", "grace", "random")


@dataclass(frozen=True, slots=True)
class SelectOptions:
    """Flags of ``gsd select``."""

    run: str = option(metavar="NAME")
    """The run."""
    by: str = option(choices=MEASURES)
    """The measure that ranks."""
    budget: float = option(metavar="F")
    """Share of the spans' tokens to keep, above 0, up to 1."""
    out: Path = option(metavar="FILE")
    """The file: JSON Lines with a sample and its mask on each line."""
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
