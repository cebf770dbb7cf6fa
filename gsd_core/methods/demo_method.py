"""``gsd demo``: capture, analyse and serve the bundled model and corpus.

DemoOptions   the flags
DEMO          the command
"""

from __future__ import annotations

from dataclasses import dataclass

from gsd_core.registry.method import Command, Job
from gsd_core.registry.options import option


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """Flags of ``gsd demo``."""

    no_serve: bool = False
    """Stop before the dashboard."""
    samples: int = option(640, metavar="N", check="positive")
    """How many samples of the corpus to capture."""
    checkpoints: list[str] = option(["all"], metavar="NAME")
    """Which of the model's checkpoints to capture."""
    port: int | None = option(None, metavar="N", check="port")
    """Port of the dashboard. Default: 8501, or the next free one."""
    host: str = "127.0.0.1"
    """Address of the dashboard. Only this machine reaches the default."""


DEMO = Command(
    "demo",
    "capture, analyse and serve the bundled model and corpus",
    DemoOptions,
    run="gsd_core.cli.demo_command:run_demo_command",
    needs="context",
    order=0,
    job=Job("Make the demo", "demo", opens="map"),
)
