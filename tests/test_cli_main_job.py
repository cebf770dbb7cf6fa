"""The main job through the command line: file → data set → capture → analysis → neighbours → export."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.cli_support import make_rows, run_gsd, run_gsd_json, save_tiny_model, start_gsd, write_rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 12 rows (two of them unusable), a tiny model, and a workspace with one finished run."""
    folder = tmp_path_factory.mktemp("job")
    file = write_rows(folder / "apples.jsonl", make_rows(10))
    file.write_text(file.read_text() + '{"id": "x", "question": "Why?"}\n{broken\n')
    save_tiny_model(folder / "model")
    words = ("capture", "--dataset", file, "--model", folder / "model", "--run", "first")
    (folder / "capture.json").write_text(json.dumps(run_gsd_json(*words, workspace=folder / "workspace")))
    return folder


def test_add_lists_every_row_that_cannot_be_used(folder: Path) -> None:
    result = run_gsd_json("datasets", "add", folder / "apples.jsonl", "--name", "named", workspace=folder / "w2")
    assert {"dataset", "format", "fields", "n_samples", "n_rejected", "rejected"} <= set(result)
    assert (result["dataset"], result["n_samples"], result["n_rejected"]) == ("named", 10, 2)
    assert [each["row"] for each in result["rejected"]] == [11, 12]
    assert all(each["reason"] for each in result["rejected"])
    shown = run_gsd_json("datasets", "show", "named", "--head", 2, workspace=folder / "w2")
    assert [sample["id"] for sample in shown["samples"]] == ["apples/0", "apples/1"]
    assert shown["samples"][1]["steps"][0] == "There are 3 apples."
    assert shown["samples"][0]["meta"]["topic"] == "fruit"
    assert len(shown["rejected"]) == 2
    listed = run_gsd_json("datasets", "list", workspace=folder / "w2")["datasets"]
    assert [(each["name"], each["n_samples"]) for each in listed] == [("named", 10)]
    run_gsd_json("datasets", "remove", "named", workspace=folder / "w2")
    assert run_gsd_json("datasets", "list", workspace=folder / "w2") == {"datasets": []}


def test_preview_stores_nothing(folder: Path) -> None:
    result = run_gsd_json("datasets", "preview", folder / "apples.jsonl", "--head", 3, workspace=folder / "w3")
    assert {
        "format",
        "columns",
        "fields",
        "n_samples",
        "n_rejected",
        "rejected",
        "samples",
        "warnings",
    } <= set(result)
    assert len(result["samples"]) == 3
    assert set(result["samples"][0]) == {"id", "question", "reasoning", "answer", "steps", "meta"}
    assert not (folder / "w3").exists(), "the preview created a workspace"
    bad = run_gsd_json(
        *("datasets", "preview", folder / "apples.jsonl", "--map", "reasoning=answer"),
        workspace=folder / "w3",
    )
    assert bad["fields"]["reasoning"] == "answer"


def test_listing_a_missing_workspace_does_not_create_it(folder: Path) -> None:
    assert run_gsd_json("datasets", "list", workspace=folder / "w4") == {"datasets": []}
    assert not (folder / "w4").exists()


def test_text_output_shows_how_the_file_was_read(folder: Path) -> None:
    outcome = run_gsd("datasets", "add", folder / "apples.jsonl", workspace=folder / "w5")
    assert outcome.code == 0
    for word in ("apples", "question", "reasoning", "11", "12", "--map"):
        assert word in outcome.out, f"{word!r} is missing"
    assert "apples" in run_gsd("datasets", "list", workspace=folder / "w5").out
    assert "apples/0" in run_gsd("datasets", "show", "apples", workspace=folder / "w5").out
    assert "apples/0" in run_gsd("datasets", "preview", folder / "apples.jsonl").out


def test_capture_reports_the_documented_keys(folder: Path) -> None:
    result = json.loads((folder / "capture.json").read_text())
    promised = {
        "run",
        "model",
        "tier",
        "window",
        "window_cosine",
        "n_samples",
        "n_spans",
        "n_skipped",
        "skipped",
    }
    promised |= {"sketch_width", "seconds", "tokens_per_s", "peak_memory_bytes"}
    assert promised <= set(result)
    assert (result["run"], result["tier"], result["n_samples"], result["n_spans"]) == (
        "first",
        "span",
        10,
        25,
    )
    assert result["peak_memory_bytes"] > 2**20


