"""``gsd export``: a run's tables as csv, parquet or jsonl, its vectors as npz or parquet.

run_export    one table (or the vectors, or the report) to one file, whole or not at all
write_table   a frame to a file by its ending
write_npz     arrays to an npz, the big one streamed in blocks
whole_file    a file that appears whole or not at all

A csv holds texts as they are. Open one that came from somebody else's data as *text* in a spreadsheet: a cell
that begins with ``=`` would be taken for a formula.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gsd_core.console.output import compute_json_value
from gsd_core.console.progress import Progress
from gsd_core.errors import UserError
from gsd_core.stages.run_reading import get_checkpoint
from gsd_core.stages.run_tables import compute_cluster_table, compute_span_table, compute_token_table
from gsd_core.stages.structure_stage import compute_stress_table, compute_twin_table

if TYPE_CHECKING:
    from gsd_core.store import Run, Workspace

TABLE_ENDINGS = (".csv", ".parquet", ".jsonl")
VECTOR_ENDINGS = (".npz", ".parquet")
ENDINGS = {"vectors": VECTOR_ENDINGS, "report": (".html",)}
_BLOCK_ROWS = 8192
_SIMPLE_TABLES: dict[str, Callable[[Run, str], pd.DataFrame]] = {
    "clusters": compute_cluster_table,
    "twins": compute_twin_table,
    "rewordings": partial(compute_twin_table, other_words=True),
    "stresses": compute_stress_table,
}


def run_export(
    workspace: Workspace,
    name: str,
    *,
    what: str,
    out: str | Path,
    sample: str | None = None,
    checkpoint: str | None = None,
    progress: Progress,
) -> dict[str, Any]:
    """Write ``what`` ("spans", "clusters", "twins", "rewordings", "stresses", "tokens", "vectors", "report") of run
    ``name`` to ``out``.

    ``checkpoint`` None is the run's default; "all" puts every checkpoint's spans, clusters, twins, rewordings or
    stresses below one another. Returns ``out, rows, what, checkpoint`` and, for spans, ``unmatched`` (samples whose
    list in a per-step ``meta`` field has another length than they have spans). Raises ``UserError`` for what is
    unknown and for endings that ``what`` has no form for.
    """
    path = Path(out)
    endings = ENDINGS.get(what, TABLE_ENDINGS)
    if path.suffix.lower() not in endings:
        raise UserError(
            f"no format for the ending {path.suffix!r}", f"--out {out}", f"{what} go to {', '.join(endings)}"
        )
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UserError("cannot write there", f"--out {out}", "give a file in a folder that exists")
    run = workspace.open_run(name)
    has_all = (
        checkpoint == "all" and (what == "spans" or what in _SIMPLE_TABLES) and "all" not in run.checkpoints
    )
    names = list(run.checkpoints) if has_all else [get_checkpoint(run, checkpoint)]
    result: dict[str, Any] = {
        "out": str(out),
        "rows": 0,
        "what": what,
        "checkpoint": "all" if has_all else names[0],
    }
    stage = progress.stage(f"export {what}", unit="rows")
    if what == "vectors":
        result["rows"] = _write_vectors(run, names[0], path, stage.update)
    elif what == "report":
        result["rows"] = _write_report(workspace, name, names[0], path)
    elif what == "tokens":
        if sample is None:
            raise UserError("which sample?", "--what tokens", "add --sample ID")
        result |= {"rows": write_table(compute_token_table(run, names[0], sample), path), "sample": sample}
    elif what in _SIMPLE_TABLES:
        table = pd.concat([_SIMPLE_TABLES[what](run, each) for each in names], ignore_index=True)
        result["rows"] = write_table(table, path)
    elif what == "spans":
        parts = [compute_span_table(run, each) for each in names]
        table = pd.concat([part for part, _ in parts], ignore_index=True)
        result |= {"rows": write_table(table, path), "unmatched": {k: n for k, n in parts[0][1].items() if n}}
    else:
        raise UserError(
            f"cannot export {what!r}",
            "--what",
            "one of spans, clusters, twins, rewordings, stresses, vectors, tokens, report",
        )
    stage.update(result["rows"])
    return result


def _write_report(workspace: Workspace, name: str, checkpoint: str, path: Path) -> int:
    """The report is made of the pages' figures, which this room must not import: a process of its own writes it."""
    words = [
        sys.executable,
        "-m",
        "gsd_core.dashboard.report.report_page",
        str(workspace.uri),
        name,
        checkpoint,
        str(path),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode == 2:
        raise UserError(done.stderr.strip().splitlines()[-1].removeprefix("error: "), f"run {name}", "")
    if done.returncode:
        raise RuntimeError(f"the report failed: {done.stderr.strip()}")
    return int(json.loads(done.stdout)["rows"])


def write_table(frame: pd.DataFrame, path: Path) -> int:
    """Write ``frame`` as its ending says, to a partial name first; returns the number of rows.

    jsonl keeps lists and mixed types; csv and parquet hold lists, objects and columns of mixed types as JSON
    text.
    """
    ending = path.suffix.lower()
    with whole_file(path) as partial:
        if ending == ".jsonl":
            columns = list(frame.columns)
            with partial.open("w", encoding="utf-8", newline="\n") as file:
                for row in frame.itertuples(index=False, name=None):
                    cells = {column: _plain(cell) for column, cell in zip(columns, row, strict=True)}
                    file.write(
                        json.dumps(compute_json_value(cells), allow_nan=False, ensure_ascii=False) + "\n"
                    )
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


def _write_vectors(run: Run, checkpoint: str, path: Path, report: Callable[[int, int], None]) -> int:
    ids = run.read_spans(checkpoint, columns=["span"])["span"].tolist()
    sketch = run.manifest.get("sketch") or {}
    layers = sketch.get("layers") or []
    width = int(run.read_vectors(checkpoint, 0, 1).shape[1]) if ids else int(sketch.get("width") or 0)

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, len(ids), _BLOCK_ROWS):
            stop = min(start + _BLOCK_ROWS, len(ids))
            yield run.read_vectors(checkpoint, start, stop)
            report(stop, len(ids))

    if path.suffix.lower() == ".npz":
        small = {
            "spans": np.asarray(ids, dtype=np.str_),
            "layer_slices": np.asarray([layer[1:3] for layer in layers], dtype=np.int64).reshape(-1, 2),
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
            values = [_as_json_text(value) for value in values]
        flat[column] = pd.Series(values, dtype=object, index=flat.index)
    return flat


def _as_json_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(compute_json_value(value), allow_nan=False, ensure_ascii=False)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A partial name beside ``path`` that becomes ``path`` when all went well, and vanishes when not."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise UserError(
            f"cannot write ({error.strerror or error})", str(path), "give another --out"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
