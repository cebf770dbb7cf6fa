"""Texts are embedded once: repeated ones, and those that another run of the same data has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gsd_core.console.progress import Progress
from gsd_core.driver.run_sentences import embed_texts, read_known_vectors
from gsd_core.store import Workspace
from tests.cli_support import write_run


class CountingEncoder:
    """Stands for the encoder: a vector that tells its text, and what it was asked for."""

    width = 4

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: list[str]) -> np.ndarray:
        self.asked += texts
        return np.array([[len(text), *map(ord, text[:3].ljust(3))] for text in texts], np.float32)


def test_repeated_and_known_texts_are_not_encoded_and_order_stays() -> None:
    encoder = CountingEncoder()
    known = {"two": np.full(4, 7, np.float32)}
    found = embed_texts(["one", "two", "one", "three"], encoder, known, Progress(quiet=True))
    assert encoder.asked == ["one", "three"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[1], known["two"])
    assert found[3][0] == 5
    assert embed_texts([], encoder, {}, Progress(quiet=True)).shape == (0, 4)


def test_only_the_same_data_under_the_same_encoder_is_reused(tmp_path: Path) -> None:
    workspace = Workspace.open(write_run(tmp_path / "workspace"))
    run = workspace.open_run("planted")
    manifest = {"dataset": run.manifest["dataset"], "encoder": {"weights_hash": "e"}}
    assert read_known_vectors(workspace, "new", manifest) == {}, "that run names no encoder"
    run.update_manifest(encoder={"weights_hash": "e"}, has_tables=True)
    known = read_known_vectors(workspace, "new", manifest)
    ids, vectors = run.read_embeddings()
    texts = run.read_spans("step-1").set_index("span")["text"]
    np.testing.assert_array_equal(known[texts[ids[5]]], vectors[5])
    asked, questions = run.read_question_embeddings()
    np.testing.assert_array_equal(known[f"What is tale {asked[3][1:]}? "], questions[3])
    assert read_known_vectors(workspace, "planted", manifest) == {}, "a run is no source for itself"
    for other in ({"dataset": {"data_hash": "x"}}, {"encoder": {"weights_hash": "x"}}, {"encoder": {}}):
        assert read_known_vectors(workspace, "new", manifest | other) == {}


@pytest.mark.parametrize("broken", ["run.json"])
def test_a_run_that_cannot_be_read_is_passed_over(tmp_path: Path, broken: str) -> None:
    place = write_run(tmp_path / "workspace")
    run = Workspace.open(place).open_run("planted")
    run.update_manifest(encoder={"weights_hash": "e"}, has_tables=True)
    manifest = {"dataset": run.manifest["dataset"], "encoder": {"weights_hash": "e"}}
    (place / "runs" / "planted" / broken).write_text("{")
    assert read_known_vectors(Workspace.open(place), "new", manifest) == {}
