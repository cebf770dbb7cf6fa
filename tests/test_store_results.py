"""Results of methods: declared, written whole or in batches, dropped when what they need changes, migrated."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gsd_core.errors import UserError
from gsd_core.methods.analyze_method import MAP, STRUCTURE
from gsd_core.methods.evaluate_method import EVIDENCE
from gsd_core.methods.neighbors_method import EXACT
from gsd_core.methods.timeline_method import TIMELINE
from gsd_core.registry.result_kind import ResultKind, make_columns
from gsd_core.store import Run, Workspace, results
from tests.cli_support import ROOT, run_gsd_json, write_run

PLAIN = make_columns("""
    name text    a text
    n int        a number
    share float  a share
    is_real bool a truth
""")
ONE = ResultKind("one", "toy", {"plain": PLAIN, "more": make_columns("n int a number")}, needs=("map",))
WHOLE_RUN = ResultKind("whole", "toy", {"plain": PLAIN}, is_by_checkpoint=False)
NESTED = ResultKind(
    "nested",
    "toy",
    {
        "tokens": make_columns("""
            sample text            sample id
            scores list<float>     one a token
            words list<text>       one a token
            places list<int>       one a token
            aligned json           anything
        """)
    },
)
ROWS = pd.DataFrame({"name": ["ä", ""], "n": [1, 2], "share": [0.5, float("nan")], "is_real": [True, False]})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return open_run(write_run(tmp_path / "w", n_samples=3, checkpoints=("a", "b", "c")))


def open_run(place: Path) -> Run:
    return Workspace.open(place).open_run("planted")


def list_folders(run: Run) -> list[Path]:
    return sorted(Path(run.uri, "results").iterdir())


def write_map(run: Run, checkpoint: str, **info: Any) -> None:
    points = pd.DataFrame({"span": run.read_spans(checkpoint)["span"], "x": 0.0, "y": 0.0, "cluster": 0})
    clusters = pd.DataFrame([], columns=["cluster", "size", "label", "terms", "exemplars"])
    run.write_analysis(checkpoint, points.assign(probability=1.0), clusters, {}, info)


# -- whole ----------------------------------------------------------------------------------------------------------


def test_a_result_is_read_unchanged_and_replaced_whole(run: Run) -> None:
    run.results.write(WHOLE_RUN, {"plain": ROWS}, {"note": np.float32(1.5)})
    other = open_run(Path(run.uri).parents[1])
    assert other.results.info(WHOLE_RUN) == {"note": 1.5}
    back = other.results.read(WHOLE_RUN, "plain")
    pd.testing.assert_frame_equal(back, ROWS, check_dtype=False)
    assert [kind.kind for kind in back.dtypes[1:]] == ["i", "f", "b"]
    run.results.write(WHOLE_RUN, {"plain": ROWS.head(0)}, {})
    assert other.results.read(WHOLE_RUN, "plain").columns.tolist() == ["name", "n", "share", "is_real"]
    assert len(list_folders(run)) == 1, "the replaced tables were not deleted"
    with pytest.raises(UserError, match="gsd evaluate planted"):
        other.results.read(EVIDENCE, "rows")


def test_a_result_is_dropped_when_a_result_that_it_needs_is_replaced(run: Run) -> None:
    write_map(run, "a")
    run.results.write(ONE, {"plain": ROWS}, {}, "a")
    run.results.write(ONE, {"more": ROWS[["n"]]}, {"n": 1}, "a")
    with pytest.raises(UserError, match="it has more"):
        run.results.read(ONE, "plain", "a")
    run.results.write(ONE, {"plain": ROWS}, {}, "b")
    write_map(run, "a")
    assert not run.results.has(ONE, "a"), "a result of replaced clusters was kept"
    assert run.results.has(ONE, "b")
    with pytest.raises(UserError, match=r"no one is stored, run planted, checkpoint a, gsd toy planted"):
        run.results.read(ONE, "more", "a")
    assert len(list_folders(run)) == 2


def test_a_result_keeps_lists_and_nested_values(run: Run) -> None:
    rows = pd.DataFrame(
        {
            "sample": ["s0", "s1"],
            "scores": [[0.5, 1.5], []],
            "words": [["so", "it"], []],
            "places": [[1, 2], []],
            "aligned": [[[0, 1, 0.25]], {"a": None}],
        }
    )
    run.results.write(NESTED, {"tokens": rows}, {}, "a")
    back = run.results.read(NESTED, "tokens", "a")
    assert back.to_dict("records") == rows.to_dict("records")


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"plain": ROWS.assign(n=["a", "b"])}, "holds no int"),
        ({"plain": ROWS.assign(name=[[1], [2]])}, "holds no text"),
        ({"plain": ROWS.assign(extra=1)}, "has the columns"),
        ({"plain": ROWS[["name"]]}, "has the columns"),
        ({"other": ROWS}, "declares no table"),
    ],
)
def test_undeclared_tables_and_columns_are_refused(run: Run, tables: dict[str, pd.DataFrame], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        run.results.write(ONE, tables, {}, "a")
    assert not run.results.has(ONE, "a")
    assert not Path(run.uri, "results").exists()


def test_failed_write_of_a_result_keeps_the_earlier_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.results.write(ONE, {"plain": ROWS}, {"n": 1}, "a")

    def fail(edit: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(run._document, "change", fail)
    with pytest.raises(OSError, match="disk full"):
        run.results.write(ONE, {"plain": ROWS.head(1)}, {"n": 2}, "a")
    assert run.results.info(ONE, "a") == {"n": 1}
    assert len(run.results.read(ONE, "plain", "a")) == 2
    assert len(list_folders(run)) == 1


def test_a_reader_reads_the_new_result_when_one_is_replaced_meanwhile(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.results.write(ONE, {"plain": ROWS}, {}, "a")
    reader = open_run(Path(run.uri).parents[1])
    read = results._read_whole
    turns: list[str] = []

    def replace_then_read(*asked: Any) -> pd.DataFrame:
        turns.append("read")
        if len(turns) == 1:
            run.results.write(ONE, {"plain": ROWS.head(1)}, {}, "a")
        return read(*asked)

    monkeypatch.setattr(results, "_read_whole", replace_then_read)
    assert len(reader.results.read(ONE, "plain", "a")) == 1
    assert len(turns) == 2, "the replaced folder was not read first"


@pytest.mark.parametrize("names", [("../x", "t"), ("x", "../t"), ("", "t"), ("X", "t")])
def test_names_that_cannot_be_folders_are_refused(names: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="cannot be called"):
        ResultKind(names[0], "toy", {names[1]: PLAIN})


# -- written in batches ---------------------------------------------------------------------------------------------


def test_a_result_written_in_batches_can_be_continued(run: Run) -> None:
    run.results.write(ONE, {"plain": ROWS.head(1)}, {"is_old": True}, "b")
    with run.results.open_writer(ONE, {"steps": 50}, "a") as writer:
        writer.append(0, {"plain": ROWS})
        writer.append(2, {"plain": ROWS.head(1), "more": ROWS[["n"]]})
        with pytest.raises(ValueError, match="stored already"):
            writer.append(2, {})
    assert not run.results.has(ONE, "a")
    assert len(run.results.read(ONE, "plain", "a")) == 3, "finished batches of an unfinished result cannot be read"
    with open_run(Path(run.uri).parents[1]).results.open_writer(ONE, {"steps": 50}, "a") as writer:
        assert writer.finished == {0, 2}
        writer.append(1, {"plain": ROWS})
        writer.finish({"n": 3})
    assert run.results.info(ONE, "a") == {"n": 3}
    assert len(run.results.read(ONE, "plain", "a")) == 5
    assert run.results.read(ONE, "more", "a")["n"].tolist() == [1, 2]
    assert run.results.info(ONE, "b") == {"is_old": True}
    assert len(list_folders(run)) == 2


def test_an_unfinished_result_with_other_settings_is_discarded(run: Run) -> None:
    run.results.write(ONE, {"plain": ROWS}, {}, "a")
    with run.results.open_writer(ONE, {"steps": 50}, "a") as writer:
        writer.append(0, {"plain": ROWS.head(1)})
    with run.results.open_writer(ONE, {"steps": 20}, "a") as writer:
        assert writer.finished == set()
        assert len(run.results.read(ONE, "plain", "a")) == 2, (
            "the earlier result is not read until the new one is finished"
        )
        writer.finish({})
    assert len(run.results.read(ONE, "plain", "a")) == 0
    assert len(list_folders(run)) == 1


def test_a_result_has_one_writer_at_a_time(run: Run) -> None:
    with run.results.open_writer(ONE, {}, "a"):
        with pytest.raises(UserError, match="another part of this process"):
            run.results.open_writer(ONE, {}, "a")
        run.results.open_writer(ONE, {}, "b").__exit__(None, None, None)


KILLED = """
import os, sys
import pandas as pd
from gsd_core.store import Workspace
from tests.test_store_results import ONE, ROWS

