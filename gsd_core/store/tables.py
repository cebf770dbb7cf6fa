"""Tables of Lance; only this module imports the database.

Table          a table at a URI: open a version, append rows or fragments, overwrite, delete, compact
to_matrix      fixed-width list column → (n, width) array
from_matrix    (n, width) array → fixed-width list column

The database is imported on first use, so importing this package does not load it.
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gsd_core.errors import UserError
from gsd_core.store.files import STORAGE_HELP


def _driver() -> Any:
    # With repeated directions it prints a warning for every empty partition of an index.
    os.environ.setdefault("LANCE_LOG", "error")
    import lance  # noqa: PLC0415 - loaded on first use: `import gsd_core` must stay fast

    return lance


class Table:
    """A Lance table. A change is one atomic commit and makes a version. A reader keeps the version that it opened."""

    def __init__(self, uri: str, schema: pa.Schema) -> None:
        self.uri, self.schema = uri, schema

    def open(self, version: int | None = None) -> Any | None:
        """The ``LanceDataset`` at ``version`` (None: the newest), or None if the table does not exist.

        Raises
        ------
        UserError
            If the table exists and cannot be read.
        """
        try:
            table = _driver().dataset(self.uri, version=version)
            missing = set(self.schema.names) - set(table.schema.names)
            if missing:
                raise ValueError(f"the column {min(missing)} is missing")
            return table
        except (ValueError, OSError) as error:
            if version is None and "was not found" in str(error):
                return None
            is_remote = "://" in self.uri
            raise UserError(
                f"a table cannot be read ({str(error).splitlines()[0][:200]})",
                self.uri,
                f"{STORAGE_HELP}; if other tables can be read, restore this one from a copy"
                if is_remote
                else "restore it from a copy, or remove the run or data set and make it again",
            ) from error

    def append(self, rows: pa.Table) -> None:
        """Add rows in one commit. A killed append leaves only files that no version uses."""
        existing = self.open()
        if existing is None:
            _driver().write_dataset(rows, self.uri, schema=self.schema, mode="create")
        else:
            _driver().write_dataset(rows, existing, schema=self.schema, mode="append")

    def create(self) -> None:
        """Create the table without rows, unless it exists. Fragments need an existing table."""
        if self.open() is None:
            _driver().write_dataset(self.schema.empty_table(), self.uri, schema=self.schema, mode="create")

    def write_fragments(self, rows: pa.Table) -> list[str]:
        """Write rows as files of the existing table, without a commit. Returns JSON texts for ``append_fragments``."""
        written = _driver().fragment.write_fragments(rows, self.uri, schema=self.schema, mode="append")
        return [json.dumps(each.to_json()) for each in written]

    def append_fragments(self, fragments: Sequence[str]) -> None:
        """Add what ``write_fragments`` wrote, in any process, in one commit and in the given order."""
        existing = self.open()
        if existing is None:
            raise ValueError(f"no table at {self.uri} to append to")
        parts = [_driver().FragmentMetadata.from_json(text) for text in fragments]
        operation = _driver().LanceOperation.Append(parts)
        _driver().LanceDataset.commit(existing, operation, read_version=existing.version)

    def check_fragments(self, fragments: Iterable[str]) -> None:
        """On a disk, check that the files exist: a worker may have written to the disk of another machine.

        Raises
        ------
        UserError
            If a file is missing.
        """
        if "://" in self.uri:
            return
        for text in fragments:
            for file in json.loads(text)["files"]:
                if not Path(self.uri, "data", file["path"]).is_file():
                    raise UserError(
                        "a worker wrote its directions to a disk that this process does not see",
                        self.uri,
                        "put the workspace on a shared folder or on object storage (s3://…)",
                    )

    def overwrite(self, batches: Iterable[pa.RecordBatch]) -> int:
        """Replace all rows in one streamed commit. Returns the new version; older versions stay readable."""
        failures: list[BaseException] = []

        def guarded() -> Iterator[pa.RecordBatch]:
            try:
                yield from batches
            except (Exception, KeyboardInterrupt) as error:
                failures.append(error)  # Lance would report it as its own error
                raise

        reader = pa.RecordBatchReader.from_batches(self.schema, guarded())
        mode = "create" if self.open() is None else "overwrite"
        try:
            return int(_driver().write_dataset(reader, self.uri, schema=self.schema, mode=mode).version)
        except OSError:
            if failures:
                raise failures[0] from None
            raise

    def delete_batches(self, batches: Iterable[int]) -> int:
        """Delete the rows of these batches in one commit. Returns how many."""
        numbers = ", ".join(str(int(batch)) for batch in sorted(batches))
        table = self.open()
        if table is None or not numbers:
            return 0
        return int(table.delete(f"batch IN ({numbers})")["num_deleted_rows"])

    def add_null_columns(self, fields: Iterable[pa.Field]) -> None:
        """Add the missing ``fields`` in one commit, null in every row."""
        table = self.open()
        if table is not None:
            new = [field for field in fields if field.name not in table.schema.names]
            if new:
                table.add_columns(pa.schema(new))

    def compact(self, from_fragments: int = 2) -> None:
        """Join fragments if there are at least ``from_fragments``, then ``forget`` old versions.

        Rows and their order do not change.
        """
        table = self.open()
        if table is None or len(table.get_fragments()) < from_fragments:
            return
        table.optimize.compact_files()
        self.forget()

    def forget(self, keep_s: float = 3600.0) -> None:
        """Delete versions older than ``keep_s`` seconds, which no reader should use any more."""
        table = self.open()
        if table is not None:
            with suppress(OSError):  # a failed cleanup does no harm
                table.cleanup_old_versions(older_than=datetime.timedelta(seconds=keep_s))


def to_matrix(column: pa.Array | pa.ChunkedArray, width: int) -> np.ndarray:
    """(n, ``width``) array of a fixed-width list column without nulls; the float type stays."""
    if isinstance(column, pa.ChunkedArray):
        parts = [to_matrix(chunk, width) for chunk in column.chunks]
        if parts:
            return np.concatenate(parts)
        return np.zeros((0, width), column.type.value_type.to_pandas_dtype())
    return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)


def from_matrix(values: np.ndarray) -> pa.FixedSizeListArray:
    """Fixed-width list column of an (n, width) float array."""
    values = np.ascontiguousarray(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
