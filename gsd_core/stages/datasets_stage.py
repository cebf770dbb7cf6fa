"""``gsd datasets …``: data sets from files and hubs; every row that cannot be used is reported.

run_datasets_add      read a file or hub data set and store its samples
run_datasets_preview  how a file would be read; stores nothing
run_datasets_list     the workspace's data sets
run_datasets_show     one data set with its first samples
run_datasets_remove   delete a data set
compute_sample_view   a sample as JSON shows it
describe_add, describe_preview, describe_list, describe_show, describe_removal   the results as text
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gsd_core.console.output import SHOWN_ROWS, format_table, format_text
from gsd_core.console.progress import Progress
from gsd_core.dataset.fields import parse_map_flag
from gsd_core.dataset.load import Choices, preview_dataset
from gsd_core.driver.stored_data import add_dataset, describe_loaded
from gsd_core.methods.datasets_method import (
    DatasetsAddOptions,
    DatasetsListOptions,
    DatasetsPreviewOptions,
    DatasetsRemoveOptions,
    DatasetsShowOptions,
)
from gsd_core.types import Sample

if TYPE_CHECKING:
    from gsd_core.store import Workspace

_FACTS = ("n_samples", "n_tokens", "n_words", "n_rejected", "format", "source", "created")


def run_datasets_add(workspace: Workspace, options: DatasetsAddOptions, progress: Progress) -> dict[str, Any]:
    """Read a source and store all of its samples, or none.

    Returns ``dataset, format, fields, columns, n_samples, n_rejected, rejected, guesses, warnings``. Raises as
    `add_dataset`.
    """
    dataset, loaded = add_dataset(
        workspace,
        options.file,
        name=options.name,
        map_flag=options.map,
        strict=options.strict,
        replace=options.replace,
        choices=Choices(options.split, options.turns, options.marks),
        progress=progress,
    )
    told = {"dataset": dataset, "n_samples": len(loaded.samples)}
    told |= {"warnings": loaded.notes, "guesses": loaded.guesses}
    return {**told, **describe_loaded(loaded)}


def run_datasets_preview(workspace: None, options: DatasetsPreviewOptions, progress: Progress) -> dict[str, Any]:
    """What the reader makes of the first ``head`` rows.

    Returns ``format, columns, fields, n_samples, n_rejected, rejected, samples, guesses, warnings``; counts are of the
    rows read.
    """
    mapping = parse_map_flag(options.map) if options.map else None
    choices = Choices(options.split, options.turns, options.marks)
    loaded = preview_dataset(options.file, head=options.head, map=mapping, choices=choices)
    warnings = list(loaded.notes)
    if not loaded.samples:
        warnings.append(f"none of the first {options.head} rows can be used; name the columns with --map")
    return {
        **describe_loaded(loaded),
        "n_samples": len(loaded.samples),
        "samples": [compute_sample_view(sample) for sample in loaded.samples],
        "guesses": loaded.guesses,
        "warnings": warnings,
    }


def run_datasets_list(workspace: Workspace | None, options: DatasetsListOptions, progress: Progress) -> dict[str, Any]:
    """Returns ``datasets: [{name, n_samples, n_tokens, n_words, n_rejected, format, source, created}]``."""
    keys = ("name", *_FACTS, "problem")
    found = workspace.list_datasets() if workspace else []
    return {"datasets": [{key: getattr(info, key, None) for key in keys} for info in found]}


def run_datasets_show(workspace: Workspace, options: DatasetsShowOptions, progress: Progress) -> dict[str, Any]:
    """One data set: what is known of it, its rejected rows, its first ``head`` samples."""
    info = workspace.open_dataset(options.name)
    return {
        "dataset": info.name,
        **{key: getattr(info, key, None) for key in (*_FACTS, "data_hash", "fields")},
        "rejected": list(info.rejected),
        "samples": [compute_sample_view(sample) for sample in workspace.read_samples(options.name, head=options.head)],
    }


def run_datasets_remove(workspace: Workspace, options: DatasetsRemoveOptions, progress: Progress) -> dict[str, Any]:
    """Delete the data set ``name``. Runs captured from it keep their own copy of the samples."""
    workspace.open_dataset(options.name)
    workspace.remove_dataset(options.name)
    return {"dataset": options.name, "removed": True}


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


def describe_add(result: dict[str, Any]) -> str:
    """``gsd datasets add``: counts, what was understood, every rejected row (the first twenty)."""
    lines = [
        f"data set {result['dataset']}: {result['n_samples']:,} samples from {result['format']}, "
        f"{result['n_rejected']:,} rows rejected",
        _fields_line(result["fields"]),
        *_guess_lines(result["guesses"]),
        *_rejected_lines(result["rejected"]),
        *(f"note: {each}" for each in result["warnings"]),
    ]
    return "\n".join(lines)


def describe_preview(result: dict[str, Any]) -> str:
    """``gsd datasets preview``: columns, what was understood, the first samples."""
    lines = [
        f"{result['format']}, columns {format_text(', '.join(result['columns']), 400)}",
        _fields_line(result["fields"]),
        _samples_table(result["samples"]),
        *_guess_lines(result["guesses"]),
        *_rejected_lines(result["rejected"]),
        *(f"note: {each}" for each in result["warnings"]),
    ]
    return "\n".join(lines)


def describe_list(result: dict[str, Any]) -> str:
    """``gsd datasets list``: a table."""
    if not result["datasets"]:
        return "no data sets yet; gsd datasets add FILE stores one"
    keys = ("name", "n_samples", "n_words", "n_rejected", "format")
    rows = [[*(each[key] for key in keys), each["problem"] or each["source"]] for each in result["datasets"]]
    return format_table(("name", "samples", "words", "rejected", "format", "source"), rows, wide="source")


def describe_show(result: dict[str, Any]) -> str:
    """``gsd datasets show``: where it is from, its first samples, its rejected rows."""
    lines = [
        f"data set {result['dataset']}: {result['n_samples']:,} samples from {result['source']} "
        f"({result['format']}, {str(result['created'])[:19]})",
        _fields_line(result["fields"]),
        _samples_table(result["samples"]),
        *_rejected_lines(result["rejected"]),
    ]
    return "\n".join(lines)


def _guess_lines(guesses: Sequence[dict[str, Any]]) -> list[str]:
    """What was decided in rows, with the first such row."""
    if not guesses:
        return []
    rows = [[each["what"], each["rows"], each.get("row", ""), each.get("example", "")] for each in guesses]
    table = format_table(("decided by", "rows", "first row", "which became"), rows, wide="which became")
    return ["texts divided (--marks ignore leaves them whole):", table]


def _fields_line(fields: dict[str, Any]) -> str:
    parts = [f"{key} ← {value}" for key, value in fields.items() if value and key != "split"]
    return f"understood: {format_text(', '.join(parts), 400)}  (correct it with --map)"


def _samples_table(samples: Sequence[dict[str, Any]]) -> str:
    widths = {"question": 40, "reasoning": 200, "answer": 20}
    rows = [[each["id"], *(format_text(each[key], width) for key, width in widths.items())] for each in samples]
    return format_table(("id", *widths), rows, wide="reasoning")


def _rejected_lines(rejected: Sequence[dict[str, Any]]) -> list[str]:
    if not rejected:
        return []
    rows = [[each["row"], each["reason"]] for each in rejected[:SHOWN_ROWS]]
    more = len(rejected) - len(rows)
    lines = ["rows that cannot be used:", format_table(("row", "reason"), rows, wide="reason")]
    return [*lines, f"… and {more:,} more; --json has them all"] if more else lines


def describe_removal(result: dict[str, Any]) -> str:
    """``gsd datasets remove``: what is gone, and what stays."""
    return f"data set {result['dataset']} removed (runs keep their own copy of its samples)"
