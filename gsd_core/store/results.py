"""Results of methods on a run: tables with declared columns, written whole or in batches, read in one way.

Results        the results of one run: what there is, read, write, drop
ResultWriter   a result that grows by batches and goes on after a kill
take_out       take a result, and what needs it, out of a run's document
pack_arrays    named arrays → rows of a table of arrays; ``unpack_arrays`` is the way back

A result lies in a folder of its own, which counts from the moment that the run's document names it, so a kill leaves
the former result or the new one. A result that grows is named apart until its writer ends it; meanwhile readers see the
former result or, where there is none, the batches that are finished.
"""

from __future__ import annotations

import copy
import json
import re
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from gsd_core.errors import UserError
from gsd_core.registry.result_kind import Column, ResultKind
from gsd_core.store.document import RunDocument
from gsd_core.store.files import Folder, encode_json
from gsd_core.store.locks import acquire_writer, release_writer
from gsd_core.store.schema import GROWING_KEY, RESULTS_FOLDER, RESULTS_KEY, STORE_KEY
from gsd_core.store.tables import Table
from gsd_core.store.writer import BatchWriter

_TYPES: dict[str, pa.DataType] = {
    "text": pa.large_string(),
    "int": pa.int64(),
    "int32": pa.int32(),
    "float": pa.float64(),
    "float32": pa.float32(),
    "bool": pa.bool_(),
    "bytes": pa.large_binary(),
    "json": pa.large_string(),
    "list<text>": pa.list_(pa.large_string()),
    "list<int>": pa.list_(pa.int64()),
    "list<float>": pa.list_(pa.float64()),
}
_DTYPE = re.compile(r"[<|][biuf]\d{1,2}")  # no objects: reading must never run anything
_BATCH = pa.field("batch", pa.int32(), nullable=False, metadata={"comment": "batch of a result that grew"})
_MARKS = pa.schema([_BATCH])


