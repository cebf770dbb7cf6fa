"""``gsd serve`` and ``gsd doctor``: open the dashboard, check the installation.

ServeOptions, DoctorOptions   the flags
SERVE, DOCTOR                 the commands
"""

from __future__ import annotations

from dataclasses import dataclass

from gsd_core.registry.method import Command
from gsd_core.registry.options import option


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Flags of ``gsd serve``."""

    port: int | None = option(None, metavar="N", check="port")
    """Port of the dashboard. Default: 8501, or the next free one."""
    host: str = "127.0.0.1"
    """Address of the dashboard. Only this machine reaches the default."""
    read_only: bool = False
    """Pages show everything but start no job and store nothing."""


@dataclass(frozen=True, slots=True)
class DoctorOptions:
    """``gsd doctor`` has no flags of its own."""


SERVE = Command(
    "serve",
    "open the dashboard",
    ServeOptions,
    run="gsd_core.cli.serve_command:run_serve",
    needs="context",
    order=90,
)
DOCTOR = Command(
    "doctor",
    "check versions, device and workspace; say what is missing",
    DoctorOptions,
    run="gsd_core.cli.doctor_command:run_doctor_command",
    needs="context",
    order=91,
)
