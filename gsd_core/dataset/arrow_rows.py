"""Rows of Arrow record batches: of Parquet, Arrow and Feather files, and of data sets saved to disk.

to_rows           the rows of a batch; a cell that cannot be read is `Unreadable` and costs no other cell
refuse_repeated   refuses two columns of one name
iter_arrow_file   rows of an Arrow stream or file (Feather)
STREAM_MAGIC, FILE_MAGIC   first bytes of these
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gsd_core.dataset.values import Unreadable
from gsd_core.errors import UserError

STREAM_MAGIC, FILE_MAGIC = b"\xff\xff\xff\xff", b"ARROW1"
ROWS_AT_ONCE = 1024
_FAILURES = (pa.ArrowException, ValueError, OverflowError, KeyError, TypeError, OSError)


def refuse_repeated(names: Sequence[str], where: str) -> None:
    """Raises `UserError` where two columns have one name, as nothing tells which of them is meant."""
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise UserError(f"two columns are called {repeated!r}", where, "rename one of them")


def to_rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows of a batch. Binary columns that hold UTF-8 are texts; times outside of Python's range are ISO texts."""
    names = batch.schema.names
    columns = [_read_column(batch.column(at)) for at in range(len(names))]
    return [dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True)] if columns else []


def _read_column(values: pa.Array) -> list[Any]:
    kind = values.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        try:
            return list(values.cast(pa.large_string()).to_pylist())
        except _FAILURES:
            return list(values.to_pylist())
    try:
        return list(values.to_pylist())
    except _FAILURES:
        pass
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        unit: Any = kind.unit if pa.types.is_timestamp(kind) else "D" if pa.types.is_date32(kind) else "ms"
        whole = pa.int32() if pa.types.is_date32(kind) else pa.int64()
        numbers = values.view(whole)
        ends = "Z" if getattr(kind, "tz", None) else ""  # Arrow keeps times with a zone in UTC
        return [None if each is None else f"{np.datetime64(each, unit)}{ends}" for each in numbers.to_pylist()]
    return [_read_cell(values, at) for at in range(len(values))]


def _read_cell(values: pa.Array, at: int) -> Any:
    try:
        return values[at].as_py()
    except UnicodeDecodeError as error:
        return Unreadable(f"is not valid UTF-8 (byte 0x{error.object[error.start]:02x})")
    except _FAILURES as error:
        return Unreadable(f"cannot be read ({' '.join(str(error).split())[:80]})")


def iter_arrow_file(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of an Arrow stream or file. Raises `UserError` for a damaged one and for repeated columns."""
    try:
        with pa.memory_map(str(path)) as source:
            if path.open("rb").read(len(FILE_MAGIC)) == FILE_MAGIC:
                file = pa.ipc.open_file(source)
                refuse_repeated(file.schema.names, str(path))
                batches: Iterator[pa.RecordBatch] = (file.get_batch(at) for at in range(file.num_record_batches))
            else:
                stream = pa.ipc.open_stream(source)
                refuse_repeated(stream.schema.names, str(path))
                batches = iter(stream)
            for batch in batches:
                batch.validate(full=True)  # else offsets out of range would read other memory
                for start in range(0, batch.num_rows, ROWS_AT_ONCE):
                    yield from to_rows(batch.slice(start, ROWS_AT_ONCE))
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"the Arrow file is damaged ({reason})", str(path), "copy it again") from None
