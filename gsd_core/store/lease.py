"""One writer at a time on a run, on object storage.

claim_lease    become the writer of a run
check_lease    raise if another process became the writer
release_lease  stop being the writer
describe_self  this process, for error messages

Object storage has no lock that ends with its process. So a document in the run's folder names the writer. A resumed
capture takes over; the earlier writer sees this before its next commit and stops. Two captures that start at the same
moment can both pass this check. The lock on a disk (``locks``) has no such gap.
"""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from typing import Any

from gsd_core.errors import UserError
from gsd_core.store.files import Folder

_LEASE_FILE = "writer.json"


def describe_self() -> str:
    """``process 123 on HOST``."""
    return f"process {os.getpid()} on {platform.node() or 'this machine'}"


def _read(folder: Folder) -> dict[str, Any]:
    with suppress(FileNotFoundError, ValueError):  # an unreadable document names no writer
        return folder.read_json(_LEASE_FILE)
    return {}


def claim_lease(folder: Folder, owner: str, name: str, takeover: bool = False) -> None:
    """Make ``owner`` (a unique text) the writer of the run in ``folder``. A second call does nothing.

    Raises
    ------
    UserError
        When another owner is named, unless ``takeover`` (at the start of a resumed capture).
    """
    holder = _read(folder)
    if holder.get("owner") == owner:
        return
    if holder and not takeover:
        raise UserError(
            f"the run is being written by {holder.get('who', 'another process')}, which may have ended",
            name,
            "wait until it is done; if it has ended, resume the capture with --resume",
        )
    folder.write_json(_LEASE_FILE, {"owner": owner, "who": describe_self()})


def check_lease(folder: Folder, owner: str, name: str) -> None:
    """Check that ``owner`` is still the writer.

    Raises
    ------
    UserError
        When another owner took over, or the run was removed.
    """
    holder = _read(folder)
    if holder.get("owner") != owner:
        raise UserError(
            f"the run was taken over by {holder.get('who', 'another capture that has ended')}, or removed",
            name,
            "resume it; batches that are not stored will be captured again",
        )


def release_lease(folder: Folder, owner: str) -> None:
    """Stop being the writer, unless another owner took over."""
    if _read(folder).get("owner") == owner:
        folder.remove_file(_LEASE_FILE)
