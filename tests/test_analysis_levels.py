"""Clusters from coarse to fine: planted ones are found and confirmed, chance is not."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_mutual_info_score

from gsd_core.analysis import cluster_levels
from gsd_core.analysis.cluster_levels import LEVELS, find_cluster_levels
from gsd_core.methods.structure_method import LEVEL_NAMES


def _unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _plant(n: int, n_groups: int, cosine: float, seed: int = 0, width: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """Directions (n, width) in equal groups whose members have this cosine on average; their groups (n,)."""
    random = np.random.default_rng(seed)
    groups = np.arange(n) % n_groups
    centres = _unit(random.standard_normal((n_groups, width)))
    own = _unit(random.standard_normal((n, width)))
    return _unit(np.sqrt(cosine) * centres[groups] + np.sqrt(1 - cosine) * own), groups


def test_planted_groups_are_found_and_confirmed() -> None:
    directions, groups = _plant(900, 15, 0.3)
    samples = np.random.default_rng(1).permutation(900) // 3
    levels = find_cluster_levels(directions, samples)
    assert [each.name for each in levels] == list(LEVELS) == list(LEVEL_NAMES)
    coarse = levels[0]
    held = coarse.clusters >= 0
    assert held.mean() > 0.9
    assert adjusted_mutual_info_score(groups[held], coarse.clusters[held]) > 0.95
    assert set(coarse.strength) == {"confirmed"}
    assert (coarse.cosine > 2 * coarse.null).all()
    assert (coarse.stability > 0.9).all()
    counts = [each.clusters.max() for each in levels]
    assert counts == sorted(counts), "finer levels have more clusters"


def test_weak_groups_are_found_where_density_shows_none() -> None:
    from gsd_core.analysis.clusters import compute_clusters

    directions, groups = _plant(1_200, 12, 0.05, seed=3)
    samples = np.arange(1_200) // 3
    coarse = find_cluster_levels(directions, samples)[0]
    held = coarse.clusters >= 0
    assert adjusted_mutual_info_score(groups[held], coarse.clusters[held]) > 0.8
    assert coarse.strength.count("weak") == 0
    dense, _ = compute_clusters(directions)
    assert (dense >= 0).mean() < held.mean()


@pytest.mark.parametrize("kind", ["gaussian", "permuted"])
def test_chance_is_neither_confirmed_nor_tentative(kind: str) -> None:
    strengths: list[str] = []
    for seed in range(4):
        directions = _unit(np.random.default_rng(seed).standard_normal((600, 256)))
        if kind == "permuted":
            planted, random = _plant(600, 10, 0.3, seed)[0], np.random.default_rng(seed)
            directions = np.stack([random.permutation(column) for column in planted.T], axis=1)
            directions = _unit(directions - directions.mean(axis=0))  # as the product centres them
        for level in find_cluster_levels(directions, np.arange(600) // 4, seed):
            strengths += level.strength
    assert len(strengths) > 40, "the search finds clusters in chance too: they must be called weak"
    assert strengths.count("confirmed") == 0
    assert strengths.count("tentative") <= 0.05 * len(strengths)


def test_spans_of_one_sample_are_no_cluster() -> None:
    # Every sample has a direction of its own, and nothing else is shared.
    strengths: list[str] = []
    for seed in range(5):
        directions, owners = _plant(400, 40, 0.8, seed)
        for level in find_cluster_levels(directions, owners, seed):
            strengths += level.strength
            for cluster in range(level.clusters.max() + 1):
                assert len(np.unique(owners[level.clusters == cluster])) >= cluster_levels.SMALLEST
    assert strengths.count("confirmed") == 0
    assert strengths.count("tentative") <= 0.1 * len(strengths)


def test_the_same_seed_gives_the_same_levels_and_dead_spans_are_in_none() -> None:
    directions, _ = _plant(300, 6, 0.3)
    directions[::10] = 0.0
    samples = np.arange(300) // 3
    first, second = (find_cluster_levels(directions, samples, 5) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.clusters, other.clusters)
        np.testing.assert_array_equal(one.stability, other.stability)
        assert (one.clusters[::10] == -1).all()


@pytest.mark.parametrize("n", [0, 1, 8])
def test_too_few_spans_have_no_clusters(n: int) -> None:
    directions, _ = _plant(max(n, 1), 1, 0.5)
    for level in find_cluster_levels(directions[:n], np.arange(n)):
        assert (level.clusters == -1).all()
        assert level.strength == []


def test_a_span_without_direction_is_placed_nowhere() -> None:
    directions, groups = _plant(300, 6, 0.3)
    places = cluster_levels.find_places(directions, groups.astype(np.int32))
    places = cluster_levels.Places(places.means, np.zeros(6))
    further, own = _plant(300, 6, 0.3)
    further[0] = 0.0
    found = places.place(further)
    assert found[0] == -1
    np.testing.assert_array_equal(found[1:], own[1:])
