"""Structure of a run, stored whole: stresses, twins and what pages show of them, one set of tables a checkpoint.

write_tables    tables of plain columns into a new folder; returns its name
read_table      one of them back
STRUCTURE_KEY   where the run's document names the folders
TIMELINE        beside the names of checkpoints, that of a run's timeline
EVIDENCE        the same of what labels bear out
EXACT           the same of cosines without a sketch

A folder is written once and never changed; it counts from the moment the run's document names it. What a table
holds is the business of the stage that writes it: columns are text, integers, floats or booleans, and nested values are
JSON text.
"""

from __future__ import annotations

import re
import uuid

import pandas as pd
import pyarrow as pa
from pandas.api import types as kinds

from gsd_core.store.files import Folder
from gsd_core.store.tables import Table

STRUCTURE_KEY = "structure"
TIMELINE, EVIDENCE, EXACT = "*timeline*", "*evidence*", "*exact*"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")  # a table's name becomes a folder's name


def _to_column(values: pd.Series, what: str) -> pa.Array:
    if kinds.is_bool_dtype(values.dtype):
        return pa.array(values.tolist(), pa.bool_())
    if kinds.is_integer_dtype(values.dtype):
        return pa.array([None if pd.isna(each) else int(each) for each in values], pa.int64())
    if kinds.is_float_dtype(values.dtype):
        return pa.array(values.to_numpy(dtype="float64"), pa.float64())
    cells = [None if each is None or each is pd.NA or each != each else each for each in values]
    if all(each is None or isinstance(each, str) for each in cells):
        return pa.array(cells, pa.large_string())  # also where no row tells the kind
    try:
        column = pa.array(cells)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ValueError(f"{what} mixes kinds of values ({error}); nested ones go in as JSON text") from error
    if pa.types.is_nested(column.type):
        raise ValueError(f"{what} holds nested values; they go in as JSON text")
    return column


def write_tables(folder: Folder, tables: dict[str, pd.DataFrame]) -> str:
    """Store ``tables`` below ``folder``; returns the name of their new folder.

    Raises
    ------
    ValueError
        For a table without columns, an unfit name, and values that are not plain.
    """
    columns: dict[str, pa.Table] = {}
    for name, frame in tables.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"a table cannot be called {name!r}")
        if not len(frame.columns):
            raise ValueError(f"table {name!r} has no columns")
        columns[name] = pa.table({str(key): _to_column(frame[key], f"{name}.{key}") for key in frame.columns})
    new = uuid.uuid4().hex
    for name, table in columns.items():
        _table(folder.child(new), name, table.schema).append(table)
    return new


def read_table(folder: Folder, name: str) -> pd.DataFrame:
    """Table ``name`` in ``folder``, rows in the order they were written. ``FileNotFoundError`` when it is gone."""
    table = _table(folder, name, pa.schema([])).open()
    if table is None:
        raise FileNotFoundError(f"{folder.uri}/{name}.lance")
    return table.to_table(scan_in_order=True).to_pandas()


def _table(folder: Folder, name: str, schema: pa.Schema) -> Table:
    return Table(folder.child(f"{name}.lance").uri, schema)
