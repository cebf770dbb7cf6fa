"""``gsd import``: stored gradients of Bergson or LESS → a run that every command and page can read.

run_import       the command; it stores a whole run or nothing
describe_import  its result as text
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from gsd_core.capture.embeddings import load_sentence_encoder
from gsd_core.console.output import format_seconds
from gsd_core.console.progress import Progress
from gsd_core.dataset.saved import MACHINE_COLUMNS
from gsd_core.dataset.segmenters import make_segmenter
from gsd_core.driver.capture_run import RunSamples, describe_skipped, list_skipped, write_tables
from gsd_core.driver.capture_worker import peak_memory_bytes
from gsd_core.driver.run_sentences import read_known_vectors
from gsd_core.driver.stored_data import add_dataset, make_dataset_name, resolve_dataset
from gsd_core.errors import UserError
from gsd_core.importing.foreign_rows import MAX_WIDTH, DirectionLayout, ForeignStore
from gsd_core.importing.foreign_stores import check_alike, open_store
from gsd_core.importing.import_plan import (
    ImportOptions,
    make_import_manifest,
    make_import_name,
    match_rows,
    name_checkpoints,
)
from gsd_core.importing.import_records import Placed, iter_span_batches, iter_whole_batches
from gsd_core.importing.import_tokens import load_tokenizer, open_rows, place_sample, whole_sample
from gsd_core.store import Run, Workspace
from gsd_core.types import Sample, Skipped


def run_import(workspace: Workspace, options: ImportOptions, progress: Progress) -> dict[str, Any]:
    """Make a run of one or more foreign stores, each a checkpoint.

    Returns ``run, dataset, format, tier, checkpoints, n_samples, n_spans, n_skipped, skipped, stored_width,
    sketch_width, is_folded, layers, notes, seconds, peak_memory_bytes``. Raises ``UserError`` for a store that cannot
    be read, a data set of another size, an existing run, and where no sample could be matched.
    """
    started = time.monotonic()
    stores = [open_store(path, options.format) for path in options.paths]
    check_alike(stores)
    first = stores[0]
    checkpoints = name_checkpoints([store.path for store in stores], options.checkpoint)
    layout = DirectionLayout(first.modules, options.sketch_width or MAX_WIDTH, options.seed)
    dataset = _find_dataset(workspace, options, first, progress)
    name = make_import_name(options, dataset, first.format)
    _check_free(workspace, name)
    info = workspace.open_dataset(dataset)
    samples = workspace.read_samples(dataset)
    rejected = [int(each["row"]) for each in info.rejected]
    items, notes = match_rows(first.n_items, len(samples), rejected, str(first.path), dataset)
    notes = [*(note for store in stores for note in store.notes), *notes]
    placed, skipped, is_by_span = _place(first, samples, items, options, notes, progress)
    encoder = load_sentence_encoder(options.encoder)
    if layout.is_folded:
        notes.append(
            f"rows of {layout.stored_width:,} numbers were folded to {layout.width:,} (seeded sparse sign projection)"
        )
    manifest = make_import_manifest(options, info, len(samples), stores, layout, encoder, is_by_span, notes)
    manifest["checkpoints"] = [{"name": each, "step": step, "hash": ""} for each, step in checkpoints]
    run = workspace.create_run(name, manifest, layout.width, encoder.width)
    try:
        with run:
            known = read_known_vectors(workspace, name, manifest)
            tables = RunSamples(samples, [one for one, _, _ in placed], skipped)
            write_tables(run, tables, encoder, known, progress)
            iter_batches = iter_span_batches if is_by_span else iter_whole_batches
            for store, (checkpoint, step) in zip(stores, checkpoints, strict=True):
                with progress.stage(f"importing {checkpoint}", len(placed), "samples") as stage:
                    for batch, results in enumerate(iter_batches(store, layout, placed)):
                        run.append_batch(checkpoint, step, batch, results)
                        stage.advance(len(results))
            run.flush()
        run.update_manifest(status="captured", timing={"seconds": time.monotonic() - started})
    except BaseException:  # part of a run would look like a whole one
        workspace.remove_run(name)
        raise
    return {**_describe_run(run, layout), "n_samples": len(placed), "seconds": time.monotonic() - started}


def _describe_run(run: Run, layout: DirectionLayout) -> dict[str, Any]:
    manifest = run.manifest
    imported = manifest["imported"]
    return {
        "run": run.name,
        "dataset": manifest["dataset"]["name"],
        "format": imported["format"],
        "tier": manifest["tier"],
        "checkpoints": run.checkpoints,
        "n_spans": run.count_spans(run.default_checkpoint),
        **list_skipped(run),
        "stored_width": layout.stored_width,
        "sketch_width": layout.width,
        "is_folded": layout.is_folded,
        "layers": [block.layer for block in layout.blocks],
        "notes": imported["notes"],
        "peak_memory_bytes": peak_memory_bytes(),
    }


def _find_dataset(workspace: Workspace, options: ImportOptions, store: ForeignStore, progress: Progress) -> str:
    """The data set that was given, else the rows that a Bergson index stores with their text."""
    if options.dataset is not None:
        return resolve_dataset(workspace, options.dataset, map_flag=options.map, progress=progress)
    saved = open_rows(store)
    if saved is None or not set(saved.columns) - MACHINE_COLUMNS - {"loss", "advantage"}:
        raise UserError(
            "the store does not hold the texts of its rows" + ("" if saved is None else ", only their tokens"),
            str(store.path),
            "add --dataset with the file that it was made from",
        )
    name = options.run or make_dataset_name(str(store.path.absolute()))
    return add_dataset(workspace, saved.folder, name=name, map_flag=options.map, progress=progress)[0]


def _check_free(workspace: Workspace, name: str) -> None:
    """Remove what a killed import has left under the name; refuse where another run has it."""
    for info in workspace.list_runs():
        if info.name != name:
            continue
        if info.manifest.get("imported") and info.status == "capturing":
            workspace.remove_run(name)
            return
        raise UserError("the run exists already", f"run {name}", "choose another --run name")


def _place(
    store: ForeignStore,
    samples: Sequence[Sample],
    items: np.ndarray,
    options: ImportOptions,
    notes: list[str],
    progress: Progress,
) -> tuple[Placed, list[Skipped], bool]:
    """Every sample's spans, the samples left out, and whether spans are parts of samples."""
    if store.offsets is None or options.tokenizer is None:
        if store.offsets is not None:
            known = store.details.get("tokenizer") or store.details.get("model")
            hint = f" (the index names {known})" if known else ""
            notes.append(f"token rows were summed over whole sequences; --tokenizer{hint} would cut them into spans")
        elif options.tokenizer is not None:
            notes.append("the store has one row a sequence, so --tokenizer has no effect")
        placed = [(whole_sample(s), s, int(item)) for s, item in zip(samples, items, strict=True)]
        return placed, [], False
    saved = open_rows(store)
    if saved is None or "input_ids" not in saved.columns:
        raise UserError(
            "the index does not hold the tokens of its rows", str(store.path), "import it without --tokenizer"
        )
    token_ids = saved.read_lists("input_ids")
    if len(token_ids) != store.n_items:
        raise UserError(
            f"data.hf has {len(token_ids):,} rows, and the index {store.n_items:,} sequences",
            str(store.path),
            "copy the whole folder again",
        )
    tokenizer, segmenter = load_tokenizer(options.tokenizer), make_segmenter(options.segmenter)
    found: Placed = []
    skipped: list[Skipped] = []
    lengths = np.diff(store.offsets)
    with progress.stage("matching tokens", len(samples), "samples") as stage:
        for sample, item in zip(samples, items, strict=True):
            result = place_sample(sample, token_ids[item], tokenizer, segmenter)
            if not isinstance(result, Skipped) and lengths[item] != max(0, len(token_ids[item]) - 1):
                # One row for every position but the last, which predicts nothing.
                reason = f"{lengths[item]:,} rows for {len(token_ids[item]):,} tokens"
                result = Skipped(sample.id, reason)
            if isinstance(result, Skipped):
                skipped.append(result)
            else:
                found.append((result, sample, int(item)))
            stage.advance()
    if not found:
        raise UserError(
            f"no sample's tokens could be matched; the first: {skipped[0].sample}: {skipped[0].reason}",
            f"--tokenizer {options.tokenizer}",
            "give the index's own tokenizer and data, or import it without --tokenizer",
        )
    if not store.has_norms:
        notes.append("token rows had been scaled to unit length, so every token of a span counts the same")
    return found, skipped, True


def describe_import(result: dict[str, Any]) -> str:
    """``gsd import``: counts, the folding, notes, samples that have no usable row."""
    fold = f"folded from {result['stored_width']:,} to" if result["is_folded"] else "of"
    lines = [
        f"run {result['run']}: {result['n_spans']:,} spans of {result['n_samples']:,} samples from {result['format']}, "
        f"directions {fold} {result['sketch_width']:,} numbers in {len(result['layers']):,} layers, "
        f"checkpoints {', '.join(result['checkpoints'])}, {format_seconds(result['seconds'])}",
        *(f"note: {note}" for note in result["notes"]),
        *describe_skipped(result),
        f"next: gsd analyze {result['run']}",
    ]
    return "\n".join(lines)
