"""Layout, clusters, names and the whole analysis, on directions with planted structure."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_mutual_info_score

from gsd_core.analysis import manifold
from gsd_core.analysis.analyze import STAGES, analyze_directions
from gsd_core.analysis.cluster_names import compute_cluster_names, compute_exemplars
from gsd_core.analysis.clusters import compute_clusters, confirm_clusters
from gsd_core.analysis.manifold import compute_knn, compute_manifold
from gsd_core.comparison.centring import compute_directions

WORDS = ["divide share", "add total", "percent discount", "convert minutes", "check result", "compare larger"]


def plant(n: int, k: int, cosine: float, noise: float, seed: int = 0, width: int = 256):
    """(n, width) unit float16 directions in k groups of mutual ``cosine``, and groups; -1 is noise."""
    random = np.random.default_rng(seed)
    labels = np.where(np.arange(n) < n * (1 - noise), np.arange(n) % k, -1)
    centres = random.standard_normal((k, width)) / np.sqrt(width)
    vectors = random.standard_normal((n, width)) / np.sqrt(width)
    vectors[labels >= 0] += np.sqrt(cosine / (1 - cosine)) * centres[labels[labels >= 0]]
    order = random.permutation(n)
    vectors = vectors[order] / np.linalg.norm(vectors[order], axis=1, keepdims=True)
    return vectors.astype(np.float16), labels[order]


@pytest.fixture(scope="module")
def planted():
    vectors, truth = plant(600, 6, 0.4, 0.2)
    samples = np.array([f"s{i // 5}" for i in range(600)], dtype=object)
    texts = [f"Then we {WORDS[t]} {i} items." if t >= 0 else "Then the items." for i, t in enumerate(truth)]
    return vectors, truth, samples, texts


@pytest.fixture(scope="module")
def analysis(planted):
    vectors, _, samples, texts = planted
    return analyze_directions(vectors, samples, texts, seed=3)


def test_planted_clusters_are_found_and_noise_is_not(planted, analysis):
    _, truth, _, _ = planted
    assert analysis.info["n_clusters"] == 6
    assert adjusted_mutual_info_score(truth, analysis.clusters) > 0.95
    assert np.mean(analysis.clusters[truth == -1] == -1) > 0.95, "noise has a cluster: was it not confirmed?"


# UMAP makes dense lumps out of anything; only the check in the directions themselves keeps them from being
# called clusters.
def test_structureless_directions_have_no_clusters():
    vectors, _ = plant(500, 1, 0.0, 1.0)
    labels, probabilities = compute_clusters(compute_directions(vectors))
    assert np.mean(labels >= 0) < 0.03, "clusters were found in pure noise"
    assert (probabilities[labels == -1] == 0).all()


def test_same_input_and_seed_give_the_same_bytes(planted, analysis):
    vectors, _, samples, texts = planted
    again = analyze_directions(vectors, samples, texts, seed=3)
    for name in ("layout", "clusters", "probabilities"):
        assert getattr(again, name).tobytes() == getattr(analysis, name).tobytes(), f"{name} does not repeat"
    for name in ("mean", "null"):
        assert again.arrays()[name].tobytes() == analysis.arrays()[name].tobytes(), f"{name} does not repeat"
    assert (again.names, again.exemplars, again.info) == (analysis.names, analysis.exemplars, analysis.info)


def test_clusters_are_numbered_by_size_and_probabilities_fit(analysis):
    sizes = analysis.tabulate_clusters(range(600))["size"].to_numpy()
    assert (np.diff(sizes) <= 0).all()
    assert ((analysis.probabilities >= 0) & (analysis.probabilities <= 1)).all()
    assert (analysis.probabilities[analysis.clusters < 0] == 0).all()


# The picture must show what the directions hold: near on the map, same group.
def test_the_layout_keeps_groups_together(planted, analysis):
    _, truth, _, _ = planted
    kept = np.flatnonzero(truth >= 0)
    away = np.linalg.norm(analysis.layout[kept, None] - analysis.layout[None, kept], axis=2)
    np.fill_diagonal(away, np.inf)
    nearest = truth[kept][np.argsort(away, axis=1)[:, :5]]
    assert np.mean(nearest == truth[kept][:, None]) > 0.95
    assert analysis.layout.dtype == np.float32


def test_names_come_from_the_words_that_set_a_cluster_apart(planted, analysis):
    _, truth, _, _ = planted
    for cluster, (label, terms) in analysis.names.items():
        group = np.bincount(truth[(analysis.clusters == cluster) & (truth >= 0)]).argmax()
        assert set(WORDS[group].split()) == set(terms[:2]), f"{label!r} does not name group {WORDS[group]!r}"
    assert len({label for label, _ in analysis.names.values()}) == 6


def test_exemplars_are_members_from_different_samples(planted, analysis):
    samples = planted[2]
    for cluster, rows in analysis.exemplars.items():
        assert len(rows) == 3
        assert (analysis.clusters[rows] == cluster).all()
        assert len({samples[row] for row in rows}) == 3


def test_tables_carry_the_span_ids(analysis):
    ids = [f"s{i // 5}#{i % 5}" for i in range(600)]
    points = analysis.tabulate_points(ids)
    assert points.columns.tolist() == ["span", "x", "y", "cluster", "probability"]
    clusters = analysis.tabulate_clusters(ids)
    assert clusters.columns.tolist() == ["cluster", "size", "label", "terms", "exemplars"]
    first = clusters.iloc[0]
    assert (points.set_index("span").loc[first.exemplars, "cluster"] == 0).all()
    assert int((points.cluster == 0).sum()) == first["size"]
    assert set(analysis.arrays()) == {"mean", "null", "null_windows"}
    with pytest.raises(ValueError, match="600"):
        analysis.tabulate_points(ids[:-1])


def test_progress_names_every_stage_once_in_order(planted):
    vectors, _, samples, texts = planted
    calls: list[tuple[str, int, int]] = []
    analyze_directions(vectors[:40], samples[:40], texts[:40], on_progress=lambda *call: calls.append(call))
    assert [stage for stage, done, _ in calls if done == 0] == list(STAGES)
    assert all(done == total for _, done, total in calls[1::2])


def test_an_exception_in_progress_stops_the_work(planted):
    def stop(stage: str, done: int, total: int) -> None:
        if stage == "layout":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        analyze_directions(planted[0], planted[2], planted[3], on_progress=stop)


@pytest.mark.parametrize("n", [0, 1, 2, 5, 15, 16, 20])
@pytest.mark.parametrize("kind", ["random", "identical", "zero", "pairs", "half zero"])
def test_small_and_degenerate_corpora_work(n: int, kind: str):
    vectors = np.random.default_rng(n).standard_normal((n, 24)).astype(np.float32)
    if kind == "identical":
        vectors = np.ones((n, 24), np.float32)
    elif kind == "zero":
        vectors *= 0
    elif kind == "pairs":
        vectors = vectors[np.arange(n) // 2]
    elif kind == "half zero":
        vectors[::2] = 0
    found = analyze_directions(vectors, [f"s{i // 2}" for i in range(n)], ["6 * 7 = 42"] * n)
    assert found.layout.shape == (n, 2)
    assert np.isfinite(found.layout).all()
    assert found.clusters.shape == found.probabilities.shape == (n,)
    assert len(found.tabulate_points(range(n))) == n
    assert len(found.tabulate_clusters(range(n))) == found.info["n_clusters"]


def test_identical_directions_coincide_and_are_one_cluster():
    vectors = np.repeat(np.eye(1, 8, dtype=np.float32), 30, axis=0)
    assert np.ptp(compute_manifold(vectors), axis=0).max() == 0
    labels, probabilities = compute_clusters(vectors)
    assert (labels == 0).all()
    assert (probabilities == 1).all()


def test_zero_directions_lie_at_the_centre_and_are_noise(planted):
    directions = compute_directions(planted[0][:60])
    directions[[3, 8]] = 0
    assert not compute_manifold(directions)[[3, 8]].any()
    assert (compute_clusters(directions)[0][[3, 8]] == -1).all()


def test_a_broken_row_is_named_and_lengths_must_agree(planted):
    vectors = planted[0][:20].copy()
    with pytest.raises(ValueError, match="19 sample ids"):
        analyze_directions(vectors, ["s"] * 19, [""] * 20)
    vectors[11, 0] = np.nan
    with pytest.raises(ValueError, match="row 11"):
        analyze_directions(vectors, ["s"] * 20, [""] * 20)
    with pytest.raises(ValueError, match="row 11"):
        compute_manifold(vectors)


# The graph must be the true one: each row first in its own list, then by distance, in blocks as in one piece.
def test_the_graph_is_exact(planted, monkeypatch: pytest.MonkeyPatch):
    directions = compute_directions(planted[0][:150])
    directions[40:60] = directions[40]
    monkeypatch.setattr(manifold, "BLOCK", 37)
    knn = compute_knn(directions, 12)
    away = 1 - directions @ directions.T
    assert (knn.indices[:, 0] == np.arange(150)).all()
    assert (np.diff(knn.distances, axis=1) >= 0).all()
    np.fill_diagonal(away, -1)
    np.testing.assert_allclose(knn.distances[:, 1:], np.sort(away, axis=1)[:, 1:12].clip(0), atol=1e-5)
    assert compute_knn(directions[:3], 12).indices.shape == (3, 3)


def test_confirmation_sends_only_strangers_away():
    vectors, truth = plant(400, 4, 0.5, 0.25)
    directions = compute_directions(vectors)
    claimed = truth.copy()
    strangers = np.flatnonzero(truth == -1)
    claimed[strangers] = np.arange(len(strangers)) % 4
    kept = confirm_clusters(directions, claimed, 5)
    assert (kept[strangers] == -1).all(), "a stranger was kept"
    assert np.mean(kept[truth >= 0] == truth[truth >= 0]) > 0.99, "true members were lost"


# Names.
def test_labels_leave_out_numbers_function_words_and_inflections():
    texts = ["We divide 48 by 2, divided evenly, each shares 24"] * 4 + ["The total is 72 apples"] * 4
    named = compute_cluster_names(texts, np.repeat([0, 1], 4))
    assert set(named[0].terms) == {"divide", "evenly", "each", "shares"}
    assert set(named[1].terms) == {"total", "apples"}
    assert named[1].name == " · ".join(named[1].terms)


def test_labels_fall_back_on_operators_and_differ():
    named = compute_cluster_names(["3 * 4 = 12"] * 3 + ["7 * 2 = 14"] * 3 + ["", " "], [0, 0, 0, 1, 1, 1, 2, 2])
    assert set(named[0].terms) == {"*", "="}
    assert named[1].name == f"{named[0].name} (2)"
    assert named[2].name == "no words"


def test_function_words_name_a_cluster_that_has_no_others():
    named = compute_cluster_names(["so it is what it is", "and that is it"] * 2, [0, 0, 1, 1])
    assert named[0].terms
    assert named[0].name != named[1].name


def test_noise_has_no_name_but_tells_what_is_common():
    texts = ["apples basket"] * 5 + ["apples river", "apples stone", "apples cloud"] * 5
    named = compute_cluster_names(texts, np.array([0] * 5 + [-1] * 15))
    assert list(named) == [0]
    assert named[0].terms[0] == "basket", "a word that noise has as well outranks the cluster's own"
    assert compute_cluster_names(["x"], np.array([-1])) == {}
    assert compute_cluster_names([], np.array([], dtype=int)) == {}


def test_runaway_and_odd_texts_do_not_break_names():
    texts = ["a" * 100_000, "\x00\ud800 ünïcode 数字", "<script>alert(1)</script>", "ok then"]
    named = compute_cluster_names(texts, np.zeros(4, int))
    assert all(len(term) <= 24 for term in named[0].terms)
    assert "<" not in named[0].name


def test_exemplars_share_a_sample_only_when_they_must():
    directions = np.repeat(np.eye(1, 4, dtype=np.float32), 5, axis=0)
    few = compute_exemplars(directions, np.zeros(5, int), 3, np.array(["a", "a", "a", "b", "b"]))
    assert few[0] == [0, 3, 1]
    assert compute_exemplars(directions, np.array([0, 0, -1, -1, -1]))[0] == [0, 1]
