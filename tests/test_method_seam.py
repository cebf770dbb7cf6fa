"""A method of another package is found everywhere, without a change to another file.

The toy of docs/adding-a-method.md is installed in a folder. It must be a command with help, a job
with progress, cancel and resume, a page, an export and a part of the reference.
"""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gsd_core.dashboard.jobs import job_output, job_store
from gsd_core.dashboard.jobs.supervisor import read_json
from gsd_core.methods.analyze_method import ANALYZE
from gsd_core.registry.catalog import list_commands, load
from gsd_core.registry.method import Method
from tests.cli_support import ROOT, write_run
from tests.test_dashboard_jobs import wait_for

PAGE_TEXT = (ROOT / "docs" / "adding-a-method.md").read_text(encoding="utf-8")
# Every block of the page is a file: its name stands behind the language.
FILES = dict(re.findall(r"^```\w+ (\S+)\n(.*?)^```$", PAGE_TEXT, re.DOTALL | re.MULTILINE))
# Stops the job once, in the third sample, until it is cancelled.
HOLD = """

import os, signal
from pathlib import Path

_count, _hold = count_words, Path(os.environ["TOY_HOLD"])


def count_words(text):
    if text.startswith("Step 1 of tale 2") and not _hold.exists():
        _hold.touch()
        signal.pause()
    return _count(text)
"""
N_SPANS = 12


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with a run, beside an environment that has the toy installed."""
    declared = tomllib.loads(FILES["pyproject.toml"])["project"]
    installed = f"{declared['name'].replace('-', '_')}-{declared['version']}.dist-info"
    entries = declared["entry-points"]["gsd.methods"].items()
    files = {
        **FILES,
        f"{installed}/METADATA": f"Metadata-Version: 2.1\nName: {declared['name']}\nVersion: {declared['version']}\n",
        f"{installed}/entry_points.txt": "\n".join(["[gsd.methods]", *(f"{key} = {at}" for key, at in entries)]),
    }
    for name, text in files.items():
        file = tmp_path / "site" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(tmp_path / "site")]))
    return write_run(tmp_path / "workspace", n_samples=3, n_steps=4, checkpoints=("only",))


def test_every_block_of_the_page_is_a_file() -> None:
    assert PAGE_TEXT.count("```") == 2 * len(FILES), "a block without a name is not run"
    package = {f"toy_words/{name}.py" for name in ("compute", "entry", "stage", "view")}
    assert set(FILES) == package | {"pyproject.toml", "try.sh", "test_words.py"}


def test_the_pages_own_test_passes(toy: Path, tmp_path: Path) -> None:
    run_python("-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, tmp_path / "site" / "test_words.py")


def test_the_pages_commands_run(toy: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "gsd-workspace", "demo", n_samples=3)
    script = f'set -e\ngsd() {{ "{sys.executable}" -m gsd_core "$@"; }}\n{FILES["try.sh"]}'
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list(csv.DictReader((tmp_path / "words.csv").open(encoding="utf-8")))) == N_SPANS


def run_python(*words: object) -> str:
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_gsd(*words: object) -> str:
    return run_python("-m", "gsd_core", *words)


def test_a_toy_is_a_command_with_help_and_its_tables_can_be_exported(toy: Path, tmp_path: Path) -> None:
    assert "count the words of every span" in run_gsd("--help")
    assert "How often each word counts (default 1)" in " ".join(run_gsd("words", "--help").split())
    result = json.loads(run_gsd("--json", "--workspace", toy, "words", "planted", "--times", 2))
    assert result == {"run": "planted", "n_spans": N_SPANS, "n_words": 10 * N_SPANS, "n_resumed": 0}
    assert run_gsd("--workspace", toy, "words", "planted") == f"{N_SPANS} spans have {5 * N_SPANS} words\n"
    file = tmp_path / "words.csv"
    run_gsd("--workspace", toy, "export", "planted", "--what", "words", "--out", file)
    rows = list(csv.DictReader(file.open(encoding="utf-8")))
    assert [row["n"] for row in rows] == ["5"] * N_SPANS  # "Step 0 of tale 0."


def test_a_toy_is_a_job_with_progress_cancel_and_resume(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = tmp_path / "hold"
    monkeypatch.setenv("TOY_HOLD", str(hold))
    with (tmp_path / "site" / "toy_words" / "compute.py").open("a") as file:
        file.write(HOLD)
    argv = [sys.executable, "-m", "gsd_core", "--workspace", str(toy), "--json"]
    argv += ["words", "planted"]
    job = job_store.start_job(toy, "words", [argv], run="planted", names=["words"])
    wait_for(hold.exists, "the third sample")
    wait_for(lambda: job_output.read_progress(job) is not None, "progress")
    progress = job_output.read_progress(job)
    assert progress is not None
    assert (progress.stage, progress.total, progress.unit) == ("counting", N_SPANS, "spans")
    job_store.cancel_job(job)
    wait_for(lambda: not job_store.read_job(toy, job.id).is_active, "the end")
    job = job_store.read_job(toy, job.id)
    assert job.status == "cancelled"
    again = job_store.restart_job(toy, job)
    wait_for(lambda: not job_store.read_job(toy, again.id).is_active, "the end of the second")
    again = job_store.read_job(toy, again.id)
    assert again.status == "done", job_output.read_log(again)
    assert read_json(again.folder / "out-0.json")["n_resumed"] == 2, "finished samples were counted again"


PAGE = """
import json, sys
from streamlit.testing.v1 import AppTest
from gsd_core.dashboard.jobs.job_steps import Step, make_title, find_job
from toy_words.entry import WordsOptions
at = AppTest.from_file({app!r}, default_timeout=60).run()
assert not at.exception, at.exception
pages = {{page["url_pathname"]: key for key, page in at._registered_pages.items()}}
at._page_hash = pages["words"]
at.run()
assert not at.exception, at.exception
said = [each.label + " " + each.value for each in at.metric]
print(json.dumps([said, [each.value for each in at.title], make_title([Step("words", WordsOptions("r"))]),
                  find_job("words").word]))
