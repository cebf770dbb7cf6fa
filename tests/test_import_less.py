"""LESS's stores: rows in their order, with the norms where they are, and no pickle that does anything."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from gsd_core.errors import UserError
from gsd_core.importing.foreign_rows import iter_rows
from gsd_core.importing.foreign_stores import open_store
from tests.foreign_support import open_layout, write_bergson, write_less


def make_rows(n: int = 10, width: int = 32, dtype: torch.dtype = torch.float16) -> torch.Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(1)).to(dtype)


def read_all(path: Path) -> tuple[np.ndarray, np.ndarray]:
    store, layout = open_layout(path)
    parts = [found for _, found in iter_rows(store, layout)]
    return np.concatenate([p.unit for p in parts]), np.concatenate([p.norms for p in parts])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("merged", [("all_unormalized.pt",), ()])
def test_rows_and_norms_are_the_stored_ones_whichever_files_are_there(tmp_path, dtype, merged):
    rows = make_rows(dtype=dtype)
    unit, norms = read_all(write_less(tmp_path / "dim32", rows, chunk=4, merged=merged))
    lengths = rows.double().norm(dim=1).numpy()
    assert np.allclose(norms, lengths, rtol=1e-5)
    assert np.abs(unit - rows.double().numpy() / lengths[:, None]).max() < 1e-3


def test_chunks_follow_their_numbers_not_their_names(tmp_path):
    rows = make_rows(11)
    folder = write_less(tmp_path / "dim32", rows, chunk=3, merged=())
    assert min(file.name for file in folder.iterdir()) == "grads-11.pt"
    unit, _ = read_all(folder)
    assert np.argmax(unit.astype(float) @ rows.double().numpy().T, axis=1).tolist() == list(range(11))


def test_a_chunk_boundary_inside_a_read_loses_no_row(tmp_path):
    rows = make_rows(11, dtype=torch.float32)
    store = open_store(write_less(tmp_path / "dim32", rows, chunk=3, merged=()))
    for start in range(11):
        for stop in range(start + 1, 12):
            assert torch.equal(store.read_rows(start, stop), rows[start:stop])


def test_a_missing_chunk_is_noticed(tmp_path):
    folder = write_less(tmp_path / "dim32", make_rows(10), chunk=4, merged=())
    (folder / "grads-4.pt").unlink()
    with pytest.raises(UserError, match=r"4 rows lie up to its end, and its name counts 8"):
        open_store(folder)


def test_unit_rows_have_directions_and_no_norms(tmp_path):
    folder = write_less(tmp_path / "dim32", make_rows(), merged=("all_orig.pt",))
    (folder / "grads-10.pt").unlink()
    store = open_store(folder)
    assert not store.has_norms
    assert any("norms are unknown" in note for note in store.notes)


def test_the_folder_above_stands_for_its_one_projection(tmp_path):
    write_less(tmp_path / "run" / "dim32", make_rows())
    assert open_store(tmp_path / "run").path.name == "dim32"
    write_less(tmp_path / "run" / "dim16", make_rows(width=16))
    with pytest.raises(UserError, match="dim16, dim32"):
        open_store(tmp_path / "run")


class _Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_no_pickle_is_ever_run(tmp_path):
    sprung = tmp_path / "sprung"
    torch.save(_Trap(sprung), tmp_path / "zip.pt")
    torch.save([_Trap(sprung)], tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(_Trap(sprung)))
    for name in ("zip.pt", "old.pt", "plain.pt"):
        with pytest.raises(UserError) as error:
            open_store(tmp_path / name)
        assert name in error.value.where
    assert not sprung.exists()


def _repack(source: Path, target: Path, compression: int, padding: int = 0) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for member in old.infolist():
            data = old.read(member)
            new.writestr(member.filename, data + b"\0" * (padding if member.filename.endswith(".pkl") else 0))
    return target


def test_archives_that_unpack_to_more_are_refused_before_they_are_unpacked(tmp_path):
    torch.save(torch.zeros(2000, 32), tmp_path / "rows.pt")
    with pytest.raises(UserError, match="compressed"):
        open_store(_repack(tmp_path / "rows.pt", tmp_path / "bomb.pt", zipfile.ZIP_DEFLATED))
    with pytest.raises(UserError, match="its pickle has"):
        open_store(_repack(tmp_path / "rows.pt", tmp_path / "fat.pt", zipfile.ZIP_STORED, padding=2**21))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (torch.zeros(1, 32).expand(10**9, 32), "view"),
        (torch.zeros(32, 5).T, "view"),
        (torch.zeros(5), "shape"),
        (torch.zeros(0, 32), "shape"),
        (torch.zeros(5, 2, 2), "shape"),
        (torch.zeros(5, 4, dtype=torch.int64), "int64"),
        (torch.eye(4).to_sparse(), "not rows"),
        ({"a": torch.zeros(2, 2)}, "dict"),
        ([1, 2], "list"),
        (torch.nn.Parameter(torch.zeros(3, 3)), "Parameter"),
    ],
)
def test_only_one_plain_tensor_of_rows_is_taken(tmp_path, value, says):
    torch.save(value, tmp_path / "rows.pt")
    with pytest.raises(UserError, match=says):
        open_store(tmp_path / "rows.pt")


def test_a_file_that_ends_too_early_is_damaged_not_half_read(tmp_path):
    torch.save(make_rows(500, 64), tmp_path / "rows.pt")
    whole = (tmp_path / "rows.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError):
        open_store(tmp_path / "cut.pt")


def test_what_is_no_store_is_told_what_one_looks_like(tmp_path):
    (tmp_path / "reps-160.pt").write_bytes(b"")
    with pytest.raises(UserError, match="not a known gradient store") as error:
        open_store(tmp_path)
    assert "info.json" in error.value.fix
    assert "grads-N.pt" in error.value.fix
    with pytest.raises(UserError, match="no such file"):
        open_store(tmp_path / "nowhere")
    index = write_bergson(tmp_path / "index", np.ones((2, 24), np.float32))
    with pytest.raises(UserError, match="not a known gradient store"):
        open_store(index, "less")
