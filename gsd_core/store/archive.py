"""A run and its data set as two files, to be looked at on another machine.

pack_run    write a run of a local workspace: what was captured, and what was computed from it
unpack_run  put it into another local workspace, whole or not at all

The files hold ``datasets/NAME/`` and ``runs/NAME/`` as in a workspace. There are two, because a new analysis changes
only the small one. Source: ours.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from gsd_core.errors import UserError
from gsd_core.store.files import encode_json
from gsd_core.store.schema import CHECKPOINTS_FOLDER, DATASET_FILE, RUN_FILE
from gsd_core.store.workspace import Workspace
from gsd_core.types import name_is_valid

MOST_BYTES = 2 * 2**30  # of all files together, unpacked
PARTS = ("captured", "results")
_DOCUMENTS = {"datasets": DATASET_FILE, "runs": RUN_FILE}
_WHEN = (1980, 1, 1, 0, 0, 0)  # of every file inside, so that the same run gives the same bytes


def pack_run(
    workspace: Workspace, run: str, folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]] = dict
) -> list[Path]:
    """Write run `run` and its data set into ``folder/RUN.captured.zip`` and ``folder/RUN.results.zip``; their paths.

    ``change(document)`` gives ``run.json`` and ``dataset.json`` as they are written, for example without paths of this
    machine. Raises ``UserError`` for an unknown run and for a workspace on object storage.
    """
    root = _root_of(workspace)
    dataset = str((workspace.open_run(run).manifest.get("dataset") or {}).get("name") or "")
    homes = [root / "runs" / run]
    if any(each.name == dataset for each in workspace.list_datasets()):
        homes.append(root / "datasets" / dataset)
    documents = [home / _DOCUMENTS[home.parent.name] for home in homes]
    paths = sorted(path for home in homes for path in home.rglob("*") if path.is_file())
    paths = [path for path in paths if not path.name.startswith(".")]  # without locks
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for part in PARTS:
        file = folder / f"{run}.{part}.zip"
        partial = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
        try:
            with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
                for path in paths:
                    if _part_of(path.relative_to(root)) != part:
                        continue
                    data = path.read_bytes()
                    if path in documents:
                        data = (encode_json(change(json.loads(data)), indent=1) + "\n").encode("ascii")
                    entry = zipfile.ZipInfo(path.relative_to(root).as_posix(), _WHEN)
                    entry.compress_type = zipfile.ZIP_DEFLATED
                    archive.writestr(entry, data)
            os.replace(partial, file)
        finally:
            partial.unlink(missing_ok=True)
        written.append(file)
    return written


def _part_of(path: Path) -> str:
    """Which file of ``PARTS`` a path of the workspace belongs to: tables are captured, all else of a run may change."""
    home, _, *rest = path.parts
    is_captured = home == "datasets" or rest[0] == CHECKPOINTS_FOLDER or rest[0].endswith(".lance")
    return PARTS[0] if is_captured else PARTS[1]


def unpack_run(workspace: Workspace, run: str, folder: Path) -> bool:
    """Put run `run` of the two files in `folder` into a local workspace, with its data set.

    A run or data set of the same name stays as it is; returns whether the run is new. Raises ``UserError`` for a file
    that is missing, damaged, too large or no such archive, and for a workspace on object storage.
    """
    root = _root_of(workspace)
    staged = root / f".unpacked-{uuid.uuid4().hex}"
    homes: set[tuple[str, str]] = set()
    file = folder
    try:
        for part in PARTS:
            file = folder / f"{run}.{part}.zip"
            with zipfile.ZipFile(file) as archive:
                homes |= _check_entries(archive, file)
                archive.extractall(staged)
        for home, name in homes:
            if not (staged / home / name / _DOCUMENTS[home]).is_file() or (home == "runs" and name != run):
                raise UserError(f"it is no packed run {run}", str(file), "get both files again")
        for home, name in sorted(homes):  # data sets first: a run without its data set would be worse than none
            target = root / home / name
            is_new = not target.exists()
            if is_new:
                target.parent.mkdir(parents=True, exist_ok=True)
                os.rename(staged / home / name, target)
    except (OSError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(
            f"the packed run cannot be unpacked ({str(error)[:160]})",
            str(file),
            "get the file again, or free disk space",
        ) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return is_new


def _check_entries(archive: zipfile.ZipFile, file: Path) -> set[tuple[str, str]]:
    """(home, name) of what the archive holds. Raises ``UserError`` for paths that lead elsewhere, and for too much."""
    homes: set[tuple[str, str]] = set()
    for entry in archive.infolist():
        parts = PurePosixPath(entry.filename).parts
        is_plain = ".." not in parts and "\\" not in entry.filename and not entry.filename.startswith("/")
        if not is_plain or len(parts) < 3 or parts[0] not in _DOCUMENTS or not name_is_valid(parts[1]):
            raise UserError(f"it is no packed run: it holds {entry.filename[:80]!r}", str(file), "get the file again")
        homes.add((parts[0], parts[1]))
    if sum(entry.file_size for entry in archive.infolist()) > MOST_BYTES:
        raise UserError("it is too large", str(file), "get the file again")
    return homes


def _root_of(workspace: Workspace) -> Path:
    if not workspace.is_local:
        raise UserError("runs are packed on a disk only", workspace.uri, "use a workspace in a folder")
    return Path(workspace.uri)
