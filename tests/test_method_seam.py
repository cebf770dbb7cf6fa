"""A method of another package: four things, and no file of ours is touched.

A toy that counts the words of spans is written into a folder as an installed package. It must be there as a command, in
the help, as a job with progress, cancel and resume, as a page, in export and in the reference document.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gsd_core.dashboard.jobs import job_output, job_store
from gsd_core.dashboard.jobs.supervisor import read_json
from gsd_core.methods.analyze_method import ANALYZE
from gsd_core.registry.catalog import list_commands, load
from gsd_core.registry.method import Method
from tests.cli_support import ROOT, write_run
from tests.test_dashboard_jobs import wait_for

FILES = {
    "toy_words/__init__.py": "",
    "toy_words/compute.py": '''
def count_words(text):
    """How many words a text has."""
    return len(text.split())
''',
    "toy_words/stage.py": """
import signal
from pathlib import Path

import pandas as pd

from toy_words.compute import count_words
from toy_words.entry import WORDS


def run_words(workspace, options, progress):
    run = workspace.open_run(options.run)
    spans = run.read_spans(columns=["span", "text"])
    stage = progress.stage("counting", len(spans), "spans")
    with run.results.open_writer(WORDS, {"times": options.times}) as writer:
        n_known = len(writer.finished)
        for batch, row in enumerate(spans.itertuples(index=False)):
            if batch not in writer.finished:
                n = options.times * count_words(row.text)
                writer.append(batch, {"words": pd.DataFrame({"span": [row.span], "n": [n]})})
            stage.advance()
            if batch == 4 and options.hold and not Path(options.hold).exists():
                Path(options.hold).touch()
                signal.pause()
        writer.finish({"times": options.times})
    return {"run": options.run, "n_spans": len(spans), "n_known": n_known}


def describe_words(result):
    return f"words of {result['n_spans']} spans counted"
""",
    "toy_words/view.py": """
import streamlit as st

from gsd_core.dashboard.frame.workspaces import open_workspace
from toy_words.entry import WORDS


def show_words(chosen):
    table = open_workspace().open_run(chosen.info.name).results.read(WORDS, "words")
    st.metric("Words", int(table["n"].sum()))
""",
    "toy_words/entry.py": '''
from dataclasses import dataclass

from gsd_core.registry.method import Export, Job, Method, Page
from gsd_core.registry.options import option
from gsd_core.registry.result_kind import ResultKind, make_columns


@dataclass(frozen=True, slots=True)
class WordsOptions:
    """Flags of the toy."""

    run: str = option(metavar="RUN", is_positional=True)
    """The run."""
    times: int = option(1, metavar="N", check="positive")
    """How often each word counts."""
    hold: str | None = None
    """A file that the toy waits for once."""


WORDS = ResultKind("words", "words", {"words": make_columns("span text span id\\nn int words")}, is_by_checkpoint=False)
TOY = Method(
    "words",
    "count the words of every span",
    WordsOptions,
    run="toy_words.stage:run_words",
    describe="toy_words.stage:describe_words",
    job=Job("Count the words of {run}", "count words", opens="words"),
    results=(WORDS,),
    exports=(Export("words", is_by_checkpoint=False),),
    page=Page("words", "Words", "toy_words.view:show_words", ("No words", "Count some."), order=90, needs=("words",)),
)
''',
    "toy_words-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: toy-words\nVersion: 1.0\n",
    "toy_words-1.0.dist-info/entry_points.txt": "[gsd.methods]\nwords = toy_words.entry:TOY\n",
}
N_SPANS = 12


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with a run, beside an environment that has the toy installed."""
    for name, text in FILES.items():
        file = tmp_path / "site" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(tmp_path / "site")]))
    return write_run(tmp_path / "workspace", n_samples=3, n_steps=4, checkpoints=("only",))


def run_python(*words: object) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_gsd(*words: object) -> str:
    return run_python("-m", "gsd_core", *words)


def test_a_toy_is_a_command_with_help_and_its_tables_can_be_exported(toy: Path, tmp_path: Path) -> None:
    assert "count the words of every span" in run_gsd("--help")
    assert "How often each word counts (default 1)" in " ".join(run_gsd("words", "--help").split())
    result = json.loads(run_gsd("--json", "--workspace", toy, "words", "planted", "--times", 2))
    assert result == {"run": "planted", "n_spans": N_SPANS, "n_known": 0}
    assert run_gsd("--workspace", toy, "words", "planted") == f"words of {N_SPANS} spans counted\n"
    file = tmp_path / "words.csv"
    run_gsd("--workspace", toy, "export", "planted", "--what", "words", "--out", file)
    rows = list(csv.DictReader(file.open(encoding="utf-8")))
    assert [row["n"] for row in rows] == ["5"] * N_SPANS  # "Step 0 of tale 0."


def test_a_toy_is_a_job_with_progress_cancel_and_resume(toy: Path, tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    argv = [sys.executable, "-m", "gsd_core", "--workspace", str(toy), "--json"]
    argv += ["words", "planted", "--hold", str(hold)]
    job = job_store.start_job(toy, "words", [argv], run="planted", names=["words"])
    wait_for(hold.exists, "the fifth span")
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
    assert read_json(again.folder / "out-0.json")["n_known"] == 5, "finished spans were counted again"


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
    said, titles, job_title, word = json.loads(
        run_python("-c", PAGE.format(app=str(ROOT / "app.py"))).splitlines()[-1]
    )
    assert said == [f"Words {5 * N_SPANS}"]
    assert titles == ["Words"]
    assert (job_title, word) == ("Count the words of r", "count words")


def test_a_toy_is_in_the_reference_document(toy: Path) -> None:
    script = "import runpy; print(runpy.run_path('docs/write_reference.py')['render_reference']())"
    text = run_python("-c", script)
    for words in ("### gsd words", "How often each word counts", "Count the words of every span"):
        assert words in text


def test_a_broken_package_is_told_and_stops_nobody(toy: Path, tmp_path: Path) -> None:
    (tmp_path / "site" / "toy_words" / "entry.py").write_text("raise RuntimeError('half installed')")
    assert "capture" in run_gsd("--help")
    done = subprocess.run(
        [sys.executable, "-m", "gsd_core", "--json", "--workspace", str(toy), "doctor"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    (check,) = [each for each in json.loads(done.stdout)["checks"] if each["name"] == "toy_words.entry:TOY"]
    assert not check["ok"]
    assert "half installed" in check["value"]


@pytest.mark.parametrize("command", list_commands(), ids=lambda command: command.name)
def test_every_import_string_leads_somewhere(command: Method) -> None:
    names = [command.run, command.describe]
    if isinstance(command, Method):
        names += [each for export in command.exports for each in (export.compute, export.write)]
        names += [command.page.view] if command.page else []
        for export in command.exports:
            tables = [name for kind in command.results for name in kind.tables]
            assert export.compute or export.write or export.name in tables
    for name in filter(None, names):
        assert callable(load(name)), f"{command.name}: {name}"


def test_the_results_of_all_methods_have_names_of_their_own() -> None:
    names = [kind.name for each in list_commands() if isinstance(each, Method) for kind in each.results]
    assert len(set(names)) == len(names)
    assert {kind.name for kind in ANALYZE.results} <= set(names)
