"""The page Segments: thresholds move without a gradient, texts are escaped, and what is missing is offered."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gsd_core.comparison.segment_choice import AGAINST, choose_segments
from gsd_core.dashboard.jobs import job_view
from gsd_core.dashboard.jobs.job_steps import Step
from gsd_core.dashboard.segments import segment_figures
from gsd_core.dashboard.segments.segment_queries import (
    STEPS,
    TraceScores,
    list_attributed,
    load_segments,
    read_selection,
    read_trace_scores,
)
from gsd_core.methods.attribute_method import ATTRIBUTION
from gsd_core.stages.attribute_tables import Work, tabulate
from gsd_core.stages.run_model import read_tokenized
from gsd_core.stages.trials_stage import read_config
from gsd_core.store import Workspace
from tests.cli_support import run_gsd_json, write_run
from tests.page_support import check, open_page, words


class MadeUpValues:
    """Stands for a model: the answer is likelier the more tokens are read."""

    def read(self, token_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        steps = np.arange(len(token_ids), dtype=float)
        return steps, steps / 2

    def after_prefixes(self, trace: object, n_head: int, ends: list[int]) -> np.ndarray:
        return np.array(ends, dtype=float)

    def measure(self, token_ids: np.ndarray, answer_start: int) -> float:
        return -100.0 / len(token_ids)


def write_attribution(folder: Path, n_samples: int = 6) -> None:
    """A planted run with made-up scores for all but its last sample."""
    from gsd_core.attribution.integrated import AnswerTrace, Attribution

    write_run(folder, n_samples=n_samples, n_steps=4)
    run = Workspace.open(folder).open_run("planted")
    random = np.random.default_rng(0)
    names = run.read_samples(columns=["sample"])["sample"].tolist()
    info = {"baseline": "pad", "nodes": "adaptive", "residual": 0.01, "tau": 0.7, "beta": 0.8, "words": "\nSo {"}
    info["link"] = {
        "rho": 0.3,
        "low": 0.2,
        "high": 0.4,
        "by_position": 0.1,
        "null_low": -0.1,
        "null_high": 0.1,
        "n": 40,
    }
    with run.results.open_writer(ATTRIBUTION, {}, "step-2") as writer:
        writer.append(0, {"skipped": pd.DataFrame({"sample": names[-1:], "reason": ["no <answer>"]})})
        for at, sample in enumerate(read_tokenized(run, "step-2", names[:-1]), 1):
            scores = random.standard_normal(len(sample.token_ids) + 2)
            scores[-1] = 0
            found = Attribution(scores, -1.0, -1.5 - float(scores.sum()), 12, 4)
            trace = AnswerTrace(np.zeros(len(scores), np.int32), len(scores) - 1)
            texts = [f"step {span.index} <i>" for span in sample.spans]
            work = Work(sample, f"<b>{at}</b>", trace, texts)
            tables = tabulate(work, found, MadeUpValues(), 0)  # type: ignore[arg-type]
            if at == 1:
                tables["curves"] = pd.DataFrame(
                    {"sample": sample.id, "nodes": ["gauss", "published"], "n_points": [5, 5], "residual": [0.1, 0.4]}
                )
                tables["baselines"] = pd.DataFrame(
                    [(span, sample.id, name, 0.25) for name in ("question", "pad", "noise 0") for span in work.spans],
                    columns=["span", "sample", "baseline", "strength"],
                )
            writer.append(at, tables)
        links = pd.DataFrame({"span": "s#0", "relative": random.random(40), "near": random.random(40)})
        writer.append(n_samples + 9, {"links": links})
        writer.finish(info)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("segments")
    write_attribution(made)
    return made


def test_the_page_shows_what_the_thresholds_keep(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = open_page(folder, "segments", monkeypatch, run="planted", checkpoint="step-2")
    segments = load_segments(Workspace.open(folder).open_run("planted"), "step-2")
    kept = choose_segments(segments.frame["mass"].to_numpy(), segments.frame["consistency"].to_numpy())
    shown = " ".join(str(each.value) for each in at.markdown) + " ".join(
        str(each.proto.body) for each in at.get("html")
    )
    assert f"{kept.mean():.0%}" in shown
    (tau,) = (slider for slider in at.slider if slider.label.startswith("tau"))
    assert tau.value == 0.7
    tau.set_value(0.3)
    check(at.run())
    assert at.query_params["tau"] == "0.3"
    (typed,) = (number for number in at.number_input if number.label == "tau")
    assert typed.value == 0.3
    typed.set_value(0.9)
    check(at.run())
    assert next(slider for slider in at.slider if slider.label.startswith("tau")).value == 0.9
    said = words(at)
    assert "adaptive nodes" in said
    assert "<b>1</b>" not in said, "an answer from the data must be escaped"


@pytest.mark.parametrize(
    ("side", "n_figures"),
    [("All segments", 3), ("Thresholds", 3), ("Removal", 3), ("Other measures", 3), ("Directions", 3), ("Trust", 5)],
)
def test_every_side_is_drawn(folder: Path, side: str, n_figures: int, monkeypatch: pytest.MonkeyPatch) -> None:
    at = open_page(folder, "segments", monkeypatch, run="planted", checkpoint="step-2", side=side)
    assert len(at.get("plotly_chart")) == n_figures


def test_segments_against_the_answer_are_left_out_on_request(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segments = load_segments(Workspace.open(folder).open_run("planted"), "step-2")
    without = segments.choose(1.0, 1.0, no_against=True)
    is_against = (segments.frame["signed"] < 0) & (segments.frame["consistency"] >= AGAINST)
    assert is_against.any()
    assert without.tolist() == (~is_against).tolist()
    at = open_page(folder, "segments", monkeypatch, run="planted", checkpoint="step-2", tau="1", beta="1")
    (toggle,) = (each for each in at.toggle if each.label.startswith("leave out"))
    check(toggle.set_value(True).run())
    assert at.query_params["against"] == "no"
    drawn = " ".join(str(each.proto.body) for each in at.get("html"))
    assert f"{without.mean():.0%}" in drawn


def test_the_masked_data_set_is_what_select_writes(folder: Path, tmp_path: Path) -> None:
    run = Workspace.open(folder).open_run("planted")
    segments = load_segments(run, "step-2")
    out = tmp_path / "mask.jsonl"
    words = ["select", "--run", "planted", "--checkpoint", "step-2", "--by", "segments", "--out", out]
    run_gsd_json(*words, "--tau", 0.5, "--beta", 1, workspace=folder)
    made = read_selection(run, "step-2", segments, segments.choose(0.5, 1.0))
    assert [json.loads(line) for line in made.splitlines()] == [
        json.loads(line) for line in out.read_text().splitlines()
    ]


def test_the_form_starts_trials_of_what_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Step] = []
    monkeypatch.setattr(job_view, "start_and_show", lambda *steps, **_: started.extend(steps))
    at = open_page(folder, "segments", monkeypatch, run="planted", checkpoint="step-2", tau="0.4")
    next(each for each in at.text_input if each.label == "Name").set_value('no "name"')
    next(each for each in at.button if each.label == "Start the trials").click()
    assert "may hold letters" in words(check(at.run()))
    assert not started
    next(each for each in at.text_input if each.label == "Name").set_value("mine")
    next(each for each in at.text_input if each.label == "Model").set_value('/a "folder"\\x')
    next(each for each in at.button if each.label == "Start the trials").click()
    check(at.run())
    (step,) = started
    config = read_config(step.options.config)
    assert (config.name, config.run, config.checkpoint, config.tau) == ("mine", "planted", "step-2", 0.4)
    assert config.train["model"] == '/a "folder"\\x'
    assert config.seeds == [0, 1, 2]
    next(each for each in at.button if each.label == "Start the trials").click()
    assert "of this name" in words(check(at.run())), "an existing file was written over"


def test_removal_is_told_as_a_share_of_what_the_reasoning_gains(folder: Path) -> None:
    averages = load_segments(Workspace.open(folder).open_run("planted"), "step-2").average_removals()
    by_choice = averages.set_index("choice")["kept_gain"]
    assert by_choice["none"] == 0
    assert by_choice["all"] == 1
    chosen = averages[averages["choice"] == "chosen"].sort_values("share")
    assert chosen["kept_gain"].is_monotonic_increasing, "made up so that more tokens tell more"


def test_another_checkpoint_and_an_unattributed_run_say_so(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "is not attributed" in words(open_page(folder, "segments", monkeypatch, run="planted", checkpoint="step-1"))
    write_run(tmp_path)
    at = open_page(tmp_path, "segments", monkeypatch, run="planted")
    assert "Attribute the first 20 traces" in [button.label for button in at.button]
    assert "gsd attribute --run planted" in words(at)


def test_queries_give_each_token_its_score_and_each_pair_of_thresholds_its_share(folder: Path) -> None:
    run = Workspace.open(folder).open_run("planted")
    assert list_attributed(run) == ["step-2"]
    segments = load_segments(run, "step-2")
    sample = segments.traces.index[2]
    trace = read_trace_scores(run, "step-2", sample)
    own = segments.frame[segments.frame["sample"] == sample].set_index("span")
    for span, tokens in trace.pieces:
        if span is not None:
            assert sum(score for _, score in tokens) == pytest.approx(own.loc[span, "signed"])
    row = segments.traces.loc[sample]
    ends = segment_figures.plot_cumulative(trace, float(row["baseline_value"])).data[0].y
    assert ends[-1] == pytest.approx(row["value"] - 0.5)  # made up so that half a nat is unexplained
    swept = segments.sweep()
    kept = segments.choose(float(STEPS[13]), float(STEPS[15]))
    assert swept[13, 15] == pytest.approx(segments.share_of_tokens(kept))
    drawn = segments.draw_random(kept)
    assert drawn.sum() == kept.sum()


def test_the_trace_is_escaped_and_colours_follow_the_sign() -> None:
    trace = TraceScores([("s#0", [("<script>", 1.0), ("up", -1.0)]), (None, [("\n", 0.0)])], np.zeros(3), [0])
    made = segment_figures.make_trace(trace, {"s#0"})
    assert "<script>" not in made
    assert "&lt;script&gt;" in made
    assert made.count("rgba(178,24,43,0.50)") == made.count("rgba(33,102,172,0.50)") == 1
    assert "nats" not in segment_figures.make_trace(TraceScores([], np.zeros(0), []), set())