def test_a_data_set_is_preferred_to_a_file_of_the_same_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "apples").write_text("not a data set")
    words = (
        "capture",
        "--dataset",
        "apples",
        "--model",
        "model",
        "--run",
        "second",
        "--limit",
        "2",
        "--tier",
        "hidden",
    )
    result = run_gsd_json(*words, workspace=folder / "workspace")
    assert (result["tier"], result["n_samples"], result["window"]) == ("hidden", 2, None)


def test_analysis_neighbours_and_exports_of_a_captured_run(folder: Path) -> None:
    workspace = folder / "workspace"
    summary = run_gsd_json("analyze", "first", workspace=workspace)
    assert summary["n_spans"] == 25
    found = run_gsd_json("neighbors", "first", "--span", "apples/3#1", "--top", "3", workspace=workspace)
    assert len(found["neighbors"]) == 3
    assert "apples/3" not in {each["sample"] for each in found["neighbors"]}
    out = folder / "spans.parquet"
    run_gsd_json("export", "first", "--what", "spans", "--out", out, workspace=workspace)
    table = pd.read_parquet(out)
    assert table.loc[table["span"] == "apples/3#2", "meta.step_kinds"].tolist() == ["end"]
    assert (table["text"].str.strip() != "").all()
    tokens = folder / "tokens.jsonl"
    run_gsd_json(*("export", "first", "--what", "tokens", "--sample", "apples/3", "--out", tokens), workspace=workspace)
    rows = [json.loads(line) for line in tokens.read_text().splitlines()]
    own = table[table["sample"] == "apples/3"]
    for _, span in own.iterrows():
        inside = [place for place, row in enumerate(rows) if row["span"] == span["span"]]
        assert inside == list(range(span["token_start"], span["token_end"])), "token ranges and tokens disagree"
        mean = sum(rows[place]["loss"] for place in inside) / len(inside)
        assert mean == pytest.approx(span["loss"], abs=2e-3), "a span's loss is not the mean of its tokens' losses"


def test_global_flags_may_stand_before_or_after_the_command(folder: Path) -> None:
    workspace = folder / "workspace"
    before = run_gsd("--json", "--workspace", workspace, "datasets", "list")
    after = run_gsd("datasets", "list", "--workspace", workspace, "--json")
    between = run_gsd("datasets", "--json", "list", "--workspace", workspace)
    assert before.out == after.out == between.out
    assert json.loads(before.out)["datasets"]


def test_workspace_comes_from_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GSD_WORKSPACE", str(folder / "workspace"))
    assert run_gsd_json("datasets", "list")["datasets"]


def test_standard_output_of_a_process_is_one_json_object(folder: Path) -> None:
    # A script parses standard output, so prints of libraries and C code must not reach it.
    words = (
        "--workspace",
        folder / "workspace",
        "--json",
        "capture",
        "--dataset",
        "apples",
        "--model",
        folder / "model",
    )
    process = start_gsd(*words, "--run", "third", "--limit", "2", GSD_PROGRESS_FILE=str(folder / "progress.json"))
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err.decode()
    assert json.loads(out)["run"] == "third"
    assert out.count(b"\n") == 1
    progress = json.loads((folder / "progress.json").read_text())
    assert progress["done"] == progress["total"] or progress["total"] is None


def test_prints_of_libraries_do_not_reach_json_output(folder: Path) -> None:
    code = (
        "import os, sys, gsd_core.cli.doctor_command as c\n"
        "from gsd_core.cli.command_line import main\n"
        "def noisy(context, flags):\n"
        "    print('from Python'); os.write(1, b'from C\\n'); os.system('echo from a child')\n"
        "    context.emit({'ok': float('nan'), 'text': '\\u2028'})\n"
        "c.run_doctor_command = noisy\n"
        "sys.exit(main(['--json', 'doctor']))\n"
    )
    import subprocess
    import sys

    from tests.cli_support import ROOT

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert json.loads(done.stdout) == {"ok": None, "text": "\u2028"}
    for word in (b"from Python", b"from C", b"from a child"):
        assert word in done.stderr, f"{word!r} was lost"
