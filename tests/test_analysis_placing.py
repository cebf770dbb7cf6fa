"""Corpora that are not held: read in batches, a sample fitted, the rest placed; and nothing else changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import adjusted_mutual_info_score

from gsd_core.analysis import clusters, placing, structure
from gsd_core.analysis.analyze import Analysis, analyze_directions
from gsd_core.analysis.placing import fit_sample
from gsd_core.analysis.structure import Corpus, analyze_structure
from gsd_core.comparison import centring as directions
from gsd_core.comparison import nulls
from gsd_core.comparison.centring import CentredRows, compute_centring, compute_directions
from tests.test_analysis_clusters import plant

N, FITTED, MOST = 900, 400, 540


class Stored:
    """Rows that are read as they are asked for, and how many at most at once."""

    def __init__(self, vectors: np.ndarray) -> None:
        self._vectors = vectors
        self.shape, self.most = vectors.shape, 0

    def __len__(self) -> int:
        return len(self._vectors)

    def __getitem__(self, rows: Any, /) -> np.ndarray:
        found = self._vectors[rows]
        self.most = max(self.most, len(found))
        return found


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (directions, placing, clusters, nulls):
        monkeypatch.setattr(module, "BATCH", 128)
    monkeypatch.setattr(structure, "_BATCH", 64)
    monkeypatch.setattr(structure, "_SHOWN_COSINES", 60)
    monkeypatch.setattr(clusters, "N_BACKGROUND", 300)


@pytest.fixture
def planted() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    vectors, truth = plant(N, 6, 0.4, 0.2)
    vectors[[5, 600]] = 0
    truth[[5, 600]] = -1
    return vectors, truth, np.array([f"s{i // 5}" for i in range(N)], dtype=object)


def analyze(vectors: Any, samples: np.ndarray, placed_above: int = FITTED) -> Analysis:
    texts = [f"step {row % 7}" for row in range(N)]
    return analyze_directions(vectors, samples, texts, 1, placed_above=placed_above, n_null_pairs=400)


def test_what_is_read_in_batches_is_analysed_as_what_is_held(planted: Any) -> None:
    vectors, _, samples = planted
    stored = Stored(vectors)
    held, read = analyze(vectors, samples), analyze(stored, samples)
    for name in ("layout", "clusters", "probabilities"):
        assert getattr(held, name).tobytes() == getattr(read, name).tobytes(), name
    for name in ("mean", "null"):
        assert held.arrays()[name].tobytes() == read.arrays()[name].tobytes(), name
    assert (held.names, held.exemplars, held.info) == (read.names, read.exemplars, read.info)
    assert stored.most <= MOST, "the fitted sample and what stands for clusters is the most that is held"
    assert read.info["n_fitted"] == FITTED


def test_spans_outside_the_sample_are_found_in_their_clusters(planted: Any) -> None:
    vectors, truth, samples = planted
    found = analyze(vectors, samples)
    assert found.info["n_clusters"] == 6
    assert adjusted_mutual_info_score(truth, found.clusters) > 0.9
    assert (found.clusters[[5, 600]] == -1).all(), "a span without direction got a cluster"
    assert not found.layout[[5, 600]].any()
    assert (found.probabilities[found.clusters >= 0] > 0).mean() > 0.99
    assert (found.probabilities[found.clusters < 0] == 0).all()
    assert set(found.names) == set(found.exemplars) == set(range(6))


def test_placed_spans_land_with_their_group() -> None:
    vectors, truth = plant(500, 4, 0.5, 0.0)
    sample = fit_sample(compute_directions(vectors), 300, 30, seed=1)
    group = np.eye(4, dtype=np.float32)[truth[sample.placing.fitted]]
    placed = sample.placing.place(group)
    assert np.mean(placed.argmax(axis=1) == truth) > 0.98
    np.testing.assert_allclose(placed.mean(axis=0), 0, atol=1e-6)
    labels, sureness = sample.placing.vote(truth[sample.placing.fitted], np.full(300, 0.5))
    assert np.mean(labels == truth) > 0.98
    assert ((sureness > 0) & (sureness <= 0.5 + 1e-6)).all(), "no surer than the fitted spans were"


def test_a_sample_must_be_smaller_than_the_corpus(planted: Any) -> None:
    rows = compute_directions(planted[0])
    with pytest.raises(ValueError, match="898 directions"):
        fit_sample(rows, 898, 30)


def test_structure_of_what_is_not_held_is_the_same(planted: Any) -> None:
    vectors, truth, samples = planted
    centring = compute_centring(vectors)
    # Spans of a sample come apart in the store, and some samples are longer than a batch.
    samples = np.where(np.arange(N) < 200, "long", samples).astype(object)
    order = np.random.default_rng(2).permutation(N)
    stored = Stored(vectors[order])
    arguments = (samples[order], np.arange(N)[order], truth[order], np.eye(len(set(samples)), 8))
    held, read = (
        analyze_structure(Corpus(rows, *arguments), 3, layer_slices=[("first", 0, 100), ("last", 100, 256)])
        for rows in (centring.apply(vectors[order]), CentredRows(stored, centring))
    )
    assert held.info == read.info
    for name, table in held.tables.items():
        assert table.equals(read.tables[name]), name
    assert len(held.tables["edges"]) == 21


def test_twins_of_a_big_corpus_are_of_whole_traces_and_it_is_said(
    planted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, truth, samples = planted
    monkeypatch.setattr(structure, "HELD_BYTES", 4 * 256 * 300)
    stored = Stored(vectors)
    rows = CentredRows(stored, compute_centring(vectors))
    others = (samples, np.arange(N) % 5, truth, np.zeros((N // 5, 4)))
    found = analyze_structure(Corpus(rows, *others), seed=3)
    assert (found.info["twins"]["n_traces"], found.info["twins"]["n_traces_left_out"]) == (60, 120)
    compared = found.tables["pairs"][["a", "b"]].to_numpy().ravel()
    assert 40 < len(set(compared)) <= 60
    assert stored.most <= 300, "the traces among which twins are sought are the most that is held"
    whole = analyze_structure(Corpus(rows[:], *others), seed=3)
    assert found.info["stresses"] == whole.info["stresses"], "patterns are of all traces"


@pytest.mark.parametrize("n_groups", [35, 100, 240])
def test_further_directions_find_their_group_also_where_it_is_an_island_of_the_graph(
    n_groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups larger and smaller than the graph's 31 neighbours; the search is pynndescent's, as beyond 20,000 spans."""
    monkeypatch.setattr(placing, "EXACT_UP_TO", 1_000)
    random = np.random.default_rng(0)
    centres = random.standard_normal((n_groups, 256), dtype=np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    truth = random.integers(0, n_groups, 7_000)
    vectors = 0.8 * centres[truth] + random.standard_normal((7_000, 256), dtype=np.float32) / 16
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = fit_sample(vectors, 6_000, 31).placing
    assert (truth[found.fitted][found.near] == truth[found.others][:, None]).mean() > 0.99
    exact = np.argsort(-(vectors[found.others] @ vectors[found.fitted].T), axis=1)[:, : found.near.shape[1]]
    shared = [len(set(a) & set(b)) for a, b in zip(found.near.tolist(), exact.tolist(), strict=True)]
    assert np.mean(shared) / found.near.shape[1] > 0.99