"""


def test_a_toy_is_a_page(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_gsd("--workspace", toy, "words", "planted")
    monkeypatch.setenv("GSD_WORKSPACE", str(toy))
    said, titles, job_title, word = json.loads(run_python("-c", PAGE.format(app=str(ROOT / "app.py"))).splitlines()[-1])
    assert said == [f"Words {5 * N_SPANS}"]
    assert titles == ["Words"]
    assert (job_title, word) == ("Count the words of r", "count words")


def test_a_toy_is_in_the_reference_document(toy: Path) -> None:
    script = "import runpy; print(runpy.run_path('docs/write_reference.py')['render_reference']())"
    text = run_python("-c", script)
    for words in ("### gsd words", "How often each word counts", "Count the words of every span"):
        assert words in text


def test_a_broken_package_is_reported_and_does_not_stop_gsd(toy: Path, tmp_path: Path) -> None:
    (tmp_path / "site" / "toy_words" / "entry.py").write_text("raise RuntimeError('half installed')")
    assert "capture" in run_gsd("--help")
    done = subprocess.run(
        [sys.executable, "-m", "gsd_core", "--json", "--workspace", str(toy), "doctor"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    (check,) = [each for each in json.loads(done.stdout)["checks"] if each["name"] == "toy_words.entry:COUNT"]
    assert not check["ok"]
    assert "half installed" in check["value"]


@pytest.mark.parametrize("command", list_commands(), ids=lambda command: command.name)
def test_every_import_string_can_be_loaded(command: Method) -> None:
    names = [command.run, command.describe]
    if isinstance(command, Method):
        names += [each for export in command.exports for each in (export.compute, export.write)]
        names += [command.page.view] if command.page else []
        for export in command.exports:
            tables = [name for kind in command.results for name in kind.tables]
            assert export.compute or export.write or export.name in tables
    for name in filter(None, names):
        assert callable(load(name)), f"{command.name}: {name}"


def test_result_names_are_unique() -> None:
    names = [kind.name for each in list_commands() if isinstance(each, Method) for kind in each.results]
    assert len(set(names)) == len(names)
    assert {kind.name for kind in ANALYZE.results} <= set(names)
