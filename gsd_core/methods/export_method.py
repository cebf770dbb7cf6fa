"""``gsd export``: a run's tables, vectors or report as a file.

ExportOptions   the flags
EXPORT          the command
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gsd_core.registry.method import Command
from gsd_core.registry.options import option


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Flags of ``gsd export``."""

    run: str = option(metavar="RUN", is_positional=True)
    """The run."""
    what: str = option(check="export")
    """What to write."""
    out: Path = option(metavar="FILE")
    """The file; its ending says the format."""
    sample: str | None = option(None, metavar="ID")
    """Which sample's tokens, with --what tokens."""
    checkpoint: str | None = None
    """The checkpoint; all puts tables below one another. Default: the one to look at first."""


EXPORT = Command(
    "export",
    "a run's tables as csv, parquet, jsonl or npz, or its report",
    ExportOptions,
    run="gsd_core.stages.export_stage:run_export",
    describe="gsd_core.stages.export_stage:describe_export",
    order=70,
)
