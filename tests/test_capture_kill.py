"""``kill -9`` in the middle of a capture, then ``--resume``: row for row what an undisturbed run holds."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.cli_support import ROOT, make_rows, run_gsd_json, save_tiny_model, write_rows

# The child kills itself at the same point every time: before the `nth` write of the kind that `moment` names.
CHILD = """
import os, signal, sys
import gsd_core.store.writer as writer
from gsd_core.cli.command_line import main
moment, nth, words = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
writer.COMMIT_ROWS = 12
commit, append = writer.BatchWriter.commit, writer.BatchWriter.append
count = 0
def die(due):
    global count
    count += due
    if due and count == nth:
        os.kill(os.getpid(), signal.SIGKILL)
def killed_append(self, *rows):
    die(moment == "append")
    return append(self, *rows)
def killed_commit(self):
    table = self._marks
    class Marker:
        schema = table.schema
        def append(_, rows):
            die(moment == "marker")
            return table.append(rows)
    self._marks = Marker()
    try:
        commit(self)
    finally:
        self._marks = table
writer.BatchWriter.append, writer.BatchWriter.commit = killed_append, killed_commit
sys.exit(main(words))
"""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> tuple[Path, list[object]]:
    folder = tmp_path_factory.mktemp("kill")
    file = write_rows(folder / "apples.jsonl", make_rows(40))
    model = save_tiny_model(folder / "model")
    words: list[object] = ["capture", "--dataset", file, "--model", model, "--run", "one", "--window", "1"]
    words += ["--batch-tokens", "192"]
    run_gsd_json(*words, workspace=folder / "whole")
    return folder, words


def _tables(workspace: Path) -> tuple[pd.DataFrame, np.ndarray]:
    spans, vectors = workspace / "spans.parquet", workspace / "vectors.npz"
    run_gsd_json("export", "one", "--what", "spans", "--out", spans, workspace=workspace)
    run_gsd_json("export", "one", "--what", "vectors", "--out", vectors, workspace=workspace)
    return pd.read_parquet(spans), np.load(vectors)["vectors"]


# Before the second batch is taken in, with nothing stored yet; after two commits; with records stored and no marker.
@pytest.mark.parametrize(("moment", "nth"), [("append", 2), ("append", 7), ("marker", 2)])
def test_killed_and_resumed_equals_undisturbed(inputs: tuple[Path, list[object]], moment: str, nth: int) -> None:
    folder, words = inputs
    workspace = folder / f"cut-{moment}-{nth}"
    command = [sys.executable, "-c", CHILD, moment, str(nth), "--workspace", str(workspace), "--json"]
    child = subprocess.run([*command, *map(str, words)], cwd=ROOT, capture_output=True, check=False)
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()[-2000:]
    done = run_gsd_json(*words, "--resume", workspace=workspace)
    assert done["n_samples"] == 40
    (spans, vectors), (whole_spans, whole_vectors) = _tables(workspace), _tables(folder / "whole")
    assert not spans["span"].duplicated().any(), "a batch was captured twice"
    pd.testing.assert_frame_equal(spans, whole_spans)
    np.testing.assert_array_equal(vectors, whole_vectors)
    again = run_gsd_json(*words, "--resume", workspace=workspace)
    assert done["tokens_per_s"] > 0
    assert again["tokens_per_s"] is None, "what was captured before counts towards this command's rate"
