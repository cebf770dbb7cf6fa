"""The structure benchmark: planted labels are found, restrictions hold, controls stay at chance."""

from __future__ import annotations

import numpy as np
import pytest

from gsd_core.analysis import baselines
from gsd_core.analysis.baselines import Representation
from gsd_core.analysis.benchmark import (
    Bound,
    Pool,
    bootstrap_mean,
    bootstrap_pairs,
    compute_cluster_agreement,
    compute_precision,
    shuffle_labels,
)

N_SAMPLES, N_SPANS, N_LABELS, WIDTH = 60, 5, 4, 32


@pytest.fixture
def planted() -> tuple[Representation, Representation, Pool]:
    """Rows around one centre a label, rows of noise, and the pool; the label is the sample's."""
    rng = np.random.default_rng(0)
    samples = np.repeat(np.arange(N_SAMPLES), N_SPANS)
    labels = samples % N_LABELS
    centres = rng.normal(size=(N_LABELS, WIDTH))
    rows = centres[labels] + 0.2 * rng.normal(size=(len(labels), WIDTH))
    noise = rng.normal(size=rows.shape)
    return (
        baselines.make_gradient("planted", rows.astype(np.float32)),
        baselines.make_gradient("noise", noise.astype(np.float32)),
        Pool(labels, samples),
    )


def test_planted_labels_are_found_and_noise_is_at_chance(planted) -> None:
    good, noise, pool = planted
    found, lost = compute_precision([good, noise], pool)
    assert np.nanmean(found.values) > 0.95
    value, low, high = bootstrap_mean(lost.values, pool.samples, seed=1)
    assert abs(value - np.nanmean(lost.chance)) < 0.05
    assert low < value < high


def test_neighbours_of_the_own_sample_never_count(planted) -> None:
    # Rows equal within a sample and unrelated across: whoever lets a sample answer itself finds it perfect.
    _, _, pool = planted
    rows = np.random.default_rng(3).normal(size=(N_SAMPLES, WIDTH))[pool.samples].astype(np.float32)
    (found,) = compute_precision([baselines.make_gradient("own", rows)], pool)
    assert np.nanmean(found.values) < 2 * np.nanmean(found.chance)


def test_restrictions_leave_only_what_they_name(planted) -> None:
    good, _, pool = planted
    topics = pool.samples % 3
    questions = np.random.default_rng(5).normal(size=(N_SAMPLES, 6))
    questions /= np.linalg.norm(questions, axis=1, keepdims=True)
    bound = Bound(questions, pool.samples, 0.1)
    mask = Pool(pool.labels, pool.samples, [topics], bound).allowed(np.arange(40))
    rows, columns = np.nonzero(mask)
    assert len(rows)
    assert (pool.samples[rows] != pool.samples[columns]).all()
    assert (topics[rows] != topics[columns]).all()
    cosines = (questions[pool.samples[rows]] * questions[pool.samples[columns]]).sum(1)
    assert (cosines <= 0.1).all()
    # A field that is the label itself leaves nothing to find.
    (found,) = compute_precision([good], Pool(pool.labels, pool.samples, [pool.labels]))
    assert np.nanmax(found.values) == 0
    assert np.nanmax(found.ceiling) == 0


def test_ceiling_says_what_perfect_neighbours_would_reach() -> None:
    samples = np.arange(30)
    labels = np.where(samples < 6, 0, 1)  # a query of label 0 has five others
    rows = np.eye(2, dtype=np.float32)[labels]
    (found,) = compute_precision([Representation("perfect", "gradient", rows)], Pool(labels, samples))
    assert np.allclose(found.values, found.ceiling)
    assert np.allclose(found.ceiling[labels == 0], 0.5)
    assert np.allclose(found.ceiling[labels == 1], 1.0)


def test_rows_without_direction_count_as_chance(planted) -> None:
    _, _, pool = planted
    empty = Representation("empty", "baseline", np.zeros((len(pool.labels), 3), np.float32))
    (found,) = compute_precision([empty], pool)
    assert np.allclose(found.values, found.chance)


def test_ties_do_not_go_by_the_order_of_rows() -> None:
    # All rows alike, sorted by label: taking the first ten would look perfect for one label and blind for the other.
    samples = np.arange(400)
    labels = (samples >= 200).astype(np.int64)
    (found,) = compute_precision(
        [Representation("same", "baseline", np.ones((400, 2), np.float32))], Pool(labels, samples)
    )
    assert abs(found.values[labels == 0].mean() - 0.5) < 0.1
    assert abs(found.values[labels == 1].mean() - 0.5) < 0.1


