"""A run and its data set in one file, to be looked at on another machine.

pack_run    write a run of a local workspace, with its data set, as a ZIP file
unpack_run  put it into another local workspace, whole or not at all

The file holds ``datasets/NAME/`` and ``runs/NAME/`` as in a workspace. Source: ours.
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
from gsd_core.store.schema import DATASET_FILE, RUN_FILE
from gsd_core.store.workspace import Workspace
from gsd_core.types import name_is_valid

MOST_BYTES = 2 * 2**30  # of all files together, unpacked
_DOCUMENTS = {"datasets": DATASET_FILE, "runs": RUN_FILE}
_WHEN = (1980, 1, 1, 0, 0, 0)  # of every file inside, so that the same run gives the same bytes


def pack_run(
    workspace: Workspace, run: str, file: Path, change: Callable[[dict[str, Any]], dict[str, Any]] = dict
) -> int:
    """Write run `run` and its data set into `file`, whole or not at all; returns the file's bytes.

    ``change(document)`` gives ``run.json`` and ``dataset.json`` as they are written, for example without paths of this
    machine. Raises ``UserError`` for an unknown run and for a workspace on object storage.
    """
    root = _root_of(workspace)
    dataset = str((workspace.open_run(run).manifest.get("dataset") or {}).get("name") or "")
    homes = [("runs", run)]
    if any(each.name == dataset for each in workspace.list_datasets()):
        homes.append(("datasets", dataset))
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.{uuid.uuid4().hex}.part")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for home, name in sorted(homes):
                folder = root / home / name
                for path in sorted(each for each in folder.rglob("*") if each.is_file()):
                    if path.name.startswith("."):  # locks
                        continue
                    data = path.read_bytes()
                    if path == folder / _DOCUMENTS[home]:
                        data = (encode_json(change(json.loads(data)), indent=1) + "\n").encode("ascii")
                    entry = zipfile.ZipInfo(path.relative_to(root).as_posix(), _WHEN)
                    entry.compress_type = zipfile.ZIP_DEFLATED
                    archive.writestr(entry, data)
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)
    return file.stat().st_size


def unpack_run(workspace: Workspace, file: Path) -> list[str]:
    """Put the data sets and runs of `file` into a local workspace; what is there under the same name stays as it is.

    Returns the names of the runs that are new. Raises ``UserError`` for a file that is damaged, too large or no such
    archive, and for a workspace on object storage.
    """
    root = _root_of(workspace)
    staged = root / f".unpacked-{uuid.uuid4().hex}"
    try:
        with zipfile.ZipFile(file) as archive:
            homes = _check_entries(archive, file)
            archive.extractall(staged)
        added = []
        for home, name in sorted(homes):  # data sets first: a run without its data set would be worse than none
            target = root / home / name
            if target.exists():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            os.rename(staged / home / name, target)
            if home == "runs":
                added.append(name)
    except (OSError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(
            f"the packed run cannot be unpacked ({str(error)[:160]})",
            str(file),
            "get the file again, or free disk space",
        ) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return added


def _check_entries(archive: zipfile.ZipFile, file: Path) -> set[tuple[str, str]]:
    """(home, name) of what the archive holds. Raises ``UserError`` for paths that lead elsewhere, and for too much."""
    homes = set()
    for entry in archive.infolist():
        parts = PurePosixPath(entry.filename).parts
        is_plain = ".." not in parts and "\\" not in entry.filename and not entry.filename.startswith("/")
        if not is_plain or len(parts) < 3 or parts[0] not in _DOCUMENTS or not name_is_valid(parts[1]):
            raise UserError(f"it is no packed run: it holds {entry.filename[:80]!r}", str(file), "get the file again")
        homes.add((parts[0], parts[1]))
    size = sum(entry.file_size for entry in archive.infolist())
    names = set(archive.namelist())
    if size > MOST_BYTES or not all(f"{home}/{name}/{_DOCUMENTS[home]}" in names for home, name in homes):
        raise UserError("it is no packed run, or too large", str(file), "get the file again")
    return homes


def _root_of(workspace: Workspace) -> Path:
    if not workspace.is_local:
        raise UserError("runs are packed on a disk only", workspace.uri, "use a workspace in a folder")
    return Path(workspace.uri)
