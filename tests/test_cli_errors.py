"""Wrong input: one line that says what, where and what to do; exit 2; no traceback."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from gsd_core.store import Workspace
from tests.cli_support import make_rows, run_gsd, run_gsd_json, save_tiny_model, write_rows, write_run


def check_error(*words: object, workspace: Path, says: tuple[str, ...], code: int = 2) -> None:
    """The command fails with one ``error:`` line that holds every word of ``says``, and JSON that says the same."""
    plain = run_gsd(*words, workspace=workspace)
    assert plain.code == code, f"exit {plain.code}, not {code}: {plain.err}"
    assert plain.out == "", "standard output must hold only results"
    lines = [line for line in plain.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, f"not one error line: {plain.err!r}"
    assert "Traceback" not in plain.err, "a traceback is for --debug"
    for word in says:
        assert word in lines[0], f"the line does not say {word!r}: {lines[0]}"
    as_json = run_gsd("--json", *words, workspace=workspace)
    assert as_json.code == code
    value = json.loads(as_json.out)
    assert value["exit"] == code
    assert value["error"] in lines[0], "JSON and standard error differ"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return tmp_path / "workspace"


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "apples.jsonl", make_rows())


def test_missing_file(workspace: Path) -> None:
    check_error("datasets", "add", "nowhere.jsonl", workspace=workspace, says=("nowhere.jsonl",))
    check_error(
        "capture",
        "--dataset",
        "nowhere.jsonl",
        "--model",
        "demo",
        workspace=workspace,
        says=("nowhere.jsonl",),
    )


def test_empty_file(tmp_path: Path, workspace: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    check_error("datasets", "add", tmp_path / "empty.jsonl", workspace=workspace, says=("empty",))


def test_binary_file(tmp_path: Path, workspace: Path) -> None:
    (tmp_path / "photo.jsonl").write_bytes(bytes(range(256)) * 64)
    check_error("datasets", "add", tmp_path / "photo.jsonl", workspace=workspace, says=("photo.jsonl",))


def test_folder_in_place_of_a_file(tmp_path: Path, workspace: Path) -> None:
    check_error("datasets", "add", tmp_path, workspace=workspace, says=(tmp_path.name,))


def test_columns_that_cannot_be_guessed(tmp_path: Path, workspace: Path) -> None:
    file = write_rows(tmp_path / "odd.jsonl", [{"a": 1, "b": 2}, {"a": 3, "b": 4}])
    check_error("datasets", "add", file, workspace=workspace, says=("--map",))


def test_mapped_column_that_does_not_exist(rows_file: Path, workspace: Path) -> None:
    check_error(
        *("datasets", "add", rows_file, "--map", "question=qestion"),
        workspace=workspace,
        says=("qestion", "question"),
    )


def test_malformed_map(rows_file: Path, workspace: Path) -> None:
    check_error("datasets", "add", rows_file, "--map", "question", workspace=workspace, says=("question",))


def test_strict_refuses_one_bad_row(tmp_path: Path, workspace: Path) -> None:
    file = tmp_path / "apples.jsonl"
    write_rows(file, make_rows())
    file.write_text(file.read_text() + "{broken\n")
    check_error("datasets", "add", file, "--strict", workspace=workspace, says=("7",))
    assert not (workspace / "datasets" / "apples").exists(), "a refused file was partly stored"


def test_invalid_name(rows_file: Path, workspace: Path) -> None:
    check_error("datasets", "add", rows_file, "--name", "../out", workspace=workspace, says=("../out", "--name"))


def test_data_set_name_taken_by_other_content(tmp_path: Path, rows_file: Path, workspace: Path) -> None:
    assert run_gsd("datasets", "add", rows_file, workspace=workspace).code == 0
    assert run_gsd("datasets", "add", rows_file, workspace=workspace).code == 0, (
        "storing the same file again is an error"
    )
    other = write_rows(tmp_path / "other.jsonl", make_rows(2))
    check_error("datasets", "add", other, "--name", "apples", workspace=workspace, says=("apples",))
    assert run_gsd("datasets", "add", other, "--name", "apples", "--replace", workspace=workspace).code == 0


def test_unknown_data_set(rows_file: Path, workspace: Path) -> None:
    run_gsd("datasets", "add", rows_file, workspace=workspace)
    for action in ("show", "remove"):
        check_error("datasets", action, "aples", workspace=workspace, says=("aples", "apples"))


def test_model_folder_without_a_model(tmp_path: Path, rows_file: Path, workspace: Path) -> None:
    (tmp_path / "no-model").mkdir()
    check_error(
        *("capture", "--dataset", rows_file, "--model", tmp_path / "no-model"),
        workspace=workspace,
        says=("no-model",),
    )


def test_tokenizer_without_offsets(tmp_path: Path, rows_file: Path, workspace: Path) -> None:
    model = save_tiny_model(tmp_path / "slow", offsets=False)
    check_error(*("capture", "--dataset", rows_file, "--model", model), workspace=workspace, says=("offset",))


def test_span_longer_than_the_context(tmp_path: Path, tiny_model: Path, workspace: Path) -> None:
    # If one of two samples fits, the other is listed. If none fits, it is an error.
    long = {"id": "long", "question": "Why?", "steps": ["word " * 400], "answer": "so"}
    file = write_rows(tmp_path / "mixed.jsonl", [make_rows(1)[0], long])
    done = run_gsd("--json", "capture", "--dataset", file, "--model", tiny_model, workspace=workspace)
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert (result["n_samples"], result["n_skipped"]) == (1, 1)
    assert result["skipped"][0]["sample"] == "long"
    assert "192" in result["skipped"][0]["reason"], "the reason lacks the context's length"
    only = write_rows(tmp_path / "only.jsonl", [long])
    check_error(
        *("capture", "--dataset", only, "--model", tiny_model),
        workspace=workspace,
        says=("long", "--truncate"),
    )


def test_run_that_exists(rows_file: Path, tiny_model: Path, workspace: Path) -> None:
    words = ("capture", "--dataset", rows_file, "--model", tiny_model, "--run", "one", "--limit", 2)
    assert run_gsd(*words, workspace=workspace).code == 0
    check_error(*words, workspace=workspace, says=("one", "--resume"))
    check_error(*words[:-1], 3, "--resume", workspace=workspace, says=("limit", "one"))


@pytest.mark.parametrize(
    "words",
    [
        ("analyze", "planed"),
        ("neighbors", "planed", "--span", "s0#0"),
        ("export", "planed", "--what", "spans", "--out", "spans.csv"),
    ],
)
def test_unknown_run(words: tuple[str, ...], workspace: Path) -> None:
    write_run(workspace)
    check_error(*words, workspace=workspace, says=("planed", "planted"))


def test_unknown_span_and_checkpoint(workspace: Path) -> None:
    write_run(workspace)
    check_error("neighbors", "planted", "--span", "s0#9", workspace=workspace, says=("s0#9", "s0#0", "s0#3"))
    check_error("neighbors", "planted", "--span", "nobody", workspace=workspace, says=("nobody", "SAMPLE#K"))
    check_error(
        *("neighbors", "planted", "--span", "s0#0", "--checkpoint", "step-9"),
        workspace=workspace,
        says=("step-9", "step-2"),
    )


def test_impossible_exports(tmp_path: Path, workspace: Path) -> None:
    write_run(workspace)
    spans = ("export", "planted", "--what", "spans", "--out")
    check_error(*spans, tmp_path / "spans.xlsx", workspace=workspace, says=(".xlsx", ".csv"))
    check_error(*spans, tmp_path / "no" / "spans.csv", workspace=workspace, says=("folder",))
    check_error(
        *("export", "planted", "--what", "tokens", "--out", tmp_path / "t.jsonl"),
        workspace=workspace,
        says=("--sample",),
    )
    check_error(
        *("export", "planted", "--what", "tokens", "--sample", "s99", "--out", tmp_path / "t.jsonl"),
        workspace=workspace,
        says=("s99",),
    )
    check_error(
        *("export", "planted", "--what", "clusters", "--out", tmp_path / "c.csv"),
        workspace=workspace,
        says=("gsd analyze",),
    )


def test_workspace_from_a_newer_version(workspace: Path) -> None:
    workspace.mkdir()
    (workspace / "workspace.json").write_text(json.dumps({"version": 9999}))
    for words in (("datasets", "list"), ("analyze", "any"), ("demo", "--no-serve")):
        check_error(*words, workspace=workspace, says=("9999",))


def test_folder_with_other_files_is_not_a_workspace(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("private")
    check_error("analyze", "any", workspace=tmp_path, says=(tmp_path.name,))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["letters.txt"], "another folder was written to"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), ("no command",)),
        (("matrix", "run"), ("unknown command 'matrix'", "analyze")),
        (("analyse", "run"), ("did you mean 'analyze'",)),
        (("datasets",), ("no command", "list")),
        (("datasets", "lst"), ("did you mean 'list'",)),
        (("capture", "--model", "demo"), ("--dataset",)),
        (("capture", "--dataset", "d", "--model", "m", "--tier", "deep"), ("deep", "hidden")),
        (("capture", "--dataset", "d", "--model", "m", "--window", "-1"), ("--window", "all")),
        (("capture", "--dataset", "d", "--model", "m", "--limit", "0"), ("--limit",)),
        (("capture", "--dataset", "d", "--model", "m", "--executor", "dask"), ("dask", "ray")),
        (("capture", "--data", "d", "--model", "m"), ("--dataset",)),
        (("serve", "--port", "70000"), ("70000",)),
    ],
)
def test_wrong_flags_are_one_line(words: tuple[str, ...], says: tuple[str, ...], workspace: Path) -> None:
    # argparse alone would print its usage; scripts look for `error: …`.
    check_error(*words, workspace=workspace, says=says)


def test_debug_shows_the_traceback(workspace: Path) -> None:
    outcome = run_gsd("--debug", "datasets", "add", "nowhere.jsonl", workspace=workspace)
    assert outcome.code == 2
    assert "Traceback" in outcome.err
    assert outcome.err.splitlines()[-1].startswith("error: ")


def test_internal_failure_is_exit_1(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gsd_core.stages.datasets_stage as stage

    def fail(*_: object) -> None:
        raise ValueError("first line\nsecond line")

    monkeypatch.setattr(stage, "run_datasets_list", fail)
    workspace.mkdir()
    (workspace / "workspace.json").write_text(json.dumps({"version": 1}))
    check_error("datasets", "list", workspace=workspace, says=("first line second line", "--debug"), code=1)


FULL = "LanceError(IO): Error writing file: No space left on device (os error 28), /home/builder/x.rs:1"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (OSError(FULL), "the disk is full"),
        (RuntimeError(FULL), "the disk is full"),
        (OSError(errno.EROFS, "Read-only file system", "/mnt/x"), "read-only"),
        (PermissionError(errno.EACCES, "Permission denied", "/mnt/x"), "permission denied"),
    ],
    ids=str,
)
def test_errors_of_storage_are_the_users_to_act_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    file = write_rows(tmp_path / "x.jsonl", make_rows(2))
    monkeypatch.setattr(Workspace, "write_dataset", fail)
    outcome = run_gsd("datasets", "add", file, workspace=tmp_path / "w")
    assert outcome.code == 2
    assert told in outcome.err
    assert "builder" not in outcome.err, "a path of the machine where a library was built helps nobody"


def test_a_workspace_that_cannot_be_written_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_rows(tmp_path / "x.jsonl", make_rows(2))
    run_gsd_json("datasets", "add", file, workspace=tmp_path / "w")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("gsd_core.store.workspace.tempfile.TemporaryFile", refuse)
    monkeypatch.setattr("gsd_core.models.loading.open_model", lambda *_, **__: pytest.fail("a model was loaded"))
    outcome = run_gsd("capture", "--dataset", "x", "--model", "demo", workspace=tmp_path / "w")
    assert outcome.code == 2
    assert "cannot be written" in outcome.err
    checks = {each["name"]: each for each in run_gsd_json("doctor", workspace=tmp_path / "w", code=1)["checks"]}
    assert not checks["workspace"]["ok"]
