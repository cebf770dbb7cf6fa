"""Data sets of a workspace: store what a file or hub id holds, find the one that a name means.

add_dataset        read a source and store its samples
describe_loaded    how a source was understood
resolve_dataset    NAME or FILE → the name of a stored data set
check_name         refuses what is not a valid name
make_dataset_name  a valid name from a file's or hub id's stem
"""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsd_core.console.progress import Progress
from gsd_core.dataset.fields import parse_map_flag
from gsd_core.dataset.hub import looks_like_hub_id
from gsd_core.dataset.load import Choices, LoadedDataset, load_dataset
from gsd_core.errors import UserError
from gsd_core.types import name_is_valid

if TYPE_CHECKING:
    from gsd_core.store import Workspace

_FILE_ENDINGS = (".gz", ".zst", ".zstd", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt", ".parquet", ".pq")


def add_dataset(
    workspace: Workspace,
    source: str | Path,
    *,
    name: str | None = None,
    map_flag: str | None = None,
    strict: bool = False,
    replace: bool = False,
    choices: Choices | None = None,
    progress: Progress,
) -> tuple[str, LoadedDataset]:
    """Read ``source`` and store all of its samples, or none; the data set's name, and what was read.

    Raises ``UserError`` for a source that cannot be read, holds no usable row, or whose name other data has.
    """
    chosen = make_dataset_name(str(source)) if name is None else check_name(name, "--name")
    stage = progress.stage("reading", unit="rows")
    loaded = load_dataset(
        source,
        map=parse_map_flag(map_flag) if map_flag else None,
        strict=strict,
        choices=choices,
        on_progress=stage.update,
    )
    stage.update(len(loaded.samples) + len(loaded.rejected))
    stage.finish()
    info = {**describe_loaded(loaded), "data_hash": loaded.data_hash, "source": loaded.source}
    with progress.stage("storing", len(loaded.samples), "samples") as stage:
        stored = workspace.write_dataset(chosen, loaded.samples, info, replace, on_progress=stage.update)
    return stored.name, loaded


def describe_loaded(loaded: LoadedDataset) -> dict[str, Any]:
    """How a source was understood, as JSON: ``format, fields, columns, n_rejected, rejected``."""
    told = {key: getattr(loaded, key) for key in ("format", "fields", "columns")}
    return {**told, "n_rejected": len(loaded.rejected), "rejected": [asdict(each) for each in loaded.rejected]}


def resolve_dataset(workspace: Workspace, name_or_file: str, *, map_flag: str | None = None, progress: Progress) -> str:
    """Name of the stored data set that ``name_or_file`` means.

    A stored data set of that name is used first, then a file (stored under its stem), then a hub id. Raises
    ``UserError`` that lists the stored data sets where none fits.
    """
    known = [info.name for info in workspace.list_datasets()]
    if name_or_file in known and map_flag is None:
        return name_or_file
    if Path(name_or_file).exists() or looks_like_hub_id(name_or_file):
        return add_dataset(workspace, name_or_file, map_flag=map_flag, progress=progress)[0]
    if name_or_file in known:
        raise UserError("--map corrects a file's columns", f"--dataset {name_or_file}", "add the file again with it")
    raise UserError(
        "no data set and no file of this name",
        name_or_file,
        f"data sets here: {', '.join(known)}" if known else "gsd datasets add FILE stores one",
    )


def check_name(name: str, where: str) -> str:
    """``name`` if a run or data set can have it. Raises ``UserError`` for the flag or parameter ``where``."""
    if not name_is_valid(name):
        raise UserError(f"{name!r} is not a valid name", where, "letters, digits, '.', '_' and '-', at most 64")
    return name


def make_dataset_name(source: str) -> str:
    """A valid data set name from the stem of a path or the last part of a hub id."""
    stem = source.removeprefix("hub:").split("@")[0].rstrip("/").replace("\\", "/").rsplit("/", 1)[-1]
    if source.startswith("hub:"):
        stem = stem.split(":")[0]
    while stem.lower().endswith(_FILE_ENDINGS):
        stem = stem[: stem.rindex(".")]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:64]
    if not name_is_valid(name):
        raise UserError("no data set name can be made of this", source, "give one with --name")
    return name
