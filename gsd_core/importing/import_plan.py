"""What an import will do: options, checkpoints, which stored row belongs to which sample, the manifest.

name_checkpoints      a name and a step for every store
match_rows            the stored row of every sample
make_import_manifest  everything known about the origin of the gradients
make_import_name      a valid run name
WHOLE                 name of the segmenter where a span is a whole reasoning
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gsd_core.driver.capture_plan import make_manifest, make_run_name
from gsd_core.errors import UserError
from gsd_core.methods.capture_method import CaptureOptions
from gsd_core.methods.import_method import ImportOptions

if TYPE_CHECKING:
    from gsd_core.capture.embeddings import SentenceEncoder
    from gsd_core.importing.foreign_rows import DirectionLayout, ForeignStore
    from gsd_core.store import DatasetInfo

WHOLE = "whole"  # the segmenter's name where a span is a sample's whole reasoning
NAMED_STEP = re.compile(r"(?:ckpt|checkpoint|step|epoch)[-_]?(\d{1,12})", re.IGNORECASE)
MAX_CHECKPOINT_NAME = 100


def name_checkpoints(paths: Sequence[Path], names: Sequence[str]) -> list[tuple[str, int | None]]:
    """``(name, step)`` of every store.

    The name is the given one, else the last part of the path like ``ckpt105``, ``checkpoint-500`` or ``epoch_2``, else
    "imported" (for several stores: the folder's name). The step is the number at the end of the name. ``UserError`` for
    a wrong number of names, an empty name, or a name that is used twice.
    """
    if names and len(names) != len(paths):
        raise UserError(
            f"{len(names)} names for {len(paths)} stores",
            "--checkpoint",
            "give one for each, in the same order",
        )
    found = list(names)
    for path in paths[len(found) :]:
        matches = [match for part in path.absolute().parts for match in NAMED_STEP.finditer(part)]
        found.append(matches[-1][0] if matches else "imported" if len(paths) == 1 else path.name)
    for name in found:
        if not name.strip() or len(name) > MAX_CHECKPOINT_NAME or not name.isprintable() or name.startswith("*"):
            raise UserError(f"{name[:120]!r} cannot name a checkpoint", "--checkpoint", "give letters and digits")
        if found.count(name) > 1:
            raise UserError(f"two stores are called {name!r}", "--checkpoint", "give each a name of its own")
    numbers = [re.search(r"(\d{1,12})$", name) for name in found]
    return [(name, int(number[1]) if number else None) for name, number in zip(found, numbers, strict=True)]


def match_rows(
    n_items: int, n_samples: int, rejected: Sequence[int], store: str, dataset: str
) -> tuple[np.ndarray, list[str]]:
    """(n_samples,) int64 index of every sample in the store, and notes for a person.

    Rows are matched by order. Where rows of the data set's file were not usable (``rejected``: their numbers from 1)
    and the store has them too, they are skipped. ``UserError`` with both numbers where the counts differ.
    """
    if n_items == n_samples:
        notes = []
        if rejected:
            notes.append(
                f"{len(rejected)} rows of the file are not samples, and the store has a row for every sample: "
                "it is assumed to be made without them"
            )
        return np.arange(n_samples, dtype=np.int64), notes
    left_out = sorted(set(rejected))
    if n_items == n_samples + len(left_out) and all(1 <= row <= n_items for row in left_out):
        kept = np.setdiff1d(np.arange(n_items, dtype=np.int64), np.array(left_out, np.int64) - 1)
        return kept, [f"{len(left_out)} stored rows belong to rows of the file that are not samples, and are left out"]
    more = f" and {len(left_out):,} other rows" if left_out else ""
    raise UserError(
        f"the store holds {n_items:,} sequences, the data set {n_samples:,} samples{more}",
        f"{store}, data set {dataset}",
        "give the file that the store was made from, with its rows in the same order",
    )


def make_import_name(options: ImportOptions, dataset: str, format: str) -> str:
    """``--run``, else data set and format joined by a hyphen."""
    return make_run_name(CaptureOptions(dataset=dataset, model=format, tier="import", run=options.run), dataset)


def make_import_manifest(
    options: ImportOptions,
    dataset: DatasetInfo,
    n_samples: int,
    stores: Sequence[ForeignStore],
    layout: DirectionLayout,
    encoder: SentenceEncoder,
    is_by_span: bool,
    notes: list[str],
) -> dict[str, Any]:
    """The manifest of a captured run, with ``imported``: format, paths, details of the stores, notes.

    ``tier`` is "sequence" (a row is the gradient of a whole sequence's loss) or "position" (a span's share of it).
    """
    first = stores[0]
    model = str(first.details.get("model") or "unknown")
    segmenter = options.segmenter if is_by_span else WHOLE
    manifest = make_manifest(
        CaptureOptions(dataset=options.dataset or "", model=model, segmenter=segmenter, seed=options.seed),
        dataset=dataset,
        n_samples=n_samples,
        model={"source": model, "hash": None},
        tier="position" if is_by_span else "sequence",
        window=None,
        sketch={
            "width": layout.width,
            "rank": None,
            "seed": layout.seed if layout.is_folded else None,
            "layers": [[block.layer, block.start, block.stop] for block in layout.blocks],
            "modules": [module.name for module in first.modules],
            "coverage": None,
        },
        encoder=encoder,
    )
    # No capture has taken place, so these settings are unknown, not the defaults.
    manifest |= dict.fromkeys(("lora", "batch_tokens", "limit", "truncate"))
    imported = {
        "format": first.format,
        "stores": [{"path": str(store.path), **store.details} for store in stores],
        "unit": "token rows, summed over spans" if is_by_span else "one row a sequence",
        "stored_width": layout.stored_width,
        "is_folded": layout.is_folded,
        "notes": notes,
    }
    return {**manifest, "imported": imported, "flags": asdict(options)}
