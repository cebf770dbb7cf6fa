"""Results of methods on a run: tables with declared columns, written whole or in batches.

Results        the results of one run: list, read, write, drop
ResultWriter   writes a result in batches and resumes after a kill
take_out       remove a result and its dependants from a run's document
pack_arrays, unpack_arrays   named arrays → rows of a table, and back

Each result has its own folder, which is valid once the run's document names it. So a kill leaves the earlier result or
the new one. An unfinished result is listed apart. Until it is finished, readers see the earlier result or, without
one, the finished batches.
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
_DTYPE = re.compile(r"[<|][biuf]\d{1,2}")  # no objects: unpickling could run code
_BATCH = pa.field("batch", pa.int32(), nullable=False, metadata={"comment": "batch of a result written in batches"})
_MARKS = pa.schema([_BATCH])


class Results:
    """The results of one run; ``run.results``.

    ``checkpoint`` None is the run's default checkpoint. It is ignored for a kind that is not ``is_by_checkpoint``.
    """

    def __init__(self, folder: Folder, document: RunDocument, name: str, pick_checkpoint: Callable[[], str]) -> None:
        self._folder, self._document, self._name, self._pick = folder, document, name, pick_checkpoint

    def has(self, kind: ResultKind, checkpoint: str | None = None) -> bool:
        """Whether a finished result of this kind is stored."""
        return self._find(RESULTS_KEY, kind, checkpoint) is not None

    def names(self) -> list[str]:
        """Names of all kinds with a finished result."""
        return [name for name, found in self._document.store()[RESULTS_KEY].items() if found]

    def infos(self, name: str) -> dict[str, dict[str, Any]]:
        """Checkpoint → info of every finished result ``name``; ``""`` for a result of the run."""
        found = self._document.store()[RESULTS_KEY].get(name) or {}
        return copy.deepcopy({scope: each["info"] for scope, each in found.items()})

    def info(self, kind: ResultKind, checkpoint: str | None = None) -> dict[str, Any]:
        """The ``info`` of a result, as a copy. Raises ``UserError`` if there is no such result."""
        return copy.deepcopy(self._get(kind, checkpoint)["info"])

    def tables(self, kind: ResultKind, checkpoint: str | None = None) -> list[str]:
        """Names of the stored tables; empty if there is no such result."""
        return list((self._find(RESULTS_KEY, kind, checkpoint) or {}).get("tables") or [])

    def read(self, kind: ResultKind, table: str, checkpoint: str | None = None) -> pd.DataFrame:
        """A table in the order of writing. An unfinished first result gives its finished batches.

        Columns of lists and of JSON hold Python values.

        Raises
        ------
        UserError
            If there is no such result, or it has no such table.
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
                    raise  # it was not replaced meanwhile, so it is broken

    def write(
        self,
        kind: ResultKind,
        tables: Mapping[str, pd.DataFrame],
        info: dict[str, Any],
        checkpoint: str | None = None,
    ) -> None:
        """Store a result whole and replace an earlier one. Results that need the earlier one are dropped.

        ``tables`` may lack some of the declared tables. ``info`` is a dict of JSON values.

        Raises
        ------
        ValueError
            For an undeclared table, for other columns than declared, or for a value of another kind.
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

    def open_writer(self, kind: ResultKind, settings: dict[str, Any], checkpoint: str | None = None) -> ResultWriter:
        """Start a result that is written in batches, or continue an unfinished one with the same ``settings``.

        An unfinished result with other settings is discarded.

        Raises
        ------
        UserError
            If another process writes this result.
        """
        plain = json.loads(encode_json(settings))
        entry = self._find(GROWING_KEY, kind, checkpoint)
        if entry is None or entry["settings"] != plain:
            entry = {"folder": f"{RESULTS_FOLDER}/{uuid.uuid4().hex}", "settings": plain}
            self.enter(kind, checkpoint, entry, GROWING_KEY)
        return ResultWriter(self, kind, self._scope(kind, checkpoint), entry)

    def drop(self, kind: ResultKind, checkpoint: str | None = None) -> None:
        """Remove a result, finished or not, and the results that need it, if there is one."""
        for key in (RESULTS_KEY, GROWING_KEY):
            self.enter(kind, checkpoint, None, key)

    # -- inside ---------------------------------------------------------------------------------------------------

    def folder_of(self, entry: dict[str, Any]) -> Folder:
        """The folder of a result."""
        return self._folder.child(*entry["folder"].split("/"))

    def enter(
        self, kind: ResultKind, checkpoint: str | None, entry: dict[str, Any] | None, key: str = RESULTS_KEY
    ) -> None:
        """List a result in the document (None: remove it) in one step, then delete the folders that it replaces."""
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
            raise UserError(what, self._where(kind, checkpoint), f"gsd {kind.made_by} {self._name} computes it")
        return entry

    def _where(self, kind: ResultKind, checkpoint: str | None) -> str:
        scope = self._scope(kind, checkpoint)
        return f"run {self._name}, checkpoint {scope}" if scope else f"run {self._name}"


def take_out(entries: dict[str, Any], name: str, scope: str) -> list[str]:
    """Remove a result and the results that need it, at one checkpoint, from ``entries``. Returns their folders."""
    entry = entries.get(name, {}).pop(scope, None)
    if entry is None:
        return []
    needing = [other for other, scopes in entries.items() if name in scopes.get(scope, {}).get("needs", ())]
    return [entry["folder"], *(folder for other in needing for folder in take_out(entries, other, scope))]


class ResultWriter:
    """Writes a result in batches: a context manager, made by ``Results.open_writer``.

    >>> with run.results.open_writer(SEGMENTS, {"steps": 50}) as writer:
    ...     for batch, rows in computed:
    ...         if batch not in writer.finished:
    ...             writer.append(batch, {"segments": rows})
    ...     writer.finish({"n_segments": 12})

    Without ``finish`` the batches are kept, and the next writer with the same settings continues.
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
        self._writer = BatchWriter(tables, _table(folder, "finished", _MARKS))
        self._writer.repair()

    @property
    def finished(self) -> set[int]:
        """Batches that are stored or buffered; leave them out."""
        return self._writer.known

    def append(self, batch: int, tables: Mapping[str, pd.DataFrame]) -> None:
        """Add one whole batch. The next commit or ``flush`` stores it.

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
        """Store all buffered batches."""
        self._writer.commit()

    def finish(self, info: dict[str, Any]) -> None:
        """Finish the result; it replaces an earlier one."""
        self.flush()
        for table in self._writer.tables.values():
            table.create()  # also if no batch had rows for it
        entry = {"folder": self._entry["folder"], "tables": list(self._kind.tables), "info": info}
        self._results.enter(self._kind, self._scope, entry)

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(self, *details: object) -> None:
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
        For an array that holds neither booleans nor numbers.
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
    """The arrays of such rows, by name. Raises ``ValueError`` for other types than booleans and numbers."""
    found: dict[str, np.ndarray] = {}
    for name, dtype, shape, data in frame.itertuples(index=False, name=None):
        if not _DTYPE.fullmatch(dtype):
            raise ValueError(f"array {name!r} has the type {dtype!r}; only booleans and numbers are read")
        found[name] = np.frombuffer(data, np.dtype(dtype)).reshape(shape).copy()
    return found


# -- tables ---------------------------------------------------------------------------------------------------------


def _make_schema(kind: ResultKind, table: str, with_batch: bool = False) -> pa.Schema:
    fields = [pa.field(c.name, _TYPES[c.kind], metadata={"comment": c.comment}) for c in kind.tables[table]]
    return pa.schema([_BATCH, *fields] if with_batch else fields)


def _table(folder: Folder, name: str, schema: pa.Schema) -> Table:
    return Table(folder.child(f"{name}.lance").uri, schema)


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
    with suppress(TypeError, ValueError):  # a list or an array is not a missing value
        return bool(cell is None or cell is pd.NA or cell != cell)
    return False


def _read_whole(folder: Folder, kind: ResultKind, table: str) -> pd.DataFrame:
    found = _table(folder, table, pa.schema([])).open()
    if found is None:
        raise FileNotFoundError(f"{folder.uri}/{table}.lance")
    return _to_frame(found.to_table(scan_in_order=True), kind, table)


def _read_growing(folder: Folder, kind: ResultKind, table: str) -> pd.DataFrame:
    marks = _table(
        folder, "finished", _MARKS
    ).open()  # before the rows, so that every batch named here is whole in them
    found = _table(folder, table, pa.schema([])).open()
    if marks is None or found is None:
        return _to_frame(_make_schema(kind, table).empty_table(), kind, table)
    finished = marks.to_table().column("batch")
    rows = found.to_table(scan_in_order=True)
    return _to_frame(rows.filter(pc.is_in(rows.column("batch"), finished.combine_chunks())), kind, table)


def _to_frame(rows: pa.Table, kind: ResultKind, table: str) -> pd.DataFrame:
    """The declared columns that are stored. Lists and JSON become Python values; older lists are JSON text."""
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
