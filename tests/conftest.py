"""Fixtures that every test may use.

shared_data   folder of real chain-of-thought files; tests that need it are skipped where it is missing
workspace     an empty workspace
filled        a run captured in order, for reading only
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gsd_core.store import Run, Workspace
from tests.store_rows import make_run, write_missing


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data: ``$GSD_SHARED_DATA``, else ``../shared/data`` beside the checkout."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("GSD_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}; set GSD_SHARED_DATA to its folder")
    return folder


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = make_run(Workspace.open(tmp_path_factory.mktemp("filled")), "filled", 10)
    write_missing(run, 10, 3)
    run.close()
    return run
