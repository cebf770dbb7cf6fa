"""Stopping: SIGINT and SIGTERM exit 130, keep finished work, and print the command that resumes."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from gsd_core.errors import Interrupted
from tests.cli_support import ROOT, make_rows, run_gsd_json, save_tiny_model, start_gsd, write_rows

WAITS = """
import signal, sys, gsd_core.cli.doctor_command as commands
from gsd_core.cli.command_line import main
def wait(context, flags):
    context.progress.stage("waiting")
    print("ready", file=sys.stderr, flush=True)
    signal.pause()
commands.run_doctor_command = wait
sys.exit(main(["--json", "--workspace", "my folder", "doctor"]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("is_background", [False, True])
def test_a_signal_ends_a_command_with_130(number: signal.Signals, is_background: bool) -> None:
    # A shell starts background jobs with SIGINT ignored; they must still be cancellable.
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=(lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if is_background else None,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == b"ready\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err.decode()
    assert b"Traceback" not in err
    value = json.loads(out)
    assert value["exit"] == 130
    assert shlex.split(value["resume"]) == ["gsd", "--workspace", "my folder", "doctor"]
    assert value["resume"] in err.decode(), "the command that resumes is not on standard error"


def test_the_stages_own_resume_command_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    import gsd_core.cli.doctor_command as commands

    def stop(*_: object) -> None:
        raise Interrupted("gsd capture --resume")

    monkeypatch.setattr(commands, "run_doctor_command", stop)
    assert run_gsd_json("doctor", code=130)["resume"] == "gsd capture --resume"


def test_signal_handlers_are_restored() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    run_gsd_json("nonsense", code=2)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_an_interrupted_and_resumed_capture_equals_an_undisturbed_one(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "apples.jsonl", make_rows(80))
    model = save_tiny_model(tmp_path / "model")
    words = ["capture", "--dataset", file, "--model", model, "--run", "one", "--batch-tokens", "192"]
    process = start_gsd("--workspace", tmp_path / "cut", "--json", *words)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(b"embedding"):  # the capture comes next
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err.decode()
    resume = shlex.split(json.loads(out)["resume"])
    assert resume[0] == "gsd"
    assert "--resume" in resume
    done = run_gsd_json(*resume[1:])
    whole = run_gsd_json(*words, workspace=tmp_path / "whole")
    assert done["n_spans"] == whole["n_spans"]
    tables = []
    for workspace in (tmp_path / "cut", tmp_path / "whole"):
        out_file = workspace / "spans.parquet"
        run_gsd_json("export", "one", "--what", "spans", "--out", out_file, workspace=workspace)
        tables.append(pd.read_parquet(out_file))
    pd.testing.assert_frame_equal(*tables)


def test_a_closed_pipe_prints_no_traceback(tmp_path: Path) -> None:
    # `gsd … | head -1`
    process = start_gsd("--help")
    assert process.stdout is not None
    process.stdout.close()
    process.wait(60)
    assert process.stderr is not None
    assert b"Traceback" not in process.stderr.read()
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "gsd_core", "--workspace", str(tmp_path / "none"), "datasets", "list"],
        cwd=ROOT,
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr, done.stderr.decode()
