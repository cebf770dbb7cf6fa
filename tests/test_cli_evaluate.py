"""``gsd evaluate``: planted labels are found through the command, stored, and bad questions are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from gsd_core.store import Workspace
from tests.cli_support import run_gsd, run_gsd_json, write_run

METAS = [{"kinds": [f"k{k}" for k in range(4)], "family": f"f{i % 2}", "half": i % 3} for i in range(24)]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("evaluate") / "workspace"
    write_run(place, n_samples=24, metas=METAS)
    write_run(place, "again", n_samples=24, metas=METAS, seed=3, checkpoints=("step-1",))
    run = Workspace.open(place).open_run("again")
    run.update_manifest(dataset=Workspace.open(place).open_run("planted").manifest["dataset"])
    return place


def test_planted_steps_are_found_and_random_labels_are_not(workspace: Path) -> None:
    result = run_gsd_json("evaluate", "planted", "--label", "meta.kinds", workspace=workspace)
    rows = {(row["metric"], row["representation"]): row for row in result["rows"]}
    gradient = rows["P@10", "span gradient (exact, without head)"]
    assert gradient["value"] > 0.95
    assert gradient["ci_low"] <= gradient["value"] <= gradient["ci_high"]
    control = rows["P@10", "random labels (span gradient (exact, without head))"]
    assert abs(control["value"] - control["chance"]) < 0.1
    assert 0.2 < gradient["chance"] < 0.3
    assert result["n"] == 96
    verdict = result["verdicts"][0]
    assert verdict["gradients_win"] == (verdict["gradient"]["ci_low"] > verdict["baseline"]["ci_high"])
    assert {"sentence embedding", "TF-IDF of the words", "numbers: their order"} <= {r for _, r in rows}


def test_all_checkpoints_make_a_curve_and_are_stored(workspace: Path) -> None:
    run_gsd_json("evaluate", "planted", "--label", "meta.kinds", "--checkpoint", "all", workspace=workspace)
    stored = Workspace.open(workspace).open_run("planted").read_structure("*evidence*", "rows")
    kinds = stored[stored["label"] == "meta.kinds"]
    assert set(kinds["checkpoint"]) == {"step-1", "step-2"}
    assert sorted(set(kinds["step"])) == [0, 1]
    # Another label stands beside it, the same question replaces its rows.
    run_gsd_json("evaluate", "planted", "--label", "meta.family", "--level", "sample", workspace=workspace)
    run_gsd_json("evaluate", "planted", "--label", "meta.kinds", "--checkpoint", "all", workspace=workspace)
    after = Workspace.open(workspace).open_run("planted").read_structure("*evidence*", "rows")
    assert len(after[after["label"] == "meta.kinds"]) == len(kinds)
    assert (after["label"] == "meta.family").any()


def test_neighbours_differ_where_they_must_and_conditions_hold(workspace: Path) -> None:
    words = ("evaluate", "planted", "--label", "meta.kinds", "--differ", "meta.half")
    result = run_gsd_json(*words, "--where", "meta.family=f1", "--layers", workspace=workspace)
    metrics = {row["metric"] for row in result["rows"]}
    assert "P@10, other half" in metrics
    assert result["n"] == 48
    assert any(row["representation"].endswith(", layer.0") for row in result["rows"])


def test_another_run_of_the_same_data_is_a_row_and_a_seed_is_a_spread(workspace: Path) -> None:
    words = ("evaluate", "planted", "--label", "meta.kinds", "--checkpoint", "step-1", "--remove", "0")
    result = run_gsd_json(*words, "--against", "again", workspace=workspace)
    gradients = [r for r in result["rows"] if r["kind"] == "gradient" and r["metric"] == "P@10"]
    assert len(gradients) == 1, "two sketch seeds of the same gradient are one row"
    assert gradients[0]["n_seeds"] == 2
    assert 0 <= gradients[0]["seed_spread"] < 0.2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--label", "meta.nothing"), "meta.kinds"),
        (("--label", "meta.kinds", "--level", "sample"), "labels steps"),
        (("--label", "meta.kinds", "--where", "meta.family"), "--where"),
        (("--label", "meta.kinds", "--where", "meta.family=f9"), "too few"),
        (("--label", "meta.kinds", "--against", "nobody"), "nobody"),
        (("--label", "meta.kinds", "--checkpoint", "step-9"), "step-1"),
    ],
)
def test_a_bad_question_is_refused_with_the_way_out(
    workspace: Path, words: tuple[str, ...], said: str
) -> None:
    outcome = run_gsd("evaluate", "planted", *words, workspace=workspace)
    assert outcome.code == 2
    assert said in outcome.err.strip().splitlines()[-1]


def test_a_person_reads_a_table_and_a_sentence(workspace: Path) -> None:
    outcome = run_gsd("evaluate", "planted", "--label", "meta.kinds", workspace=workspace)
    assert "span gradient (exact, without head)" in outcome.out
    assert "chance 0.2" in outcome.out
    assert "P@10, distant questions: gradients" in outcome.out
