"""Fixtures that every test may use.

shared_data   folder of real chain-of-thought files; tests that need it are skipped where it is missing
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data: ``$GSD_SHARED_DATA``, else ``../shared/data`` beside the checkout."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("GSD_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}; set GSD_SHARED_DATA to its folder")
    return folder
