"""The steps of a job: commands with their options, as a page chose them.

Step         a command's name and its options
make_argv    a step as the words of a subprocess
make_title   what a job of these steps is called
find_job     how a command runs in the background
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from gsd_core.errors import UserError
from gsd_core.registry.catalog import find_command
from gsd_core.registry.method import Job
from gsd_core.registry.options import to_words


class Step(NamedTuple):
    """``command`` is a name in the registry, ``options`` an instance of its options."""

    command: str
    options: Any


def make_argv(workspace: str | Path, step: Step) -> list[str]:
    """``python -m gsd_core`` with the step's words, on this workspace, printing JSON."""
    base = [sys.executable, "-m", "gsd_core", "--workspace", str(workspace), "--json"]
    return [*base, *step.command.split(), *to_words(step.options)]


def make_title(steps: Sequence[Step]) -> str:
    """The title of the step that takes longest by its nature: the first that is no reading of data."""
    step = next((each for each in steps if each.command != "datasets add"), steps[0])
    return (find_job(step.command) or Job("{}", "")).title.format(**asdict(step.options))


def find_job(command: str) -> Job | None:
    """How a command runs in the background; None where it is unknown, as in a job of an older version."""
    try:
        return find_command(command).job
    except UserError:
        return None
