"""Names, documents, layouts and storage: names are safe, changes are kept, old runs end like new ones."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gsd_core.errors import UserError
from gsd_core.store import Run, Workspace, migrations, schema
from gsd_core.store.files import Folder, encode_json
from gsd_core.store.tables import Table
from gsd_core.types import Sample
from tests.store_rows import (
    EMBEDDING_WIDTH,
    INFO,
    WIDTH,
    make_analysis,
    make_batches,
    make_records,
    make_run,
    make_tokenized,
    read_everything,
    write_missing,
)

ROOT = Path(__file__).resolve().parents[1]


# -- names, documents, errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\\b", "-x", "a b", "x" * 65, "a\n", "ä"])
def test_names_cannot_leave_the_workspace(workspace: Workspace, name: str) -> None:
    with pytest.raises(UserError, match="cannot name a run"):
        workspace.create_run(name, {}, WIDTH, EMBEDDING_WIDTH)
    with pytest.raises(UserError, match="cannot name a data set"):
        workspace.write_dataset(name, [], INFO)
    for use in (workspace.open_run, workspace.remove_run, workspace.open_dataset, workspace.remove_dataset):
        with pytest.raises(UserError, match="unknown"):
            use(name)


def test_error_for_an_unknown_name_suggests_similar_names(workspace: Workspace) -> None:
    workspace.create_run("gsm8k-small", {}, WIDTH, EMBEDDING_WIDTH)
    workspace.write_dataset("gsm8k", [], INFO)
    with pytest.raises(UserError, match=r"unknown run 'gsm8k-smal', .*did you mean gsm8k-small"):
        workspace.open_run("gsm8k-smal")
    with pytest.raises(UserError, match="did you mean gsm8k"):
        workspace.read_samples("gsm9k")
    with pytest.raises(UserError, match="exists already"):
        workspace.create_run("gsm8k-small", {}, WIDTH, EMBEDDING_WIDTH)
    workspace.remove_run("gsm8k-small")
    assert workspace.list_runs() == []
    workspace.create_run("gsm8k-small", {}, WIDTH, EMBEDDING_WIDTH)


def test_folders_and_files_that_are_not_a_workspace_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no workspace"):
        Workspace.open(tmp_path / "missing", create=False)
    assert not (tmp_path / "missing").exists()
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="a file"):
        Workspace.open(tmp_path / "file")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("x")
    with pytest.raises(UserError, match=r"other files \(cat.jpg"):
        Workspace.open(tmp_path / "photos")
    (tmp_path / "early" / "jobs").mkdir(parents=True)  # the dashboard may create it first
    assert Workspace.open(tmp_path / "early").version == schema.WORKSPACE_VERSION
    with pytest.raises(UserError, match="storage cannot be used"):
        Workspace.open("nonsense://bucket/x")


@pytest.mark.parametrize("text", ["", "[]", "{nonsense", '{"version": "one"}', "{}", '{"version": true}', "\xff"])
def test_damaged_workspace_document_is_a_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "workspace.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"cannot be read|no readable version"):
        Workspace.open(tmp_path)


def test_error_for_a_newer_layout_asks_for_an_upgrade(workspace: Workspace, tmp_path: Path) -> None:
    workspace.create_run("r", {}, WIDTH, EMBEDDING_WIDTH)
    document = tmp_path / "workspace" / "runs" / "r" / "run.json"
    content = json.loads(document.read_text())
    content["store"]["version"] = schema.RUN_VERSION + 1
    document.write_text(json.dumps(content))
    with pytest.raises(UserError, match="upgrade"):
        workspace.open_run("r")
    assert workspace.list_runs()[0].status == "broken"
    (tmp_path / "workspace" / "workspace.json").write_text('{"version": 99}')
    with pytest.raises(UserError, match=r"version 99 .*upgrade"):
        Workspace.open(tmp_path / "workspace")


def test_one_broken_run_does_not_hide_the_others(workspace: Workspace, tmp_path: Path) -> None:
    for name, created in (("old", "2020"), ("new", "2030"), ("torn", "2025"), ("hollow", "2024")):
        run = workspace.create_run(name, {"created": created}, WIDTH, EMBEDDING_WIDTH)
        run.append_batch("final", None, 0, [make_records(make_tokenized("a", ["x"])[1], 0)])
        run.close()
    runs = tmp_path / "workspace" / "runs"
    (runs / "torn" / "run.json").write_text('{"created": ')
    for path in (runs / "hollow" / "checkpoints" / "0000" / "captured.lance" / "_versions").iterdir():
        path.write_bytes(b"not a manifest")
    (runs / "unfinished").mkdir()  # killed before its document was written
    infos = workspace.list_runs()
    assert [(info.name, info.status) for info in infos] == [
        ("new", "capturing"),
        ("hollow", "broken"),
        ("old", "capturing"),
        ("torn", "broken"),
    ]
    assert all(info.problem and info.manifest["reason"] == info.problem for info in infos if info.status == "broken")
    workspace.remove_run("torn")
    workspace.create_run("unfinished", {}, WIDTH, EMBEDDING_WIDTH)


def test_manifest_changes_are_never_lost(workspace: Workspace) -> None:
    # Capture and analysis both change the manifest; neither may undo a change of the other.
    workspace.create_run("r", {"a": 0}, WIDTH, EMBEDDING_WIDTH)

    def change(name: str) -> None:
        run = workspace.open_run("r")
        for value in range(10):
            run.update_manifest(**{name: value})

    threads = [threading.Thread(target=change, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    manifest = workspace.open_run("r").manifest
    assert {name: manifest[name] for name in "abcd"} == dict.fromkeys("abcd", 9)
    with pytest.raises(ValueError, match="belongs to the store"):
        workspace.open_run("r").update_manifest(store={})


def test_a_replaced_writer_cannot_write(workspace: Workspace) -> None:
    # After an interrupt the old object may still exist; its buffer must not be written after the new rows.
    old = make_run(workspace, "r", 2)
    batches = make_batches(2, 0)
    old.append_batch("final", None, 0, batches[0])
    new = workspace.open_run("r")
    with pytest.raises(UserError, match="another part of this process"):
        new.append_batch("final", None, 0, batches[0])
    new.repair()
    new.append_batch("final", None, 0, batches[0])
    new.close()
    with pytest.raises(UserError, match="taken over"):
        old.flush()
    old.close()
    assert len(old.read_spans()) == sum(len(getattr(result, "records", ())) for result in batches[0])


# -- migrations -----------------------------------------------------------------------------------------------------


def test_migrated_workspaces_equal_new_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A future version adds a migration to each; the first attempt dies in the middle.
    def fill(path: Path) -> None:
        with make_run(Workspace.open(path), "r", 3) as run:
            write_missing(run, 3, 1)

    fill(tmp_path / "old")
    is_failing = [True]

    def add_note(folder: Folder, document: dict[str, Any]) -> dict[str, Any]:
        folder.write_json("note.json", {"note": 1})
        if is_failing[0]:
            raise KeyboardInterrupt
        return {**document, "note": "added"}

    later = migrations.Migration(4, "a note", add_note)
    monkeypatch.setattr(migrations, "WORKSPACE_MIGRATIONS", [*migrations.WORKSPACE_MIGRATIONS, later])
    monkeypatch.setattr(migrations, "RUN_MIGRATIONS", [*migrations.RUN_MIGRATIONS, later])
    with pytest.raises(KeyboardInterrupt):
        Workspace.open(tmp_path / "old")
    assert json.loads((tmp_path / "old" / "workspace.json").read_text()) == {"version": 1}
    is_failing[0] = False
    fill(tmp_path / "new")
    found = []
    for name in ("old", "new"):
        workspace = Workspace.open(tmp_path / name)
        run = workspace.open_run("r")
        assert workspace.version == 4
        assert run.manifest["note"] == "added"
        document = json.loads((tmp_path / name / "workspace.json").read_text())
        found.append((document, read_everything(run), json.loads((Path(run.uri) / "note.json").read_text())))
        assert json.loads((Path(run.uri) / "run.json").read_text())["store"]["version"] == 4
    assert found[0] == found[1]


def test_runs_without_measures_can_be_read_and_continued(tmp_path: Path) -> None:
    with make_run(Workspace.open(tmp_path), "r", 4) as run:
        write_missing(run, 2, 1)
    document = Path(run.uri) / "run.json"
    for records in Path(run.uri).glob("checkpoints/*/records.lance"):
        Table(str(records), schema.records_schema(WIDTH)).open().drop_columns(["spectral", "grace"])
    document.write_text(document.read_text().replace('"version": 3', '"version": 1'))
    old = Workspace.open(tmp_path).open_run("r")
    assert old.read_spans()[["spectral", "grace"]].isna().all().all()
    old.repair()
    write_missing(old, 4, 1)
    old.close()
    make_run(Workspace.open(tmp_path), "new", 4)
    with Workspace.open(tmp_path).open_run("new") as new:
        write_missing(new, 4, 1)
    assert read_everything(Workspace.open(tmp_path).open_run("r")) == read_everything(new)


# -- controls -------------------------------------------------------------------------------------------------------


def test_controls_are_read_unchanged_and_replaced_whole(tmp_path: Path) -> None:
    with make_run(Workspace.open(tmp_path), "r", 2) as run:
        write_missing(run, 2, 1)
        at = run.checkpoints[0]
        assert not run.has_controls(at)
        assert run.read_controls(at)[1].shape == (0, WIDTH)
        for n in (5, 3):
            frame = pd.DataFrame(
                {"kind": "windows", "sample": "a", "token_start": range(n), "token_end": range(1, n + 1)}
            )
            vectors = np.eye(n, WIDTH, dtype=np.float16)
            run.write_controls(at, frame, vectors)
            back, rows = run.read_controls(at)
            assert back.to_dict("list") == frame.to_dict("list")
            assert np.array_equal(rows, vectors)
        assert run.has_controls(at)
        assert not run.has_controls(run.checkpoints[1])
        with pytest.raises(ValueError, match="controls for"):
            run.write_controls(at, frame, vectors[:2])
        with pytest.raises(ValueError, match="controls for"):
            run.write_controls("unknown", frame, vectors)


# -- storage and formats --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a b", "50%", "a%20b", "x#y", "q?z", "ünï", "it's"])
@pytest.mark.parametrize("is_uri", [False, True])
def test_folder_names_may_have_special_characters(tmp_path: Path, name: str, is_uri: bool) -> None:
    place = tmp_path / name
    workspace = Workspace.open(place.as_uri() if is_uri else str(place))
    run = workspace.create_run("r", {}, WIDTH, EMBEDDING_WIDTH)
    run.append_batch("final", None, 0, [make_records(make_tokenized("a", ["x"])[1], 0)])
    run.close()
    assert (place / "runs" / "r" / "run.json").is_file()
    assert len(Workspace.open(place).open_run("r").read_vectors()) == 1


def test_a_run_can_be_stored_without_locks_and_renames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Object storage has neither; this test marks a local file system as remote.
    original = Folder.at

    def remote(uri: str | Path) -> Folder:
        folder = original(uri)
        return Folder(folder.uri, folder._fs, folder.path, is_local=False)

    monkeypatch.setattr(Folder, "at", remote)
    for path in ("datasets/d", "runs/r"):  # object storage needs no folders
        (tmp_path / path).mkdir(parents=True)
    workspace = Workspace.open(tmp_path)
    assert not workspace.is_local
    with pytest.raises(UserError, match="local workspace"):
        _ = workspace.jobs_dir
    workspace.write_dataset("d", [Sample("a", "q", "r")], INFO)
    run = make_run(workspace, "r", 4)
    write_missing(run, 4, 2)
    run.write_analysis("final", *make_analysis(run, "final"))
    run.close()
    assert not list(tmp_path.rglob("*.lock"))
    assert workspace.list_runs()[0].n_spans == len(run.read_points()) > 0
    workspace.remove_run("r")
    workspace.remove_dataset("d")
    assert (workspace.list_runs(), workspace.list_datasets()) == ([], [])


def test_every_stored_column_has_a_comment(filled: Run) -> None:
    tables = filled._checkpoint_tables("0000")
    for table in (*tables, filled._samples_table()):
        opened = table.open()
        assert opened is not None
        assert opened.schema.equals(table.schema), "the file's schema is not the declared one"
        for column in opened.schema:
            assert (column.metadata or {}).get(b"comment"), f"{table.uri}: {column.name} has no comment"


def test_failed_write_of_a_document_keeps_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder.at(tmp_path)
    folder.write_json("x.json", {"value": 1})
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises(OSError, match="killed"):
            folder.write_json("x.json", {"value": 2})
    assert folder.read_json("x.json") == {"value": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
    assert json.loads(encode_json({"path": Path("a"), "set": {2, 1}})) == {"path": "a", "set": [1, 2]}


def test_damaged_table_is_an_error_not_an_empty_table(workspace: Workspace, tmp_path: Path) -> None:
    run = make_run(workspace, "r", 3)
    for path in (tmp_path / "workspace/runs/r/samples.lance/_versions").iterdir():
        path.write_bytes(b"\x00" * 40)
    with pytest.raises(UserError, match="cannot be read"):
        run.read_samples()
    with pytest.raises(UserError, match="cannot be read"):
        Table(run._samples_table().uri, schema.sample_schema()).open(7)


def test_importing_the_store_loads_neither_database_nor_torch() -> None:
    code = "import sys, gsd_core.store; print([m for m in ('lance', 'torch', 'streamlit') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
