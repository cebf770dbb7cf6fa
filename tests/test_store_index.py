"""The vector index finds what a full search finds, and no unfinished batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gsd_core.store import Run, Workspace, index
from gsd_core.types import SampleRecords, SpanRecord, TokenizedSample, TokenSpan

WIDTH, N_SPANS, N_CLUSTERS = 32, 4, 40


def make_batch(number: int, n_samples: int = 25, seed: int = 0) -> list[SampleRecords]:
    """Samples of planted directions: each span lies near one of 40 centres, and all are shifted to one side."""
    random = np.random.default_rng([seed, number])
    centres = np.random.default_rng(seed).normal(size=(N_CLUSTERS, WIDTH))
    vectors = np.concatenate(
        [
            centres[random.integers(0, N_CLUSTERS, N_SPANS)] + 0.5 * random.normal(size=(N_SPANS, WIDTH)) + 0.4
            for _ in range(n_samples)
        ]
    )
    return make_samples(number, vectors, N_SPANS)


def make_samples(number: int, vectors: np.ndarray, n_spans: int) -> list[SampleRecords]:
    """One batch of samples with ``n_spans`` spans each, in the directions of ``vectors`` (n, 32)."""
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    results = []
    for row in range(len(vectors) // n_spans):
        own = vectors[row * n_spans : (row + 1) * n_spans]
        spans = tuple(TokenSpan(k, k + 1, k + 2, k, k + 1, f"step {k}") for k in range(n_spans))
        tokens = np.arange(n_spans + 1, dtype=np.int32)
        sample = TokenizedSample(f"b{number}-s{row}", "", tokens, tokens, tokens, spans, 1, 0)
        records = [SpanRecord(s, v.astype(np.float16), 1.0, 1.0, 0.5) for s, v in zip(spans, own, strict=True)]
        results.append(SampleRecords(sample, tuple(records), np.zeros(n_spans + 1, np.float32)))
    return results


@pytest.fixture(autouse=True)
def small_indices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "INDEX_ABOVE_BYTES", 1)
    monkeypatch.setattr(index, "FEWEST_ROWS", 1_000)


@pytest.fixture
def run(tmp_path: Path) -> Run:
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


def test_rows_written_after_the_index_are_found_and_indexed_anew(run: Run) -> None:
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


def test_search_never_finds_unfinished_batches_or_the_own_sample(run: Run) -> None:
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


def test_tight_clusters_are_ranked_by_centred_cosine(tmp_path: Path) -> None:
    """Members of a tight cluster differ less than their lengths after centring; inner products misorder them."""
    random = np.random.default_rng(3)
    run = Workspace.open(tmp_path).create_run("r", {}, WIDTH, 4)
    centres, offset = random.normal(size=(4, WIDTH)), random.normal(size=WIDTH)
    near = centres[random.integers(0, 4, 12_000)] + 0.05 * random.normal(size=(12_000, WIDTH)) + offset
    run.append_batch("final", None, 0, make_samples(0, near, N_SPANS))
    run.flush()
    built = run.build_index("final")
    assert built is not None
    assert mean_recall(run, 50) >= 0.9, "0.06 by inner products with the centred query"
    assert built["recall"] >= 0.95


def test_recall_counts_any_of_equal_directions_as_found(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    run = Workspace.open(tmp_path).create_run("r", {}, WIDTH, 4)
    repeated = np.repeat(random.normal(size=(4, WIDTH)), 1_000, axis=0)[random.permutation(4_000)]
    run.append_batch("final", None, 0, make_samples(0, repeated, N_SPANS))
    run.flush()
    built = run.build_index("final")
    assert built is not None
    assert (built["recall"], built["factor"]) == (1.0, index.FACTORS[0])
    found = run.search(repeated[0] / np.linalg.norm(repeated[0]), 50)
    np.testing.assert_allclose(found["cosine"], 1.0, atol=1e-3)


def test_a_sample_longer_than_the_candidates_does_not_hide_the_others(run: Run) -> None:
    random = np.random.default_rng(5)
    place = random.normal(size=WIDTH)
    own = place + 0.01 * random.normal(size=(9_000, WIDTH))
    others = place + 0.2 * random.normal(size=(60, WIDTH))
    run.append_batch("final", None, 60, make_samples(60, own, len(own)))
    run.append_batch("final", None, 61, make_samples(61, others, 1))
    run.flush()
    run.build_index("final")
    found = run.search(own[0] / np.linalg.norm(own[0]), 50, exclude_sample="b60-s0")
    assert len(found) == 50
    assert all(sample.startswith("b61-") for sample in found["sample"])


def test_small_checkpoints_get_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    run = Workspace.open(tmp_path).create_run("r", {}, WIDTH, 4)
    run.append_batch("final", None, 0, make_batch(0))
    run.flush()
    assert run.build_index("final") is None
    assert run.build_index("unknown") is None
    assert not index.needs_index(100_000, 512)
    assert index.needs_index(1_000_000, 1024)
