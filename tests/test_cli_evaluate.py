"""``gsd evaluate``: planted labels are found, rows are stored, wrong options are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gsd_core.analysis.baselines import make_sentence_embedding
from gsd_core.methods.analyze_method import STRUCTURE
from gsd_core.methods.evaluate_method import EVIDENCE
from gsd_core.stages.twin_evidence import METRIC_ALIGNED, METRIC_OF_STEPS, measure_twins
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
    families = rows["purity of families", "span gradient (exact, without head)"]
    assert families["value"] > 0.9 > 0.3 > families["chance"] > 0.2
    assert families["ci_low"] <= families["value"] <= families["ci_high"]
    verdict = result["verdicts"][0]
    assert (verdict["outcome"] == "above") == (verdict["gradient"]["ci_low"] > verdict["baseline"]["ci_high"])
    assert {"sentence embedding", "TF-IDF of the words", "numbers: their order"} <= {r for _, r in rows}


def test_all_checkpoints_make_a_curve_and_are_stored(workspace: Path) -> None:
    run_gsd_json("evaluate", "planted", "--label", "meta.kinds", "--checkpoint", "all", workspace=workspace)
    stored = Workspace.open(workspace).open_run("planted").results.read(EVIDENCE, "rows")
    kinds = stored[stored["label"] == "meta.kinds"]
    assert set(kinds["checkpoint"]) == {"step-1", "step-2"}
    assert sorted(set(kinds["step"])) == [0, 1]
    # Another label adds rows; the same question replaces its rows.
    run_gsd_json("evaluate", "planted", "--label", "meta.family", "--level", "sample", workspace=workspace)
    run_gsd_json("evaluate", "planted", "--label", "meta.kinds", "--checkpoint", "all", workspace=workspace)
    after = Workspace.open(workspace).open_run("planted").results.read(EVIDENCE, "rows")
    assert len(after[after["label"] == "meta.kinds"]) == len(kinds)
    assert (after["label"] == "meta.family").any()


def test_differ_and_where_restrict_neighbours_and_queries(workspace: Path) -> None:
    words = ("evaluate", "planted", "--label", "meta.kinds", "--differ", "meta.half")
    result = run_gsd_json(*words, "--where", "meta.family=f1", "--layers", workspace=workspace)
    metrics = {row["metric"] for row in result["rows"]}
    assert "P@10, other half" in metrics
    assert result["n"] == 48
    assert any(row["representation"].endswith(", layer.0") for row in result["rows"])


def test_chance_of_twins_is_measured_on_pairs_with_distant_questions(tmp_path: Path) -> None:
    """A label that correlates with the question is rarer among distant pairs, so chance over all pairs is too high."""
    place = tmp_path / "workspace"
    write_run(place, "probe", n_samples=60)
    ids, questions = Workspace.open(place).open_run("probe").read_question_embeddings()
    unit = questions / np.linalg.norm(questions, axis=1, keepdims=True)
    sides = unit @ np.linalg.svd(unit)[2][0] < 0
    side_of = dict(zip(ids, sides, strict=True))
    metas = [{"side": "left" if side_of[f"s{number}"] else "right"} for number in range(60)]
    write_run(place, "sided", n_samples=60, metas=metas)
    run_gsd_json("analyze", "sided", "--checkpoint", "step-1", workspace=place)
    result = run_gsd_json(
        *("evaluate", "sided", "--label", "meta.side", "--level", "sample", "--checkpoint", "step-1"),
        workspace=place,
    )
    row = next(row for row in result["rows"] if row["metric"] == "precision of twins")
    limit = Workspace.open(place).open_run("sided").results.info(STRUCTURE, "step-1")["twins"]["semantic_median"]
    other = ~np.eye(60, dtype=bool)
    is_distant, is_same = other & (unit @ unit.T <= limit), sides[:, None] == sides[None, :]
    assert is_same[other].mean() - is_same[is_distant].mean() > 0.08, "the fixture does not make the two differ"
    assert row["chance"] == pytest.approx(is_same[is_distant].mean(), abs=0.03)
    assert row["ci_low"] <= row["value"] <= row["ci_high"]


def test_a_run_with_another_sketch_seed_adds_a_spread(workspace: Path) -> None:
    words = ("evaluate", "planted", "--label", "meta.kinds", "--checkpoint", "step-1", "--remove", "0")
    result = run_gsd_json(*words, "--against", "again", workspace=workspace)
    gradients = [r for r in result["rows"] if r["kind"] == "gradient" and r["metric"] == "P@10"]
    assert len(gradients) == 1, "two sketch seeds of the same gradient are one row"
    assert gradients[0]["n_seeds"] == 2
    assert 0 <= gradients[0]["seed_spread"] < 0.2


def test_only_runs_that_differ_in_the_seed_alone_are_merged(tmp_path: Path) -> None:
    place = tmp_path / "workspace"
    write_run(place, n_samples=24, metas=METAS)
    write_run(place, "wide", n_samples=24, metas=METAS, width=64)
    write_run(place, "cut", n_samples=24, metas=METAS)
    store = Workspace.open(place)
    for name, more in (("wide", {}), ("cut", {"segmenter": "windows:16"})):
        store.open_run(name).update_manifest(dataset=store.open_run("planted").manifest["dataset"], **more)
    words = ("evaluate", "planted", "--label", "meta.kinds", "--remove", "0", "--against")
    rows = run_gsd_json(*words, "wide", workspace=place)["rows"]
    found = [row for row in rows if row["kind"] == "gradient" and row["metric"] == "P@10"]
    assert [row["n_seeds"] for row in found] == [1, 1]
    assert found[1]["representation"] == f"{found[0]['representation']}, sketch of 64"
    # A calibrated sketch ends a few numbers below the width that was asked for; how many hangs on the seed.
    for name in ("planted", "wide"):
        store.open_run(name).update_manifest(flags={"sketch_width": None})
    rows = run_gsd_json(*words, "wide", workspace=place)["rows"]
    assert [row["n_seeds"] for row in rows if row["kind"] == "gradient" and row["metric"] == "P@10"] == [2]
    outcome = run_gsd(*words, "cut", workspace=place)
    assert outcome.code == 2
    assert "--segmenter steps" in outcome.err.strip().splitlines()[-1]


@pytest.mark.parametrize("level", ["span", "sample"])
def test_controls_take_the_label_of_the_span_around_them(tmp_path: Path, level: str) -> None:
    """Windows with the directions of their spans find the label; tokens with random directions give chance."""
    place = tmp_path / "workspace"
    metas = [{**meta, "side": number % 2} for number, meta in enumerate(METAS)]
    write_run(place, "planted", n_samples=24, metas=metas, checkpoints=("step-1",))
    run = Workspace.open(place).open_run("planted")
    random = np.random.default_rng(0)
    rows, vectors = [], []
    for number in range(24):
        for step in range(1, 4):
            # Two thirds of it lie in other spans; its middle token decides.
            rows.append({"kind": "windows", "sample": f"s{number}", "token_start": step, "token_end": step + 3})
            vectors.append(np.eye(16)[step])
            rows.append({"kind": "tokens", "sample": f"s{number}", "token_start": step + 1, "token_end": step + 2})
            vectors.append(random.normal(size=16))
    rows.append({"kind": "tokens", "sample": "s0", "token_start": 0, "token_end": 1})  # in no span
    vectors.append(np.eye(16)[0])
    run.write_controls("step-1", pd.DataFrame(rows), np.stack(vectors).astype(np.float16))
    label = "meta.kinds" if level == "span" else "meta.side"
    result = run_gsd_json("evaluate", "planted", "--label", label, "--level", level, workspace=place)
    found = {row["representation"]: row for row in result["rows"] if row["metric"] == "P@10"}
    own = "(span gradient (exact, without head))"
    windows, tokens = found[f"random windows {own}"], found[f"single tokens {own}"]
    beside = found[f"{level}s that hold the random windows {own}"]
    assert windows["n"] == tokens["n"] == beside["n"] == (72 if level == "span" else 24)
    assert abs(tokens["value"] - tokens["chance"]) < 0.15
    if level == "span":
        assert windows["value"] > 0.95
        assert beside["value"] > 0.95
    assert windows["kind"] == "baseline"


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
def test_error_for_wrong_options_says_what_to_do(workspace: Path, words: tuple[str, ...], said: str) -> None:
    outcome = run_gsd("evaluate", "planted", *words, workspace=workspace)
    assert outcome.code == 2
    assert said in outcome.err.strip().splitlines()[-1]


def test_text_output_has_a_table_and_a_verdict(workspace: Path) -> None:
    outcome = run_gsd("evaluate", "planted", "--label", "meta.kinds", workspace=workspace)
    assert "span gradient (exact, without head)" in outcome.out
    assert "chance 0.2" in outcome.out
    assert "P@10, distant questions: Gradients" in outcome.out


def test_a_metric_without_possible_neighbours_is_left_out(workspace: Path) -> None:
    words = ("evaluate", "planted", "--label", "meta.family", "--level", "sample", "--checkpoint", "step-1")
    metrics = {r["metric"] for r in run_gsd_json(*words, "--differ", "meta.family", workspace=workspace)["rows"]}
    assert "P@10" in metrics
    assert "P@10, other family" not in metrics


def test_twins_by_what_knows_the_order_of_steps_share_it(tmp_path: Path) -> None:
    place = tmp_path / "workspace"
    orders = [list("abcd"), list("badc"), list("cdab"), list("dcba")]
    write_run(place, "ordered", n_samples=60, metas=[{"kinds": orders[i % 4]} for i in range(60)])
    run_gsd_json("analyze", "ordered", "--checkpoint", "step-1", workspace=place)
    run = Workspace.open(place).open_run("ordered")
    chosen = run.read_spans("step-1", columns=["span", "sample", "index", "text"])
    places = zip(chosen["sample"], chosen["index"], strict=True)
    chosen["label"] = [orders[int(sample[1:]) % 4][index] for sample, index in places]
    random = np.random.default_rng(0)
    known = np.eye(4)[[list("abcd").index(label) for label in chosen["label"]]]
    made = {"knows": known + 0.05 * random.normal(size=known.shape), "nothing": random.normal(size=(len(chosen), 8))}
    representations = [make_sentence_embedding(name, rows) for name, rows in made.items()]
    rows = measure_twins(run, "step-1", chosen, representations, 0)
    aligned = {row["representation"]: row for row in rows if row["metric"] == METRIC_ALIGNED}
    assert aligned["twins by knows"]["value"] > 0.95
    assert aligned["twins by nothing"]["value"] < 0.6
    assert aligned["twins by nothing"]["chance"] == pytest.approx(0.25)
    found = {row["representation"]: row for row in rows if row["metric"] != METRIC_ALIGNED}
    assert found["twins by knows"]["metric"] == METRIC_OF_STEPS
    assert found["twins by knows"]["value"] > 0.95
    assert 0.15 < found["twins by nothing"]["chance"] < 0.35
    assert found["twins by nothing"]["value"] < 0.6
    assert "top 50 twins" in found
