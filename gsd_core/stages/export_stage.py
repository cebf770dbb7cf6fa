"""``gsd export``: a run's tables as csv, parquet or jsonl, its directions as npz or parquet.

run_export       one table, the directions or the report in one file, written whole
write_vectors    directions of a checkpoint, in batches
write_table      a frame to a file, by its ending
write_npz        arrays to an npz, the largest one in blocks
describe_export  the result as text

A csv holds texts as they are. In a spreadsheet, import such a file as *text*: a cell that begins with ``=`` would be
read as a formula.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gsd_core.console.files import whole_file
from gsd_core.console.output import format_json
from gsd_core.console.progress import Progress
from gsd_core.errors import UserError
from gsd_core.methods.export_method import ExportOptions
from gsd_core.registry.catalog import list_exports, load
from gsd_core.registry.method import Export, Method
from gsd_core.stages.run_reading import get_checkpoint, get_layers

if TYPE_CHECKING:
    from gsd_core.store import Run, Workspace

_BLOCK_ROWS = 8192


def run_export(workspace: Workspace, options: ExportOptions, progress: Progress) -> dict[str, Any]:
    """Write a table of a run, its vectors or its report to a file.

    ``checkpoint`` None is the run's default; "all" puts the tables of every checkpoint below one another. Returns
    ``out, rows, what, checkpoint`` and, for spans, ``unmatched`` (samples whose list in a per-step ``meta`` field has
    another length than they have spans). Raises ``UserError`` for what is unknown and for endings that it has no form
    for.
    """
    method, export = list_exports()[options.what]
    path = options.out
    if path.suffix.lower() not in export.endings:
        fix = f"{export.name} go to {', '.join(export.endings)}"
        raise UserError(f"no format for the ending {path.suffix!r}", f"--out {path}", fix)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UserError("cannot write there", f"--out {path}", "give a file in a folder that exists")
    run = workspace.open_run(options.run)
    has_all = options.checkpoint == "all" and export.is_by_checkpoint and "all" not in run.checkpoints
    names = list(run.checkpoints) if has_all else [get_checkpoint(run, options.checkpoint)]
    stage = progress.stage(f"export {export.name}", unit="rows")
    more: dict[str, Any] = {}
    if export.write:
        n_rows = load(export.write)(run, names[0], path, stage.update)
    else:
        frames = [_compute(run, each, method, export, options.sample) for each in names]
        n_rows = write_table(pd.concat(frames, ignore_index=True), path)
        more = dict(frames[0].attrs)
    stage.update(n_rows)
    at = "all" if has_all else names[0]
    return {"out": str(path), "rows": n_rows, "what": export.name, "checkpoint": at, **more}


def _compute(run: Run, checkpoint: str, method: Method, export: Export, sample: str | None) -> pd.DataFrame:
    if not export.compute:
        kind = next(each for each in method.results if export.name in each.tables)
        return run.results.read(kind, export.name, checkpoint)
    if not export.needs_sample:
        return load(export.compute)(run, checkpoint)
    if sample is None:
        raise UserError("which sample?", f"--what {export.name}", "add --sample ID")
    return load(export.compute)(run, checkpoint, sample)


def write_table(frame: pd.DataFrame, path: Path) -> int:
    """Write ``frame`` as its ending says, to a partial name first; returns the number of rows.

    jsonl keeps lists and mixed types; csv and parquet hold lists, objects and columns of mixed types as JSON
    text.
    """
    ending = path.suffix.lower()
    with whole_file(path) as partial:
        if ending == ".jsonl":
            with partial.open("w", encoding="utf-8", newline="\n") as file:
                for row in frame.itertuples(index=False, name=None):
                    cells = {column: _plain(cell) for column, cell in zip(frame.columns, row, strict=True)}
                    file.write(format_json(cells, is_ascii=False) + "\n")
        elif ending == ".csv":
            _flatten_cells(frame).to_csv(partial, index=False, encoding="utf-8", lineterminator="\n")
        else:
            pq.write_table(pa.Table.from_pandas(_flatten_cells(frame), preserve_index=False), partial)
    return len(frame)


def write_npz(
    path: Path, small: dict[str, np.ndarray], name: str, shape: tuple[int, int], blocks: Iterator[np.ndarray]
) -> None:
    """An npz of the arrays ``small`` and a float32 array ``name`` of ``shape``, streamed from ``blocks``."""
    with whole_file(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_2_0(file, header)
            for block in blocks:
                file.write(np.ascontiguousarray(block, dtype="<f4").tobytes())
        for key, array in small.items():
            with archive.open(f"{key}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def write_vectors(run: Run, checkpoint: str, path: Path, report: Callable[[int, int], None]) -> int:
    ids = run.read_spans(checkpoint, columns=["span"])["span"].tolist()
    layers = get_layers(run)
    width = run.read_vectors(checkpoint, 0, 1).shape[1] if ids else (run.manifest.get("sketch") or {}).get("width") or 0

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, len(ids), _BLOCK_ROWS):
            stop = min(start + _BLOCK_ROWS, len(ids))
            yield run.read_vectors(checkpoint, start, stop)
            report(stop, len(ids))

    if path.suffix.lower() == ".npz":
        small = {
            "spans": np.asarray(ids, dtype=np.str_),
            "layer_slices": np.asarray([layer[1:] for layer in layers], dtype=np.int64).reshape(-1, 2),
            "layers": np.asarray([layer[0] for layer in layers], dtype=np.str_),
        }
        write_npz(path, small, "vectors", (len(ids), width), blocks())
        return len(ids)
    schema = pa.schema([("span", pa.string()), ("vector", pa.list_(pa.float32(), width))])
    with whole_file(path) as partial, pq.ParquetWriter(partial, schema) as writer:
        start = 0
        for block in blocks():
            flat = pa.array(np.ascontiguousarray(block, dtype=np.float32).ravel())
            column = pa.FixedSizeListArray.from_arrays(flat, width)
            writer.write_table(pa.table([pa.array(ids[start : start + len(block)]), column], schema=schema))
            start += len(block)
    return len(ids)


def _plain(cell: Any) -> Any:
    return None if cell is pd.NA or cell is pd.NaT else cell


def _flatten_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns that csv and parquet can hold: one kind of value each, lists and objects as JSON text."""
    flat = frame.copy()
    for column in flat.columns:
        if flat[column].dtype != object:
            continue
        values = [_plain(cell) for cell in flat[column]]
        kinds = {type(value) for value in values if value is not None}
        if kinds <= {str} or kinds <= {bool}:
            pass
        elif kinds <= {int} and all(value is None or abs(value) < 2**63 for value in values):
            pass  # beyond that no column type of parquet holds it
        elif kinds <= {int, float}:
            values = [None if value is None else float(value) for value in values]
        else:
            values = [
                value if value is None or isinstance(value, str) else format_json(value, False) for value in values
            ]
        flat[column] = pd.Series(values, dtype=object, index=flat.index)
    return flat


def describe_export(result: dict[str, Any]) -> str:
    """``gsd export``: where it went, and labels that do not fit."""
    lines = [f"{result['rows']:,} rows ({result['what']}, checkpoint {result['checkpoint']}) in {result['out']}"]
    for name, n in result.get("unmatched", {}).items():
        lines.append(f"note: {name} labels steps, but has another length in {n:,} samples, which stay without label")
    return "\n".join(lines)
