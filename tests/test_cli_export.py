"""Exports: documented columns, the same content in every format, whole files."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gsd_core.comparison.meta_labels import compute_meta_columns
from gsd_core.errors import UserError
from gsd_core.stages.export_stage import write_table
from gsd_core.stages.run_tables import SPAN_COLUMNS
from tests.cli_support import run_gsd, run_gsd_json, write_run

METAS: list[dict[str, Any]] = [
    {"topic": 'a, "b"\nc', "kinds": ["k0", "k1", "k2", "k3"], "numbers": [1, 2], "score": 1, "mixed": "x"},
    {"topic": "=1+1", "kinds": ["k0", "k1", "k2", "k3"], "numbers": [3, 4, 5, 6], "score": None, "mixed": 3},
    {
        "topic": "é",
        "kinds": ["k0"],
        "numbers": [7],
        "score": 2,
        "id": 2**70,
        "mixed": {"deep": [float("nan")]},
    },
]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("export") / "workspace", n_samples=3, metas=METAS)
    return write_run(folder, "big", n_samples=24)


def export(workspace: Path, out: Path, *words: object, run: str = "planted") -> dict[str, Any]:
    result = run_gsd_json("export", run, "--out", out, *words, workspace=workspace)
    assert result["out"] == str(out)
    assert [each for each in out.parent.iterdir() if "partial" in each.name] == [], "a partial file stayed"
    return result


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def test_exported_spans_have_the_documented_columns_in_order(workspace: Path, tmp_path: Path) -> None:
    result = export(workspace, tmp_path / "spans.jsonl", "--what", "spans")
    rows = read_jsonl(tmp_path / "spans.jsonl")
    assert result["rows"] == len(rows) == 12
    assert list(rows[0])[: len(SPAN_COLUMNS)] == list(SPAN_COLUMNS)
    assert [row["span"] for row in rows[:5]] == ["s0#0", "s0#1", "s0#2", "s0#3", "s1#0"]
    first = rows[1]
    assert (first["sample"], first["index"], first["checkpoint"]) == ("s0", 1, "step-2")
    assert (first["token_start"], first["token_end"], first["loss"], first["norm"]) == (2, 3, 1.5, 2.0)
    assert first["char_end"] - first["char_start"] == len(first["text"]), (
        "character ranges do not refer to the reasoning"
    )
    assert first["cluster"] is None, "there is a cluster before an analysis"


def test_lists_with_an_entry_for_each_step_label_steps(workspace: Path, tmp_path: Path) -> None:
    result = export(workspace, tmp_path / "spans.jsonl", "--what", "spans")
    rows = read_jsonl(tmp_path / "spans.jsonl")
    assert [row["meta.kinds"] for row in rows[:4]] == ["k0", "k1", "k2", "k3"]
    assert [row["meta.kinds"] for row in rows[8:]] == [None] * 4, "a list of another length cannot label steps"
    assert result["unmatched"] == {"meta.kinds": 1}, "samples without labels are not reported"
    # One sample has four numbers by chance; they must not become labels in that sample only.
    assert [row["meta.numbers"] for row in rows[::4]] == [[1, 2], [3, 4, 5, 6], [7]]
    assert rows[0]["meta.topic"] == METAS[0]["topic"]
    assert [row["meta.score"] for row in rows[::4]] == [1, None, 2]
    assert rows[8]["meta.mixed"] == {"deep": [None]}


def test_formats_hold_the_same_spans(workspace: Path, tmp_path: Path) -> None:
    for ending in ("jsonl", "csv", "parquet"):
        export(workspace, tmp_path / f"spans.{ending}", "--what", "spans")
    rows = read_jsonl(tmp_path / "spans.jsonl")
    with (tmp_path / "spans.csv").open(encoding="utf-8", newline="") as file:
        cells = list(csv.DictReader(file))
    table = pd.read_parquet(tmp_path / "spans.parquet")
    assert list(cells[0]) == list(table.columns) == list(rows[0])
    for column in ("span", "text", "meta.topic", "meta.kinds"):
        expected = [row[column] for row in rows]
        assert [None if pd.isna(value) else value for value in table[column]] == expected
        assert [cell[column] or None for cell in cells] == expected
    assert [float(cell["loss"]) for cell in cells] == [row["loss"] for row in rows]
    assert [json.loads(cell["meta.numbers"]) for cell in cells] == [row["meta.numbers"] for row in rows]
    assert [json.loads(value) for value in table["meta.numbers"]] == [row["meta.numbers"] for row in rows]
    assert [cell["meta.score"] for cell in cells[::4]] == ["1", "", "2"], "whole numbers became fractions"


def test_export_of_all_checkpoints_joins_their_tables(workspace: Path, tmp_path: Path) -> None:
    result = export(workspace, tmp_path / "spans.csv", "--what", "spans", "--checkpoint", "all")
    assert result["rows"] == 24
    assert pd.read_csv(tmp_path / "spans.csv")["checkpoint"].value_counts().to_dict() == {
        "step-1": 12,
        "step-2": 12,
    }


def test_vectors_are_in_the_order_of_the_spans(workspace: Path, tmp_path: Path) -> None:
    result = export(workspace, tmp_path / "v.npz", "--what", "vectors", run="big")
    export(workspace, tmp_path / "spans.jsonl", "--what", "spans", run="big")
    with np.load(tmp_path / "v.npz", allow_pickle=False) as file:
        vectors, spans, slices = file["vectors"], file["spans"], file["layer_slices"]
    assert result["rows"] == len(vectors) == 96
    assert vectors.dtype == np.float32
    assert spans.tolist() == [row["span"] for row in read_jsonl(tmp_path / "spans.jsonl")]
    assert slices.tolist() == [[0, 8], [8, 16]]
    steps = np.array([int(span.rsplit("#")[-1]) for span in spans])
    assert (vectors.argmax(axis=1) == steps).all(), "a direction has another span's id"
    export(workspace, tmp_path / "v.parquet", "--what", "vectors", run="big")
    table = pd.read_parquet(tmp_path / "v.parquet")
    np.testing.assert_array_equal(np.stack(table["vector"].to_numpy()), vectors)


def test_tokens_of_a_sample_in_order(workspace: Path, tmp_path: Path) -> None:
    result = export(workspace, tmp_path / "t.jsonl", "--what", "tokens", "--sample", "s1")
    rows = read_jsonl(tmp_path / "t.jsonl")
    assert result["rows"] == len(rows) == 5
    assert list(rows[0]) == ["token_id", "text", "start", "end", "span", "loss"]
    assert [row["span"] for row in rows] == [None, "s1#0", "s1#1", "s1#2", "s1#3"]
    assert "".join(row["text"] for row in rows).startswith("What is tale 1? Step 0 of tale 1.")
    assert rows[0]["loss"] is None, "an unknown loss is null, not NaN"


def test_exports_include_the_analysis(workspace: Path, tmp_path: Path) -> None:
    summary = run_gsd_json("analyze", "big", workspace=workspace)
    export(workspace, tmp_path / "spans.parquet", "--what", "spans", run="big")
    table = pd.read_parquet(tmp_path / "spans.parquet")
    assert table["cluster"].dtype.kind == "i", "cluster numbers became fractions"
    assert table[table["cluster"] >= 0]["cluster"].nunique() == summary["n_clusters"]
    assert table[["x", "y"]].notna().all().all()
    result = export(workspace, tmp_path / "clusters.jsonl", "--what", "clusters", run="big")
    clusters = read_jsonl(tmp_path / "clusters.jsonl")
    assert result["rows"] == len(clusters)
    labels = {row["cluster"]: row["label"] for row in clusters}
    shown = table[table["cluster"] >= 0].iloc[0]
    assert shown["cluster_label"] == labels[shown["cluster"]]
    assert set(clusters[0]["exemplars"]) <= set(table["span"])


def test_failed_export_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A script that reads the file during an export, or after a failed one, must see a whole file.
    out = tmp_path / "t.csv"
    write_table(pd.DataFrame({"a": [1]}), out)

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", fail)
    with pytest.raises(UserError, match="No space left"):
        write_table(pd.DataFrame({"a": [2]}), out)
    assert [each.name for each in tmp_path.iterdir()] == ["t.csv"]
    assert out.read_text() == "a\n1\n"


def test_cut_samples_keep_their_labels() -> None:
    # Sample a was cut to the context and has fewer spans than labels; a span of b has no token.
    spans = pd.DataFrame({"sample": ["a", "b", "b"], "index": [0, 0, 2]})
    samples = pd.DataFrame(
        {
            "sample": ["a", "b"],
            "meta": [{"k": ["x", "y"]}, {"k": ["x", "y", "z"]}],
            "skipped_spans": [[], [(1, "no token")]],
            "n_spans_cut": [1, 0],
        }
    )
    columns, unmatched = compute_meta_columns(spans, samples)
    assert columns["meta.k"].tolist() == ["x", "x", "z"]
    assert unmatched == {"meta.k": 0}


def test_text_output_of_export_names_rows_and_unlabelled_samples(workspace: Path, tmp_path: Path) -> None:
    outcome = run_gsd("export", "planted", "--what", "spans", "--out", tmp_path / "s.csv", workspace=workspace)
    assert outcome.code == 0
    assert "12 rows" in outcome.out
    assert "meta.kinds" in outcome.out, "unlabelled samples are not reported"