@pytest.mark.parametrize("of", ["samples", "steps"])
def test_shuffled_labels_are_at_chance_even_where_length_tells_the_label(of: str) -> None:
    rng = np.random.default_rng(2)
    lengths = np.array([3 + i % 4 for i in range(80)])  # label i % 4 has its own number of spans
    samples = np.repeat(np.arange(80), lengths)
    labels = samples % 4 if of == "samples" else (np.arange(len(samples)) * 7) % 4
    rows = np.eye(4)[samples % 4] + 0.1 * rng.normal(size=(len(samples), 4))
    shuffled = shuffle_labels(labels, samples, seed=3)
    assert np.array_equal(np.bincount(shuffled, minlength=4) > 0, np.ones(4, bool))
    pool = Pool(shuffled, samples)
    (found,) = compute_precision([baselines.make_gradient("rows", rows.astype(np.float32))], pool)
    value, _, _ = bootstrap_mean(found.values, samples)
    assert abs(value - np.nanmean(found.chance)) < 0.06


def test_interval_comes_from_samples_not_from_rows() -> None:
    # Every row of a sample says the same: many rows must not make the interval narrow.
    values = np.repeat(np.random.default_rng(1).random(20) < 0.5, 50).astype(float)
    samples = np.repeat(np.arange(20), 50)
    _, low, high = bootstrap_mean(values, samples)
    _, low_rows, high_rows = bootstrap_mean(values, np.arange(len(values)))
    assert high - low > 3 * (high_rows - low_rows)


def test_pairs_that_share_a_sample_do_not_count_as_many() -> None:
    # Forty pairs around two samples are little more than two observations; forty disjoint pairs are forty.
    hits = np.repeat([1.0, 0.0], 20)
    stars = np.array([[f"hub{i // 20}", f"s{i}"] for i in range(40)], dtype=object)
    apart = np.array([[f"a{i}", f"b{i}"] for i in range(40)], dtype=object)
    value, low, high = bootstrap_pairs(hits, stars)
    _, low_apart, high_apart = bootstrap_pairs(hits, apart)
    assert value == 0.5
    assert low < low_apart < 0.5 < high_apart < high
    assert high - low > 1.5 * (high_apart - low_apart)
    assert bootstrap_pairs(np.ones(40), stars) == (1.0, 1.0, 1.0)
    assert np.isnan(bootstrap_pairs(np.zeros(0), np.zeros((0, 2), dtype=object))).all()


def test_cluster_agreement_is_one_for_the_labels_and_zero_for_chance() -> None:
    rng = np.random.default_rng(4)
    samples, labels = np.repeat(np.arange(50), 4), np.tile(np.arange(4), 50)
    assert compute_cluster_agreement(labels, labels, samples)[0] == pytest.approx(1.0)
    value, low, high, n = compute_cluster_agreement(rng.permutation(labels), labels, samples)
    assert low - 0.02 <= 0 <= high + 0.05
    assert abs(value) < 0.05
    assert n == 200


def test_numbers_alone_are_seen_by_the_number_baselines_only() -> None:
    texts = [f"{a} apples then {b} pears" for a, b in [(1, 9), (2, 8), (9, 1), (8, 2)]]
    order = baselines.make_number_order(texts).rows
    cosines = (order @ order.T).toarray()
    assert cosines[0, 1] > cosines[0, 2]
    assert cosines[2, 3] > cosines[2, 0]
    bag = baselines.make_number_bag(texts).rows
    assert (bag @ bag.T).toarray()[0, 2] > 0.99


def test_centring_per_wording_removes_what_a_wording_shares() -> None:
    rng = np.random.default_rng(6)
    wording = np.repeat(["one", "two"], 40)
    step = np.tile(np.arange(4), 20)
    rows = 3.0 * np.eye(8)[np.where(wording == "one", 0, 1)] + np.eye(8)[2 + step]
    rows = (rows + 0.05 * rng.normal(size=rows.shape)).astype(np.float32)
    raw, centred = (baselines.make_state(rows, names).rows for names in (None, wording.tolist()))
    other = wording[:, None] != wording[None, :]
    same_step = step[:, None] == step[None, :]
    assert (centred @ centred.T)[other & same_step].min() > 0.8
    assert (raw @ raw.T)[other & same_step].max() < 0.5


def test_a_sample_is_the_mean_of_its_spans() -> None:
    rows = np.array([[1, 0], [0, 1], [0, 1]], np.float32)
    found = baselines.aggregate(Representation("r", "gradient", rows), np.array([0, 0, 1]), 2).rows
    assert np.allclose(found, [[0.5**0.5, 0.5**0.5], [0, 1]])
