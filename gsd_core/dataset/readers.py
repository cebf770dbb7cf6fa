"""The rows of a file in any of the formats.

Limits, DEFAULT_LIMITS   the largest sizes that are read (from ``streams``)
Row                      (record number from 1, record or Rejection) (from ``json_rows``)
RowSource                rows of one source with format, columns, encoding and notes
iter_rows                opens a file: JSON Lines, JSON, CSV, TSV or Parquet, plain, gzip or zstd; Arrow and Feather
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gsd_core.dataset.arrow_rows import FILE_MAGIC, STREAM_MAGIC, iter_arrow_file, refuse_repeated, to_rows
from gsd_core.dataset.json_rows import Row, is_json_lines, iter_json_document, iter_json_lines
from gsd_core.dataset.streams import (
    DEFAULT_LIMITS,
    Container,
    Limits,
    has_suffix,
    open_container,
    wide_encoding,
)
from gsd_core.dataset.table_rows import open_table
from gsd_core.errors import UserError
from gsd_core.types import Rejection

__all__ = ["DEFAULT_LIMITS", "Limits", "Row", "RowSource", "iter_rows"]

PARQUET_BATCH_ROWS = 1024


class RowSource:
    """Rows of one source, read once and lazily.

        with iter_rows("traces.jsonl") as source:
            head = source.peek(200)
            for number, row in source:
                ...

    ``format`` is "jsonl", "json", "csv", "tsv", "parquet" (with "+gz" or "+zst"), "arrow" or "hub"; ``columns`` are
    the keys seen so far, in order of appearance; ``encoding`` is the text's; ``notes`` are sentences for a person.
    Iterating gives ``(number from 1, dict | Rejection)``, rows that were peeked at included.
    """

    def __init__(
        self,
        rows: Iterable[Row],
        format: str,
        columns: Iterable[str] = (),
        encoding: str = "utf-8",
        notes: list[str] | None = None,
    ):
        self.format = format
        self.encoding = encoding
        self.notes = [] if notes is None else notes
        self._rows = iter(rows)
        self._columns = dict.fromkeys(columns)
        self._buffer: deque[Row] = deque()

    @property
    def columns(self) -> list[str]:
        """Keys of the rows read so far, in order of appearance."""
        return list(self._columns)

    def peek(self, n_rows: int) -> list[Row]:
        """The next `n_rows` rows (fewer at the end); iterating gives them again."""
        while len(self._buffer) < n_rows:
            row = self._next()
            if row is None:
                break
            self._buffer.append(row)
        return list(islice(self._buffer, n_rows))

    def _next(self) -> Row | None:
        row = next(self._rows, None)
        if row is not None and not isinstance(row[1], Rejection):
            self._columns.update(dict.fromkeys(row[1]))
        return row

    def __iter__(self) -> Iterator[Row]:
        while self._buffer:
            yield self._buffer.popleft()
        while (row := self._next()) is not None:
            yield row

    def close(self) -> None:
        """Close the file and end the iteration."""
        if isinstance(self._rows, Generator):
            self._rows.close()
        self._rows = iter(())
        self._buffer.clear()

    def __enter__(self) -> RowSource:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def iter_rows(path: str | Path, *, limits: Limits = DEFAULT_LIMITS) -> RowSource:
    """Open a file; its content decides the format before its name does.

    Raises `UserError`, here or while reading, for a file that cannot be read (missing, empty, binary, a directory, too
    large, not decodable, damaged). A row that cannot be read is given as a `Rejection`.
    """
    container = open_container(path, limits)
    ending = f"+{container.compression}" if container.compression else ""
    if container.head.startswith(b"PAR1"):
        return _parquet_source(container, f"parquet{ending}")
    if container.head.startswith((STREAM_MAGIC, FILE_MAGIC)) and not container.compression:
        return RowSource(enumerate(iter_arrow_file(container.path), start=1), "arrow")
    if has_suffix(container.path, ".parquet"):
        raise UserError("this is not a Parquet file, although its name says so", str(path), "export it again")
    if _looks_like_json(container):
        encoding = wide_encoding(container.head) or "utf-8"
        notes: list[str] = []
        if encoding.removesuffix("-sig") != "utf-8":
            notes.append(f"the text is not UTF-8; it was decoded as {encoding}")
        if is_json_lines(container):
            return RowSource(iter_json_lines(container, notes), f"jsonl{ending}", encoding=encoding, notes=notes)
        rows = iter_json_document(container, notes)
        return RowSource(rows, f"json{ending}", encoding=encoding, notes=notes)
    if has_suffix(container.path, ".yaml", ".yml"):
        raise UserError("this is YAML, which is not read", str(path), "write its records as JSON Lines")
    table = open_table(container)
    name = "tsv" if table.dialect.delimiter == "\t" else "csv"
    return RowSource(table.iter_rows(), f"{name}{ending}", table.columns, table.encoding, table.notes)


def _looks_like_json(container: Container) -> bool:
    encoding = wide_encoding(container.head) or "utf-8"
    start = container.head[:4096].decode(encoding, errors="replace").lstrip("\ufeff \t\r\n")
    if has_suffix(container.path, ".json", ".jsonl", ".ndjson"):
        return True
    if has_suffix(container.path, ".csv", ".tsv", ".tab"):
        return start.startswith(('{"', '[{"'))
    return start.startswith(("{", "["))


def _parquet_source(container: Container, format: str) -> RowSource:
    where = str(container.path)
    damaged = UserError("the Parquet file is damaged or ends too early", where, "write or download it again")
    try:
        if container.compression:
            with container.open() as stream:
                file = pq.ParquetFile(pa.BufferReader(stream.read()))
        else:
            file = pq.ParquetFile(container.path)
        unpacked = sum(file.metadata.row_group(group).total_byte_size for group in range(file.metadata.num_row_groups))
        names = file.schema_arrow.names
    except (pa.ArrowException, OSError, ValueError):  # ValueError: names that are not UTF-8
        raise damaged from None
    refuse_repeated(names, where)
    if unpacked > container.limits.max_bytes:
        raise UserError(f"the Parquet file unpacks to {unpacked >> 20} MiB", where, "split it")
    return RowSource(_iter_parquet(file, damaged), format, names)


def _iter_parquet(file: pq.ParquetFile, damaged: UserError) -> Iterator[Row]:
    with closing(file):
        try:
            rows = (row for batch in file.iter_batches(batch_size=PARQUET_BATCH_ROWS) for row in to_rows(batch))
            yield from enumerate(rows, start=1)
        except (pa.ArrowException, OSError, ValueError):  # ValueError: names that are not UTF-8
            raise damaged from None
