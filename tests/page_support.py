"""Pages run without a browser.

open_page        one page with its address, which must not have failed
check            that it did not fail
words            what it says
mount            stand in for a component, to see what it is given
list_loaded      which of some modules a fresh server has loaded after it showed some pages
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import streamlit as st
from streamlit.testing.v1 import AppTest

from gsd_core.dashboard.alignment import alignment_heat

ROOT = Path(__file__).resolve().parents[1]
APP = str(ROOT / "app.py")


def open_page(folder: Path, page: str, monkeypatch, **query: str) -> AppTest:
    monkeypatch.setenv("GSD_WORKSPACE", str(folder))
    at = AppTest.from_file(APP, default_timeout=60)
    at.session_state[alignment_heat.DRAWN] = True  # no browser is here to say so
    at.switch_page(f"pages/{page}.py")
    for name, value in query.items():
        at.query_params[name] = value
    return check(at.run())


def check(at: AppTest) -> AppTest:
    problems = [f"{each.message}\n{''.join(each.stack_trace[-6:])}" for each in at.exception]
    assert not problems, "\n".join(problems)
    return at


def words(at: AppTest) -> str:
    kinds = (at.title, at.markdown, at.caption, at.info, at.error, at.text)
    return "\n".join(str(each.value) for kind in kinds for each in kind)


def mount(monkeypatch, module: ModuleType, name: str) -> dict[str, Any]:
    """Filled with what the component ``module.name`` is given; its answers belong into the empty session state."""
    given: dict[str, Any] = {}
    monkeypatch.setattr(module, name, lambda **arguments: given.update(arguments))
    monkeypatch.setattr(st, "session_state", {})
    return given


def list_loaded(folder: Path, pages: Sequence[str], query: dict[str, str], modules: Sequence[str]) -> list[str]:
    script = f"""
import json, sys
from streamlit.testing.v1 import AppTest
at = AppTest.from_file({APP!r}, default_timeout=60)
for page in {list(pages)!r}:
    at.switch_page(f"pages/{{page}}.py")
    for name, value in {query!r}.items():
        at.query_params[name] = value
    at.run()
    assert not at.exception, at.exception
print(json.dumps([name for name in {list(modules)!r} if name in sys.modules]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "GSD_WORKSPACE": str(folder)},
        cwd=ROOT,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])
