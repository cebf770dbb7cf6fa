"""Gradient stores that LESS wrote (princeton-nlp/LESS, ``collect_grads``; Xia et al. 2024).

LessStore   rows of a ``dimN`` folder or of one ``.pt`` file
is_less     whether a path looks like one
find_less   the folder or file itself, also where the folder above it is given

LESS writes every 160 batches a ``grads-COUNT.pt`` (COUNT batches so far, a row each), and at the end
``all_unormalized.pt`` (all rows; its own spelling) and ``all_orig.pt`` (each row at unit length). Each file is one
tensor, rows × projection width.

A ``.pt`` file is a zip of raw numbers and a pickle that describes them. It is opened with torch's restricted
unpickler only, memory-mapped, after the archive itself was checked: members stored uncompressed, the pickle small.
"""

from __future__ import annotations

import bisect
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gsd_core.errors import UserError
from gsd_core.importing.foreign_rows import UNKNOWN_LAYER, ModuleColumns, check_values

CHUNK_NAME = re.compile(r"grads-(\d{1,12})\.pt")
WHOLE, UNIT = "all_unormalized.pt", "all_orig.pt"
MAX_MEMBERS = 64  # of the archive; torch writes about seven for one tensor
MAX_PICKLE_BYTES = 2**20  # a tensor's pickle has some hundred bytes
MAX_CHUNKS = 100_000
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_ADVICE = "give the dimN folder that LESS wrote, or one of its .pt files"


def is_less(path: Path) -> bool:
    """Whether ``path`` is a ``.pt`` file, or a folder with LESS's files."""
    if path.is_file():
        return path.suffix == ".pt"
    return path.is_dir() and ((path / WHOLE).is_file() or (path / UNIT).is_file() or bool(_list_chunks(path)))


def find_less(path: Path) -> Path | None:
    """``path`` itself, or the one ``dimN`` folder in it; None where there is none. ``UserError`` for several."""
    if is_less(path):
        return path
    if not path.is_dir():
        return None
    found = sorted(each for each in path.glob("dim*") if is_less(each))
    if len(found) > 1:
        names = ", ".join(each.name for each in found)
        raise UserError(f"there are several projections ({names})", str(path), "give one of these folders")
    return found[0] if found else None


class LessStore:
    """An opened store; a ``ForeignStore``. Files are mapped, not read.

    Of a folder, the rows with their own norms are used: ``all_unormalized.pt``, else all ``grads-*.pt``, else
    ``all_orig.pt``. Raises ``UserError`` for a file that is not one plain tensor of rows, missing
    chunks, and rows of different widths.
    """

    def __init__(self, path: Path) -> None:
        self.format = "less"
        self.path = path
        self.offsets: np.ndarray | None = None
        self.notes: list[str] = []
        files = self._choose_files()
        self._parts = [_load_rows(file) for file in files]
        widths = {part.shape[1] for part in self._parts}
        if len(widths) > 1:
            raise UserError(f"chunks have different widths ({sorted(widths)})", str(path), "give one projection's")
        width = widths.pop()
        check_values(width, str(path))
        self._starts = [0]
        for part in self._parts:
            self._starts.append(self._starts[-1] + part.shape[0])
        if files[0].parent == path and CHUNK_NAME.fullmatch(files[0].name):
            self._check_chunks(files)
        self.n_items = self.n_rows = self._starts[-1]
        self.modules: tuple[ModuleColumns, ...] = (ModuleColumns("all modules", UNKNOWN_LAYER, width),)
        self.has_norms = not all(file.name == UNIT for file in files)
        if not self.has_norms:
            self.notes.append(f"{UNIT} holds rows of unit length: norms are unknown")
        self.details: dict[str, Any] = {
            "files": [file.name for file in files][:8],
            "n_files": len(files),
            "dtype": str(self._parts[0].dtype).removeprefix("torch."),
        }

    def read_rows(self, start: int, stop: int) -> torch.Tensor:
        """(stop − start, D) float32."""
        pieces = []
        at = bisect.bisect_right(self._starts, start) - 1
        while start < stop:
            first, last = self._starts[at], self._starts[at + 1]
            end = min(stop, last)
            pieces.append(self._parts[at][start - first : end - first].to(torch.float32))
            start, at = end, at + 1
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def _choose_files(self) -> list[Path]:
        if self.path.is_file():
            return [self.path]
        if (self.path / WHOLE).is_file():
            return [self.path / WHOLE]
        chunks = _list_chunks(self.path)
        if len(chunks) > MAX_CHUNKS:
            raise UserError(f"there are {len(chunks):,} chunks", str(self.path), f"give its {WHOLE} alone")
        if chunks:
            return chunks
        if (self.path / UNIT).is_file():
            return [self.path / UNIT]
        raise UserError("no file of LESS lies here", str(self.path), _ADVICE)

    def _check_chunks(self, files: list[Path]) -> None:
        """A chunk's name counts the rows up to its end, so a missing one shows."""
        for file, n_rows in zip(files, self._starts[1:], strict=True):
            match = CHUNK_NAME.fullmatch(file.name)
            if match and int(match[1]) != n_rows:
                raise UserError(
                    f"{n_rows:,} rows lie up to its end, and its name counts {int(match[1]):,}: a chunk is missing",
                    str(file),
                    "copy the whole folder",
                )


def _list_chunks(folder: Path) -> list[Path]:
    """The ``grads-*.pt`` of a folder in the order of their rows."""
    found = [(int(match[1]), each) for each in folder.iterdir() if (match := CHUNK_NAME.fullmatch(each.name))]
    return [each for _, each in sorted(found)]


def _load_rows(path: Path) -> torch.Tensor:
    """The one tensor (rows, width) of a file, memory-mapped."""
    _check_archive(path)
    try:
        rows = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        raise UserError(
            "it contains more than a tensor, and such files are never opened",
            str(path),
            "save the tensor alone with torch.save",
        ) from None
    except (RuntimeError, ValueError, KeyError, IndexError, OSError, EOFError, TypeError, AttributeError) as problem:
        reason = next(iter(str(problem).splitlines()), "") or type(problem).__name__
        raise UserError(f"it is damaged ({reason[:160]})", str(path), "copy it again") from None
    if type(rows) is not torch.Tensor or rows.layout != torch.strided or rows.ndim != 2 or not all(rows.shape):
        raise UserError(f"it holds {_name_kind(rows)}, not rows of numbers", str(path), _ADVICE)
    if rows.dtype not in DTYPES:
        raise UserError(f"its rows are of {rows.dtype}, not floating point", str(path), _ADVICE)
    # A view can claim more rows than the file has numbers (stride 0); LESS writes no views.
    if not rows.is_contiguous() or rows.numel() * rows.element_size() > path.stat().st_size:
        raise UserError("its tensor is a view of other data", str(path), "save tensor.contiguous() instead")
    return rows


def _check_archive(path: Path) -> None:
    where, again = str(path), "save it again with torch.save of version 1.6 or later"
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise UserError("it is not a file of torch.save (a zip of tensors)", where, again) from None
    if len(members) > MAX_MEMBERS:
        raise UserError(f"it holds {len(members):,} members, and one tensor has about seven", where, _ADVICE)
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED:
            raise UserError("its members are compressed, which torch.save never does", where, again)
        if member.filename.endswith(".pkl") and member.file_size > MAX_PICKLE_BYTES:
            raise UserError(f"its pickle has {member.file_size:,} bytes, and a tensor needs some hundred", where, again)


def _name_kind(value: object) -> str:
    shape = f" of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else ""
    return f"a {type(value).__name__}{shape}"
