"""The bundled run: whole, small, free of this machine's paths, and what a capture gives again."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gsd_core.stages.bundled_run import ARCHIVE, ASSETS, BUNDLED, DATASET, N_PROBLEMS, WIDTH, install_bundled
from gsd_core.store import Workspace
from tests.cli_support import run_gsd_json, write_rows

MOST_BYTES = 25 * 10**6
N_AGAIN = 4
RESULTS = ("map", "structure", "timeline", "evidence")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    found = Workspace.open(tmp_path_factory.mktemp("bundled"))
    assert install_bundled(found)
    return found


def test_it_is_whole_and_has_every_result(workspace: Workspace) -> None:
    info = workspace.list_runs()[0]
    assert (info.name, info.status, info.n_samples) == (BUNDLED, "analyzed", N_PROBLEMS)
    assert len(info.checkpoints) >= 4
    assert info.checkpoints[0] == "step-00000"
    run = workspace.open_run(BUNDLED)
    assert len({run.count_spans(each) for each in info.checkpoints}) == 1
    for name in RESULTS:
        assert info.results.get(name), f"there is no {name}: its page would be empty"
    assert set(info.results["map"]) == set(info.checkpoints)


def test_it_is_small_and_names_no_folder_of_the_machine_it_was_made_on() -> None:
    assert sum(each.stat().st_size for each in ASSETS.iterdir()) <= MOST_BYTES
    with zipfile.ZipFile(ARCHIVE) as archive:
        documents = [archive.read(name).decode() for name in archive.namelist() if name.endswith(".json")]
    documents.append((ASSETS / "training.json").read_text())
    for text in documents:
        for value in _iter_texts(json.loads(text)):
            assert not value.startswith("/"), value


def _iter_texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for each in value.values() for text in _iter_texts(each)]
    if isinstance(value, list):
        return [text for each in value for text in _iter_texts(each)]
    return [value] if isinstance(value, str) else []


def test_some_of_its_samples_captured_again_are_the_same(workspace: Workspace, tmp_path: Path) -> None:
    run = workspace.open_run(BUNDLED)
    samples = workspace.read_samples(DATASET, head=N_AGAIN)
    rows = [
        {"id": each.id, "question": each.question, "reasoning": each.reasoning.split("\n"), "answer": each.answer}
        for each in samples
    ]
    run_gsd_json(
        *("capture", "--dataset", write_rows(tmp_path / "again.jsonl", rows), "--model", "smollm2", "--run", "again"),
        *("--window", 1, "--sketch-width", WIDTH, "--no-controls"),
        workspace=tmp_path / "w",
    )
    again = Workspace.open(tmp_path / "w").open_run("again")
    old, new = run.read_spans("step-00000"), again.read_spans()
    at = {span: row for row, span in enumerate(old["span"])}
    rows_of = [at[span] for span in new["span"]]
    before = run.read_vectors("step-00000")[rows_of].astype(np.float32)
    after = again.read_vectors().astype(np.float32)
    cosines = (before * after).sum(axis=1) / np.linalg.norm(before, axis=1) / np.linalg.norm(after, axis=1)
    assert len(new) >= 2 * N_AGAIN
    assert cosines.min() > 0.999, cosines
    assert np.allclose(old["loss"].iloc[rows_of], new["loss"], rtol=1e-3)
    assert np.allclose(old["norm"].iloc[rows_of], new["norm"], rtol=1e-2)
