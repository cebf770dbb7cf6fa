"""``gsd attribute``: scores are stored trace by trace, sum to what the answer gains, and thresholds cost nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gsd_core.comparison.segment_choice import choose_segments
from gsd_core.methods.attribute_method import ATTRIBUTION
from gsd_core.stages import attribute_stage
from gsd_core.store import Workspace
from tests.cli_support import make_rows, run_gsd, run_gsd_json, save_tiny_model, write_rows

FAST = ("--nodes", "gauss", "--steps", "6")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attribute")
    save_tiny_model(folder / "model", context=512)
    rows = make_rows(12)
    for at, steps in ((3, ["Nothing here.\n", "Wait, nothing."]), (5, ["First 3.\n", "Wait, no.", "The answer is 4."])):
        rows[at] = {"id": f"odd-{at}", "question": rows[at]["question"], "answer": "", "steps": steps}
    write_rows(folder / "rows.jsonl", rows)
    words = ["capture", "--dataset", folder / "rows.jsonl", "--model", folder / "model", "--run", "own"]
    run_gsd_json(*words, "--tier", "hidden", "--no-measures", workspace=folder / "workspace")
    return folder


@pytest.fixture
def workspace(place: Path, tmp_path: Path) -> Path:
    shutil.copytree(place / "workspace", tmp_path / "workspace")
    return tmp_path / "workspace"


def read(workspace: Path, table: str, run: str = "own") -> pd.DataFrame:
    return Workspace.open(str(workspace)).open_run(run).results.read(ATTRIBUTION, table)


def test_scores_explain_what_the_answer_gains_and_segments_are_their_sums(workspace: Path) -> None:
    found = run_gsd_json("attribute", "--run", "own", workspace=workspace)
    assert found["completeness"] <= 0.01
    assert found["n_traces"] == 11
    assert [each["reason"] for each in found["skipped"]] == [
        "it has no answer: without one nothing can be attributed to"
    ]
    traces, segments = read(workspace, "traces").set_index("sample"), read(workspace, "segments")
    assert "4" in traces["answer"].tolist(), "an answer that only the reasoning marks"
    for sample, row in traces.iterrows():
        gap = row["value"] - row["baseline_value"]
        assert abs(np.sum(row["scores"]) - gap) == pytest.approx(row["residual"], abs=1e-6)
        assert row["residual"] <= max(0.01 * abs(gap), 1e-4)
        own = segments[segments["sample"] == sample]
        assert own["strength"].sum() == pytest.approx(1)
        assert own["signed"].abs().le(own["absolute"] + 1e-9).all()
    spans = Workspace.open(str(workspace)).open_run("own").read_spans()
    first = spans[spans["span"] == segments["span"].iloc[0]].iloc[0]
    scores = np.array(traces["scores"].loc[first["sample"]])[first["token_start"] : first["token_end"]]
    assert segments["absolute"].iloc[0] == pytest.approx(np.abs(scores).sum())
    kept = choose_segments(segments["mass"].to_numpy(), segments["consistency"].to_numpy())
    assert found["kept_share"] == pytest.approx(kept.mean())


def test_what_is_known_of_segments_without_gradients_is_stored_too(workspace: Path) -> None:
    run_gsd_json("attribute", "--run", "own", *FAST, "--check", 2, workspace=workspace)
    traces, segments = read(workspace, "traces").set_index("sample"), read(workspace, "segments")
    assert segments[["loss", "entropy", "gain"]].notna().all(axis=None)
    assert segments["repeats"].between(0, 1).all()
    removals = read(workspace, "removals")
    whole = removals[removals["choice"] == "all"].set_index("sample")["value"]
    np.testing.assert_allclose(whole, traces["value"].loc[whole.index], atol=1e-3)
    none = removals[removals["choice"] == "none"].set_index("sample")["value"]
    gains = segments.groupby("sample")["gain"].sum()
    np.testing.assert_allclose((whole - none).loc[gains.index], gains, atol=1e-3)
    told = segments.set_index("span")["tells_answer"]
    assert told["apples/0#1"]
    assert not told["apples/0#0"]
    curves, baselines = read(workspace, "curves"), read(workspace, "baselines")
    assert curves["sample"].nunique() == baselines["sample"].nunique() == 2
    gauss = curves[curves["nodes"] == "gauss"].groupby("n_points")["residual"].mean()
    assert gauss[50] <= gauss[5] + 1e-6
    assert set(baselines["baseline"]) == {"question", "pad", "mean", "noise 0", "noise 1", "noise 2"}
    assert not len(read(workspace, "links")), "30 segments are the least"
    assert baselines.groupby(["sample", "baseline"])["strength"].sum().tolist() == pytest.approx([1] * 12)


def test_degenerate_traces_are_attributed_or_reported(place: Path, tmp_path: Path) -> None:
    texts = {
        "one segment": ("It is 4.", "4"),
        "empty first": ("\n\nWait, 2 and 2.\n\nWait, that is 4.", "4"),
        "no cue": ("First 2.\n\nThen 2 more.\n\nSo 4.", "4"),
        "repeated": ("So 4.\n\nWait, 4 again.\n\nHowever, 4.", "4"),
        "answer first": ("Answer: 4\nExplanation: 2 and 2.\n\nWait, yes.", ""),
        "blank": (" \n\n", "4"),
    }
    rows = [
        {"id": name.replace(" ", "-"), "question": "What is 2 and 2?", "reasoning": text, "answer": answer}
        for name, (text, answer) in texts.items()
    ]
    write_rows(tmp_path / "odd.jsonl", rows)
    words = ["attribute", "--dataset", tmp_path / "odd.jsonl", "--model", place / "model", *FAST]
    found = run_gsd_json(*words, workspace=tmp_path / "w")
    segments = read(tmp_path / "w", "segments", found["run"])
    assert found["n_traces"] + found["n_skipped"] >= len(texts) - 1  # a blank reasoning may be refused as a row
    assert segments.notna().all(axis=None)
    assert np.isfinite(segments["mass"]).all()
    by_trace = segments.groupby("sample")
    np.testing.assert_allclose(by_trace["strength"].sum(), 1)
    sizes = by_trace.size()
    assert (sizes["one-segment"], sizes["no-cue"], sizes["empty-first"], sizes["repeated"]) == (1, 1, 2, 3)
    assert by_trace["tells_answer"].sum()["repeated"] == 3
    assert segments.loc[segments["sample"] == "one-segment", "mass"].tolist() == [0]
    out = tmp_path / "first.jsonl"
    words = ["select", "--run", found["run"], "--by", "first-solution", "--out", out]
    run_gsd_json(*words, workspace=tmp_path / "w")
    masks = {line["sample"]: line["mask"] for line in map(json.loads, out.read_text().splitlines())}
    assert masks["repeated"] == [True, False, False]
    assert masks["one-segment"] == [True]


def test_traces_of_one_segment_are_told(place: Path, tmp_path: Path) -> None:
    rows = [{**row, "reasoning": "It is so. And so."} for row in make_rows(4)]
    write_rows(tmp_path / "flat.jsonl", [{k: v for k, v in row.items() if k != "steps"} for row in rows])
    words = ["attribute", "--dataset", tmp_path / "flat.jsonl", "--model", place / "model", *FAST]
    found = run_gsd_json(*words, workspace=tmp_path / "w")
    assert any("4 of 4 traces are one segment" in note for note in found["notes"])


def test_other_thresholds_need_no_gradient(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run_gsd_json("attribute", "--run", "own", *FAST, workspace=workspace)
    monkeypatch.setattr(attribute_stage, "load_run_model", lambda *_: pytest.fail("the model was loaded"))
    all_of_it = run_gsd_json("attribute", "--run", "own", *FAST, "--tau", "1", "--beta", "1", workspace=workspace)
    assert all_of_it["kept_share"] == 1
    assert first["kept_share"] < 1
    assert all_of_it["n_points"] == first["n_points"] == 6 * first["n_traces"]


def test_a_stopped_command_goes_on_and_gives_the_result_of_an_undisturbed_one(
    place: Path, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(place / "workspace", tmp_path / "whole")
    run_gsd_json("attribute", "--run", "own", *FAST, workspace=tmp_path / "whole")
    attribute = attribute_stage.AnswerGradients.attribute
    calls: list[int] = []

    def stop(self, *args, **kwargs):
        if len(calls) == 4:
            raise KeyboardInterrupt
        calls.append(1)
        return attribute(self, *args, **kwargs)

    monkeypatch.setattr(attribute_stage.AnswerGradients, "attribute", stop)
    assert run_gsd("attribute", "--run", "own", *FAST, workspace=workspace).code == 130
    monkeypatch.setattr(
        attribute_stage.AnswerGradients, "attribute", lambda *args: (calls.append(1), attribute(*args))[1]
    )
    run_gsd_json("attribute", "--run", "own", *FAST, workspace=workspace)
    assert len(calls) == 11, "a trace was attributed twice"
    for table in ("segments", "traces", "skipped"):
        pd.testing.assert_frame_equal(read(workspace, table), read(tmp_path / "whole", table))


def test_a_new_run_is_captured_with_one_forward_pass_and_cut_at_cues(place: Path, tmp_path: Path) -> None:
    words = ("attribute", "--dataset", place / "rows.jsonl", "--model", place / "model", "--limit", "6", *FAST)
    found = run_gsd_json(*words, workspace=tmp_path)
    run = Workspace.open(str(tmp_path)).open_run(found["run"])
    assert (run.manifest["tier"], run.manifest["segmenter"]) == ("hidden", "cues")
    assert (found["n_traces"], found["n_skipped"]) == (5, 1)
    assert run_gsd_json(*words, "--tau", "1", workspace=tmp_path)["run"] == found["run"], "the same command goes on"
    again = run_gsd_json(*words[: -len(FAST)], *FAST, "--segmenter", "steps", workspace=tmp_path)
    assert again["run"] != found["run"], "another cut is another run"
    assert sum(read(tmp_path, "segments", found["run"])["sample"] == "odd-5") == 2


def test_what_is_missing_is_said(workspace: Path, place: Path) -> None:
    for words, said in (
        (("attribute",), "neither a captured run nor"),
        (("attribute", "--run", "onw"), "did you mean own"),
        (("attribute", "--run", "own", "--tau", "0"), "--tau"),
        (("export", "own", "--what", "segments", "--out", place / "x.csv"), "gsd attribute --run own"),
    ):
        outcome = run_gsd(*words, workspace=workspace)
        assert outcome.code == 2
        assert said in outcome.err
    rows = [{"id": "a", "question": "Why?", "reasoning": "Because.\nSo it is."}]
    words = ("attribute", "--dataset", write_rows(place / "none.jsonl", rows), "--model", place / "model")
    assert "no trace has an answer" in run_gsd(*words, workspace=workspace).err


def test_segments_are_exported_and_the_estimate_covers_what_is_left(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attribute_stage, "N_PROBES", 2)
    found = run_gsd_json("attribute", "--run", "own", *FAST, workspace=workspace)
    assert found["estimated_seconds"] > 0
    assert found["estimated_memory_bytes"] > 0
    run_gsd_json("export", "own", "--what", "segments", "--out", tmp_path / "s.csv", workspace=workspace)
    assert len(pd.read_csv(tmp_path / "s.csv")) == found["n_segments"]


def test_estimates_follow_the_length_of_the_traces() -> None:
    took = [(10, 1.0, 5), (100, 20.0, 5)]
    assert attribute_stage._estimate_seconds(took, np.array([10, 100])) == pytest.approx(21)
    assert attribute_stage._estimate_seconds(took, np.array([55])) == pytest.approx(55 * 0.15)
