"""A packed run: unpacked it is the same run, and a file that is no packed run changes nothing."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from gsd_core.errors import UserError
from gsd_core.store import Workspace
from gsd_core.store.archive import PARTS, pack_run, unpack_run
from tests.cli_support import make_rows, run_gsd_json, write_rows, write_run


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    write_run(tmp_path / "from", "planted")
    run_gsd_json(
        *("datasets", "add", write_rows(tmp_path / "rows.jsonl", make_rows()), "--name", "planted"),
        workspace=tmp_path / "from",
    )
    pack_run(Workspace.open(tmp_path / "from"), "planted", tmp_path / "packed")
    return tmp_path / "packed"


def test_an_unpacked_run_is_the_same_run(packed: Path, tmp_path: Path) -> None:
    there = Workspace.open(tmp_path / "to")
    assert unpack_run(there, "planted", packed)
    one, other = Workspace.open(tmp_path / "from").open_run("planted"), there.open_run("planted")
    assert one.manifest == other.manifest
    for checkpoint in one.checkpoints:
        assert one.read_spans(checkpoint).equals(other.read_spans(checkpoint))
        assert np.array_equal(one.read_vectors(checkpoint), other.read_vectors(checkpoint))
    assert [each.name for each in there.list_datasets()] == ["planted"]
    assert there.list_runs()[0].status == Workspace.open(tmp_path / "from").list_runs()[0].status
    assert not list((tmp_path / "to").glob(".unpacked-*")), "a half-unpacked folder was left behind"


def test_packing_twice_gives_the_same_bytes(packed: Path, tmp_path: Path) -> None:
    again = pack_run(Workspace.open(tmp_path / "from"), "planted", tmp_path / "again")
    assert [file.read_bytes() for file in again] == [(packed / file.name).read_bytes() for file in again]


def test_a_new_result_changes_the_small_file_only(packed: Path, tmp_path: Path) -> None:
    run_gsd_json("analyze", "planted", workspace=tmp_path / "from")
    captured, results = pack_run(Workspace.open(tmp_path / "from"), "planted", tmp_path / "again")
    assert captured.read_bytes() == (packed / captured.name).read_bytes()
    assert results.read_bytes() != (packed / results.name).read_bytes()
    there = Workspace.open(tmp_path / "to")
    unpack_run(there, "planted", tmp_path / "again")
    assert there.list_runs()[0].status == "analyzed"


def test_what_is_there_stays(packed: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "to", "planted", n_samples=3)
    there = Workspace.open(tmp_path / "to")
    assert not unpack_run(there, "planted", packed)
    assert len(there.open_run("planted").read_samples()) == 3


def test_documents_can_be_changed_on_the_way(packed: Path, tmp_path: Path) -> None:
    def rename(document: dict[str, object]) -> dict[str, object]:
        return {**document, "source": "elsewhere"}

    pack_run(Workspace.open(tmp_path / "from"), "planted", tmp_path / "changed", rename)
    there = Workspace.open(tmp_path / "to")
    unpack_run(there, "planted", tmp_path / "changed")
    assert there.open_run("planted").manifest["source"] == "elsewhere"
    assert there.open_dataset("planted").source == "elsewhere"


@pytest.mark.parametrize(
    "name", ["../../evil.txt", "/etc/evil", "runs/../../evil.txt", "runs/x", "other/planted/run.json", "runs/mine/a"]
)
def test_a_file_with_other_paths_is_refused(packed: Path, tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(packed / "planted.results.zip", "a") as archive:
        archive.writestr(name, "{}")
    there = Workspace.open(tmp_path / "to")
    with pytest.raises(UserError, match="no packed run"):
        unpack_run(there, "planted", packed)
    assert there.list_runs() == []
    assert not list(tmp_path.rglob("evil.txt"))


@pytest.mark.parametrize("part", PARTS)
def test_a_cut_or_missing_file_is_refused_and_leaves_nothing(packed: Path, tmp_path: Path, part: str) -> None:
    file = packed / f"planted.{part}.zip"
    file.write_bytes(file.read_bytes()[:-200])
    there = Workspace.open(tmp_path / "to")
    for _ in range(2):
        with pytest.raises(UserError, match=rf"planted\.{part}\.zip"):
            unpack_run(there, "planted", packed)
        assert there.list_runs() == []
        assert there.list_datasets() == []
        assert not list((tmp_path / "to").glob(".unpacked-*"))
        file.unlink(missing_ok=True)
