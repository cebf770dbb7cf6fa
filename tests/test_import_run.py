"""An imported run is a run: every command and page reads it, and what nobody knows of it stays unknown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from gsd_core.importing.import_plan import match_rows, name_checkpoints
from gsd_core.store import Workspace
from tests.cli_support import ROOT, run_gsd, run_gsd_json, save_tiny_model, write_rows
from tests.foreign_support import SIZES, make_problems, write_bergson, write_less

WIDTH = sum(SIZES.values())
PAGES = ("overview", "map", "trace", "alignment", "stresses", "twins", "timeline", "evidence", "data")


def make_rows(n: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, WIDTH)).astype(np.float32)


def chat_text(row: dict) -> str:
    return f"user: {row['prompt']}\nassistant: {row['completion']}\n"


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(tokenizer_folder))


def write_token_index(folder: Path, tokenizer, n: int = 12, mark: bool = False, **more) -> Path:
    """An index by token of the problems; with ``mark``, row t of a sequence is t + 1 in its only live column."""
    data = []
    for row in make_problems(n):
        ids = tokenizer(chat_text(row), add_special_tokens=False)["input_ids"]
        data.append({**row, "input_ids": ids, "labels": ids, "length": len(ids), "loss": 3.0 * (len(ids) - 1)})
    lengths = [len(row["input_ids"]) - 1 for row in data]
    if mark:
        rows = np.zeros((sum(lengths), WIDTH), np.float32)
        rows[:, 0] = np.concatenate([np.arange(1, length + 1) for length in lengths])
    else:
        rows = make_rows(sum(lengths))
    return write_bergson(folder, rows, lengths=lengths, data=data, **more)


@pytest.fixture(scope="module")
def imported(tmp_path_factory, tokenizer, tokenizer_folder) -> Path:
    """A workspace with an imported run of each kind, all analysed."""
    folder = tmp_path_factory.mktemp("imported")
    file = write_rows(folder / "problems.jsonl", make_problems())
    stores = [
        write_less(folder / f"ckpt{step}-adam" / "dim48", torch.randn(12, 48), merged=("all_orig.pt",))
        for step in (105, 211)
    ]
    for store in stores:
        (store / "grads-12.pt").unlink()
    workspace = folder / "workspace"
    run_gsd_json("import", *stores, "--dataset", file, "--run", "less", workspace=workspace)
    index = write_token_index(folder / "index", tokenizer)
    run_gsd_json("import", index, "--tokenizer", tokenizer_folder, "--run", "spans", workspace=workspace)
    for run in ("less", "spans"):
        run_gsd_json("analyze", run, workspace=workspace)
    return workspace


def test_every_command_reads_an_imported_run(imported, tmp_path):
    for run in ("less", "spans"):
        near = run_gsd_json("neighbors", run, "--span", "row-3#0", "--top", "3", workspace=imported)
        assert len(near["neighbors"]) == 3
        assert all(np.isfinite(each["cosine"]) for each in near["neighbors"])
        run_gsd_json("twins", run, workspace=imported)
        run_gsd_json("stresses", run, workspace=imported)
        run_gsd_json("compare", run, "row-1", "row-2", workspace=imported)
        for what, name in (
            ("spans", "s.jsonl"),
            ("vectors", "v.npz"),
            ("clusters", "c.csv"),
            ("report", "r.html"),
        ):
            run_gsd_json("export", run, "--what", what, "--out", tmp_path / f"{run}-{name}", workspace=imported)
    tokens = ("export", "spans", "--what", "tokens", "--sample", "row-1", "--out", tmp_path / "t.jsonl")
    assert run_gsd_json(*tokens, workspace=imported)["rows"] > 0
    assert run_gsd_json("timeline", "less", "--again", workspace=imported)["n_spans"] == 12


def test_what_an_imported_run_does_not_know_is_null_not_a_number(imported, tmp_path):
    for run, unknown in (("less", ("loss", "norm", "coherence")), ("spans", ("loss",))):
        out = tmp_path / f"{run}.jsonl"
        run_gsd_json("export", run, "--what", "spans", "--out", out, workspace=imported)
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert all(row[name] is None for row in rows for name in unknown)
        assert all(isinstance(row["x"], float) for row in rows)
    coherence = Workspace.open(imported).open_run("spans").read_spans(columns=["coherence"])["coherence"]
    assert coherence.between(0, 1).all(), "of token rows the coherence can be computed, and was"


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("run", ["less", "spans"])
def test_every_page_shows_an_imported_run(imported, page, run, monkeypatch):
    monkeypatch.setenv("GSD_WORKSPACE", str(imported))
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    at.switch_page(f"pages/{page}.py")
    at.query_params["run"] = run
    at.query_params["color"] = "norm"  # unknown everywhere in run "less"
    at.run()
    if page == "trace":
        at.toggle(key="trace_tint").set_value(True).run()
    assert not at.exception, [each.message for each in at.exception]
    assert not at.error


def test_the_manifest_tells_where_the_gradients_come_from(imported):
    runs = {name: Workspace.open(imported).open_run(name).manifest for name in ("less", "spans")}
    assert runs["less"]["imported"]["format"] == "less"
    assert runs["less"]["tier"] == "sequence"
    assert runs["less"]["segmenter"] == "whole"
    assert [each["step"] for each in runs["less"]["checkpoints"]] == [105, 211]
    assert runs["spans"]["tier"] == "position", "a row of a position is its share of the sequence's gradient"
    assert runs["spans"]["imported"]["stores"][0]["version"] == "2.5.1"
    layers = [layer for layer, _, _ in runs["spans"]["sketch"]["layers"]]
    assert layers == ["layers.0", "layers.1", "output head"]


def test_a_spans_direction_is_the_sum_of_the_rows_that_predict_its_tokens(tmp_path, tokenizer, tokenizer_folder):
    """Row t is t + 1, so a span's norm is the sum of its tokens' positions: one row too many or too few shows."""
    index = write_token_index(tmp_path / "index", tokenizer, mark=True)
    run_gsd_json("import", index, "--tokenizer", tokenizer_folder, "--run", "r", workspace=tmp_path / "w")
    run = Workspace.open(tmp_path / "w").open_run("r")
    spans = run.read_spans()
    assert spans.groupby("sample")["index"].max().tolist().count(1) > 0
    for row in spans.to_dict("records"):
        tokens = run.read_tokens(row["sample"])
        own = tokens[tokens["span"] == row["span"]]
        assert "".join(own["text"]).strip() == row["text"].strip()
        assert row["norm"] == pytest.approx(sum(own["position"]), rel=1e-5)
        assert row["coherence"] == pytest.approx(1.0, abs=1e-5)


def test_without_a_tokenizer_token_rows_make_the_sequences_gradient(tmp_path, tokenizer):
    index = write_token_index(tmp_path / "index", tokenizer)
    result = run_gsd_json("import", index, "--run", "r", workspace=tmp_path / "w")
    assert result["n_spans"] == 12
    assert any("--tokenizer" in note for note in result["notes"])
    spans = Workspace.open(tmp_path / "w").open_run("r").read_spans()
    assert np.allclose(spans["loss"], 3.0), "a sum over labels was not divided by their number"
    assert spans["coherence"].between(0, 1).all()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"loss_reduction": "sum"}, 2.0),
        ({"loss_reduction": "mean"}, 8.0),
        ({"loss_fn": "kl"}, np.nan),
        ({"label_smoothing": 0.1}, np.nan),
        ({"loss_reduction": "mean", "data": {"advantage_column": "adv"}}, np.nan),
    ],
)
def test_a_loss_is_nats_a_label_or_unknown(tmp_path, config, expected):
    labels = [-100, -100, 5, 6, 7, 8]  # four labels
    data = [{**row, "labels": labels, "input_ids": list(range(6)), "loss": 8.0} for row in make_problems()]
    index = write_bergson(tmp_path / "index", make_rows(), data=data, config=config)
    run_gsd_json("import", index, "--run", "r", workspace=tmp_path / "w")
    loss = Workspace.open(tmp_path / "w").open_run("r").read_spans()["loss"]
    assert np.allclose(loss, expected, equal_nan=True)


def test_unit_rows_have_no_norm(tmp_path):
    config = {"preprocess_cfg.unit_normalize": True}
    index = write_bergson(tmp_path / "index", make_rows(), data=make_problems(), config=config)
    run_gsd_json("import", index, "--run", "r", workspace=tmp_path / "w")
    assert Workspace.open(tmp_path / "w").open_run("r").read_spans()["norm"].isna().all()


def test_a_row_that_is_not_finite_is_listed_and_the_rest_goes_in(tmp_path):
    rows = make_rows()
    rows[4, 1] = np.nan
    index = write_bergson(tmp_path / "index", rows, data=make_problems())
    result = run_gsd_json("import", index, "--run", "r", workspace=tmp_path / "w")
    assert result["skipped"] == [{"sample": "row-5", "reason": "the stored gradient is not finite"}]
    assert result["n_spans"] == 11


def test_rows_of_a_file_that_are_no_samples_are_stepped_over(tmp_path):
    problems = make_problems(6)
    problems[2] = {"prompt": "no reasoning here"}
    file = write_rows(tmp_path / "problems.jsonl", problems)
    rows = torch.eye(6) + 0.01
    store = write_less(tmp_path / "dim6", rows)
    result = run_gsd_json("import", store, "--dataset", file, "--run", "r", workspace=tmp_path / "w")
    assert result["n_samples"] == 5
    run = Workspace.open(tmp_path / "w").open_run("r")
    found = dict(zip(run.read_spans()["sample"], np.argmax(run.read_vectors(), axis=1).tolist(), strict=True))
    assert found == {"row-1": 0, "row-2": 1, "row-4": 3, "row-5": 4, "row-6": 5}


def test_counts_that_differ_are_refused_with_both_numbers_and_leave_no_run(tmp_path):
    file = write_rows(tmp_path / "problems.jsonl", make_problems(6))
    store = write_less(tmp_path / "dim8", torch.randn(7, 8))
    outcome = run_gsd("import", store, "--dataset", file, "--run", "r", workspace=tmp_path / "w")
    assert outcome.code == 2
    assert "7 sequences" in outcome.err
    assert "6 samples" in outcome.err
    assert not Workspace.open(tmp_path / "w").list_runs()


def test_match_rows_takes_rejected_rows_into_account_only_where_counts_say_so():
    kept, notes = match_rows(5, 3, [2, 4], "s", "d")
    assert kept.tolist() == [0, 2, 4]
    assert "2 stored rows" in notes[0]
    kept, notes = match_rows(3, 3, [2, 4], "s", "d")
    assert kept.tolist() == [0, 1, 2]
    assert notes


def test_a_failure_on_the_way_leaves_no_run_and_another_try_works(tmp_path, monkeypatch):
    index = write_bergson(tmp_path / "index", make_rows(), data=make_problems())

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("gsd_core.store.Run.append_batch", fail)
        assert run_gsd("import", index, "--run", "r", workspace=tmp_path / "w").code == 130
    assert not Workspace.open(tmp_path / "w").list_runs()
    run_gsd_json("import", index, "--run", "r", workspace=tmp_path / "w")
    outcome = run_gsd("import", index, "--run", "r", workspace=tmp_path / "w")
    assert outcome.code == 2
    assert "exists already" in outcome.err


def test_what_a_killed_import_left_makes_way(tmp_path):
    index = write_bergson(tmp_path / "index", make_rows(), data=make_problems())
    manifest = {"imported": {"format": "bergson"}, "status": "capturing"}
    Workspace.open(tmp_path / "w").create_run("r", manifest, sketch_width=3, embedding_width=3).close()
    assert run_gsd_json("import", index, "--run", "r", workspace=tmp_path / "w")["n_spans"] == 12


def test_an_index_without_texts_asks_for_the_data_set(tmp_path):
    tokens = [{"input_ids": [1, 2, 3], "length": 3, "loss": 1.0}] * 12
    index = write_bergson(tmp_path / "index", make_rows(), data=tokens)
    outcome = run_gsd("import", index, workspace=tmp_path / "w")
    assert outcome.code == 2
    assert "only their tokens" in outcome.err
    assert "--dataset" in outcome.err
    file = write_rows(tmp_path / "problems.jsonl", make_problems())
    assert run_gsd_json("import", index, "--dataset", file, workspace=tmp_path / "w")["n_samples"] == 12


def test_tokens_that_do_not_match_are_listed_and_none_at_all_is_an_error(tmp_path, tokenizer, tokenizer_folder):
    index = write_token_index(tmp_path / "index", tokenizer)
    other = make_problems()
    other[3]["completion"] = "Something else entirely.\n#### 1"
    file = write_rows(tmp_path / "other.jsonl", other)
    head = ("import", index, "--tokenizer", tokenizer_folder)
    result = run_gsd_json(*head, "--dataset", file, "--run", "r", workspace=tmp_path / "w")
    assert [each["sample"] for each in result["skipped"]] == ["row-4"]
    assert "not in the text" in result["skipped"][0]["reason"]
    for row in other:
        row["completion"] = "Something else entirely.\n#### 1"
    file = write_rows(tmp_path / "none.jsonl", other)
    outcome = run_gsd(*head, "--dataset", file, "--run", "s", workspace=tmp_path / "w")
    assert outcome.code == 2
    assert "no sample's tokens could be matched" in outcome.err


def test_wide_rows_are_folded_and_the_run_says_so(tmp_path):
    index = write_bergson(tmp_path / "index", make_rows(), data=make_problems())
    result = run_gsd_json("import", index, "--run", "r", "--sketch-width", "12", workspace=tmp_path / "w")
    assert result["is_folded"]
    assert (result["stored_width"], result["sketch_width"]) == (WIDTH, 12)
    run = Workspace.open(tmp_path / "w").open_run("r")
    assert run.manifest["imported"]["is_folded"]
    assert run.manifest["sketch"]["layers"][-1][2] == run.read_vectors().shape[1] == 12


def test_checkpoints_are_named_by_their_paths_unless_told():
    paths = [Path("/g/llama-ckpt105-adam/cot/dim8"), Path("/g/llama-ckpt211-adam/cot/dim8")]
    assert name_checkpoints(paths, []) == [("ckpt105", 105), ("ckpt211", 211)]
    assert name_checkpoints(paths, ["first", "end-9"]) == [("first", None), ("end-9", 9)]
    assert name_checkpoints([Path("/g/index")], []) == [("imported", None)]


@pytest.mark.parametrize("names", [["one"], ["a", "a"], ["a", " "], ["a", "*timeline*"], ["a", "b\n"]])
def test_checkpoint_names_that_cannot_be_are_refused(tmp_path, names):
    stores = [write_less(tmp_path / str(k) / "dim8", torch.randn(6, 8)) for k in range(2)]
    file = write_rows(tmp_path / "problems.jsonl", make_problems(6))
    words = ("import", *stores, "--dataset", file, "--checkpoint", *names)
    outcome = run_gsd(*words, workspace=tmp_path / "w")
    assert outcome.code == 2
    assert "--checkpoint" in outcome.err


def test_a_real_bergson_index_is_read_as_bergson_reads_it(tmp_path, tokenizer_folder):
    """Where Bergson is installed: an index by sequence and one by token of the same model say the same."""
    build = pytest.importorskip("bergson.build")
    config = pytest.importorskip("bergson.config.config")
    model = tmp_path / "model"
    model.mkdir()
    for file in tokenizer_folder.iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    settings = json.loads((model / "tokenizer_config.json").read_text())
    settings["chat_template"] = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    (model / "tokenizer_config.json").write_text(json.dumps(settings))
    file = write_rows(tmp_path / "problems.jsonl", make_problems())
    for name, by_token in (("whole", False), ("tokens", True)):
        index = config.IndexConfig(
            run_path=str(tmp_path / name),
            model=str(model),
            data=config.DataConfig(dataset=str(file), prompt_column="prompt", completion_column="completion"),
            token_batch_size=192,
            projection_dim=4,
            attribute_tokens=by_token,
            drop_columns=not by_token,
        )
        build.build(index, config.PreprocessConfig())
    from bergson.data import load_gradients

    w = tmp_path / "w"
    run_gsd_json("import", tmp_path / "whole", "--dataset", file, "--run", "whole", workspace=w)
    run_gsd_json("import", tmp_path / "tokens", "--run", "summed", workspace=w)
    spans = run_gsd_json("import", tmp_path / "tokens", "--tokenizer", model, "--run", "spans", workspace=w)
    assert spans["n_skipped"] == 0
    assert spans["n_spans"] == 30
    rows = np.asarray(load_gradients(tmp_path / "whole"), np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    for run in ("whole", "summed"):
        found = np.asarray(Workspace.open(w).open_run(run).read_vectors(), np.float64)
        assert (found * rows).sum(1).min() > 0.999
