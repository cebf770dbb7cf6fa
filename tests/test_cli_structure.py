"""Stresses, twins and pairs on the command line: stored by analyze, read by all, errors say what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_mutual_info_score

from gsd_core.analysis.cluster_levels import STRENGTHS
from gsd_core.methods.analyze_method import LEVELS, MAP, STRUCTURE
from gsd_core.methods.structure_method import LEVEL_NAMES
from gsd_core.stages import levels_stage, structure_stage
from gsd_core.store import Run, Workspace
from tests.cli_support import run_gsd, run_gsd_json, write_run

STEPS, SAMPLES = 6, 24


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("structure") / "workspace"
    write_run(folder, n_samples=SAMPLES, n_steps=STEPS)
    write_run(folder, "raw", n_samples=8)
    run_gsd_json("analyze", "planted", workspace=folder)
    return folder


def open_run(workspace: Path, name: str = "planted") -> Run:
    return Workspace.open(str(workspace)).open_run(name)


def test_analyze_counts_and_stores_the_structure(workspace: Path) -> None:
    again = run_gsd_json("analyze", "planted", workspace=workspace)
    assert [each["seconds"] for each in again["checkpoints"]] == [0.0, 0.0], "a stored analysis was computed again"
    assert again["n_stresses"] >= 1
    assert again["n_twins"] >= 1
    assert {"n_stresses", "n_twins"} <= set(again["checkpoints"][0])
    run = open_run(workspace)
    assert all(run.results.has(STRUCTURE, each) for each in run.checkpoints)
    info = run.results.info(STRUCTURE)
    assert (info["n_twins"], info["semantic_source"]) == (again["n_twins"], "questions")


def test_analyze_computes_a_missing_structure_without_a_new_map(tmp_path: Path) -> None:
    write_run(tmp_path / "w", n_samples=SAMPLES, n_steps=STEPS, checkpoints=["only"])
    run_gsd_json("analyze", "planted", workspace=tmp_path / "w")
    run = open_run(tmp_path / "w")
    points = run.read_points("only")
    arrays = run.read_arrays("only")
    # As after a kill between the two steps: a new map drops the structure of the old one.
    run.write_analysis("only", points, run.read_clusters("only"), arrays, run.results.info(MAP, "only"))
    assert not run.results.has(STRUCTURE, "only")
    result = run_gsd_json("analyze", "planted", workspace=tmp_path / "w")
    assert result["n_stresses"] >= 1
    pd.testing.assert_frame_equal(open_run(tmp_path / "w").read_points("only"), points)
    assert len(list((tmp_path / "w" / "runs" / "planted" / "results").iterdir())) == 4, "old tables were not deleted"


def test_levels_are_stored_listed_and_exported(workspace: Path, tmp_path: Path) -> None:
    run = open_run(workspace)
    table = run.results.read(LEVELS, "clusters")
    members = run.results.read(LEVELS, "members")
    assert table["strength"].eq("confirmed").sum() >= STEPS // 2, "planted steps are groups of spans across samples"
    for name in LEVEL_NAMES:
        found = run_gsd_json("clusters", "planted", "--level", name, "--top", 500, workspace=workspace)
        own = table[table["level"] == name]
        assert len(found["clusters"]) == len(own)
        ranks = [STRENGTHS.index(each["strength"]) for each in found["clusters"]]
        assert ranks == sorted(ranks)
        assert sum(found[f"n_{strength}"] for strength in STRENGTHS) == len(own)
        assert found["covered_share"] == pytest.approx((members[name] >= 0).mean())
        for each in found["clusters"]:
            rows = members.loc[members[name] == each["cluster"], "span"]
            assert len(rows) == each["size"]
            assert {one["span"] for one in each["exemplars"]} <= set(rows)
    assert "kept together" in run_gsd("clusters", "planted", "--top", 2, workspace=workspace).out
    for what, columns in (("levels", {"level", "strength", "stability"}), ("level-members", {"span", *LEVEL_NAMES})):
        out = tmp_path / f"{what}.csv"
        run_gsd_json("export", "planted", "--what", what, "--out", out, workspace=workspace)
        assert columns <= set(pd.read_csv(out).columns)
    refused = run_gsd("clusters", "raw", workspace=workspace)
    assert refused.code == 2
    assert "gsd analyze raw" in refused.err


def test_spans_beyond_the_draw_are_placed_in_the_levels(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = open_run(workspace).results.read(LEVELS, "members")["coarse"].to_numpy()
    monkeypatch.setattr(levels_stage, "MOST_SEARCHED", 100)
    write_run(tmp_path / "w", n_samples=SAMPLES, n_steps=STEPS)
    run_gsd_json("analyze", "planted", workspace=tmp_path / "w")
    run = open_run(tmp_path / "w")
    members, table = run.results.read(LEVELS, "members"), run.results.read(LEVELS, "clusters")
    assert run.results.info(LEVELS)["n_searched"] == 100
    assert len(members) == SAMPLES * STEPS
    found = members["coarse"].to_numpy()
    held = (found >= 0) & (whole >= 0)
    assert held.mean() > 0.9
    assert adjusted_mutual_info_score(whole[held], found[held]) > 0.95
    assert table.query("level == 'coarse'")["size"].sum() == (found >= 0).sum()


def test_embeddings_of_many_spans_are_not_even_read(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = run_gsd_json("stresses", "planted", workspace=workspace)["stresses_of_words"]
    assert known is None or known["n_clusters"] >= 0
    write_run(tmp_path / "w", n_samples=SAMPLES, n_steps=STEPS, checkpoints=["only"])
    run = open_run(tmp_path / "w")
    spans = run.read_spans("only", columns=["span", "sample", "index"])
    monkeypatch.setattr(structure_stage, "MOST_COMPARED", len(spans) - 1)
    monkeypatch.setattr(run, "read_embeddings", lambda: pytest.fail("it was read"))
    assert structure_stage._count_stresses_of_words(run, spans, 0) is None


def test_families_are_stored_listed_and_exported(workspace: Path, tmp_path: Path) -> None:
    found = run_gsd_json("families", "planted", "--top", "3", workspace=workspace)
    assert found["n_families"] >= STEPS // 2, "planted steps are aligned across samples"
    assert len(found["families"]) == 3
    assert found["levels"]["tentative"] <= found["levels"]["confirmed"]
    run = open_run(workspace)
    spans = run.read_spans().set_index("span")
    for each in found["families"]:
        assert each["strength"] == "confirmed"
        assert each["text"] == spans.loc[each["prototype"], "text"]
        indices = {spans.loc[member["span"], "index"] for member in each["members"]}
        assert indices == {spans.loc[each["prototype"], "index"]}, "members of another planted step"
        assert spans.loc[each["prototype"], "sample"] not in {spans.loc[m["span"], "sample"] for m in each["members"]}
    for what, columns in (("families", {"family", "strength", "label", "chance"}), ("members", {"family", "span"})):
        out = tmp_path / f"{what}.csv"
        run_gsd_json("export", "planted", "--what", what, "--out", out, workspace=workspace)
        assert columns <= set(pd.read_csv(out).columns)
    text = run_gsd("families", "planted", workspace=workspace).out
    assert "confirmed" in text
    error = run_gsd_json("families", "raw", workspace=workspace, code=2)["error"]
    assert "gsd analyze raw" in error


def test_common_directions_are_removed_as_asked_and_all_commands_follow(workspace: Path, tmp_path: Path) -> None:
    info = open_run(workspace).results.info(MAP)
    assert info["n_top"] == 0, "no common direction was planted"
    write_run(tmp_path / "w", "raw", n_samples=8)
    before = run_gsd_json("neighbors", "raw", "--span", "s0#0", workspace=tmp_path / "w")
    asked = run_gsd_json("analyze", "raw", "--remove", "1", workspace=tmp_path / "w")
    assert asked["checkpoints"][0]["seconds"] > 0
    run = open_run(tmp_path / "w", "raw")
    assert run.results.info(MAP)["n_top"] == 1
    assert run.read_arrays(run.default_checkpoint)["top"].shape == (1, run.sketch_width)
    after = run_gsd_json("neighbors", "raw", "--span", "s0#0", workspace=tmp_path / "w")
    assert [each["cosine"] for each in after["neighbors"]] != [each["cosine"] for each in before["neighbors"]]
    kept = run_gsd_json("analyze", "raw", "--remove", "1", workspace=tmp_path / "w")
    assert all(each["seconds"] == 0.0 for each in kept["checkpoints"])
    anew = run_gsd_json("analyze", "raw", "--remove", "0", workspace=tmp_path / "w")
    assert anew["checkpoints"][0]["seconds"] > 0


def test_stresses_follow_the_planted_order_and_list_occurrences(workspace: Path) -> None:
    result = run_gsd_json("stresses", "planted", "--top", 3, workspace=workspace)
    assert (result["checkpoint"], len(result["stresses"])) == (open_run(workspace).default_checkpoint, 3)
    points = open_run(workspace).read_points()
    cluster_of = dict(zip(points["span"], points["cluster"].tolist(), strict=True))
    for each in result["stresses"]:
        keys = {"pattern", "support", "lift", "q_value", "n_occurrences", "occurrences", "labels"}
        assert keys <= set(each)
        assert each["q_value"] < 0.05
        assert len(each["labels"]) == len(each["pattern"]) == each["length"]
        assert each["n_occurrences"] == len(each["occurrences"])
        assert each["support"] == len({found["sample"] for found in each["occurrences"]})
        for found in each["occurrences"]:
            spans = [f"{found['sample']}#{k}" for k in found["indices"]]
            assert [cluster_of[span] for span in spans] == each["pattern"]
            assert found["indices"] == sorted(found["indices"])
    assert result["stresses"][0]["length"] >= 3


def test_twins_are_ranked_and_name_the_aligned_spans(workspace: Path) -> None:
    result = run_gsd_json("twins", "planted", "--top", 3, "--checkpoint", "step-1", workspace=workspace)
    assert (result["checkpoint"], len(result["twins"])) == ("step-1", 3)
    assert [each["rank"] for each in result["twins"]] == [1, 2, 3]
    for each in result["twins"]:
        assert {"a", "b", "structural", "semantic", "q_value", "aligned"} <= set(each)
        assert each["semantic"] <= result["semantic_median"]
        assert each["q_value"] < 0.05
        assert each["aligned"] == sorted(each["aligned"], key=lambda pair: pair["a"])
        assert [pair["a"] for pair in each["aligned"]] == [f"{each['a']}#{k}" for k in range(STEPS)]


@pytest.mark.parametrize("name", ["planted", "raw"])
def test_compare_shows_matrix_run_and_null(workspace: Path, name: str) -> None:
    result = run_gsd_json("compare", name, "s1", "s4", workspace=workspace)
    n = STEPS if name == "planted" else 4
    assert {"structural", "semantic", "q_value", "matrix", "aligned", "checkpoint"} <= set(result)
    matrix = np.array(result["matrix"])
    assert matrix.shape == (n, n)
    assert (matrix.argmax(axis=1) == np.arange(n)).all(), "the same step is not the best aligned"
    assert [pair["a"] for pair in result["aligned"]] == [f"s1#{k}" for k in range(n)]
    assert [each["span"] for each in result["spans_b"]] == [f"s4#{k}" for k in range(n)]
    expected = sum(matrix[k, k] - result["threshold"] for k in range(n)) / n
    assert result["structural"] == pytest.approx(expected, abs=1e-4)
    # The planted order is one of n! orders that two traces can have relative to each other.
    assert result["q_value"] < (0.01 if n == STEPS else 0.1)
    ids, vectors = open_run(workspace, name).read_question_embeddings()
    a, b = (vectors[ids.index(sample)] for sample in ("s1", "s4"))
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert result["semantic"] == pytest.approx(cosine, abs=1e-5)


def test_compare_agrees_with_the_twins_table(workspace: Path) -> None:
    first = run_gsd_json("twins", "planted", workspace=workspace)["twins"][0]
    pair = run_gsd_json("compare", "planted", first["a"], first["b"], workspace=workspace)
    assert pair["structural"] == pytest.approx(first["structural"], abs=1e-5)
    assert pair["semantic"] == pytest.approx(first["semantic"], abs=1e-5)
    assert [(p["a"], p["b"]) for p in pair["aligned"]] == [(p["a"], p["b"]) for p in first["aligned"]]


def test_text_output_of_structure_commands(workspace: Path) -> None:
    assert "→" in run_gsd("stresses", "planted", workspace=workspace).out
    assert "next: gsd compare planted" in run_gsd("twins", "planted", workspace=workspace).out
    assert "shuffled orders" in run_gsd("compare", "planted", "s1", "s4", workspace=workspace).out
    assert "stresses" in run_gsd("analyze", "planted", workspace=workspace).out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("twins", "raw"), "gsd analyze raw"),
        (("stresses", "raw"), "gsd analyze raw"),
        (("twins", "planted", "--checkpoint", "step-9"), "step-1, step-2"),
        (("stresses", "nothing"), "nothing"),
        (("compare", "planted", "s1", "s99"), "no sample 's99'"),
        (("compare", "planted", "s1", "s1"), "two different samples"),
        (("compare", "nothing", "s1", "s2"), "nothing"),
        (("export", "raw", "--what", "twins", "--out", "x.csv"), "gsd analyze raw"),
    ],
)
def test_errors_are_one_line_that_says_what_to_do(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = run_gsd("--quiet", *words, workspace=workspace)
    assert outcome.code == 2
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert said in outcome.err


@pytest.mark.parametrize("what", ["twins", "stresses"])
def test_exports_hold_the_same_rows_in_every_format(workspace: Path, tmp_path: Path, what: str) -> None:
    rows: dict[str, Any] = {}
    for ending in ("jsonl", "csv", "parquet"):
        out = tmp_path / f"{what}.{ending}"
        run_gsd_json("export", "planted", "--what", what, "--out", out, workspace=workspace)
        rows[ending] = out
    lines = [json.loads(line) for line in rows["jsonl"].read_text(encoding="utf-8").splitlines()]
    csv, parquet = pd.read_csv(rows["csv"]), pd.read_parquet(rows["parquet"])
    assert list(csv.columns) == list(parquet.columns) == list(lines[0])
    run = open_run(workspace)
    assert len(csv) == len(parquet) == len(lines) == len(run.results.read(STRUCTURE, what))
    nested = "aligned" if what == "twins" else "occurrences"
    assert isinstance(lines[0][nested], list)
    assert [json.loads(cell) for cell in csv[nested]] == [line[nested] for line in lines]
    assert [json.loads(cell) for cell in parquet[nested]] == [line[nested] for line in lines]
    both = run_gsd_json(
        *("export", "planted", "--what", what, "--checkpoint", "all", "--out", tmp_path / "all.csv"),
        workspace=workspace,
    )
    assert both["rows"] > len(lines)
    assert set(pd.read_csv(tmp_path / "all.csv")["checkpoint"]) == {"step-1", "step-2"}


def test_questions_without_embeddings_use_those_of_spans(tmp_path: Path) -> None:
    from gsd_core.stages.structure_stage import read_semantics

    write_run(tmp_path / "w", n_samples=3)
    run = open_run(tmp_path / "w")
    spans, vectors = run.read_embeddings()
    original = run.read_question_embeddings
    run.read_question_embeddings = lambda: ([], np.zeros((0, 8), np.float32))  # type: ignore[method-assign]
    found, source = read_semantics(run, ["s2", "s0"])
    assert source == "spans"
    mean = vectors[[span.startswith("s2#") for span in spans]].mean(axis=0)
    assert found[0] @ mean / np.linalg.norm(found[0]) / np.linalg.norm(mean) == pytest.approx(1.0)
    run.read_question_embeddings = lambda: (["s0"], original()[1][:1])  # type: ignore[method-assign]
    found, source = read_semantics(run, ["s2", "s0"])
    assert source == "questions and spans"
    np.testing.assert_array_equal(found[1], original()[1][0])
    run.read_embeddings = run.read_question_embeddings = lambda: ([], np.zeros((0, 8), np.float32))  # type: ignore
    assert read_semantics(run, ["s0"])[1] == "none"
