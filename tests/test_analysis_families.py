"""Families: planted ones are found with their members, chance gives none, and phrases tell what their steps share."""

from __future__ import annotations

import numpy as np
import pytest

from gsd_core.analysis.families import (
    CHANCE,
    STRENGTHS,
    Levels,
    choose_n_top,
    find_families,
    find_levels,
    measure_agreement,
)
from gsd_core.analysis.phrases import compute_phrases, mask_words
from gsd_core.comparison.centring import compute_directions

N, WIDTH, PER_SAMPLE = 1200, 256, 4


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def plant(
    seed: int = 0, n_groups: int = 12, size: int = 30, cosine: float = 0.4
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(directions, samples, group of each row; -1 is noise): two rows of a group have `cosine` on average."""
    random = np.random.default_rng(seed)
    groups = np.full(N, -1)
    groups[random.permutation(N)[: n_groups * size]] = np.repeat(np.arange(n_groups), size)
    centres = unit(random.standard_normal((n_groups, WIDTH)))
    noise = unit(random.standard_normal((N, WIDTH)))
    rows = noise.copy()
    own = groups >= 0
    rows[own] = np.sqrt(cosine) * centres[groups[own]] + np.sqrt(1 - cosine) * noise[own]
    return unit(rows), np.arange(N) // PER_SAMPLE, groups


def test_planted_families_are_found_and_their_members_are_theirs() -> None:
    rows, samples, groups = plant()
    levels = find_levels(rows, samples)
    found = find_families(rows, samples, levels)
    confirmed = [each for each in found if each.strength == "confirmed"]
    assert {groups[each.prototype] for each in confirmed} == set(range(12))
    purities = [float(np.mean(groups[each.members] == groups[each.prototype])) for each in confirmed]
    assert np.mean(purities) >= 1 - 2 * CHANCE[0]
    assert min(purities) > 0.7
    for each in confirmed:
        assert samples[each.prototype] not in samples[each.members], "a span of the prototype's own sample"
        assert (np.diff(each.cosines) <= 0).all()
        assert each.cosines.min() >= levels.confirmed
        assert 0 <= each.chance <= 3 * CHANCE[0]
    order = [STRENGTHS.index(each.strength) for each in found]
    assert order == sorted(order)
    agreements = measure_agreement(rows, confirmed, samples)
    assert agreements.min() > 0.5, "halves of the numbers do not bear a planted family out"


@pytest.mark.parametrize("seed", range(6))
def test_directions_without_structure_have_no_family(seed: int) -> None:
    random = np.random.default_rng(seed)
    samples = np.arange(N) // PER_SAMPLE
    plain = unit(random.standard_normal((N, WIDTH)))
    rows, _, _ = plant(seed)
    mixed = np.stack([column[random.permutation(N)] for column in rows.T], axis=1)
    for directions in (plain, compute_directions(mixed)):
        levels = find_levels(directions, samples, seed)
        assert not find_families(directions, samples, levels)
    assert choose_n_top(plain, samples, seed)[0] == 0


def test_families_may_overlap_and_a_span_of_two_groups_is_in_both() -> None:
    rows, samples, groups = plant(n_groups=2, size=60)
    bridge = 0
    a, b = (rows[groups == group].mean(axis=0) for group in (0, 1))
    rows[bridge] = unit((a / np.linalg.norm(a) + b / np.linalg.norm(b))[None])[0]
    found = find_families(rows, samples, find_levels(rows, samples))
    holding = [each for each in found if bridge in each.members or bridge == each.prototype]
    assert len(holding) >= 2


def test_several_spans_of_one_sample_are_no_family() -> None:
    random = np.random.default_rng(0)
    rows = unit(random.standard_normal((400, WIDTH)))
    centre = rows[0].copy()
    rows[:40] = unit(0.8 * centre + 0.6 * rows[:40])
    samples = np.where(np.arange(400) < 40, np.arange(400) % 3, np.arange(400))
    assert not find_families(rows, samples, Levels(0.0, 0.4, 0.4))


def test_strong_common_directions_are_removed_and_none_where_there_are_none() -> None:
    rows, samples, _ = plant(size=40, cosine=0.3)
    assert choose_n_top(rows, samples)[0] == 0
    random = np.random.default_rng(1)
    common = unit(random.standard_normal((3, WIDTH)))
    skewed = unit(rows + (random.standard_normal((N, 3)) * 0.9) @ common)
    n_top, shares = choose_n_top(skewed, samples)
    assert n_top == 3
    assert shares[3] > 2 * shares[0]


def test_empty_and_tiny_input_gives_nothing() -> None:
    for n in (0, 1, 2, 5):
        rows, samples = np.zeros((n, 8), np.float32), np.arange(n)
        levels = find_levels(rows, samples)
        assert find_families(rows, samples, levels) == []
        assert choose_n_top(rows, samples)[0] == 0
    assert measure_agreement(np.zeros((0, 8), np.float32), [], np.zeros(0, np.int64)).shape == (0,)


def test_phrases_are_shared_across_samples_with_numbers_and_names_masked() -> None:
    texts, groups = [], []
    names = ["Zoe", "Tom", "Mia", "Leo", "Ana", "Ben"]
    for at, (name, noun) in enumerate(zip(names, ["apples", "books", "coins", "cups", "hens", "mugs"], strict=True)):
        texts.append(f"So in total {name} has {at + 3} + {at + 9} = {2 * at + 12} {noun}.")
        texts.append(f"Each of {name}'s boxes holds {at + 2} {noun}, so there are {at + 2} * 4 = {4 * at + 8}.")
    rows = np.arange(len(texts))
    groups = {0: rows[::2], 1: rows[1::2]}
    found = compute_phrases(texts, rows // 2, groups)
    assert any("in total" in each for each in found[0]), found
    assert any("*" in each for each in found[1]), found
    every = " ".join([*found[0], *found[1]])
    assert not any(word in every for word in ["zoe", "tom", "apples", "books", *map(str, range(10))])
    for own in found.values():
        assert not any(f" {a} " in f" {b} " for a in own for b in own if a != b), "one phrase holds another"
    assert compute_phrases(["", "1", "?"], np.arange(3), {0: np.arange(3)}) == {0: []}


def test_words_are_masked() -> None:
    assert mask_words("Zoe pays 3 * $4.50 = $13.50", frozenset({"zoe"})) == ["…", "pays", "#", "*", "#", "=", "#"]
    assert mask_words("１２ ½ 3/4 x²") != []
