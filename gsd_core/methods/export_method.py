"""``gsd export``: write a run's tables, directions or report to a file.

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
    """The table or file to write."""
    out: Path = option(metavar="FILE")
    """The file. Its ending sets the format."""
    sample: str | None = option(None, metavar="ID")
    """The sample, with --what tokens."""
    checkpoint: str | None = None
    """The checkpoint; all joins the tables of all checkpoints. Default: the run's default checkpoint."""


EXPORT = Command(
    "export",
    "write a run's tables as csv, parquet, jsonl or npz, or its report",
    ExportOptions,
    run="gsd_core.stages.export_stage:run_export",
    describe="gsd_core.stages.export_stage:describe_export",
    order=70,
)
