"""Results of an analysis, stored whole beside the run.

write_findings   points, clusters and arrays of one checkpoint into a new folder; returns its name
read_points, read_clusters, read_arrays   back from such a folder

A folder is written once and never changed. It counts from the moment the run's document names it.
"""

from __future__ import annotations

import re
import uuid
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from gsd_core.store.files import Folder
from gsd_core.store.schema import CLUSTERS_COLUMNS, POINTS_COLUMNS, arrays_schema
from gsd_core.store.tables import Table

_DTYPE = re.compile(r"[<|][biuf]\d{1,2}")  # no objects: reading must never run anything


def _to_table(frame: pd.DataFrame, required: dict[str, pa.DataType], what: str) -> pa.Table:
    missing = [name for name in required if name not in frame.columns]
    if missing:
        raise ValueError(f"{what} lacks the columns {', '.join(missing)}")
    columns = {name: pa.array(frame[name].tolist(), kind) for name, kind in required.items()}
    for name in frame.columns:
        if name not in required:
            columns[str(name)] = pa.array(frame[name].tolist())
    return pa.table(columns)


def _table(folder: Folder, name: str, schema: pa.Schema | None = None) -> Table:
    return Table(folder.child(f"{name}.lance").uri, schema if schema is not None else pa.schema([]))


def write_findings(
    folder: Folder, points: pd.DataFrame, clusters: pd.DataFrame, arrays: dict[str, np.ndarray]
) -> str:
    """Store one analysis below ``folder``; returns the name of its new folder.

    ``points`` and ``clusters`` need ``schema.POINTS_COLUMNS`` and ``schema.CLUSTERS_COLUMNS`` and keep further
    columns of plain values. ``arrays`` are boolean, integer or float, of any shape.
    """
    rows = []
    for key, value in arrays.items():
        array = np.asarray(value)
        array = array.astype(array.dtype.newbyteorder("<"))
        if not _DTYPE.fullmatch(array.dtype.str):
            raise ValueError(f"array {key!r} is of type {array.dtype}; only booleans and numbers are stored")
        rows.append(
            {"name": key, "dtype": array.dtype.str, "shape": list(array.shape), "data": array.tobytes()}
        )
    frames = {
        "points": _to_table(points, POINTS_COLUMNS, "points"),
        "clusters": _to_table(clusters, CLUSTERS_COLUMNS, "clusters"),
        "arrays": pa.Table.from_pylist(rows, schema=arrays_schema()),
    }
    name = uuid.uuid4().hex
    target = folder.child(name)
    for what, table in frames.items():
        _table(target, what, table.schema).append(table)
    return name


def _read(folder: Folder, what: str) -> pa.Table:
    table = _table(folder, what).open()
    if table is None:
        raise FileNotFoundError(f"{folder.uri}/{what}.lance")
    return table.to_table(scan_in_order=True)


def read_points(folder: Folder) -> pd.DataFrame:
    """``span, x, y, cluster, probability`` and what else was stored, in the order it was written."""
    return _read(folder, "points").to_pandas()


def read_clusters(folder: Folder) -> pd.DataFrame:
    """``cluster, size, label, terms, exemplars`` and what else was stored; the last two hold lists of str."""
    rows = _read(folder, "clusters")
    frame = rows.drop_columns(["terms", "exemplars"]).to_pandas()
    for name in ("terms", "exemplars"):
        values = [each or [] for each in rows.column(name).to_pylist()]
        frame.insert(rows.column_names.index(name), name, pd.Series(values, dtype=object))
    return frame


def read_arrays(folder: Folder) -> dict[str, np.ndarray]:
    """The arrays by name."""
    found: dict[str, np.ndarray] = {}
    row: dict[str, Any]
    for row in _read(folder, "arrays").to_pylist():
        if not _DTYPE.fullmatch(row["dtype"]):
            raise ValueError(f"array {row['name']!r} claims the type {row['dtype']!r}")
        found[row["name"]] = np.frombuffer(row["data"], np.dtype(row["dtype"])).reshape(row["shape"]).copy()
    return found
