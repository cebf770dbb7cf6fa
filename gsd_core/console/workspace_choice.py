"""The default workspace.

choose_workspace   the given workspace or the default
"""

from __future__ import annotations

import os
from pathlib import Path


def choose_workspace(given: str | Path | None = None) -> str:
    """The folder or URI of the workspace: ``given``, else ``$GSD_WORKSPACE``, else ``./gsd-workspace``."""
    return str(given or os.environ.get("GSD_WORKSPACE") or "./gsd-workspace")
