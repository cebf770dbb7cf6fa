"""The vector index finds what reading everything finds, and nothing that is not finished."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gsd_core.store import Run, Workspace, index
from gsd_core.types import SampleRecords, SpanRecord, TokenizedSample, TokenSpan

WIDTH, N_SPANS, N_CLUSTERS = 32, 4, 40


def make_batch(number: int, n_samples: int = 25, seed: int = 0) -> list[SampleRecords]:
    """Samples of planted directions: span K of a sample lies near one of 40 centres, all a little to one side."""
    centres = np.random.default_rng(seed).normal(size=(N_CLUSTERS, WIDTH))
    random = np.random.default_rng([seed, number])
    results = []
    for row in range(n_samples):
        spans = tuple(TokenSpan(k, k + 1, k + 2, k, k + 1, f"step {k}") for k in range(N_SPANS))
        vectors = (
            centres[random.integers(0, N_CLUSTERS, N_SPANS)]
            + 0.5 * random.normal(size=(N_SPANS, WIDTH))
            + 0.4
        )
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        tokens = np.arange(N_SPANS + 1, dtype=np.int32)
        sample = TokenizedSample(f"b{number}-s{row}", "", tokens, tokens, tokens, spans, 1, 0)
        records = [
            SpanRecord(s, v.astype(np.float16), 1.0, 1.0, 0.5) for s, v in zip(spans, vectors, strict=True)
        ]
        results.append(SampleRecords(sample, tuple(records), np.zeros(N_SPANS + 1, np.float32)))
    return results


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(index, "INDEX_ABOVE_BYTES", 1)
    monkeypatch.setattr(index, "FEWEST_ROWS", 1_000)
    run = Workspace.open(tmp_path).create_run("r", {}, WIDTH, 4)
    for number in range(30):
        run.append_batch("final", None, number, make_batch(number))
    run.flush()
    return run


def mean_recall(run: Run, top: int = 20) -> float:
    vectors = run.read_vectors()
    center = vectors.astype(np.float32).mean(axis=0)
    owners = run.read_spans(columns=["sample"])["sample"].tolist()
    shares = []
    for place in range(0, len(vectors), 300):
        found, wanted = (
            set(run.search(vectors[place], top, None, owners[place], center, is_exact=each)["span"])
            for each in (False, True)
        )
        shares.append(len(found & wanted) / top)
    return float(np.mean(shares))


def test_candidates_ranked_by_exact_cosines_are_the_true_neighbours(run: Run) -> None:
    assert not run.has_index("final")
    built = run.build_index("final")
    assert built is not None
    assert run.has_index("final")
    assert run.manifest["index"]["final"]["recall"] == built["recall"] >= 0.95
    assert mean_recall(run) >= 0.95
    query = run.read_vectors()[7]
    indexed, exact = (run.search(query, 5, is_exact=each) for each in (False, True))
    np.testing.assert_allclose(indexed["cosine"], exact["cosine"], atol=1e-6)
    assert indexed["span"].tolist() == exact["span"].tolist()


def test_what_comes_after_the_index_is_found_and_a_new_index_holds_it(run: Run) -> None:
    run.build_index("final")
    assert run.build_index("final") is None, "nothing has changed"
    late = make_batch(99)
    run.append_batch("final", None, 99, late)
    run.flush()
    query = np.asarray(late[3].records[1].direction)
    assert run.search(query, 1)["span"].tolist() == ["b99-s3#1"]
    built = run.build_index("final")
    assert built is not None
    assert built["n_rows"] == run.count_spans("final")


def test_rows_of_unfinished_batches_and_of_the_own_sample_are_never_found(run: Run) -> None:
    run.build_index("final")
    late = make_batch(50)
    run.append_batch("final", None, 50, late)
    records, captured = run._checkpoint_tables("0000")
    run.flush()
    captured.delete_batches([50])  # as after a kill between the two commits
    reader = Workspace.open(Path(run.uri).parents[1]).open_run("r")
    query = np.asarray(late[0].records[0].direction)
    assert not any(each.startswith("b50-") for each in reader.search(query, 50)["span"])
    own = reader.read_vectors()[0]
    assert "b0-s0" not in set(reader.search(own, 50, exclude_sample="b0-s0")["sample"])
    assert records.open() is not None


def test_small_checkpoints_get_no_index(tmp_path: Path) -> None:
    run = Workspace.open(tmp_path).create_run("r", {}, WIDTH, 4)
    run.append_batch("final", None, 0, make_batch(0))
    run.flush()
    assert run.build_index("final") is None
    assert run.build_index("unknown") is None
    assert not index.needs_index(100_000, 512)
    assert index.needs_index(1_000_000, 1024)
