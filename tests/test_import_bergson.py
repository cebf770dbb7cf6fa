"""Bergson's indexes: what is read is what was written, and nothing hostile gets further than a message."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from gsd_core.capture.modules import OUTPUT_HEAD
from gsd_core.dataset.saved import SavedDataset
from gsd_core.errors import UserError
from gsd_core.importing.foreign_rows import (
    MAX_VALUES,
    DirectionLayout,
    ModuleColumns,
    group_layers,
    iter_rows,
    sum_rows,
)
from gsd_core.importing.foreign_stores import check_alike, open_store
from tests.foreign_support import SIZES, make_problems, open_layout, write_bergson

WIDTH = sum(SIZES.values())


def make_rows(n: int = 9, width: int = WIDTH, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)


def read_all(path: Path, width: int = 8192, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    store, layout = open_layout(path, width, seed)
    parts = [found for _, found in iter_rows(store, layout)]
    return np.concatenate([p.unit for p in parts]), np.concatenate([p.norms for p in parts])


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_a_direction_is_its_row_at_unit_length_and_the_norm_stands_beside(tmp_path, dtype):
    rows = make_rows()
    unit, norms = read_all(write_bergson(tmp_path / "index", rows, dtype=dtype))
    stored = torch.from_numpy(rows).to(getattr(torch, dtype)).double().numpy()
    lengths = np.linalg.norm(stored, axis=1)
    assert np.allclose(norms, lengths, rtol=1e-5)
    assert np.abs(unit - stored / lengths[:, None]).max() < 1e-3, "rows are mixed up, or of another dtype"


def test_rows_come_in_order_however_small_the_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr("gsd_core.importing.foreign_rows.CHUNK_BYTES", 4 * WIDTH * 2)
    store, layout = open_layout(write_bergson(tmp_path / "index", make_rows(7)))
    starts = [start for start, _ in iter_rows(store, layout)]
    assert starts == [0, 2, 4, 6]
    whole, _ = read_all(store.path)
    monkeypatch.undo()
    assert np.array_equal(whole, read_all(store.path)[0])


def test_an_old_index_without_base_dtype_reads_the_same(tmp_path):
    folder = write_bergson(tmp_path / "index", make_rows(), dtype="float16")
    now, _ = read_all(folder)
    info = json.loads((folder / "info.json").read_text())
    del info["base_dtype"]
    info["dtype"] = {"names": list(SIZES), "formats": [f"({width},)<f2" for width in SIZES.values()]}
    (folder / "info.json").write_text(json.dumps(info))
    assert np.array_equal(read_all(folder)[0], now)


def test_a_layer_block_holds_the_columns_of_its_modules(tmp_path):
    rows = np.zeros((4, WIDTH), np.float32)
    begin = 0
    for row, width in enumerate(SIZES.values()):  # row K has values in module K only
        rows[row, begin : begin + width] = 1.0
        begin += width
    store, layout = open_layout(write_bergson(tmp_path / "index", rows))
    unit, _ = read_all(store.path)
    names = [block.layer for block in layout.blocks]
    assert names == ["layers.0", "layers.1", OUTPUT_HEAD]
    inside = [[bool(unit[row, b.start : b.stop].any()) for b in layout.blocks] for row in range(4)]
    assert inside == [[True, False, False], [True, False, False], [False, True, False], [False, False, True]]


def test_modules_that_do_not_stand_together_share_their_layers_block():
    modules = [ModuleColumns("a", "L0", 2), ModuleColumns("b", "L1", 3), ModuleColumns("c", "L0", 1)]
    layout = DirectionLayout(modules, 100, 0)
    found = layout.apply(torch.tensor([[1.0, 2.0, 9.0, 9.0, 9.0, 3.0]]))
    block = found.unit[0, layout.blocks[0].start : layout.blocks[0].stop].astype(float)
    assert np.allclose(block / block[0], [1, 2, 3], atol=5e-3)


def test_layer_names_follow_module_names():
    assert group_layers(["model.layers.3.mlp.up", "h.10.attn/head_2", "model.lm_head", "embed_out", "norm"]) == [
        "model.layers.3",
        "h.10",
        OUTPUT_HEAD,
        OUTPUT_HEAD,
        "outside layers",
    ]


def test_a_fold_keeps_cosines_and_depends_on_the_seed_alone(tmp_path):
    sizes = {f"layers.{layer}.q": 3000 for layer in range(2)}
    base = make_rows(1, 6000, seed=3)
    rows = np.concatenate([base, 0.8 * base + 0.6 * make_rows(1, 6000, seed=4), make_rows(6, 6000, seed=5)])
    folder = write_bergson(tmp_path / "index", rows, sizes=sizes)
    unit, norms = read_all(folder, width=1000)
    assert unit.shape == (8, 1000)
    exact = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    error = np.abs(unit.astype(float) @ unit.T.astype(float) - exact @ exact.T)
    assert error.max() < 0.15, "the fold loses more than 1,000 random signs would"
    assert np.allclose(norms, np.linalg.norm(rows, axis=1), rtol=1e-5), "the norm is that of the stored row"
    assert np.array_equal(read_all(folder, width=1000)[0], unit)
    assert not np.array_equal(read_all(folder, width=1000, seed=1)[0], unit)


def test_token_rows_of_a_sequence_add_up_to_its_row(tmp_path):
    rows = make_rows(10)
    store, layout = open_layout(write_bergson(tmp_path / "tokens", rows, lengths=[3, 0, 7]))
    assert store.offsets is not None
    assert store.offsets.tolist() == [0, 3, 3, 10]
    whole, _ = read_all(write_bergson(tmp_path / "whole", np.stack([rows[:3].sum(0), rows[3:].sum(0)])))
    for place, (start, stop) in enumerate([(0, 3), (3, 10)]):
        found, coherence = sum_rows(store, layout, start, stop)
        assert np.abs(found.unit[0] - whole[place]).max() < 1e-3
        lengths = np.linalg.norm(rows[start:stop], axis=1).sum()
        assert coherence == pytest.approx(np.linalg.norm(rows[start:stop].sum(0)) / lengths, rel=1e-5)
    nothing, coherence = sum_rows(store, layout, 3, 3)
    assert not nothing.unit.any()
    assert np.isnan(coherence), "a sequence without rows has no coherence, rather than 0 or 1"


def test_values_beyond_a_squares_range_keep_direction_and_norm(tmp_path):
    rows = make_rows(2) * np.float32(1e30)
    unit, norms = read_all(write_bergson(tmp_path / "index", rows))
    assert np.allclose(np.linalg.norm(unit.astype(float), axis=1), 1, atol=2e-3)
    assert np.allclose(norms, np.linalg.norm(rows.astype(float), axis=1), rtol=1e-5)


def test_a_row_that_is_not_finite_is_told_and_spoils_no_other(tmp_path):
    rows = make_rows(4)
    rows[1, 5], rows[2, 0] = np.nan, np.inf
    store, layout = open_layout(write_bergson(tmp_path / "index", rows))
    found = layout.apply(store.read_rows(0, 4))
    assert found.is_finite.tolist() == [True, False, False, True]
    assert np.isfinite(found.unit).all()
    assert found.unit[3].any()


def _edit_info(folder: Path, **changes: object) -> Path:
    info = json.loads((folder / "info.json").read_text())
    (folder / "info.json").write_text(json.dumps({**info, **changes}))
    return folder


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"num_grads": 10**12}, "bytes"),
        ({"num_grads": -1}, "num_grads"),
        ({"num_grads": True}, "num_grads"),
        ({"num_items": 3}, "it names 9 rows and 3 sequences"),
        ({"grad_sizes": {"a": -24}}, "grad_sizes"),
        ({"grad_sizes": {}}, "grad_sizes"),
        ({"grad_sizes": ["a"]}, "grad_sizes"),
        ({"grad_sizes": {"a": MAX_VALUES + 1}}, "random projection"),
        ({"base_dtype": "object"}, "object"),
        ({"base_dtype": ["f4"]}, "f4"),
        ({"num_scores": 2}, "scores"),
    ],
)
def test_an_index_that_says_other_than_it_holds_is_refused(tmp_path, changes, says):
    folder = _edit_info(write_bergson(tmp_path / "index", make_rows()), **changes)
    with pytest.raises(UserError, match=says) as error:
        open_store(folder)
    assert str(tmp_path) in error.value.where, "the message must name the file"


def test_a_cut_copy_is_refused_with_both_sizes(tmp_path):
    folder = write_bergson(tmp_path / "index", make_rows())
    os.truncate(folder / "gradients.bin", 100)
    with pytest.raises(UserError, match=f"100 bytes, and 9 rows of {WIDTH} float32 take {9 * WIDTH * 4}"):
        open_store(folder)


@pytest.mark.parametrize("offsets", [[0, 4, 3, 9], [1, 4, 6, 9], [0, 4, 9], [0.0, 4.0, 6.0, 9.0], [0, 4, 6, 10]])
def test_offsets_that_do_not_divide_the_rows_are_refused(tmp_path, offsets):
    folder = write_bergson(tmp_path / "index", make_rows(), lengths=[4, 2, 3])
    np.save(folder / "offsets.npy", np.array(offsets))
    with pytest.raises(UserError, match="does not divide 9 rows among 3"):
        open_store(folder)


class _Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_pickles_in_offsets_and_python_tags_in_yaml_are_never_run(tmp_path):
    sprung = tmp_path / "sprung"
    folder = write_bergson(tmp_path / "index", make_rows(), lengths=[4, 2, 3])
    np.save(folder / "offsets.npy", np.array([_Trap(sprung)], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="cannot be read"):
        open_store(folder)
    folder = write_bergson(tmp_path / "other", make_rows())
    (folder / "config.yaml").write_text(f"steps: !!python/object/apply:os.mkdir ['{sprung}']")
    with pytest.raises(UserError, match="YAML"):
        open_store(folder)
    assert not sprung.exists()


def test_aggregated_and_unfinished_indexes_are_refused(tmp_path):
    config = {"preprocess_cfg.aggregation": "mean"}
    with pytest.raises(UserError, match="aggregated"):
        open_store(write_bergson(tmp_path / "mean", make_rows(1), config=config))
    folder = write_bergson(tmp_path / "bare", make_rows(1), data=[{"query_index": 0}])
    (folder / "config.yaml").unlink()
    with pytest.raises(UserError, match="aggregated"):
        open_store(folder)
    with pytest.raises(UserError, match="not finished"):
        open_store(write_bergson(tmp_path / "index.part", make_rows()))


def test_chunks_of_a_token_stream_are_no_samples(tmp_path):
    config = {"data": {"dataset": "x.jsonl", "chunk_length": 512}}
    with pytest.raises(UserError, match="chunks of 512 tokens"):
        open_store(write_bergson(tmp_path / "index", make_rows(), config=config))


def test_checkpoints_of_one_run_must_be_alike(tmp_path):
    first = open_store(write_bergson(tmp_path / "a", make_rows()))
    fewer = open_store(write_bergson(tmp_path / "b", make_rows(8)))
    other = open_store(write_bergson(tmp_path / "c", make_rows(), sizes={"layers.0.q": WIDTH}))
    tokens = open_store(write_bergson(tmp_path / "d", make_rows(9), lengths=[1] * 9))
    for wrong, says in (
        (fewer, "8 sequences.*has 9"),
        (other, "other columns"),
        (tokens, "token rows differ"),
    ):
        with pytest.raises(UserError, match=says):
            check_alike([first, wrong])


def test_a_folder_of_indexes_says_which(tmp_path):
    for epoch in range(2):
        write_bergson(tmp_path / "train" / f"epoch_{epoch}", make_rows())
    with pytest.raises(UserError, match="epoch_0, epoch_1"):
        open_store(tmp_path / "train")


@pytest.mark.parametrize("name", ["../other.arrow", "/etc/passwd", "sub/data.arrow", "data.bin", 7])
def test_data_hf_names_no_file_outside_itself(tmp_path, name):
    folder = write_bergson(tmp_path / "index", make_rows(), data=make_problems(9)) / "data.hf"
    (tmp_path / "index" / "other.arrow").write_bytes(b"x")
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    with pytest.raises(UserError, match="not a file of this folder"):
        SavedDataset(folder)


def test_data_hf_follows_no_link_and_tells_damage(tmp_path):
    folder = write_bergson(tmp_path / "index", make_rows(), data=make_problems(9)) / "data.hf"
    file = next(folder.glob("*.arrow"))
    whole = file.read_bytes()
    file.rename(tmp_path / "away.arrow")
    file.symlink_to(tmp_path / "away.arrow")
    with pytest.raises(UserError, match="only a link"):
        SavedDataset(folder)
    file.unlink()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="damaged"):
        list(SavedDataset(folder).iter_records(["prompt"]))
