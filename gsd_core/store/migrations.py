"""Numbered steps that bring an older workspace or run to the current layout.

Migration            one step
WORKSPACE_MIGRATIONS, RUN_MIGRATIONS   all steps, oldest first; only ever append, never edit a released one
check_version        refuse a layout of a newer program
run_migrations       apply the missing steps and save after each

A new workspace or run starts at version 0 and takes every step, so old and new ones end in the same layout. A step
must be safe to repeat: a kill can come before its version is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from gsd_core.errors import UserError
from gsd_core.store.files import Folder
from gsd_core.store.schema import (
    CHECKPOINTS_FOLDER,
    GROWING_KEY,
    RECORDS_TABLE,
    RESULTS_KEY,
    STORE_KEY,
    measure_columns,
)
from gsd_core.store.tables import Table


@dataclass(frozen=True)
class Migration:
    """One step. ``apply(folder, document)`` changes files in ``folder`` and returns the changed document."""

    number: int
    what: str
    apply: Callable[[Folder, dict[str, Any]], dict[str, Any]]


def _begin(folder: Folder, document: dict[str, Any]) -> dict[str, Any]:
    return document  # version 1 is the first layout; nothing is older


def _add_measures(folder: Folder, document: dict[str, Any]) -> dict[str, Any]:
    """Version 2: gradient records have spectral strength and the GRACE-like score."""
    for entry in document[STORE_KEY]["checkpoints"]:
        uri = folder.child(CHECKPOINTS_FOLDER, entry["folder"], RECORDS_TABLE).uri
        Table(uri, pa.schema([])).add_null_columns(measure_columns())
    return document


def _fold_results(folder: Folder, document: dict[str, Any]) -> dict[str, Any]:
    """Version 3: analyses and structures are results; results of the run are no longer stored as checkpoints."""
    store = document[STORE_KEY]
    analyses, structures = store.pop("analysis", {}), store.pop("structure", {})
    infos = document.pop("analysis", None) or {}
    results: dict[str, dict[str, Any]] = {}
    for checkpoint, name in analyses.items():
        results.setdefault("map", {})[checkpoint] = {
            "folder": f"analysis/{name}",
            "tables": ["points", "clusters", "arrays"],
            "info": infos.get(checkpoint) or {},
            "needs": [],
        }
    for scope, entry in structures.items():
        whole = scope.strip("*") if scope in ("*timeline*", "*evidence*", "*exact*") else None
        results.setdefault(whole or "structure", {})["" if whole else scope] = {
            "folder": f"structure/{entry['folder']}",
            "tables": entry["tables"],
            "info": entry["info"],
            "needs": [] if whole else ["map"],
        }
    store |= {RESULTS_KEY: results, GROWING_KEY: {}}
    return document


WORKSPACE_MIGRATIONS: list[Migration] = [Migration(1, "first layout", _begin)]
RUN_MIGRATIONS: list[Migration] = [
    Migration(1, "first layout", _begin),
    Migration(2, "measures beside gradient records", _add_measures),
    Migration(3, "analyses and structures are results", _fold_results),
]


def check_version(found: Any, newest: int, what: str, where: str) -> int:
    """The version as a number.

    Raises
    ------
    UserError
        When it is newer than this program, or not a version.
    """
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise UserError(f"the {what} has no readable version", where, "restore it from a copy")
    if found > newest:
        raise UserError(
            f"the {what} has layout version {found} and this program knows up to {newest}",
            where,
            "upgrade GSD to the version that wrote it",
        )
    return found


def run_migrations(
    folder: Folder,
    document: dict[str, Any],
    migrations: Sequence[Migration],
    version: int,
    save: Callable[[dict[str, Any], int], dict[str, Any]],
) -> dict[str, Any]:
    """Apply every migration after ``version`` in order; ``save`` stores the document with its new version."""
    for step in migrations:
        if step.number > version:
            document = save(step.apply(folder, document), step.number)
    return document
