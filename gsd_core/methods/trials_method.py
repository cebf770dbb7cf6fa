"""``gsd trials``: the same fine-tune on several choices of the same traces, several seeds each.

TrialsOptions   the flags
TRIALS          the command
CHOICES         name of a choice → its objective, and what ``gsd select --by`` chooses; None where it needs no mask
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gsd_core.registry.method import Command, Job
from gsd_core.registry.options import option

CHOICES: dict[str, tuple[str, str | None]] = {
    "full": ("full", None),
    "selective": ("selective", "segments"),
    "pruned": ("pruned", "segments"),
    "random segments": ("selective", "random-segments"),
    "rest segments": ("selective", "rest-segments"),
    "first solution": ("selective", "first-solution"),
    "top tokens": ("selective", "top-tokens"),
    "spectral": ("selective", "spectral"),
    "grace": ("selective", "grace"),
    "alignment": ("selective", "alignment"),
}


@dataclass(frozen=True, slots=True)
class TrialsOptions:
    """Flags of ``gsd trials``."""

    config: Path = option(metavar="FILE.toml", is_positional=True)
    """What is trained on what: run, name, choices, seeds, and a table [train] with flags of gsd train."""


TRIALS = Command(
    "trials",
    "train on several choices of the same traces, and compare",
    TrialsOptions,
    run="gsd_core.stages.trials_stage:run_trials",
    describe="gsd_core.stages.trials_stage:describe_trials",
    order=61,
    notes="A stopped command goes on where it was: finished trainings are kept.",
    job=Job("Trials {config.stem}", "try", opens="trainings"),
)