class Results:
    """The results of one run; ``run.results``. Made by ``RunReader``.

    Everywhere ``checkpoint`` None is the run's default checkpoint, and is of no concern to a kind of result that a run
    has one of.
    """

    def __init__(
        self, folder: Folder, document: RunDocument, name: str, pick_checkpoint: Callable[[], str]
    ) -> None:
        self._folder, self._document, self._name, self._pick = folder, document, name, pick_checkpoint

    def has(self, kind: ResultKind, checkpoint: str | None = None) -> bool:
        """Whether there is a finished result of this kind."""
        return self._find(RESULTS_KEY, kind, checkpoint) is not None

    def names(self) -> list[str]:
        """Names of all kinds of results that are stored and finished."""
        return [name for name, found in self._document.store()[RESULTS_KEY].items() if found]

    def infos(self, name: str) -> dict[str, dict[str, Any]]:
        """Checkpoint → info of every finished result called ``name``; ``""`` stands for the run as a whole."""
        found = self._document.store()[RESULTS_KEY].get(name) or {}
        return copy.deepcopy({scope: each["info"] for scope, each in found.items()})

    def info(self, kind: ResultKind, checkpoint: str | None = None) -> dict[str, Any]:
        """What was stored beside the tables, as a copy. Raises ``UserError`` when there is no such result."""
        return copy.deepcopy(self._get(kind, checkpoint)["info"])

    def tables(self, kind: ResultKind, checkpoint: str | None = None) -> list[str]:
        """Names of the tables that are stored; none where there is no such result."""
        return list((self._find(RESULTS_KEY, kind, checkpoint) or {}).get("tables") or [])

    def read(self, kind: ResultKind, table: str, checkpoint: str | None = None) -> pd.DataFrame:
        """A table, rows in the order they were written; of a result that only grows yet, its finished batches.

        Columns of lists and of JSON hold Python values.

        Raises
        ------
        UserError
            When there is no such result, or it has no such table.
        """
        while True:
            growing = None if self.has(kind, checkpoint) else self._find(GROWING_KEY, kind, checkpoint)
            entry = growing or self._get(kind, checkpoint)
            known = list(kind.tables) if growing else entry["tables"]
            if table not in known:
                raise UserError(
                    f"no table {table!r} in {kind.name}",
                    self._where(kind, checkpoint),
                    f"it has {', '.join(known) or 'none'}",
                )
            folder = self.folder_of(entry)
            try:
                return _read_growing(folder, kind, table) if growing else _read_whole(folder, kind, table)
            except (UserError, OSError, ValueError):
                newest = self._find(GROWING_KEY if growing else RESULTS_KEY, kind, checkpoint)
                if newest and newest["folder"] == entry["folder"]:
                    raise  # nobody replaced it meanwhile: it is broken

    def write(
        self,
        kind: ResultKind,
        tables: Mapping[str, pd.DataFrame],
        info: dict[str, Any],
        checkpoint: str | None = None,
    ) -> None:
        """Store a result whole, in place of an earlier one; results that need it are dropped with the earlier one.

        ``tables`` may be some of the declared ones. ``info`` is anything that JSON can hold.

        Raises
        ------
        ValueError
            For a table that is not declared, other columns than declared, or a value that its column cannot hold.
        """
        rows = {name: _to_arrow(frame, kind, name) for name, frame in tables.items()}
        entry = {"folder": f"{RESULTS_FOLDER}/{uuid.uuid4().hex}", "tables": list(rows), "info": info}
        for name, table in rows.items():
            _table(self.folder_of(entry), name, table.schema).append(table)
        try:
            self.enter(kind, checkpoint, entry)
        except BaseException:
            self.folder_of(entry).remove_tree()
            raise

    def open_writer(
        self, kind: ResultKind, settings: dict[str, Any], checkpoint: str | None = None
    ) -> ResultWriter:
        """Begin a result that is written in batches, or go on with the unfinished one of the same ``settings``.

        An unfinished result of other settings is started over.

        Raises
        ------
        UserError
            When another process writes this result.
        """
        plain = json.loads(encode_json(settings))
        entry = self._find(GROWING_KEY, kind, checkpoint)
        if entry is None or entry["settings"] != plain:
            entry = {"folder": f"{RESULTS_FOLDER}/{uuid.uuid4().hex}", "settings": plain}
            self.enter(kind, checkpoint, entry, GROWING_KEY)
        return ResultWriter(self, kind, self._scope(kind, checkpoint), entry)

    def drop(self, kind: ResultKind, checkpoint: str | None = None) -> None:
        """Remove a result, finished or not, and those that need it; nothing happens when there is none."""
        for key in (RESULTS_KEY, GROWING_KEY):
            self.enter(kind, checkpoint, None, key)

    # -- inside ---------------------------------------------------------------------------------------------------

    def folder_of(self, entry: dict[str, Any]) -> Folder:
        """Where a result lies."""
        return self._folder.child(*entry["folder"].split("/"))

    def enter(
        self, kind: ResultKind, checkpoint: str | None, entry: dict[str, Any] | None, key: str = RESULTS_KEY
    ) -> None:
        """Name a result in the document (None: name none) in one step, then remove the folders that it replaces."""
        scope = self._scope(kind, checkpoint)
        old: list[str] = []

        def switch(document: dict[str, Any]) -> None:
            store = document[STORE_KEY]
            old.extend(take_out(store[key], kind.name, scope))
            if entry is None:
                return
            store[key].setdefault(kind.name, {})[scope] = {**entry, "needs": list(kind.needs)}
            if key == RESULTS_KEY:
                old.extend(take_out(store[GROWING_KEY], kind.name, scope))

        self._document.change(switch)
        for folder in old:
            if entry is None or folder != entry["folder"]:
                self.folder_of({"folder": folder}).remove_tree()

    def _scope(self, kind: ResultKind, checkpoint: str | None) -> str:
        return (checkpoint or self._pick()) if kind.is_by_checkpoint else ""

    def _find(self, key: str, kind: ResultKind, checkpoint: str | None) -> dict[str, Any] | None:
        return (self._document.store()[key].get(kind.name) or {}).get(self._scope(kind, checkpoint))

    def _get(self, kind: ResultKind, checkpoint: str | None) -> dict[str, Any]:
        entry = self._find(RESULTS_KEY, kind, checkpoint)
        if entry is None:
            what = "the run is not analysed" if kind.made_by == "analyze" else f"no {kind.name} is stored"
            raise UserError(
                what, self._where(kind, checkpoint), f"gsd {kind.made_by} {self._name} computes it"
            )
        return entry

    def _where(self, kind: ResultKind, checkpoint: str | None) -> str:
        scope = self._scope(kind, checkpoint)
        return f"run {self._name}, checkpoint {scope}" if scope else f"run {self._name}"


