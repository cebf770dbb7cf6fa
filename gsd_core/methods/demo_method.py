"""``gsd demo``: look at the bundled run; capture and analyse the planted corpus.

DemoOptions   the flags
DEMO          the command
DEMO_SOURCE   the source of the planted corpus, in the description of its data set
"""

from __future__ import annotations

from dataclasses import dataclass

from gsd_core.registry.method import Command, Job
from gsd_core.registry.options import option

DEMO_SOURCE = "generated: gsd_core.dataset.demo"


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """Flags of ``gsd demo``."""

    no_serve: bool = False
    """Capture the planted corpus here, and open no dashboard."""
    samples: int = option(640, metavar="N", check="positive")
    """How many samples of the planted corpus to capture."""
    checkpoints: list[str] = option(["all"], metavar="NAME")
    """Which of the demo model's checkpoints to capture."""
    port: int | None = option(None, metavar="N", check="port")
    """Port of the dashboard. Default: 8501, or the next free one."""
    host: str = "127.0.0.1"
    """Address of the dashboard. Only this machine reaches the default."""


DEMO = Command(
    "demo",
    "open the bundled run, and capture the planted corpus meanwhile",
    DemoOptions,
    run="gsd_core.cli.demo_command:run_demo_command",
    needs="context",
    order=0,
    job=Job("This machine at work: the planted corpus", "demo", opens="map"),
)
