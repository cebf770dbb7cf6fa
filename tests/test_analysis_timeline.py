"""Curves over training find what was planted, against slow and plain ways of computing the same."""

from __future__ import annotations

import numpy as np
import pytest

from gsd_core.analysis.aligned_layouts import compute_aligned_layouts
from gsd_core.analysis.timeline import (
    MEASURES,
    Moment,
    compute_alignment,
    compute_purity,
    compute_timeline,
)

WIDTH = 32


def make_unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def plant(n_samples: int, n_groups: int, strength: float, seed: int) -> tuple[np.ndarray, ...]:
    """Directions around one axis a group, every sample with a span of each group: directions, groups, samples."""
    random = np.random.default_rng(seed)
    groups = np.tile(np.arange(n_groups), n_samples)
    samples = np.repeat([f"s{number}" for number in range(n_samples)], n_groups).astype(object)
    noise = random.normal(size=(len(groups), WIDTH)) / np.sqrt(WIDTH)
    return make_unit(strength * np.eye(WIDTH)[groups] + noise), groups, samples


def make_moment(name: str, step: int, directions: np.ndarray, clusters: np.ndarray | None = None) -> Moment:
    n = len(directions)
    return Moment(name, step, directions, np.full(n, 0.5), np.arange(n) + 1.0, np.full(n, 2.0), clusters)


def list_cosines(directions: np.ndarray, groups: np.ndarray, samples: np.ndarray) -> tuple[list, list]:
    """Every pair of spans from different samples, one by one: cosines inside each group, and between groups."""
    inside: dict[int, list[float]] = {}
    between = []
    for i in range(len(directions)):
        for j in range(i):
            if samples[i] == samples[j] or groups[i] < 0 or groups[j] < 0:
                continue
            cosine = float(directions[i] @ directions[j])
            if groups[i] == groups[j]:
                inside.setdefault(int(groups[i]), []).append(cosine)
            else:
                between.append(cosine)
    sizes = {group: int((groups == group).sum()) for group in inside}
    within = sum(sizes[group] * np.mean(found) for group, found in inside.items()) / sum(sizes.values())
    return within, float(np.mean(between))


def test_alignment_is_the_mean_over_every_pair_of_different_samples() -> None:
    random = np.random.default_rng(0)
    directions = make_unit(random.normal(size=(60, WIDTH)))
    groups, samples = random.integers(-1, 4, 60), random.integers(0, 9, 60).astype(str).astype(object)
    within, across = compute_alignment(directions, groups, samples, n_resamples=20)
    expected_within, expected_across = list_cosines(directions, groups, samples)
    assert within.value == pytest.approx(expected_within, abs=1e-5)
    assert across.value == pytest.approx(expected_across, abs=1e-5)
    assert across.n == (groups >= 0).sum(), "spans in no group were counted"


def test_alignment_ignores_what_a_sample_says_twice() -> None:
    """A sample whose spans are all alike must not raise alignment, however many there are."""
    directions, groups, samples = plant(20, 1, 0.0, seed=1)
    copies = np.repeat(directions[:1], 50, axis=0)
    within, _ = compute_alignment(
        np.concatenate([directions, copies]),
        np.concatenate([groups, np.zeros(50, int)]),
        np.concatenate([samples, np.repeat(samples[:1], 50)]),
    )
    assert abs(within.value) < 0.15, "pairs inside one sample count as alignment"


def test_the_interval_holds_the_value_and_narrows_with_samples() -> None:
    few = compute_alignment(*plant(12, 3, 1.0, seed=2)).within
    many = compute_alignment(*plant(120, 3, 1.0, seed=2)).within
    assert few.ci_low < few.value < few.ci_high
    assert many.ci_high - many.ci_low < 0.6 * (few.ci_high - few.ci_low)


def test_alignment_without_a_pair_is_unknown_not_zero() -> None:
    directions, groups, _ = plant(6, 2, 1.0, seed=3)
    within, across = compute_alignment(directions, groups, np.array(["one"] * 12, dtype=object))
    assert np.isnan(within.value)
    assert np.isnan(across.value)
    assert np.isnan(compute_alignment(directions, np.full(12, -1), np.arange(12)).within.value)


def test_purity_finds_planted_labels_and_tells_chance() -> None:
    random = np.random.default_rng(4)
    clusters, samples = np.repeat(np.arange(5), 40), np.tile(np.arange(40), 5)
    pure = compute_purity(clusters, clusters + 3, samples)
    assert pure.value == 1.0
    mixed = compute_purity(clusters, random.permutation(clusters), samples)
    assert mixed.value == pytest.approx(mixed.chance, abs=0.06), "labels dealt at random must be at chance"
    assert pure.chance == pytest.approx(mixed.chance, abs=0.05)
    part = compute_purity(np.where(clusters == 0, -1, clusters), np.where(clusters == 1, -1, clusters), samples)
    assert part.n == 120, "spans without cluster or label were counted"


