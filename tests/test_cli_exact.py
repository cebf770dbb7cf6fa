"""``gsd neighbors --exact``: candidates of the sketch, ranked by gradients without a sketch and stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from gsd_core.dashboard.reading.cosine_queries import load_exact
from gsd_core.methods.neighbors_method import EXACT
from gsd_core.store import Workspace
from tests.cli_support import make_rows, run_gsd, run_gsd_json, save_tiny_model, write_rows


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exact")
    save_tiny_model(folder / "model", context=512)
    rows = write_rows(folder / "rows.jsonl", make_rows(6))
    for run, *flags in (
        ("fine", "--sketch-width", "40000"),
        ("rough", "--sketch-width", "16"),
        ("far", "--tier", "hidden"),
    ):
        words = ["capture", "--dataset", rows, "--model", folder / "model", "--run", run, *flags]
        run_gsd_json(*words, workspace=folder / "workspace")
    return folder


def ask(place: Path, run: str, *flags: str, code: int = 0) -> dict:
    span = Workspace.open(str(place / "workspace")).open_run("fine").read_spans()["span"].iloc[0]
    return run_gsd_json(
        "neighbors", run, "--span", span, "--top", "4", *flags, workspace=place / "workspace", code=code
    )


def test_exact_cosines_do_not_depend_on_the_sketch_and_a_wide_sketch_agrees(place: Path) -> None:
    fine, rough = (ask(place, run, "--exact") for run in ("fine", "rough"))
    by_span = {each["span"]: each["raw_exact"] for each in rough["neighbors"]}
    shared = [each for each in fine["neighbors"] if each["span"] in by_span]
    assert shared, "both sketches share no candidates"
    for each in shared:
        assert each["raw_exact"] == pytest.approx(by_span[each["span"]], abs=1e-5)
    assert fine["sketch_error"] < 0.05 < rough["sketch_error"]


def test_neighbours_are_ranked_by_exact_cosine_and_stored(place: Path) -> None:
    found = ask(place, "fine", "--exact")
    exact = [each["cosine_exact"] for each in found["neighbors"]]
    assert exact == sorted(exact, reverse=True)
    assert found["n_reranked"] == 8
    run = Workspace.open(str(place / "workspace")).open_run("fine")
    kept = load_exact(run, found["checkpoint"], found["span"])
    assert len(kept) == 8
    assert kept[found["neighbors"][0]["span"]] == exact[0]
    assert ask(place, "fine", "--exact")["neighbors"] == found["neighbors"]
    assert len(run.results.read(EXACT, "pairs")) == 8, "repeated results were stored twice"


def test_other_weights_or_another_tier_are_refused(place: Path) -> None:
    outcome = run_gsd("neighbors", "far", "--span", "x#0", "--exact", workspace=place / "workspace")
    assert outcome.code == 2
    assert "tier hidden" in outcome.err
    weights = place / "model" / "model.safetensors"
    kept = weights.read_bytes()
    try:
        changed = {name: np.array(value) for name, value in load_file(weights).items()}
        next(iter(changed.values()))[...] += 1.0
        save_file(changed, weights, metadata={"format": "pt"})
        assert "not those that the run was captured with" in ask(place, "fine", "--exact", code=2)["error"]
    finally:
        weights.write_bytes(kept)