def take_out(entries: dict[str, Any], name: str, scope: str) -> list[str]:
    """Take a result, and what needs it at the same checkpoint, out of a document's ``entries``; their folders."""
    entry = entries.get(name, {}).pop(scope, None)
    if entry is None:
        return []
    needing = [other for other, scopes in entries.items() if name in scopes.get(scope, {}).get("needs", ())]
    return [entry["folder"], *(folder for other in needing for folder in take_out(entries, other, scope))]


class ResultWriter:
    """Writes a result in batches; made by ``Results.open_writer``, used as a context manager.

    >>> with run.results.open_writer(SEGMENTS, {"steps": 50}) as writer:
    ...     for batch, rows in computed:
    ...         if batch not in writer.finished:
    ...             writer.append(batch, {"segments": rows})
    ...     writer.finish({"n_segments": 12})

    Left without ``finish``, what was appended is kept, and the next writer of the same settings goes on.
    """

    def __init__(self, results: Results, kind: ResultKind, scope: str, entry: dict[str, Any]) -> None:
        self._results, self._kind, self._scope, self._entry = results, kind, scope, entry
        folder = results.folder_of(entry)
        self._lock = folder.path if folder.is_local else ""
        if self._lock:
            folder.make()
            acquire_writer(self._lock, self, f"{kind.name} of a run")
        self._schemas = {name: _make_schema(kind, name, with_batch=True) for name in kind.tables}
        tables = {name: _table(folder, name, schema) for name, schema in self._schemas.items()}
        self._writer = BatchWriter(tables, _marks_table(folder))
        self._writer.repair()

    @property
    def finished(self) -> set[int]:
        """Batches that are stored or taken in: those to leave out."""
        return self._writer.known

    def append(self, batch: int, tables: Mapping[str, pd.DataFrame]) -> None:
        """Take in one whole batch; it is stored by the next commit or ``flush``.

        Raises
        ------
        ValueError
            For a batch that is stored already, and as ``Results.write``.
        """
        rows: dict[str, pa.RecordBatch] = {}
        for name, frame in tables.items():
            table = _to_arrow(frame, self._kind, name)
            if table.num_rows:
                column = pa.array([batch] * table.num_rows, pa.int32())
                table = table.add_column(0, _BATCH, column).cast(self._schemas[name])
                rows[name] = table.combine_chunks().to_batches()[0]
        mark = pa.RecordBatch.from_arrays([pa.array([batch], pa.int32())], schema=_MARKS)
        if self._writer.append(batch, rows, mark):
            self.flush()

    def flush(self) -> None:
        """Store every batch taken in so far."""
        self._writer.commit()

    def finish(self, info: dict[str, Any]) -> None:
        """End the result: from now on it is read in place of an earlier one."""
        self.flush()
        for table in self._writer.tables.values():
            table.create()  # also where no batch had a row for it
        entry = {"folder": self._entry["folder"], "tables": list(self._kind.tables), "info": info}
        self._results.enter(self._kind, self._scope, entry)

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        try:
            self.flush()
        finally:
            if self._lock:
                release_writer(self._lock, self)


