"""A run too big to be held is analysed and shown like any other, and the pages say what was fitted and drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gsd_core.analysis import analyze as analysis
from gsd_core.analysis import structure
from gsd_core.comparison import centring
from gsd_core.console.progress import Progress
from gsd_core.methods.analyze_method import MAP, STRUCTURE, AnalyzeOptions
from gsd_core.methods.timeline_method import TIMELINE
from gsd_core.stages import analyze_stage
from gsd_core.stages.analyze_stage import run_analyze
from gsd_core.store import LazyVectors, Run, Workspace
from tests.page_support import open_page, words
from tests.synthetic import WIDTH, make_samples, write_run

ARRAYS = ("mean", "null")


def run_quietly(folder: Path, **options: object) -> dict[str, object]:
    with Progress(quiet=True) as progress:
        return run_analyze(Workspace.open(folder), AnalyzeOptions("r", again=True, **options), progress)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_run(Workspace.open(tmp_path), "r", make_samples(60), checkpoints=("one", "two"), analyzed=False)
    return tmp_path


def read_findings(run: Run) -> dict[str, object]:
    tables = {name: run.results.read(STRUCTURE, name, "two").to_csv() for name in run.results.tables(STRUCTURE, "two")}
    arrays = {name: value.tobytes() for name, value in run.read_arrays("two").items() if name in ARRAYS}
    drift = run.results.read(TIMELINE, "drift").to_csv()
    return {**tables, **arrays, "points": run.read_points("two").to_csv(), "drift": drift}


def test_what_is_not_held_is_analysed_as_what_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_quietly(folder)
    held = read_findings(Workspace.open(folder).open_run("r"))
    monkeypatch.setattr(centring, "HELD_BYTES", 0)
    run_quietly(folder)
    assert read_findings(Workspace.open(folder).open_run("r")) == held


def test_the_pages_say_what_was_fitted_and_drawn(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(centring, "HELD_BYTES", 0)
    monkeypatch.setattr(structure, "HELD_BYTES", 4 * WIDTH * 150)
    monkeypatch.setitem(analysis.analyze_directions.__kwdefaults__, "placed_above", 100)
    done = run_quietly(folder)
    run = Workspace.open(folder).open_run("r")
    assert run.results.info(MAP, "two")["n_fitted"] == 100
    assert done["n_clusters"]
    place = {"run": "r", "checkpoint": "two"}
    span = run.read_spans("two", ["span"])["span"].iloc[17]
    assert "fitted on 100 spans" in words(open_page(folder, "map", monkeypatch, span=span, **place))
    assert "left out" in words(open_page(folder, "twins", monkeypatch, **place))
    at = open_page(folder, "trace", monkeypatch, span=span, **place)
    assert not at.error


def test_rows_read_as_they_are_asked_for_are_those_of_the_matrix(folder: Path) -> None:
    run = Workspace.open(folder).open_run("r")
    vectors = run.read_vectors("one")
    lazy = LazyVectors(run, "one")
    for rows in (5, -1, slice(3, 9), slice(None, None, 50), [7, 3, 7, 150], np.arange(20, 60), [], [-1, 0]):
        np.testing.assert_array_equal(lazy[rows], vectors[rows], err_msg=str(rows))
    np.testing.assert_array_equal(np.asarray(lazy), vectors)
    assert lazy.shape == vectors.shape
    with pytest.raises(IndexError):
        lazy[len(vectors)]


def test_torch_keeps_its_number_of_threads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first parallel kernel of a process sets it for all of OpenMP; here that is done by hand, every time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(analyze_stage, "use_numba_cache", lambda: torch.set_num_threads(2))
    try:
        run_quietly(folder, checkpoint="one")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