run = Workspace.open(sys.argv[1]).open_run("planted")
writer = run.results.open_writer(ONE, {}, "a")
writer.append(0, {"plain": ROWS})
writer.flush()
writer._writer._marks.append = lambda rows: os._exit(9)  # after the rows, before their mark
writer.append(1, {"plain": ROWS})
writer.flush()
"""


def test_a_kill_between_rows_and_mark_keeps_only_whole_batches(run: Run) -> None:
    place = Path(run.uri).parents[1]
    done = subprocess.run([sys.executable, "-c", KILLED, str(place)], cwd=ROOT, check=False)
    assert done.returncode == 9
    assert len(run.results.read(ONE, "plain", "a")) == 2, "rows without a mark were read"
    with run.results.open_writer(ONE, {}, "a") as writer:
        assert writer.finished == {0}
        writer.append(1, {"plain": ROWS})
        writer.finish({})
    assert run.results.read(ONE, "plain", "a")["n"].tolist() == [1, 2, 1, 2], "rows of the killed batch were kept"


# -- runs without directions ----------------------------------------------------------------------------------------


def test_a_run_without_directions_can_have_results(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    run = workspace.create_run("plain", {"status": "captured"})
    run.results.write(WHOLE_RUN, {"plain": ROWS}, {"n": 2})
    found = workspace.open_run("plain")
    assert (found.sketch_width, found.embedding_width, found.checkpoints) == (0, 0, [])
    assert len(found.read_spans()) == len(found.read_vectors()) == len(found.read_question_embeddings()[0]) == 0
    with pytest.raises(ValueError, match="without directions"):
        run.append_batch("a", None, 0, [])
    (info,) = workspace.list_runs()
    assert (info.status, info.results) == ("captured", {"whole": {"": {"n": 2}}})


# -- default checkpoint ---------------------------------------------------------------------------------------------


def test_default_checkpoint_has_most_twins_then_most_clustered_spans_then_is_last(run: Run) -> None:
    place = Path(run.uri).parents[1]

    def analyze(checkpoint: str, noise_share: float, **info: int) -> str:
        write_map(run, checkpoint, noise_share=noise_share)
        if info:
            run.results.write(STRUCTURE, {}, info, checkpoint)
        return open_run(place).default_checkpoint

    assert run.default_checkpoint == "c"
    assert analyze("a", 0.9) == "a", "a checkpoint that is not analysed was chosen"
    assert analyze("b", 0.2) == "b"
    assert analyze("c", 0.2) == "c", "the last of equal checkpoints was not chosen"
    assert analyze("a", 0.9, n_twins=3) == "a"
    assert analyze("b", 0.2, n_twins=4) == "b"
    assert analyze("a", 0.9, n_twins=3, n_rewordings=1) == "a", "twins in other words did not come first"
    assert Workspace.open(place).list_runs()[0].first_look == "a"


# -- workspaces of layout 2 -----------------------------------------------------------------------------------------


def test_a_stored_workspace_of_layout_2_opens_with_all_its_results(tmp_path: Path) -> None:
    # Written by the last version with that layout: analyze, timeline, evaluate, exact cosines of one pair.
    with tarfile.open(ROOT / "tests" / "data" / "workspace-2.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    said = json.loads((tmp_path / "said.json").read_text(encoding="utf-8"))
    place = tmp_path / "workspace"
    run = open_run(place)
    assert json.loads(Path(run.uri, "run.json").read_text())["store"]["version"] == 3
    assert "analysis" not in run.manifest
    assert {name: list(run.results.infos(name)) for name in run.results.names()} == {
        "map": ["step-1", "step-2"],
        "structure": ["step-1", "step-2"],
        "timeline": [""],
        "evidence": [""],
        "exact": [""],
    }
    assert run.results.info(MAP, "step-2")["n_clusters"] == said["analyze"]["n_clusters"]
    assert run.results.read(EXACT, "pairs")["cosine_exact"].tolist() == [0.75]
    assert len(run.results.read(TIMELINE, "drift")) == 2 * 48
    rows = run.results.read(EVIDENCE, "rows")
    assert rows["value"].tolist() == pytest.approx([row["value"] for row in said["evaluate"]["rows"]], nan_ok=True)
    for command in ("twins", "stresses"):
        found = run_gsd_json(command, "planted", workspace=place)
        assert {key: found[key] for key in said[command]} == said[command]
    found = run_gsd_json("neighbors", "planted", "--span", "s0#0", workspace=place)
    assert [each["span"] for each in found["neighbors"]] == [each["span"] for each in said["neighbors"]["neighbors"]]
    points = run.read_points("step-2")
    run_gsd_json("analyze", "planted", workspace=place)  # adds families, which that version had not
    pd.testing.assert_frame_equal(open_run(place).read_points("step-2"), points)
    again = run_gsd_json("analyze", "planted", workspace=place)
    assert [each["seconds"] for each in again["checkpoints"]] == [0.0, 0.0], "the analyses were not kept"
    assert again["n_twins"] == said["analyze"]["n_twins"]
