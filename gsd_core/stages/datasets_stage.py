"""``gsd datasets …``: files and hub ids into the workspace, every unusable row told.

run_datasets_add      read a source, store its samples
run_datasets_preview  what the reader understands of a source; stores nothing
run_datasets_list     the workspace's data sets
run_datasets_show     one data set with its first samples
run_datasets_remove   delete one
resolve_dataset       NAME or FILE → the name of a stored data set
make_dataset_name     a valid name from a file's or hub id's stem
"""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsd_core.console.progress import Progress
from gsd_core.dataset.fields import parse_map_flag
from gsd_core.dataset.hub import looks_like_hub_id
from gsd_core.dataset.load import LoadedDataset, load_dataset, preview_dataset
from gsd_core.errors import UserError
from gsd_core.types import Sample, name_is_valid

if TYPE_CHECKING:
    from gsd_core.store import Workspace

_FILE_ENDINGS = (
    ".gz",
    ".zst",
    ".zstd",
    ".jsonl",
    ".ndjson",
    ".json",
    ".csv",
    ".tsv",
    ".txt",
    ".parquet",
    ".pq",
)


def run_datasets_add(
    workspace: Workspace,
    source: str | Path,
    *,
    name: str | None = None,
    map_flag: str | None = None,
    strict: bool = False,
    replace: bool = False,
    progress: Progress,
) -> dict[str, Any]:
    """Read ``source`` and store its samples whole.

    Returns ``dataset, format, fields, columns, n_samples, n_rejected, rejected, warnings``. Raises ``UserError`` for a
    source that cannot be read, holds no usable row, or whose name is taken by other content.
    """
    if name is not None and not name_is_valid(name):
        raise UserError(
            f"{name!r} is not a valid name", "--name", "letters, digits, '.', '_' and '-', at most 64"
        )
    chosen = name or make_dataset_name(str(source))
    stage = progress.stage("reading", unit="rows")
    loaded = load_dataset(
        source, map=parse_map_flag(map_flag) if map_flag else None, strict=strict, on_progress=stage.update
    )
    stage.update(len(loaded.samples) + len(loaded.rejected))
    stage.finish()
    info = workspace.write_dataset(chosen, loaded.samples, _make_info(loaded), replace=replace)
    return {
        "dataset": info.name,
        "format": loaded.format,
        "fields": loaded.fields,
        "columns": loaded.columns,
        "n_samples": len(loaded.samples),
        "n_rejected": len(loaded.rejected),
        "rejected": [asdict(rejection) for rejection in loaded.rejected],
        "warnings": loaded.notes,
    }


def run_datasets_preview(
    source: str | Path, *, head: int = 20, map_flag: str | None = None
) -> dict[str, Any]:
    """What the reader makes of the first ``head`` rows.

    Returns ``format, columns, fields, n_samples, n_rejected, rejected, samples, warnings``; counts are of the
    rows read.
    """
    loaded = preview_dataset(source, head=head, map=parse_map_flag(map_flag) if map_flag else None)
    warnings = list(loaded.notes)
    if not loaded.samples:
        warnings.append(f"none of the first {head} rows can be used; name the columns with --map")
    return {
        "format": loaded.format,
        "columns": loaded.columns,
        "fields": loaded.fields,
        "n_samples": len(loaded.samples),
        "n_rejected": len(loaded.rejected),
        "rejected": [asdict(rejection) for rejection in loaded.rejected],
        "samples": [compute_sample_view(sample) for sample in loaded.samples],
        "warnings": warnings,
    }


def run_datasets_list(workspace: Workspace) -> dict[str, Any]:
    """Returns ``datasets: [{name, n_samples, n_tokens, n_words, n_rejected, format, source, created}]``."""
    keys = (
        "name",
        "n_samples",
        "n_tokens",
        "n_words",
        "n_rejected",
        "format",
        "source",
        "created",
        "problem",
    )
    return {
        "datasets": [{key: getattr(info, key, None) for key in keys} for info in workspace.list_datasets()]
    }


def run_datasets_show(workspace: Workspace, name: str, *, head: int = 3) -> dict[str, Any]:
    """One data set: what is known of it, its rejected rows, its first ``head`` samples."""
    info = workspace.open_dataset(name)
    keys = (
        "n_samples",
        "n_rejected",
        "n_tokens",
        "n_words",
        "data_hash",
        "format",
        "fields",
        "source",
        "created",
    )
    return {
        "dataset": info.name,
        **{key: getattr(info, key, None) for key in keys},
        "rejected": list(info.rejected),
        "samples": [compute_sample_view(sample) for sample in workspace.read_samples(name, head=head)],
    }


def run_datasets_remove(workspace: Workspace, name: str) -> dict[str, Any]:
    """Delete the data set ``name``. Runs captured from it keep their own copy of the samples."""
    workspace.open_dataset(name)
    workspace.remove_dataset(name)
    return {"dataset": name, "removed": True}


def resolve_dataset(
    workspace: Workspace, name_or_file: str, *, map_flag: str | None = None, progress: Progress
) -> str:
    """Name of the stored data set that ``name_or_file`` means.

    A stored data set's name comes first, then a file (added under its stem), then a hub id. Raises
    ``UserError`` naming both readings where none fits.
    """
    known = [info.name for info in workspace.list_datasets()]
    if name_or_file in known and map_flag is None:
        return name_or_file
    if Path(name_or_file).exists() or looks_like_hub_id(name_or_file):
        return str(run_datasets_add(workspace, name_or_file, map_flag=map_flag, progress=progress)["dataset"])
    if name_or_file in known:
        raise UserError(
            "--map corrects a file's columns", f"--dataset {name_or_file}", "add the file again with it"
        )
    raise UserError(
        "no data set and no file of this name",
        name_or_file,
        f"data sets here: {', '.join(known)}" if known else "gsd datasets add FILE stores one",
    )


def make_dataset_name(source: str) -> str:
    """A valid data set name from the stem of a path or the last part of a hub id."""
    is_hub = source.startswith("hub:")
    stem = source.removeprefix("hub:").split("@")[0].rstrip("/").replace("\\", "/").rsplit("/", 1)[-1]
    if is_hub:
        stem = stem.split(":")[0]
    while stem.lower().endswith(_FILE_ENDINGS):
        stem = stem[: stem.rindex(".")]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:64]
    if not name_is_valid(name):
        raise UserError("no data set name can be made of this", source, "give one with --name")
    return name


def compute_sample_view(sample: Sample) -> dict[str, Any]:
    """A sample as JSON shows it: ``id, question, reasoning, answer, steps`` (texts) ``, meta``."""
    return {
        "id": sample.id,
        "question": sample.question,
        "reasoning": sample.reasoning,
        "answer": sample.answer,
        "steps": [sample.reasoning[start:end] for start, end in sample.steps],
        "meta": sample.meta,
    }


def _make_info(loaded: LoadedDataset) -> dict[str, Any]:
    return {
        "format": loaded.format,
        "fields": loaded.fields,
        "columns": loaded.columns,
        "data_hash": loaded.data_hash,
        "source": loaded.source,
        "n_rejected": len(loaded.rejected),
        "rejected": [asdict(rejection) for rejection in loaded.rejected],
    }
