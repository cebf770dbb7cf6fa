"""The evidence page says what holds, and what does not, from rows that ``gsd evaluate`` stored."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from gsd_core.comparison.verdict import compute_verdict
from gsd_core.dashboard.alignment.alignment_figures import plot_cosines
from gsd_core.dashboard.evidence.evidence_figures import choose_curves, plot_curves, plot_dots
from gsd_core.dashboard.evidence.evidence_view import make_options
from gsd_core.dashboard.reading.lesson_queries import load_lesson
from gsd_core.dashboard.spans.span_lesson import describe_learned
from gsd_core.methods.lesson_method import LESSON
from gsd_core.registry.options import to_words
from gsd_core.store import Workspace
from tests.cli_support import run_gsd_json, write_run
from tests.page_support import check, open_page, words

ROW = {"metric": "P@10", "n": 10, "chance": 0.1, "ceiling": 1.0, "step": 1, "checkpoint": "a"}


def make_rows(gradient: tuple[float, float, float], baseline: tuple[float, float, float]) -> pd.DataFrame:
    named = (("head gradient", "gradient", gradient), ("TF-IDF <b>", "baseline", baseline))
    return pd.DataFrame(
        [
            {**ROW, "representation": name, "kind": kind, "value": v, "ci_low": low, "ci_high": high}
            for name, kind, (v, low, high) in named
        ]
    )


@pytest.mark.parametrize(
    ("gradient", "baseline", "said"),
    [
        ((0.8, 0.7, 0.9), (0.5, 0.4, 0.6), "stand above every baseline"),
        ((0.5, 0.4, 0.6), (0.8, 0.7, 0.9), "do not beat"),
        ((0.8, 0.7, 0.9), (0.7, 0.6, 0.8), "cannot be told apart"),
    ],
)
def test_the_verdict_goes_by_intervals(gradient, baseline, said: str) -> None:
    verdict = compute_verdict(make_rows(gradient, baseline))
    assert said in verdict.headline
    assert compute_verdict(make_rows(gradient, baseline).head(1)) is None


def test_a_win_over_an_incomplete_field_names_who_was_missing() -> None:
    rows = make_rows((0.8, 0.7, 0.9), (0.5, 0.4, 0.6))
    assert "mean hidden state was not asked" in compute_verdict(rows).headline
    whole = pd.concat([rows, rows.tail(1).assign(representation="mean hidden state", value=0.3)])
    assert compute_verdict(whole).headline == "Gradients stand above every baseline."


def test_figures_hold_every_row_and_no_tags_from_data() -> None:
    rows = make_rows((0.8, 0.7, 0.9), (0.5, 0.4, 0.6))
    dots = plot_dots(rows, "P@10")
    assert sum(len(trace.x) for trace in dots.data) == 2
    assert "<b>" not in str(dots.to_json())
    later = rows.assign(step=2, checkpoint="b")
    both = pd.concat([rows, later])
    curves = plot_curves(both, choose_curves(both, []), "P@10")
    assert [list(trace.x) for trace in curves.data if trace.mode] == [[1.0, 2.0]] * 2
    cosines = pd.DataFrame({"kind": ["spans"] * 3 + ["same cluster"] * 3, "cosine": [0, 0.1, 0.2, 0.5, 0.6, 0.7]})
    drawn = plot_cosines(cosines, float("nan")).data
    assert [trace.type for trace in drawn] == ["violin", "scatter"] * 2, "a distribution without its mean"


def test_long_names_that_begin_alike_are_rows_of_their_own() -> None:
    name = "span gradient (window 1), other model (untrained-span)"
    rows = pd.concat([make_rows((v, v - 0.1, v + 0.1), (0.5, 0.4, 0.6)).head(1) for v in (0.3, 0.8)])
    rows["representation"] = [name, f"{name}, without its top 5 directions"]
    figure = plot_dots(rows, "P@10")
    assert len({y for trace in figure.data for y in trace.y}) == 2, "two representations share a row"
    texts = figure.layout.yaxis.ticktext
    assert len(set(texts)) == 2, "shortened names cannot be told apart"
    assert all(len(text) <= 46 for text in texts)


def test_labels_reach_the_command_whole() -> None:
    words = to_words(make_options("r", "kind of; step", "span", ["topic"]))
    assert words[words.index("--label") + 1] == "meta.kind of; step"
    assert words[words.index("--differ") + 1 :] == ["meta.topic"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = write_run(tmp_path_factory.mktemp("evidence") / "workspace", n_samples=24)
    run_gsd_json("analyze", "planted", workspace=place)
    return place


def show(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    return check(open_page(workspace, "evidence", monkeypatch, run="planted"))


def test_without_evidence_the_page_offers_the_evaluation(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = show(workspace, monkeypatch)
    assert "gsd evaluate planted" in words(page)
    assert any(button.label == "Evaluate all checkpoints" for button in page.button)


def test_with_evidence_the_page_says_who_wins(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_gsd_json("evaluate", "planted", "--label", "meta.kinds", "--checkpoint", "all", workspace=workspace)
    page = show(workspace, monkeypatch)
    said = words(page)
    assert "Gradients stand above every baseline" in said
    assert "95 % intervals over samples, n = 96" in said
    assert [box.label for box in page.selectbox][:4] == ["Run", "Checkpoint", "Question", "Metric"]


def write_lesson(folder: Path) -> None:
    """A run with a lesson of two sizes: gradients foretell it, words do not."""
    write_run(folder)
    run = Workspace.open(folder).open_run("planted")
    rows = []
    for share, value in ((0.1, 0.6), (0.5, 0.5)):
        for name, kind, at in (
            ("first order, all weights", "limit", value + 0.3),
            ("span gradient", "gradient", value),
            ("TF-IDF of the words", "baseline", 0.1),
            ("random", "control", 0.0),
        ):
            for metric in ("rank correlation", "rank correlation, other words"):
                row = {"representation": name, "kind": kind, "metric": metric, "optimizer": "sgd", "share": share}
                ends = {"value": at, "ci_low": at - 0.05, "ci_high": at + 0.05}
                rows.append({**row, "n_steps": 1, **ends, "n": 9, "chance": 0.0, "ceiling": value + 0.3})
    taught = {"span": "s0#0", "is_drawn": True, "optimizer": "sgd", "share": 0.5, "n_steps": 1, "rate": 0.1}
    learned = {"taught": "s0#0", "span": ["s1#0", "s2#0"], "optimizer": "sgd", "share": 0.5, "n_steps": 1}
    numbers = {"before": [1.0, 1.0], "learned": [0.25, -0.01], "predicted": [0.3, 0.0]}
    tables = {
        "scores": pd.DataFrame(rows),
        "taught": pd.DataFrame([{**taught, "own_before": 2.0, "own_after": 1.5}]),
        "learned": pd.DataFrame({**learned, **numbers}),
    }
    run.results.write(LESSON, tables, {"n_moved": 7}, "step-2")


def test_the_page_leads_with_what_a_step_teaches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lesson(tmp_path)
    at = open_page(tmp_path, "evidence", monkeypatch, run="planted", checkpoint="step-2")
    said = words(at)
    assert "stand above every baseline" in said
    assert at.subheader[0].value == "What a step teaches"
    assert "n = 9" in said
    other = open_page(tmp_path, "evidence", monkeypatch, run="planted", checkpoint="step-1")
    assert "was not taught" in words(other)


def test_a_run_that_was_not_taught_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path)
    at = open_page(tmp_path, "evidence", monkeypatch, run="planted")
    assert "gsd lesson planted" in words(at)
    assert "Teach 24 spans" in [button.label for button in at.button]


def test_aligned_spans_say_what_they_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lesson(tmp_path)
    lesson = load_lesson(Workspace.open(tmp_path).open_run("planted"), "step-2", "s0#0")
    assert lesson is not None
    assert describe_learned(lesson, "s1#0") == "learned 0.250 nats, first order 0.300"
    assert describe_learned(lesson, "s9#0") == describe_learned(None, "s1#0") == ""
    at = open_page(tmp_path, "trace", monkeypatch, run="planted", checkpoint="step-2", sample="s0", span="s0#0")
    assert "2.00 to 1.50 nats" in words(at)
    other = open_page(tmp_path, "trace", monkeypatch, run="planted", checkpoint="step-2", sample="s1", span="s1#0")
    assert "Teach this span" in [button.label for button in other.button]
