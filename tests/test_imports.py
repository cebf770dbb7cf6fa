"""The import budget: what starts often must not load what is heavy."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.cli_support import ROOT

HEAVY = {
    "torch",
    "transformers",
    "lance",
    "pandas",
    "pyarrow",
    "numba",
    "umap",
    "sklearn",
    "scipy",
    "streamlit",
    "rich",
}


def _modules_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after ``code``."""
    script = f"{code}\nimport json, sys\nsys.stderr.write(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=True)
    return set(json.loads(done.stderr.decode().splitlines()[-1]))


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("import gsd_core", "import gsd_core; gsd_core.__version__; dir(gsd_core)"),
        ("gsd --help", "from gsd_core.__main__ import main; main(['--help'])"),
        ("gsd capture --help", "from gsd_core.__main__ import main; main(['capture', '--help'])"),
        ("an unknown command", "from gsd_core.__main__ import main\nmain(['compare'])"),
    ],
)
def test_quick_starts_load_nothing_heavy(what: str, code: str) -> None:
    # A shell completion, a `--help` or a script that only wants open_run must not wait seconds for torch.
    found = _modules_after(code) & HEAVY
    assert not found, f"{what} loads {sorted(found)}: an import moved from a function to the top of a module?"


def test_opening_a_run_loads_no_torch() -> None:
    # `import gsd_core as gsd; gsd.open_run(...)` is for notebooks that only look.
    found = _modules_after("import gsd_core; gsd_core.open_run; gsd_core.OpenedRun")
    assert not found & {"torch", "transformers", "umap", "numba", "streamlit"}, (
        "open_run came to depend on capture or layout"
    )


def test_command_line_reads_data_without_torch() -> None:
    # `gsd datasets preview` runs at every upload in the dashboard.
    code = "import gsd_core.stages.datasets_stage, gsd_core.cli.command_parser"
    found = _modules_after(code) & {"torch", "transformers", "umap", "numba", "streamlit"}
    assert not found, f"reading data loads {sorted(found)}"


def test_public_names_exist() -> None:
    import gsd_core

    for name in gsd_core.__all__:
        assert getattr(gsd_core, name) is not None
    assert gsd_core.errors.UserError is gsd_core.UserError
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        gsd_core.nothing  # noqa: B018
