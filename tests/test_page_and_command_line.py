"""What a page says and what the command line prints are one number: neighbours, labels, pairs of traces.

Both are asked of the same runs: analysed and not, with nested fields, too big to be held, with and without an index.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gsd_core.comparison import centring
from gsd_core.comparison.meta_labels import to_text
from gsd_core.dashboard.frame import run_cache
from gsd_core.dashboard.frame.run_cache import Chosen
from gsd_core.store import Workspace, index
from gsd_core.types import Sample
from tests.cli_support import run_gsd, run_gsd_json
from tests.synthetic import make_samples, write_run

CHECKPOINT = "final"
RUNS = {  # name → the run, and whether its directions are held
    "analysed": ("planted", True),
    "not analysed": ("raw", True),
    "analysed, not held": ("planted", False),
    "not analysed, not held": ("raw", False),
    "analysed, indexed": ("indexed", False),
    "not analysed, indexed": ("indexed-raw", False),
}
TOP = 15


def make_nested(n: int) -> list[Sample]:
    """Samples with nested fields, one of which labels steps, values of every kind, and some without a field."""
    samples = []
    for number, sample in enumerate(make_samples(n)):
        steps = sample.meta["step_kind"]
        meta: dict[str, Any] = {
            **sample.meta,
            "info": {
                "kind": f"kind {number % 3}",
                "deep": {"level": number % 2},
                "steps": [each[0] for each in steps],
            },
            "score": float(number % 4),
            "is_hard": number % 2 == 0,
            "tags": ["short", f"tag {number % 3}"],
            "note": "a note of more than sixty letters, which is long for a label: " + str(number % 2),
        }
        if number % 5 == 0:
            del meta["score"]
        # One list is too long, as where a person mislabelled a trace: the field still labels steps.
        if number == 4:
            meta["info"]["steps"] = [*meta["info"]["steps"], "x"]
        samples.append(replace(sample, meta=meta))
    return samples


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("both")
    workspace, samples = Workspace.open(folder), make_nested(320)
    for name in ("planted", "raw"):
        write_run(workspace, name, samples[:60], (CHECKPOINT,), analyzed=False, zero_every=7)
    run_gsd_json("analyze", "planted", workspace=folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "INDEX_ABOVE_BYTES", 1)
        patch.setattr(index, "FEWEST_ROWS", 1_000)
        for name in ("indexed", "indexed-raw"):
            write_run(workspace, name, samples, (CHECKPOINT,), analyzed=name == "indexed", zero_every=7)
            with workspace.open_run(name) as run:
                assert run.build_index(CHECKPOINT) is not None
    return folder


@pytest.fixture(autouse=True)
def shown(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GSD_WORKSPACE", str(folder))
    forget()


def forget() -> None:
    """A page keeps what it read, however it was read."""
    run_cache.get_directions.clear()
    run_cache.get_neighbors.clear()


class Both:
    """One run, asked by a page's queries and by the command line."""

    def __init__(self, folder: Path, name: str) -> None:
        infos = {info.name: info for info in Workspace.open(folder).list_runs()}
        self.folder, self.name, self.chosen = folder, name, Chosen(infos[name], CHECKPOINT)

    def neighbors(self, span: str, is_worded: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The page's list and that of ``gsd neighbors``."""
        page = run_cache.get_neighbors(self.chosen, span, TOP, is_worded)
        words = ["--other-words"] if is_worded else []
        found = run_gsd_json("neighbors", self.name, "--span", span, "--top", TOP, *words, workspace=self.folder)
        return page, pd.DataFrame(found["neighbors"], columns=["span", "cosine", "q_value"])


@pytest.fixture(params=RUNS)
def both(request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Both:
    name, is_held = RUNS[request.param]
    if not is_held:
        monkeypatch.setattr(centring, "HELD_BYTES", 0)
    asked = Both(folder, name)
    directions = run_cache.get_directions(asked.chosen)
    assert isinstance(directions.rows, np.ndarray) == is_held
    assert (directions.search is not None) == name.startswith("indexed")
    return asked


def test_the_same_neighbours_cosines_and_q(both: Both) -> None:
    for span in ("sum-7#1", "sum-20#0", "sum-31#2", "sum-7#0"):
        page, printed = both.neighbors(span)
        assert page["span"].tolist() == printed["span"].tolist(), f"other neighbours of {span}"
        for column in ("cosine", "q_value"):
            np.testing.assert_array_equal(page[column].to_numpy(float), printed[column].to_numpy(float))
        assert len(page) == (0 if span == "sum-7#0" else TOP), "a zero gradient has no neighbours"


def test_the_same_neighbours_in_other_words(both: Both) -> None:
    page, printed = both.neighbors("sum-20#0", is_worded=True)
    assert 0 < len(page) == len(printed)
    assert page["span"].tolist() == printed["span"].tolist()
    np.testing.assert_array_equal(page["q_value"], printed["q_value"])


@pytest.mark.parametrize("name", ["planted", "raw", "indexed", "indexed-raw"])
def test_how_directions_are_read_does_not_show(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    both = Both(folder, name)
    held = both.neighbors("sum-20#0")[0]
    monkeypatch.setattr(centring, "HELD_BYTES", 0)
    forget()
    read = both.neighbors("sum-20#0")[0]
    assert held["span"].tolist() == read["span"].tolist()
    np.testing.assert_allclose(held["cosine"], read["cosine"], atol=1e-6)
    if not name.startswith("indexed"):  # what an index does not give counts as p = 1
        np.testing.assert_allclose(held["q_value"], read["q_value"], rtol=1e-3)


FIELDS = (
    *("procedure", "topic", "step_kind", "n_steps", "is_hard", "score", "tags"),
    *("info.kind", "info.deep.level", "info.steps"),
)


def test_the_same_labels(folder: Path, tmp_path: Path) -> None:
    view = run_cache.get_view(Both(folder, "raw").chosen)
    out = tmp_path / "spans.jsonl"
    told = run_gsd_json("export", "raw", "--what", "spans", "--out", out, workspace=folder)
    exported = {row["span"]: row for row in map(json.loads, out.read_text("utf-8").splitlines())}
    assert {label.name for label in view.labels} == {f"meta.{field}" for field in FIELDS}, (
        "long notes are no label, and neither is an object"
    )
    assert told["unmatched"] == {"meta.info.steps": 1}
    for name in (label.name for label in view.labels):
        texts = [to_text(exported[span][name]) or "(none)" for span in view.spans["span"]]
        assert view.spans[name].tolist() == texts, name
    row = exported["sum-20#0"]
    assert row["meta.info"]["kind"] == row["meta.info.kind"] == "kind 2"
    assert row["meta.info"]["steps"][0] == row["meta.info.steps"], "the object stays as it was"


@pytest.mark.parametrize("field", FIELDS)
def test_what_a_page_offers_is_evaluated_with_the_same_values(folder: Path, field: str) -> None:
    """How many spans a label reaches, and how many share one, must be what the page shows."""
    texts = run_cache.get_view(Both(folder, "raw").chosen).spans[f"meta.{field}"]
    known = texts[texts != "(none)"]
    found = run_gsd_json("evaluate", "raw", "--label", f"meta.{field}", workspace=folder)
    assert found["n_left_out"] == len(texts) - len(known)
    value = known.iloc[-1]
    words = ["--label", "meta.step_kind", "--where", f"meta.{field}={value}"]
    outcome = run_gsd("--json", "evaluate", "raw", *words, workspace=folder)
    n_where = int((texts == value).sum())
    if outcome.code == 0:
        assert f'"n": {n_where}' in outcome.out
    else:
        assert f"({n_where} spans" in outcome.err + outcome.out, "another number of spans has this value"


def test_a_condition_may_also_be_written_as_before(folder: Path) -> None:
    for value in ("3", "3.0"):
        words = ["--label", "meta.step_kind", "--where", f"meta.score={value}"]
        assert run_gsd_json("evaluate", "raw", *words, workspace=folder)["n"] > 0


def test_the_same_pair_of_traces(folder: Path) -> None:
    both = Both(folder, "planted")
    structure = run_cache.get_structure(both.chosen)
    assert structure is not None
    twins = structure.twins[["a", "b"]].head(3).to_numpy().tolist()
    assert len(twins) == 3
    view = run_cache.get_view(both.chosen)
    for a, b in [*twins, twins[0][::-1], ["sum-1", "sum-2"]]:
        pair = run_cache.get_pair(both.chosen, a, b)
        found = run_gsd_json("compare", "planted", a, b, workspace=folder)
        np.testing.assert_allclose(found["matrix"], pair.cosines, atol=1e-6)
        ids = view.spans["span"]
        for key, rows in (("spans_a", pair.rows_a), ("spans_b", pair.rows_b)):
            assert [each["span"] for each in found[key]] == ids.iloc[rows].tolist()
        if pair.is_run:
            aligned = [
                {
                    "a": ids[pair.rows_a[i]],
                    "b": ids[pair.rows_b[j]],
                    "cosine": pytest.approx(cosine, abs=1e-6),
                }
                for i, j, cosine in pair.aligned
            ]
            assert found["aligned"] == aligned
    assert run_cache.get_pair(both.chosen, *twins[0]).is_run


def test_a_pair_of_a_run_without_analysis(folder: Path) -> None:
    both = Both(folder, "raw")
    pair = run_cache.get_pair(both.chosen, "sum-3", "sum-9")
    found = run_gsd_json("compare", "raw", "sum-3", "sum-9", workspace=folder)
    np.testing.assert_allclose(found["matrix"], pair.cosines, atol=1e-6)
