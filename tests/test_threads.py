"""OpenMP's threads yield in every command, job and worker: they do not spin on a core that somebody else needs.

The runtime reads its environment when it is loaded, so what counts is that the setting comes before torch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gsd_core.console.threads import let_threads_yield
from gsd_core.execution import RayExecutor
from tests.cli_support import ROOT


def run_python(code: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))}
    environment |= {"PYTHONPATH": str(ROOT), **more}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)


def test_a_value_that_the_user_set_stays() -> None:
    for given, expected in (({}, "passive"), ({"OMP_WAIT_POLICY": "active"}, "active")):
        environment = dict(given)
        let_threads_yield(environment)
        assert environment == {"OMP_WAIT_POLICY": expected}


@pytest.mark.parametrize(("given", "seen"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "active"}, "ACTIVE")])
def test_the_runtime_that_torch_loads_takes_it_from_the_command(given: dict[str, str], seen: str) -> None:
    # OMP_DISPLAY_ENV makes the runtime itself say, when it is loaded, what it has understood.
    code = "from gsd_core.__main__ import main; main(['--version']); import torch"
    told = run_python(code, OMP_DISPLAY_ENV="true", **given).stderr
    assert f"OMP_WAIT_POLICY = '{seen}'" in told, told


def test_importing_the_package_leaves_the_environment_alone() -> None:
    code = "import os, gsd_core, gsd_core.store; print(os.environ.get('OMP_WAIT_POLICY'))"
    assert run_python(code).stdout.strip() == "None"


def test_a_job_hands_it_to_its_commands(tmp_path: Path) -> None:
    code = "import json, os; print(json.dumps(os.environ.get('OMP_WAIT_POLICY')))"
    (tmp_path / "job.json").write_text(json.dumps({"commands": [[sys.executable, "-c", code]]}))
    run_python(f"from gsd_core.dashboard.jobs.supervisor import main; main([{str(tmp_path)!r}])")
    assert json.loads((tmp_path / "out-0.json").read_text()) == "passive"


class Teller:
    """Makes workers that tell their environment, and whether torch was there before the factory."""

    def __call__(self) -> Callable[[Any], Any]:
        return lambda batch, report: (os.environ.get("OMP_WAIT_POLICY"), "torch" in sys.modules)


def test_a_ray_worker_sets_it_before_torch_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    # As on a cluster's machine, which knows nothing of the driver's environment.
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    with RayExecutor(1) as executor:
        [(_, (policy, has_torch))] = executor.run_batches(Teller(), [(0, None)])
    assert (policy, has_torch) == ("passive", False)
