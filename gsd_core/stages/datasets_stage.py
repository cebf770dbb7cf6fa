"""``gsd datasets …``: files and hub ids into the workspace, every unusable row told.

run_datasets_add      read a source, store its samples
run_datasets_preview  what the reader understands of a source; stores nothing
run_datasets_list     the workspace's data sets
run_datasets_show     one data set with its first samples
run_datasets_remove   delete one
compute_sample_view   a sample as JSON shows it
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsd_core.console.progress import Progress
from gsd_core.dataset.fields import parse_map_flag
from gsd_core.dataset.load import preview_dataset
from gsd_core.driver.stored_data import add_dataset
from gsd_core.types import Sample

if TYPE_CHECKING:
    from gsd_core.store import Workspace


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
    """Read ``source`` and store all of its samples, or none.

    Returns ``dataset, format, fields, columns, n_samples, n_rejected, rejected, warnings``. Raises as `add_dataset`.
    """
    dataset, loaded = add_dataset(
        workspace,
        source,
        name=name,
        map_flag=map_flag,
        strict=strict,
        replace=replace,
        progress=progress,
    )
    return {
        "dataset": dataset,
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
