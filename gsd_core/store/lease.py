"""One writer at a time on a run, on object storage.

claim_lease    become the writer, or learn who is
check_lease    whether one still is
release_lease  stop being it
describe_self  how this process is named to others

Object storage has no lock that falls with its process, so the writer is named by a document in the run's folder. Who
resumes a capture takes the name over, and the earlier writer, if it still lives, finds that out before its next commit
and stops. Naming and committing are two steps there: two captures that begin within the same moment can both pass; on a
disk the lock of the operating system (``locks``) leaves no such gap.
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
    with suppress(FileNotFoundError, ValueError):  # a document that cannot be read names nobody
        return folder.read_json(_LEASE_FILE)
    return {}


def claim_lease(folder: Folder, owner: str, name: str, takeover: bool = False) -> None:
    """Make ``owner`` (any unique text) the writer of the run in ``folder``; a second call by it is free.

    Raises
    ------
    UserError
        When somebody else is named and this is no ``takeover`` (the start of a resumed capture).
    """
    holder = _read(folder)
    if holder.get("owner") == owner:
        return
    if holder and not takeover:
        raise UserError(
            f"the run is being written by {holder.get('who', 'another process')}, or was when that ended",
            name,
            "wait until it is done; if it is gone, resume the capture: --resume",
        )
    folder.write_json(_LEASE_FILE, {"owner": owner, "who": describe_self()})


def check_lease(folder: Folder, owner: str, name: str) -> None:
    """See that ``owner`` is still the writer.

    Raises
    ------
    UserError
        When another one took over, or the run is gone.
    """
    holder = _read(folder)
    if holder.get("owner") != owner:
        raise UserError(
            f"the run was taken over by {holder.get('who', 'another capture that has ended')}, or removed",
            name,
            "resume it where it stands: the batches not stored here are captured again",
        )


def release_lease(folder: Folder, owner: str) -> None:
    """Stop being the writer; nothing happens where another one is."""
    if _read(folder).get("owner") == owner:
        folder.remove_file(_LEASE_FILE)
