"""Fixtures that every test may use.

shared_data   folder of real chain-of-thought files; tests that need it are skipped where it is missing
shared_cases  folder of inputs as people bring them; likewise
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
    return _find_shared("data", "GSD_SHARED_DATA")


@pytest.fixture(scope="session")
def shared_cases() -> Path:
    """Folder of cases: ``$GSD_SHARED_CASES``, else ``../shared/cases`` beside the checkout."""
    return _find_shared("cases", "GSD_SHARED_CASES")


def _find_shared(name: str, variable: str) -> Path:
    folder = Path(os.environ.get(variable, Path(__file__).resolve().parents[2] / "shared" / name))
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing; set {variable} to its folder")
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
