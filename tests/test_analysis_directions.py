"""Centring, neighbours and nulls: what alignment numbers rest on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from gsd_core.comparison import centring as directions_module
from gsd_core.comparison.centring import Centring, compute_centring, compute_directions
from gsd_core.comparison.nearest import compute_neighbors
from gsd_core.comparison.nulls import (
    adjust_p_values,
    compute_joint_q_values,
    compute_null_cosines,
    compute_q_values,
    compute_window_null,
    describe_null,
)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def random_directions(n: int, width: int = 32, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((n, width)))


# A part that all spans share (template tokens) would otherwise be what every cosine measures.
def test_a_common_part_is_gone_after_centring():
    own = random_directions(400, 64)
    common = np.zeros(64, np.float32)
    common[3] = 5.0
    before = unit(own + common)
    mean, top = compute_centring(before.astype(np.float16))
    after = compute_directions(before.astype(np.float16))
    assert np.mean(before @ before.T) > 0.9, "the test's own premise: uncentred cosines are all high"
    assert abs(np.mean(after @ after.T)) < 0.01, "the corpus mean is still in the directions"
    assert np.argmax(mean) == 3
    assert top.shape == (0, 64)
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), 1.0, atol=1e-5)


def test_principal_directions_are_removed_and_orthonormal():
    random = np.random.default_rng(1)
    axes = np.linalg.qr(random.standard_normal((48, 2)))[0].T
    strong = random.standard_normal((300, 2)) * [6.0, 4.0] @ axes
    vectors = unit(random.standard_normal((300, 48)) * 0.3 + strong)
    centring = compute_centring(vectors, n_top=2)
    centred, top = centring.apply(vectors), centring.top
    np.testing.assert_allclose(top @ top.T, np.eye(2), atol=1e-4)
    assert np.abs(centred @ top.T).max() < 1e-3, "a removed direction is still in the result"
    assert np.linalg.svd(top @ axes.T)[1].min() > 0.98, "the removed directions are not the planted ones"


# A zero gradient has no direction: it must neither become NaN nor turn into "minus the mean".
def test_zero_rows_stay_zero_and_count_in_no_mean():
    vectors = random_directions(20)
    with_zeros = np.concatenate([vectors, np.zeros((5, 32), np.float32)])
    centred, mean = compute_directions(with_zeros), compute_centring(with_zeros).mean
    assert not centred[20:].any()
    np.testing.assert_allclose(mean, compute_centring(vectors).mean, atol=1e-7)


def test_the_length_of_a_vector_does_not_matter():
    vectors = random_directions(30)
    lengths = np.random.default_rng(0).uniform(0.1, 50.0, (30, 1)).astype(np.float32)
    np.testing.assert_allclose(compute_directions(vectors * lengths), compute_directions(vectors), atol=1e-5)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_tiny_corpora_give_finite_directions(n: int):
    vectors = random_directions(2)[:n]
    centred, mean = compute_directions(vectors), compute_centring(vectors).mean
    assert centred.shape == (n, 32)
    assert np.isfinite(centred).all()
    assert np.isfinite(mean).all()


def test_identical_directions_have_nothing_left():
    centred = compute_directions(np.repeat(random_directions(1), 9, axis=0))
    assert not centred.any(), "rounding was blown up to a direction"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_broken_row_is_named(bad: float):
    vectors = random_directions(10).astype(np.float16)
    vectors[7, 3] = bad
    with pytest.raises(ValueError, match="row 7"):
        compute_centring(vectors)
    with pytest.raises(ValueError, match="row 7"):
        Centring(np.zeros(32, np.float32)).apply(vectors)


# Batches are for memory only; a batch border must not show.
def test_batch_size_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    vectors = random_directions(101)
    whole = (compute_directions(vectors, n_top=1), *compute_centring(vectors, n_top=1))
    monkeypatch.setattr(directions_module, "BATCH", 10)
    monkeypatch.setattr(directions_module, "PIECE", 3 * 32)
    pieces = (compute_directions(vectors, n_top=1), *compute_centring(vectors, n_top=1))
    for one, other in zip(whole, pieces, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_query_is_centred_like_the_corpus():
    vectors = random_directions(40)
    centring = compute_centring(vectors, n_top=3)
    np.testing.assert_allclose(centring.apply(vectors[5:6]), compute_directions(vectors, n_top=3)[5:6], atol=1e-6)
    with pytest.raises(ValueError, match="width"):
        centring.apply(vectors[:, :7])


# Neighbours: the brute-force definition, written out.
@settings(max_examples=40, deadline=None)
@given(st.integers(2, 40), st.integers(1, 8), st.integers(0, 50), st.integers(0, 10_000))
def test_neighbors_equal_brute_force(n: int, n_samples: int, top: int, seed: int):
    random = np.random.default_rng(seed)
    vectors = random_directions(n, 8, seed)
    vectors[random.random(n) < 0.1] = 0
    samples = np.array([f"s{i}" for i in random.integers(0, n_samples, n)], dtype=object)
    query = int(random.integers(n))
    indices, cosines = compute_neighbors(vectors, query, samples, top)
    expected = [
        i
        for i in np.argsort(-(vectors @ vectors[query]), kind="stable")
        if samples[i] != samples[query] and vectors[i].any() and vectors[query].any()
    ][:top]
    assert indices.tolist() == expected, "own sample, zero rows or the order went wrong"
    np.testing.assert_allclose(cosines, [vectors[i] @ vectors[query] for i in expected], atol=1e-5)


def test_a_vector_query_may_leave_a_sample_out():
    vectors = random_directions(12)
    samples = np.repeat(["a", "b", "c"], 4)
    assert compute_neighbors(vectors, 3.0 * vectors[0], samples, 1)[0].tolist() == [0]
    found, _ = compute_neighbors(vectors, vectors[0], samples, 99, exclude_sample="a")
    assert set(samples[found]) == {"b", "c"}


def test_equal_cosines_come_in_row_order():
    vectors = np.repeat(random_directions(2), 6, axis=0)
    found, _ = compute_neighbors(vectors, 0, np.arange(12), 3)
    assert found.tolist() == [1, 2, 3], "ties are settled by chance, so a page would not repeat"


@pytest.mark.parametrize(("query", "message"), [(12, "does not exist"), (-1, "does not exist"), (np.ones(5), "shape")])
def test_an_impossible_query_is_refused(query: int | np.ndarray, message: str):
    with pytest.raises(ValueError, match=message):
        compute_neighbors(random_directions(12), query, np.arange(12))


# Nulls.
def test_null_pairs_never_share_a_sample():
    samples = np.repeat(np.arange(6), [1, 9, 2, 7, 3, 8])
    vectors = np.eye(6, dtype=np.float32)[samples]  # cosine 1 exactly when a pair shares its sample
    null = compute_null_cosines(vectors, samples[np.random.default_rng(0).permutation(30)] * 0 + samples, 5000)
    assert null.max() == 0.0, "a pair from one sample is in the cross-sample null"


def test_every_cross_sample_pair_is_equally_likely():
    samples = np.array([0, 0, 0, 1, 2])
    angles = np.array([0.0, 0.3, 0.7, 1.2, 2.0])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    null = compute_null_cosines(vectors, samples, 70_000)
    pairs = [(i, j) for i in range(5) for j in range(i) if samples[i] != samples[j]]
    for i, j in pairs:
        share = np.mean(np.isclose(null, np.cos(angles[i] - angles[j]), atol=5e-4))  # nulls have half precision
        assert abs(share - 1 / len(pairs)) < 0.01, f"pair {i}, {j} is drawn {share:.3f} of the time"


def test_window_pairs_never_share_a_sample_and_leave_out_what_has_no_direction():
    spans = np.eye(4)[[0, 1, 2, 3]]
    windows = np.concatenate([np.eye(4)[[0, 1]], np.zeros((1, 4))])
    null = compute_window_null(spans, np.array(list("abcd")), windows, np.array(list("abz")), 4_000)
    assert 1_000 < len(null) <= 4_000
    assert not null.any(), "a window was compared with a span of its own sample"
    assert not len(compute_window_null(spans, np.array(list("abcd")), windows[2:], np.array(["z"]), 100))


def test_the_stricter_null_decides():
    cosines = np.array([0.5, 0.9])
    wide, narrow = np.linspace(-0.95, 0.95, 999), np.linspace(-0.1, 0.1, 999)
    joint = compute_joint_q_values(cosines, [narrow, wide, np.zeros(0)])
    np.testing.assert_allclose(joint, compute_q_values(cosines, wide, is_mirrored=True)[1])
    assert compute_joint_q_values(cosines, [np.zeros(0)]).tolist() == [1.0, 1.0]


def test_the_null_is_seeded():
    vectors, samples = random_directions(50), np.arange(50) // 5
    one, same, other = (compute_null_cosines(vectors, samples, 500, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_one_sample_has_no_cross_sample_null(n: int):
    null = compute_null_cosines(random_directions(5)[:n], np.zeros(n, int), 100)
    assert null.shape == (0,)
    assert describe_null(null)["n"] == 0
    p, q = compute_q_values(np.array([0.9]), null)
    assert (p[0], q[0]) == (1.0, 1.0), "no null must mean no evidence, never NaN and never a finding"


def test_p_and_q_against_a_hand_worked_case():
    null = np.arange(99) / 100  # 0.00 … 0.98
    p, q = compute_q_values(np.array([0.5, 2.0, -1.0]), null)
    np.testing.assert_allclose(p, [0.5, 0.01, 1.0])
    np.testing.assert_allclose(q, [0.75, 0.03, 1.0])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=40), st.integers(0, 30))
def test_q_is_that_of_scipy(p_values: list[float], n_unseen: int):
    p = np.array(p_values)
    expected = false_discovery_control(np.concatenate([p, np.ones(n_unseen)]))[: len(p)]
    np.testing.assert_allclose(adjust_p_values(p, len(p) + n_unseen), expected, rtol=1e-12)


# The best of many is large by chance alone: q must know of those that are not shown.
def test_unshown_candidates_make_q_larger():
    null = compute_null_cosines(random_directions(2000, 16, 0), np.arange(2000), 20_000)
    everything = random_directions(1, 16, 5)[0] @ random_directions(3000, 16, 6).T
    best = np.sort(everything)[::-1][:10]
    assert compute_q_values(best, null)[1].max() < 0.05, "the test's own premise: naive q finds something"
    honest = compute_q_values(best, null, n_tests=3000)[1]
    assert honest.min() > 0.05, "structureless directions are called aligned"
    assert (honest >= compute_q_values(everything, null)[1].min() - 1e-12).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1, 1), max_size=30), st.lists(st.floats(-1, 1), max_size=30))
def test_p_and_q_are_probabilities_and_ordered(cosines: list[float], null: list[float]):
    p, q = compute_q_values(np.array(cosines), np.array(null))
    assert ((p > 0) & (p <= 1) & (q >= p - 1e-12) & (q <= 1)).all()
    order = np.argsort(cosines)
    assert (np.diff(p[order]) <= 1e-12).all(), "a larger cosine has a larger p"


def test_true_alignments_among_random_pairs_are_not_their_own_yardstick() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 20_000)
    mixed = np.concatenate([noise, np.full(400, 0.9)])  # one random pair in fifty is truly aligned
    cosines = np.concatenate([[0.9], np.random.default_rng(1).normal(0, 0.1, 2_000)])
    p, q = compute_q_values(cosines, mixed, is_mirrored=True)
    assert compute_q_values(cosines, mixed)[1][0] > 0.5, "the test's own premise: a plain null hides it"
    assert q[0] < 0.2 < 1 / 50 * len(cosines), "an aligned span is judged by its like"
    assert p[0] < 1e-4
    assert abs((p[1:] < 0.05).mean() - 0.05) < 0.02, "unrelated cosines must stay uniform"
    assert (q[1:] < 0.05).sum() == 0
