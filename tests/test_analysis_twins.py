"""Alignment and twins: scores against an independent recursion, planted twins found, chance called chance."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest

from gsd_core.analysis.align import (
    TracedSpans,
    compute_local_alignment,
    compute_match_scale,
    compute_pair_scores,
    group_traces,
    make_shuffles,
)
from gsd_core.analysis.structure import Corpus, Structure, analyze_structure
from gsd_core.analysis.twins import PER_PATTERN, find_twins
from gsd_core.methods.analyze_method import STRUCTURE
from tests.benchmarks.structure import Planted, compute_recall, make_planted


def score_by_recursion(scores: np.ndarray, gap: float) -> float:
    """Best local alignment with two matches or more, straight from the definition: every end, every way back."""

    @cache
    def ending_at(i: int, j: int, n_matches: int) -> float:
        """Best alignment whose last step is the pair (i, j), with at least ``n_matches`` matches (0, 1 or 2)."""
        is_match = scores[i, j] > 0
        needed = max(n_matches - is_match, 0)
        best = scores[i, j] if needed == 0 and is_match else -np.inf
        for a in range(i):
            for b in range(j):
                skipped = (i - a - 1) + (j - b - 1)
                best = max(best, ending_at(a, b, needed) + scores[i, j] - gap * skipped)
        return float(best)

    return max((ending_at(i, j, 2) for i, j in np.ndindex(*scores.shape)), default=0.0)


@pytest.mark.parametrize("seed", range(12))
def test_alignment_score_equals_the_recursion(seed: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.normal(-0.3, 0.5, size=tuple(random.integers(1, 7, 2)))
    gap = float(random.uniform(0.05, 0.5))
    score, aligned = compute_local_alignment(scores, gap)
    # A run whose beginning costs more than it brings is no run: the recursion may find one, the table may not.
    expected = score_by_recursion(scores, gap)
    assert score <= max(expected, 0) + 1e-5
    if aligned:
        assert score == pytest.approx(expected, abs=1e-5)
        rows, columns = (np.array(each) for each in zip(*aligned, strict=True))
        assert len(aligned) >= 2
        assert (np.diff(rows) > 0).all()
        assert (np.diff(columns) > 0).all()
        assert all(scores[i, j] > 0 for i, j in aligned), "a pair below the threshold counts as aligned"


def test_alignment_follows_a_planted_diagonal_through_a_gap() -> None:
    scores = np.full((6, 7), -1.0)
    for i, j in ((1, 2), (2, 3), (3, 5), (4, 6)):
        scores[i, j] = 1.0
    score, aligned = compute_local_alignment(scores, 0.25)
    assert aligned == [(1, 2), (2, 3), (3, 5), (4, 6)]
    assert score == pytest.approx(4 - 0.25)


@pytest.mark.parametrize("scores", [np.zeros((0, 3)), -np.ones((3, 3)), np.eye(1), np.fliplr(2 * np.eye(4) - 1)])
def test_fewer_than_two_spans_in_order_are_no_run(scores: np.ndarray) -> None:
    assert compute_local_alignment(scores, 0.1) == (0.0, [])


def test_alignment_refuses_what_is_no_score_matrix() -> None:
    with pytest.raises(ValueError, match="gap"):
        compute_local_alignment(np.ones((2, 2)), 0.0)
    with pytest.raises(ValueError, match="finite"):
        compute_local_alignment(np.array([[np.nan]]), 0.1)


def test_match_scale_is_the_nulls_and_not_that_of_the_alignment_in_it() -> None:
    random = np.random.default_rng(0)
    null = random.normal(0, 0.1, 50_000)
    threshold, gap = compute_match_scale(null)
    assert threshold == pytest.approx(np.quantile(null, 0.95), rel=0.05)
    assert gap == pytest.approx(0.1, rel=0.05)
    # A fifth of random pairs is truly aligned, as in a corpus with five kinds of step: these must still match.
    mixed = np.concatenate([null, random.normal(0.7, 0.1, 12_500)])
    assert np.quantile(mixed, 0.95) > 0.6
    threshold, gap = compute_match_scale(mixed)
    assert threshold < 0.3
    assert gap < 0.2
    assert compute_match_scale(null - 0.5)[0] == 0.0, "spans that point away from one another are not aligned"
    assert compute_match_scale(np.zeros(0))[0] == 1.0


def test_pair_scores_are_the_single_alignments_over_the_traces_size() -> None:
    planted = make_planted(12, width=64)
    keep = np.random.default_rng(0).random(len(planted.samples)) < 0.7  # traces of different lengths
    traces = group_traces(planted.samples[keep], planted.indices[keep])
    rows = planted.directions[keep][traces.order]
    pairs = np.stack(np.triu_indices(len(traces.ids), 1), axis=1)
    shuffles = make_shuffles(traces, 3, 0)
    observed, shuffled = compute_pair_scores(rows, traces, pairs, 0.1, 0.1, shuffles)
    for at, (a, b) in enumerate(pairs):
        one, two = (slice(traces.offsets[t], traces.offsets[t + 1]) for t in (a, b))
        size = np.sqrt((one.stop - one.start) * (two.stop - two.start))
        expected = compute_local_alignment(rows[one] @ rows[two].T - 0.1, 0.1)[0] / size
        assert observed[at] == pytest.approx(expected, abs=1e-5)
        for r, order in enumerate(shuffles):
            again = compute_local_alignment(rows[order[one]] @ rows[order[two]].T - 0.1, 0.1)[0] / size
            assert shuffled[at, r] == pytest.approx(again, abs=1e-5)


def test_shuffles_keep_every_span_in_its_trace() -> None:
    traces = group_traces(np.array(["b", "a", "b", "a", "a"], dtype=object), np.array([1, 2, 0, 0, 1]))
    assert traces.ids.tolist() == ["b", "a"]
    assert traces.order.tolist() == [2, 0, 3, 4, 1], "rows of a trace stand in span order"
    for order in make_shuffles(traces, 20, 0):
        assert set(order[:2]) == {0, 1}
        assert set(order[2:]) == {2, 3, 4}


def search(planted: Planted, seed: int = 0, **options: int):
    traces = group_traces(planted.samples, planted.indices)
    null = np.random.default_rng(seed).normal(0, 0.2, 10_000)
    spans = TracedSpans(planted.directions, traces, planted.labels, planted.questions)
    return find_twins(spans, compute_match_scale(null), seed, **options)


def test_top_twins_share_the_procedure_and_not_the_topic() -> None:
    planted = make_planted(200, width=128)
    twins = search(planted).twins[:50]
    assert len(twins) == 50
    same = [planted.procedures[twin.a] == planted.procedures[twin.b] for twin in twins]
    other = [planted.topics[twin.a] != planted.topics[twin.b] for twin in twins]
    assert np.mean(same) >= 0.9
    assert np.mean(other) >= 0.9
    assert max(twin.q_value for twin in twins) < 0.05


def test_candidates_recall_the_top_twins_of_brute_force() -> None:
    assert compute_recall(make_planted(200, width=128)) >= 0.95


def test_one_cluster_pattern_does_not_fill_the_list() -> None:
    twins = search(make_planted(200, width=128)).twins
    patterns = [twin.pattern for twin in twins]
    assert max(patterns.count(pattern) for pattern in set(patterns)) == PER_PATTERN
    scores = [twin.score for twin in twins]
    assert scores == sorted(scores, reverse=True)


def test_twins_are_no_closer_in_meaning_than_the_median_pair() -> None:
    found = search(make_planted(120, width=64))
    assert max(twin.semantic for twin in found.twins) <= float(np.median(found.random.semantic))


def test_in_shuffled_corpora_few_reported_twins_are_significant() -> None:
    n_reported = n_significant = 0
    for seed in range(6):
        twins = search(make_planted(120, width=64, seed=seed, shuffled=True), seed).twins
        n_reported += len(twins)
        n_significant += sum(twin.q_value < 0.05 for twin in twins)
    assert n_reported > 500, "nothing was reported, so nothing was tested"
    assert n_significant <= 0.05 * n_reported


def say_anything(n: int, seed: int) -> list[str]:
    """n texts of two random words of sixty."""
    words = [first + second for first in "abcdef" for second in "klmnopqrst"]
    return [" ".join(pair) for pair in np.random.default_rng(seed).choice(words, (n, 2))]


def test_in_shuffled_corpora_few_twins_in_other_words_are_significant() -> None:
    n_reported = n_significant = 0
    for seed in range(6):
        planted = make_planted(120, width=64, seed=seed, shuffled=True)
        texts = say_anything(len(planted.samples), seed)
        corpus = Corpus(
            *(planted.directions, planted.samples, planted.indices, planted.labels, planted.questions), texts
        )
        table = analyze_structure(corpus, seed).tables["rewordings"]
        n_reported += len(table)
        n_significant += int((table["q_value"] < 0.05).sum())
    assert n_reported > 200, "nothing was reported, so nothing was tested"
    assert n_significant <= 0.05 * n_reported


def analyze(planted: Planted, order: np.ndarray | None = None) -> Structure:
    at = np.arange(len(planted.samples)) if order is None else order
    width = planted.directions.shape[1]
    layers = [("layer.0", 0, width // 2), ("layer.1", width // 2, width)]
    rows = (planted.directions[at], planted.samples[at], planted.indices[at], planted.labels[at])
    first = list(dict.fromkeys(planted.samples[at]))
    questions = planted.questions[[int(sample[1:]) for sample in first]]
    noise = np.random.default_rng(5).normal(size=(40, width))
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    controls = {"random windows": (noise.astype(np.float32), planted.samples[at][:: len(at) // 40][:40])}
    texts = say_anything(len(at), 6)
    return analyze_structure(
        Corpus(*rows, questions, texts),
        layer_slices=layers,
        names={0: "the first kind"},
        controls=controls,
    )


def test_twins_in_other_words_are_found_beside_those_that_share_them() -> None:
    """Each of six procedures is told in two wordings, which the directions see better than the procedure."""
    random = np.random.default_rng(0)
    n, n_steps, width = 160, 4, 96
    procedure, wording = random.integers(0, 6, n), random.integers(0, 2, n)
    steps = random.normal(size=(6, n_steps, width))
    told = random.normal(size=(6, 2, n_steps, width))
    rows = steps[procedure] + 0.9 * told[procedure, wording] + 0.5 * random.normal(size=(n, n_steps, width))
    rows = (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).reshape(-1, width).astype(np.float32)
    texts = [
        f"{'abcdef'[p]}{'xy'[w]}{'klmn'[k]} {random.integers(100)} {random.choice(['oh', 'well', 'so'])}"
        for p, w in zip(procedure, wording, strict=True)
        for k in range(n_steps)
    ]
    corpus = Corpus(
        rows,
        np.repeat([f"s{number}" for number in range(n)], n_steps),
        np.tile(np.arange(n_steps), n),
        (procedure[:, None] * n_steps + np.arange(n_steps)).ravel(),
        random.normal(size=(n, 16)).astype(np.float32),
        texts,
    )
    found = analyze_structure(corpus)

    def share(table: pd.DataFrame, kind: np.ndarray) -> float:
        a, b = ([int(sample[1:]) for sample in table[side]] for side in ("a", "b"))
        return float((kind[a] == kind[b]).mean())

    twins, rewordings = (found.tables[name] for name in ("twins", "rewordings"))
    twins, rewordings = twins.head(40), rewordings[rewordings["q_value"] < 0.05]
    assert len(rewordings) >= 10
    assert share(twins, wording) > 0.9, "the fixture must make one wording align best"
    assert (rewordings["wording"] <= found.info["twins"]["words_limit"]).all()
    assert share(rewordings, wording) == 0
    assert share(rewordings, procedure) > 0.9
    assert (rewordings["structural"].diff().dropna() <= 0).all(), "they are ranked by structure alone"


def test_structure_has_every_declared_table() -> None:
    found = analyze(make_planted(80, width=64))
    assert {name: list(frame.columns) for name, frame in found.tables.items()} == {
        name: STRUCTURE.names(name) for name in STRUCTURE.tables
    }
    for name, frame in found.tables.items():
        assert len(frame), f"{name} is empty"
    assert found.info["n_twins"] == int((found.tables["twins"]["q_value"] < 0.05).sum()) > 0
    assert found.info["n_stresses"] == int((found.tables["stresses"]["q_value"] < 0.05).sum()) > 0


def test_planted_spans_find_better_partners_than_noise_of_the_same_samples() -> None:
    tables = analyze(make_planted(80, width=64)).tables
    best = tables["best"].groupby("kind")["cosine"]
    assert best.size().nunique() == 1, "a larger pool has better partners"
    assert best.mean()["spans"] > best.mean()["random windows"] + 0.1
    assert set(tables["cosines"]["kind"]) == {"spans", "same cluster", "shuffled", "random windows"}


def test_aligned_spans_and_occurrences_are_named_by_their_index_in_the_sample() -> None:
    planted = make_planted(80, width=64)
    # Indices with holes, as where spans without tokens were left out, and rows in no order.
    planted.indices = planted.indices * 3 + 1
    order = np.random.default_rng(0).permutation(len(planted.samples))
    found = analyze(planted, order)
    row_of = {(s, int(k)): row for row, (s, k) in enumerate(zip(planted.samples, planted.indices, strict=True))}
    for twin in found.tables["twins"].head(20).itertuples():
        for k_a, k_b, cosine in twin.aligned:
            a, b = row_of[twin.a, k_a], row_of[twin.b, k_b]
            assert planted.directions[a] @ planted.directions[b] == pytest.approx(cosine, abs=1e-3)
    patterns = found.tables["stresses"].set_index("stress")["pattern"]
    for stress, sample, indices in found.tables["occurrences"].head(200).itertuples(index=False):
        rows = [row_of[sample, k] for k in indices]
        assert planted.labels[rows].tolist() == patterns[stress]


def test_edges_are_mean_cosines_between_samples_only() -> None:
    planted = make_planted(15, width=32)
    planted.labels = planted.labels % 4 - 1  # noise has no edges
    edges = analyze(planted).tables["edges"]
    assert edges["cluster_a"].min() == 0
    cosines = planted.directions @ planted.directions.T
    differ = planted.samples[:, None] != planted.samples[None, :]
    for edge in edges.itertuples():
        pairs = (planted.labels[:, None] == edge.cluster_a) & (planted.labels[None, :] == edge.cluster_b) & differ
        assert edge.cosine == pytest.approx(cosines[pairs].mean(), abs=1e-5)
        assert edge.n == pairs.sum() // (2 if edge.cluster_a == edge.cluster_b else 1)


def test_same_cluster_stands_above_random_pairs_in_every_layer_that_has_it() -> None:
    planted = make_planted(80, width=64)
    planted.directions[:, 32:] = np.random.default_rng(0).normal(size=(len(planted.samples), 32)) / 8
    layers = analyze(planted).tables["layers"].set_index(["layer", "set"])
    same, chance = (layers.loc["layer.0", kind] for kind in ("same cluster", "random"))
    assert same["ci_low"] > chance["ci_high"]
    noise = layers.loc["layer.1", "same cluster"]
    assert noise["ci_low"] < 0.05
    cosines = analyze(planted).tables["cosines"].groupby("kind")["cosine"].mean()
    assert cosines["same cluster"] > cosines["shuffled"] + 0.1


@pytest.mark.parametrize("n_traces", [0, 1, 2])
def test_structure_of_few_or_no_traces_is_empty_not_an_error(n_traces: int) -> None:
    planted = make_planted(2, width=16)
    keep = slice(0, 10 * n_traces)
    rows = (planted.directions[keep], planted.samples[keep], planted.indices[keep])
    found = analyze_structure(Corpus(*rows, np.full(10 * n_traces, -1), planted.questions[:n_traces]))
    assert {name: list(frame.columns) for name, frame in found.tables.items()} == {
        name: STRUCTURE.names(name) for name in STRUCTURE.tables
    }
    assert found.info["n_stresses"] == 0
    assert not len(found.tables["edges"])


def test_lengths_that_differ_are_refused() -> None:
    planted = make_planted(3, width=16)
    with pytest.raises(ValueError, match="question embeddings"):
        analyze_structure(
            Corpus(planted.directions, planted.samples, planted.indices, planted.labels, planted.questions[:2])
        )
    with pytest.raises(ValueError, match="one of each"):
        analyze_structure(
            Corpus(planted.directions[1:], planted.samples, planted.indices, planted.labels, planted.questions)
        )