def test_curves_rise_with_planted_emergence_and_drift_tells_who_turned() -> None:
    weak, groups, samples = plant(40, 4, 0.1, seed=5)
    strong = plant(40, 4, 2.0, seed=5)[0]
    turned = strong.copy()
    turned[groups == 0] *= -1
    moments = [
        make_moment("a", 0, weak, np.zeros_like(groups)),
        make_moment("b", 10, strong, groups),
        make_moment("c", 20, turned, groups),
    ]
    spans = np.array([f"{sample}#{group}" for sample, group in zip(samples, groups, strict=True)], dtype=object)
    seen: list[str] = []
    curves, drift = compute_timeline(
        iter(moments),
        spans,
        samples,
        groups,
        {"meta.kind": groups},
        on_moment=lambda m: seen.append(m.checkpoint),
    )
    assert seen == ["a", "b", "c"]
    table = curves.pivot(index="measure", columns="checkpoint", values="value")
    assert set(MEASURES) <= set(table.index)
    assert table.loc["alignment within clusters", "b"] > table.loc["alignment within clusters", "a"] + 0.3
    assert table.loc["alignment across", "b"] < 0.1
    assert table.loc["alignment within meta.kind"].equals(table.loc["alignment within clusters"])
    assert table.loc["purity: meta.kind", "a"] == 0.25
    assert table.loc["purity: meta.kind", "b"] == 1.0
    assert table.loc["cluster agreement", "b"] == pytest.approx(1.0)
    assert np.isnan(table.loc["cosine to previous", "a"]), "nothing lies before the first checkpoint"
    assert table.loc["norm", "a"] == pytest.approx(80.5)
    last = drift[drift["checkpoint"] == "c"]
    assert last["to_previous"].to_numpy()[groups == 0] == pytest.approx(-1.0, abs=1e-5)
    assert last["to_previous"].to_numpy()[groups != 0] == pytest.approx(1.0, abs=1e-5)
    assert drift["to_first"].isna().sum() == len(spans)
    rows = curves[curves["measure"] != "alignment across"].dropna(subset=["ci_low"])
    assert (rows["ci_low"] <= rows["value"] + 1e-9).all()
    assert (rows["value"] <= rows["ci_high"] + 1e-9).all()


def test_chance_of_drift_is_the_cosine_with_other_samples() -> None:
    """Where all spans share a direction, staying near oneself says nothing: chance must be as high."""
    random = np.random.default_rng(6)
    shared = make_unit(np.eye(WIDTH)[:1] + 0.05 * random.normal(size=(30, WIDTH)))
    samples = np.arange(30).astype(str).astype(object)
    curves, _ = compute_timeline(
        [make_moment("a", 0, shared), make_moment("b", 1, shared)], samples, samples, np.full(30, -1)
    )
    row = curves[curves["measure"] == "cosine to previous"].iloc[0]
    assert row["value"] == pytest.approx(1.0, abs=1e-4)
    assert row["chance"] == pytest.approx(np.mean((shared @ shared.T)[~np.eye(30, dtype=bool)]), abs=1e-4)


def test_a_span_without_direction_has_no_drift_and_no_alignment() -> None:
    directions, groups, samples = plant(20, 2, 1.0, seed=7)
    dead = directions.copy()
    dead[3] = 0
    curves, drift = compute_timeline(
        [make_moment("a", 0, directions), make_moment("b", 1, dead)], samples, samples, groups
    )
    assert np.isnan(drift["to_previous"].to_numpy()[len(samples) + 3])
    counts = curves[curves["measure"] == "alignment within clusters"]["n"].tolist()
    assert counts == [40, 39]


def test_moments_of_different_spans_are_refused() -> None:
    directions, groups, samples = plant(10, 2, 1.0, seed=8)
    with pytest.raises(ValueError, match="same spans"):
        compute_timeline([make_moment("a", 0, directions[1:])], samples, samples, groups)


def test_aligned_layouts_keep_places_and_let_a_span_move_to_its_new_group() -> None:
    first, groups, _ = plant(40, 3, 2.0, seed=9)
    second = plant(40, 3, 2.0, seed=10)[0]
    movers = np.flatnonzero(groups == 0)[:10]
    second[movers] = second[np.flatnonzero(groups == 1)[:10]]
    start = np.random.default_rng(0).normal(size=(len(groups), 2))
    directions = np.stack([first, first, second])
    found = compute_aligned_layouts(directions, start)
    assert found.shape == (3, len(groups), 2)
    assert np.isfinite(found).all()
    centres = np.array([[np.median(places[groups == g], axis=0) for g in range(3)] for places in found])
    apart = np.linalg.norm(centres[0, 0] - centres[0, 1])
    moved = np.linalg.norm(centres[1] - centres[0], axis=1)
    assert (moved < 0.5 * apart).all(), "a group without change wandered over the map"

    def is_near_new(at: int) -> float:
        away = [np.linalg.norm(found[at, movers] - centres[at, g], axis=1) for g in (0, 1)]
        return float(np.mean(away[1] < away[0]))

    assert is_near_new(0) < 0.2
    assert is_near_new(2) > 0.8, "spans that joined another group were held at their old place"
    assert np.array_equal(found, compute_aligned_layouts(directions, start)), "same seed, other bytes"


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_few_spans_still_have_places(n: int) -> None:
    rows = make_unit(np.random.default_rng(1).normal(size=(2 * n, WIDTH))).reshape(2, n, WIDTH)
    found = compute_aligned_layouts(rows, np.zeros((n, 2)))
    assert found.shape == (2, n, 2)
    assert np.isfinite(found).all()
