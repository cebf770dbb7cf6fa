"""Data sets that the library ``datasets`` saved to disk: a folder of Arrow streams.

SavedDataset       an opened folder: its columns, its rows as records, and columns as arrays
is_saved_dataset   whether a path is such a folder
iter_saved_rows    its rows as a ``RowSource``, without columns that only a trainer needs
MACHINE_COLUMNS    columns of tokens and masks, which are not part of a record

The Arrow files are read directly: ``state.json`` names them, and only plain names inside the folder are followed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from gsd_core.dataset.arrow_rows import refuse_repeated, to_rows
from gsd_core.dataset.json_rows import Row
from gsd_core.dataset.readers import RowSource
from gsd_core.dataset.streams import DEFAULT_LIMITS, Limits
from gsd_core.errors import UserError

MACHINE_COLUMNS = frozenset(
    ("input_ids", "labels", "attention_mask", "token_type_ids", "special_tokens_mask", "length", "doc_ids")
)
MAX_STATE_BYTES = 16 * 2**20
MAX_FILES = 100_000
ROWS_AT_ONCE = 1024


def is_saved_dataset(path: str | Path) -> bool:
    """Whether ``path`` is a folder of ``Dataset.save_to_disk``."""
    folder = Path(path)
    return (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()


class SavedDataset:
    """A folder of ``Dataset.save_to_disk``. Rows keep their saved order.

    ``columns`` are the names of all columns. Raises ``UserError`` for a folder that cannot be read, names files
    outside itself, or is larger than ``limits.max_bytes``; damage inside a file is raised while it is read.
    """

    def __init__(self, folder: str | Path, limits: Limits = DEFAULT_LIMITS) -> None:
        self.folder = Path(folder)
        self._files = self._find_files(limits)
        with self._open(self._files[0]) as reader:
            self.schema = reader.schema
        self.columns: list[str] = list(self.schema.names)
        refuse_repeated(self.columns, str(folder))

    def iter_batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Record batches with the named columns, validated, in order."""
        for file in self._files:
            with self._open(file) as reader:
                if reader.schema.names != self.schema.names:
                    raise self._damaged(file, "its columns differ from the first file's")
                try:
                    for batch in reader:
                        wanted = batch.select(columns)
                        wanted.validate(full=True)  # else offsets out of range would read other memory
                        yield wanted
                except (pa.ArrowException, OSError, ValueError) as problem:
                    raise self._damaged(file, str(problem)) from None

    def iter_records(self, columns: list[str]) -> Iterator[Row]:
        """``(number from 1, record)``."""
        parts = (
            batch.slice(start, ROWS_AT_ONCE)
            for batch in self.iter_batches(columns)
            for start in range(0, batch.num_rows, ROWS_AT_ONCE)
        )
        yield from enumerate((row for part in parts for row in to_rows(part)), start=1)

    def read_lists(self, column: str) -> list[np.ndarray]:
        """A column of lists of whole numbers, such as ``input_ids``: one (T,) int64 array a row."""
        found: list[np.ndarray] = []
        for batch in self.iter_batches([column]):
            values = batch.column(0)
            if not pa.types.is_list(values.type) and not pa.types.is_large_list(values.type):
                raise self._wrong_kind(column, values.type, "lists of numbers")
            if not pa.types.is_integer(values.type.value_type) or values.null_count:
                raise self._wrong_kind(column, values.type, "lists of whole numbers")
            ends = values.offsets.to_numpy()
            flat = values.values.to_numpy(zero_copy_only=False).astype(np.int64)
            found.extend(flat[a:b] for a, b in pairwise(ends))
        return found

    def read_numbers(self, column: str) -> np.ndarray:
        """A column of numbers, (n,) float64, NaN for a missing one."""
        parts = []
        for batch in self.iter_batches([column]):
            values = batch.column(0)
            if not pa.types.is_floating(values.type) and not pa.types.is_integer(values.type):
                raise self._wrong_kind(column, values.type, "numbers")
            parts.append(values.cast(pa.float64()).to_numpy(zero_copy_only=False))
        return np.concatenate(parts) if parts else np.zeros(0)

    def _open(self, file: Path) -> pa.RecordBatchStreamReader:
        try:
            return pa.ipc.open_stream(pa.OSFile(str(file)))
        except (pa.ArrowException, OSError, ValueError) as problem:
            raise self._damaged(file, str(problem)) from None

    def _find_files(self, limits: Limits) -> list[Path]:
        where = f"{self.folder}/state.json"
        path = self.folder / "state.json"
        try:
            if path.stat().st_size > MAX_STATE_BYTES:
                raise UserError("it is too large for such a document", where, "check what it is")
            state = json.loads(path.read_text("utf-8"))
            names = [entry["filename"] for entry in state["_data_files"]]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise UserError("it does not name the data set's files", where, "save the data set again") from None
        if not names or len(names) > MAX_FILES:
            raise UserError(f"it names {len(names):,} files", where, "save the data set again")
        files = []
        for name in names:
            if not isinstance(name, str) or Path(name).name != name or not name.endswith(".arrow"):
                raise UserError(f"{name!r} is not a file of this folder", where, "save the data set again")
            file = self.folder / name
            if file.is_symlink() or not file.is_file():
                raise UserError("the file is missing, or only a link", str(file), "copy the whole folder")
            files.append(file)
        n_bytes = sum(file.stat().st_size for file in files)
        if n_bytes > limits.max_bytes:
            raise UserError(f"the data set has {n_bytes >> 20:,} MiB", str(self.folder), "split it")
        return files

    def _damaged(self, file: Path, reason: str) -> UserError:
        return UserError(f"the Arrow file is damaged ({' '.join(reason.split())[:160]})", str(file), "copy it again")

    def _wrong_kind(self, column: str, kind: pa.DataType, wanted: str) -> UserError:
        return UserError(f"the column {column!r} holds {kind}, not {wanted}", str(self.folder), "save it again")


def iter_saved_rows(folder: str | Path) -> RowSource:
    """Rows of a saved data set without ``MACHINE_COLUMNS``. ``UserError`` where no other column is there."""
    saved = SavedDataset(folder)
    columns = [name for name in saved.columns if name not in MACHINE_COLUMNS]
    if not columns:
        raise UserError(
            f"it holds tokens only ({', '.join(saved.columns)})",
            str(folder),
            "give the file that it was made of",
        )
    return RowSource(saved.iter_records(columns), "saved data set", columns)