def pack_arrays(arrays: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Named arrays as rows ``name, dtype, shape, data`` (little-endian bytes in C order).

    Raises
    ------
    ValueError
        For an array of anything but booleans and numbers.
    """
    rows = []
    for name, value in arrays.items():
        array = np.asarray(value)
        array = array.astype(array.dtype.newbyteorder("<"))
        if not _DTYPE.fullmatch(array.dtype.str):
            raise ValueError(f"array {name!r} is of type {array.dtype}; only booleans and numbers are stored")
        rows.append((name, array.dtype.str, list(array.shape), array.tobytes()))
    return pd.DataFrame(rows, columns=["name", "dtype", "shape", "data"])


def unpack_arrays(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """The arrays of such rows by name. Raises ``ValueError`` for a type that is no plain number."""
    found: dict[str, np.ndarray] = {}
    for name, dtype, shape, data in frame.itertuples(index=False, name=None):
        if not _DTYPE.fullmatch(dtype):
            raise ValueError(f"array {name!r} claims the type {dtype!r}")
        found[name] = np.frombuffer(data, np.dtype(dtype)).reshape(shape).copy()
    return found


# -- tables ---------------------------------------------------------------------------------------------------------


def _make_schema(kind: ResultKind, table: str, with_batch: bool = False) -> pa.Schema:
    fields = [pa.field(c.name, _TYPES[c.kind], metadata={"comment": c.comment}) for c in kind.tables[table]]
    return pa.schema([_BATCH, *fields] if with_batch else fields)


def _table(folder: Folder, name: str, schema: pa.Schema) -> Table:
    return Table(folder.child(f"{name}.lance").uri, schema)


def _marks_table(folder: Folder) -> Table:
    return _table(folder, "finished", _MARKS)


def _to_arrow(frame: pd.DataFrame, kind: ResultKind, table: str) -> pa.Table:
    if table not in kind.tables:
        raise ValueError(f"{kind.name} declares no table {table!r}; it has {', '.join(kind.tables)}")
    columns = kind.tables[table]
    if set(frame.columns) != {column.name for column in columns}:
        names = ", ".join(column.name for column in columns)
        raise ValueError(f"table {table!r} has the columns {', '.join(map(str, frame.columns))}, not {names}")
    arrays = [_to_array(frame[column.name], column, table) for column in columns]
    return pa.Table.from_arrays(arrays, schema=_make_schema(kind, table))


def _to_array(values: pd.Series, column: Column, table: str) -> pa.Array:
    if column.kind.startswith("float"):
        return pa.array(values.to_numpy(dtype=_TYPES[column.kind].to_pandas_dtype(), na_value=np.nan))
    cells = [None if _is_missing(each) else each for each in values.tolist()]
    if column.kind == "json":
        cells = [encode_json(each) for each in cells]
    try:
        return pa.array(cells, _TYPES[column.kind])
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise ValueError(f"{table}.{column.name} holds no {column.kind} ({error})") from error


def _is_missing(cell: Any) -> bool:
    with suppress(TypeError, ValueError):  # a list or an array is no missing value
        return bool(cell is None or cell is pd.NA or cell != cell)
    return False


def _read_whole(folder: Folder, kind: ResultKind, table: str) -> pd.DataFrame:
    found = _table(folder, table, pa.schema([])).open()
    if found is None:
        raise FileNotFoundError(f"{folder.uri}/{table}.lance")
    return _to_frame(found.to_table(scan_in_order=True), kind, table)


def _read_growing(folder: Folder, kind: ResultKind, table: str) -> pd.DataFrame:
    marks = _marks_table(folder).open()  # before the rows: what it names is whole in them
    found = _table(folder, table, pa.schema([])).open()
    if marks is None or found is None:
        return _to_frame(_make_schema(kind, table).empty_table(), kind, table)
    finished = marks.to_table().column("batch")
    rows = found.to_table(scan_in_order=True)
    return _to_frame(rows.filter(pc.is_in(rows.column("batch"), finished.combine_chunks())), kind, table)


def _to_frame(rows: pa.Table, kind: ResultKind, table: str) -> pd.DataFrame:
    """The declared columns that are there; lists and JSON as Python values, also where JSON text stands for a list."""
    declared = {column.name: column.kind for column in kind.tables[table]}
    names = [name for name in rows.column_names if name in declared]
    nested = [name for name in names if declared[name] == "json" or declared[name].startswith("list")]
    frame = rows.select([name for name in names if name not in nested]).to_pandas()
    for name in nested:
        values = rows.column(name).to_pylist()
        if not pa.types.is_list(rows.schema.field(name).type):
            values = [None if each is None else json.loads(each) for each in values]
        frame[name] = pd.Series(values, dtype=object, index=frame.index if len(frame.columns) else None)
    return frame[names]
