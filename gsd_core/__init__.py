"""GSD: span-level gradients of chain-of-thought fine-tuning, captured, mapped and compared.

open_run     open a run by name: spans as a pandas frame, directions read on demand; OpenedRun is what it returns
open_probe   a probe set for ``gsd_core.training.SpanGradientCallback``, stored as one run
open_ride    the same for gradients of the training itself
UserError    what every public function raises on input that the caller can fix
__version__  version of the package

Importing this package loads neither torch nor the database. A subpackage is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gsd_core.errors import UserError

if TYPE_CHECKING:
    from gsd_core.driver.tracking import open_probe, open_ride
    from gsd_core.stages.opened_run import OpenedRun, open_run

__version__ = "0.1.0"
__all__ = ["OpenedRun", "UserError", "__version__", "open_probe", "open_ride", "open_run"]

_LAZY_NAMES = {
    "open_run": "gsd_core.stages.opened_run",
    "OpenedRun": "gsd_core.stages.opened_run",
    "open_probe": "gsd_core.driver.tracking",
    "open_ride": "gsd_core.driver.tracking",
}
_ROOMS = frozenset(
    (
        "analysis",
        "capture",
        "comparison",
        "dataset",
        "driver",
        "execution",
        "stages",
        "store",
        "tiers",
        "training",
        "types",
        "errors",
    )
)


def __getattr__(name: str) -> Any:
    """Load a public name or a subpackage on first use (PEP 562)."""
    if name in _LAZY_NAMES:
        value = getattr(importlib.import_module(_LAZY_NAMES[name]), name)
        globals()[name] = value
        return value
    if name in _ROOMS:
        return importlib.import_module(f"gsd_core.{name}")
    raise AttributeError(f"module 'gsd_core' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY_NAMES, *_ROOMS})
