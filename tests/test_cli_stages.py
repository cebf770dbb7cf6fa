"""Stages on a planted run: analysis, neighbours and the run in Python find the planted structure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import gsd_core as gsd
from gsd_core.comparison.wording import make_wording
from gsd_core.stages.numba_threads import use_numba_cache
from gsd_core.store import Workspace
from tests.cli_support import run_gsd, run_gsd_json, write_run
from tests.synthetic import build_workspace


@pytest.fixture(scope="module")
def analyzed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = write_run(tmp_path_factory.mktemp("stages") / "workspace", n_samples=24)
    run_gsd_json("analyze", "planted", workspace=workspace)
    return workspace


def test_analysis_finds_the_planted_steps(analyzed: Path) -> None:
    result = run_gsd_json("analyze", "planted", workspace=analyzed)
    assert {"run", "n_spans", "n_clusters", "noise_share", "n_stresses", "n_twins", "seconds"} <= set(result)
    assert (result["run"], result["n_spans"]) == ("planted", 96)
    assert result["n_clusters"] == 4, "four orthogonal steps are not four clusters"
    assert 0 <= result["noise_share"] <= 0.5, "more than half of the planted spans are noise"
    assert result["n_stresses"] >= 1, "the planted order of steps is not a stress"
    assert [each["checkpoint"] for each in result["checkpoints"]] == ["step-1", "step-2"]


def test_finished_analysis_is_kept_and_can_be_repeated(analyzed: Path) -> None:
    kept = run_gsd_json("analyze", "planted", workspace=analyzed)
    assert all(each["seconds"] == 0 for each in kept["checkpoints"]), "a finished checkpoint was analysed again"
    again = run_gsd_json("analyze", "planted", "--again", "--checkpoint", "step-1", workspace=analyzed)
    assert [each["checkpoint"] for each in again["checkpoints"]] == ["step-1"]
    assert again["checkpoints"][0]["seconds"] > 0
    assert again["n_clusters"] == kept["n_clusters"], "the same seed gave another result"


def test_neighbors_are_the_planted_step_in_other_samples(analyzed: Path) -> None:
    result = run_gsd_json("neighbors", "planted", "--span", "s3#2", "--top", 7, workspace=analyzed)
    assert result["span"] == "s3#2"
    found = result["neighbors"]
    assert len(found) == 7
    assert all(each["span"].endswith("#2") for each in found), "a neighbour is another step"
    assert all(each["sample"] != "s3" for each in found), "a neighbour is of the same sample"
    assert [each["cosine"] for each in found] == sorted((each["cosine"] for each in found), reverse=True)
    assert all(0 <= each["q_value"] <= 1 for each in found)
    assert all(each["text"].startswith("Step 2") for each in found), "texts and directions do not match"


def test_neighbors_in_other_words_leave_out_similar_wording(tmp_path: Path) -> None:
    folder = build_workspace(tmp_path, n_samples=30)
    run = Workspace.open(folder).open_run("raw")
    spans = run.read_spans(run.default_checkpoint)
    ids = spans["span"].tolist()
    wording = make_wording(spans["text"].tolist(), spans["sample"].to_numpy())
    assert wording is not None
    alike = wording.compute_cosines([7])[0]
    words = ("neighbors", "raw", "--span", ids[7], "--top", 1000)
    every = run_gsd_json(*words, workspace=folder)
    other = run_gsd_json(*words, "--other-words", workspace=folder)
    expected = [each["span"] for each in every["neighbors"] if alike[ids.index(each["span"])] <= wording.limit]
    assert [each["span"] for each in other["neighbors"]] == expected
    assert 0 < other["n_candidates"] == len(expected) < every["n_candidates"]


def test_neighbors_work_before_analysis(tmp_path: Path) -> None:
    workspace = write_run(tmp_path / "workspace")
    found = run_gsd_json("neighbors", "planted", "--span", "s0#1", workspace=workspace)["neighbors"]
    assert len(found) == 10
    assert all(each["span"].endswith("#1") for each in found)


def test_a_run_with_one_sample_has_no_neighbors(tmp_path: Path) -> None:
    # Without another sample there are no neighbours and no null; this is not an error.
    workspace = write_run(tmp_path / "workspace", n_samples=1)
    result = run_gsd_json("neighbors", "planted", "--span", "s0#1", workspace=workspace)
    assert (result["neighbors"], result["null_p95"]) == ([], None)


def test_text_output_of_neighbors_and_analyze(analyzed: Path) -> None:
    outcome = run_gsd("neighbors", "planted", "--span", "s3#2", workspace=analyzed)
    assert outcome.code == 0
    assert "cosine" in outcome.out
    assert "random pairs" in outcome.out, "the null is missing"
    assert "step-2" in run_gsd("analyze", "planted", workspace=analyzed).out


def test_open_run_gives_spans_and_lazy_vectors(analyzed: Path) -> None:
    run = gsd.open_run("planted", workspace=analyzed)
    assert (run.name, run.checkpoints) == ("planted", ["step-1", "step-2"])
    assert run.checkpoint == Workspace.open(analyzed).open_run("planted").default_checkpoint
    assert len(run.spans) == len(run.vectors) == 96
    assert {"span", "text", "cluster", "cluster_label", "x", "y", "meta.topic"} <= set(run.spans.columns)
    assert run.vectors.shape == (96, 16)
    whole = np.asarray(run.vectors, dtype=np.float32)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, atol=2e-3)
    places = np.flatnonzero(run.spans["index"] == 2)
    assert (whole[places].argmax(axis=1) == 2).all(), "spans and vectors are in different order"
    for rows in (5, -1, slice(3, 9), slice(9, 3, -2), [7, 1, 7], whole[:, 0] > 0.5, slice(4, 4)):
        np.testing.assert_array_equal(run.vectors[rows], whole.astype(np.float16)[rows])
    with pytest.raises(IndexError):
        run.vectors[96]
    other = next(each for each in run.checkpoints if each != run.checkpoint)
    assert not np.array_equal(run.at(other).vectors[:], whole.astype(np.float16))


def test_open_run_reads_only_the_rows_asked_for(analyzed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = gsd.open_run("planted", workspace=analyzed)
    asked: list[tuple[int, int]] = []
    read = run._run.read_vectors

    def spy(checkpoint: str | None = None, start: int = 0, stop: int | None = None) -> np.ndarray:
        asked.append((start, stop or 0))
        return read(checkpoint, start, stop)

    monkeypatch.setattr(run._run, "read_vectors", spy)
    run.vectors[10:12]
    assert asked == [(10, 12)], "a slice read the whole array"


def test_open_run_takes_the_workspace_from_the_environment(analyzed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GSD_WORKSPACE", str(analyzed))
    assert gsd.open_run("planted").name == "planted"
    with pytest.raises(gsd.UserError, match="planted"):
        gsd.open_run("plantet")


def test_numba_cache_is_in_the_users_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without a cache every `gsd analyze` compiles for tens of seconds.
    import os
    import sys

    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    use_numba_cache()
    assert os.environ["NUMBA_CACHE_DIR"].startswith(str(tmp_path))
    monkeypatch.setenv("NUMBA_CACHE_DIR", "elsewhere")
    use_numba_cache()
    assert os.environ["NUMBA_CACHE_DIR"] == "elsewhere", "the user's setting was overwritten"
