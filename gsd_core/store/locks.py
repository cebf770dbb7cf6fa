"""One writer at a time on a run, on a local disk.

acquire_writer   become the writer of a run's folder
is_writer        whether an object is still the writer
release_writer   stop being the writer
document_lock    short lock while a document is changed

The operating system holds the lock (``flock``) and releases it when the process ends, so there are no stale locks.
The stored process id only serves error messages. Object storage has no such lock.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from gsd_core.errors import UserError

_LOCK_FILE = ".writer.lock"
_HOLDER_FILE = ".writer.pid"
_DOCUMENT_WAIT_S = 30.0


@dataclass
class _Held:
    lock: FileLock
    owner: weakref.ref[Any]
    pid: int


_held: dict[str, _Held] = {}  # path of the run → lock of this process


def _holder(path: str) -> str:
    with suppress(OSError, ValueError):
        return f"process {int(Path(path, _HOLDER_FILE).read_text(encoding='ascii'))}"
    return "another process"


def acquire_writer(path: str, owner: object, name: str, takeover: bool = False) -> None:
    """Make ``owner`` the writer of the run at ``path``. A second call does nothing.

    The writer is an object. Another object of the same process may replace it with ``takeover`` (at the start of a
    resumed capture), or when it is deleted. Another process is never replaced.

    Raises
    ------
    UserError
        When another object or process writes this run.
    """
    mine = _held.get(path)
    if mine is not None and mine.pid == os.getpid():
        holder = mine.owner()
        if holder is owner:
            return
        if holder is None or takeover:
            mine.owner = weakref.ref(owner)
            return
        raise UserError(
            "the run is being written by another part of this process",
            name,
            "let it finish, then start again",
        )
    lock = FileLock(f"{path}/{_LOCK_FILE}", timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(
            f"the run is being written by {_holder(path)}", name, "wait until it is done, or cancel it first"
        ) from None
    Path(path, _HOLDER_FILE).write_text(str(os.getpid()), encoding="ascii")
    _held[path] = _Held(lock, weakref.ref(owner), os.getpid())


def is_writer(path: str, owner: object | None) -> bool:
    """Whether ``owner`` (None: a deleted one) is the writer of the run at ``path``; False after another took over."""
    mine = _held.get(path)
    return mine is not None and mine.pid == os.getpid() and mine.owner() is owner


def release_writer(path: str, owner: object | None = None) -> None:
    """Release the lock if ``owner`` holds it. None: if its owner was deleted."""
    if not is_writer(path, owner):  # a deleted owner must not release the lock of its successor
        return
    mine = _held.pop(path)
    with suppress(OSError):
        Path(path, _HOLDER_FILE).unlink()
    mine.lock.release()


@contextmanager
def document_lock(path: str, is_local: bool) -> Iterator[None]:
    """Hold the lock of the folder's documents, so that changes never overlap."""
    if not is_local:
        yield
        return
    Path(path).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{path}/.document.lock", timeout=_DOCUMENT_WAIT_S):
            yield
    except Timeout:
        raise UserError(
            "another process keeps the folder's documents locked",
            path,
            "wait for it or end it, then try again",
        ) from None
