"""Selection: budgets hold, better comes first, targets are not their own match; the command writes it whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gsd_core.analysis.selection import compute_agreement, compute_sample_means, compute_target_scores, pick
from tests.cli_support import run_gsd, run_gsd_json, write_run

STEPS, SAMPLES = 4, 12


@given(
    st.lists(st.tuples(st.floats(-1, 1), st.integers(1, 50)), min_size=1, max_size=30),
    st.floats(0.01, 1.0),
    st.floats(0.01, 1.0),
)
def test_a_budget_is_never_exceeded_and_a_larger_one_keeps_what_a_smaller_one_held(
    units: list[tuple[float, int]], a: float, b: float
) -> None:
    scores, sizes = np.array([u[0] for u in units]), np.array([u[1] for u in units])
    small, large = pick(scores, sizes, min(a, b)), pick(scores, sizes, max(a, b))
    assert sizes[small].sum() <= min(a, b) * sizes.sum() + 1e-6
    assert not np.any(small & ~large)
    if small.any() and not small.all():
        assert scores[small].min() >= scores[~small].max(), "something better was left out"


def test_units_without_a_score_are_never_picked() -> None:
    assert pick(np.array([np.nan, 0.1, np.nan]), np.ones(3), 1.0).tolist() == [False, True, False]


def test_a_target_is_not_compared_with_itself() -> None:
    rows = np.eye(3)
    scores = compute_target_scores(rows, np.array([True, True, False]))
    np.testing.assert_allclose(scores, 0.0)
    with pytest.raises(ValueError, match="target"):
        compute_target_scores(rows, np.zeros(3, bool))


def test_sample_means_weigh_by_tokens_and_leave_out_what_is_missing() -> None:
    owners, sizes = np.array([0, 0, 1, 2]), np.array([1, 3, 2, 2])
    means = compute_sample_means(np.array([0.0, 1.0, np.nan, 5.0]), owners, sizes)
    np.testing.assert_allclose(means, [0.75, np.nan, 5.0])
    rows = compute_sample_means(np.eye(4), owners, sizes)
    np.testing.assert_allclose(rows[0], [0.25, 0.75, 0, 0])


def test_agreement_counts_tokens() -> None:
    a, b = np.array([True, True, False]), np.array([False, True, True])
    assert compute_agreement(a, b, np.array([1, 2, 1])) == pytest.approx(0.5)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("selection") / "workspace"
    write_run(folder, n_samples=SAMPLES, n_steps=STEPS)
    return folder


@pytest.mark.parametrize("by", ["alignment", "semantic", "random", "spectral", "grace"])
def test_every_measure_writes_a_subset_with_masks_that_fit(workspace: Path, tmp_path: Path, by: str) -> None:
    out = tmp_path / "chosen.jsonl"
    target = ["--target", "meta.topic=t0"] if by in ("alignment", "semantic") else []
    words = ["select", "--run", "planted", "--by", by, "--budget", "0.5", "--out", out, *target]
    result = run_gsd_json(*words, workspace=workspace)
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == result["n_samples"] > 0
    assert sum(sum(line["mask"]) for line in lines) == result["n_spans_kept"]
    assert 0 < result["token_share"] <= 0.5
    for line in lines:
        assert len(line["mask"]) == STEPS
        kept = [line["reasoning"][start:end] for start, end in line["kept"]]
        assert [int(text.split()[1]) for text in kept] == [k for k, keep in enumerate(line["mask"]) if keep]
        assert line["sample"] == f"s{int(line['answer'])}"
        if target:
            assert line["meta"]["topic"] != "t0", "the target itself was selected"
    others = {each["by"] for each in result["agreement"]}
    assert {"random", "spectral", "grace"} - {by} <= others


def test_spectral_keeps_the_steps_that_score_highest(workspace: Path, tmp_path: Path) -> None:
    words = [
        "select",
        "--run",
        "planted",
        "--by",
        "spectral",
        "--budget",
        "0.25",
        "--out",
        tmp_path / "s.jsonl",
    ]
    run_gsd_json(*words, workspace=workspace)
    masks = [json.loads(line)["mask"] for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert all(mask == [False, False, False, True] for mask in masks), "planted: the last step scores highest"
    assert len(masks) == SAMPLES


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--by", "alignment", "--budget", "0.5"], "needs a target"),
        (["--by", "alignment", "--budget", "0.5", "--target", "meta.nope=1"], "no field 'meta.nope'"),
        (["--by", "alignment", "--budget", "0.5", "--target", "meta.topic=nope"], "no sample has"),
        (["--by", "wording", "--budget", "0.5"], "invalid choice: 'wording'"),
        (["--by", "segments"], "needs an attribution"),
        (["--by", "random", "--budget", "1.5"], "is no share"),
        (["--by", "random", "--budget", "0.001"], "holds not one"),
        (
            ["--by", "alignment", "--unit", "span", "--budget", "0.5", "--target", "meta.topic=t0"],
            "by sample",
        ),
    ],
)
def test_what_cannot_be_selected_is_told_and_nothing_is_written(
    workspace: Path, tmp_path: Path, words: list[str], what: str
) -> None:
    out = tmp_path / "chosen.jsonl"
    outcome = run_gsd("select", "--run", "planted", "--out", out, *words, workspace=workspace)
    assert outcome.code == 2
    assert what in outcome.err
    assert not out.exists()
