"""Errors that the user can fix, and a stop on request.

UserError        bad input; the command line prints ``error: what, where, what to do`` on one line and exits 2
Interrupted      work was stopped; finished work is kept; exit 130
explain_storage  a full disk or a folder that cannot be written, as a ``UserError``
"""

from __future__ import annotations

import errno
import re

# What storage says, by its number and by the words of libraries that keep the number in their text.
_STORAGE = {
    errno.ENOSPC: ("the disk is full", "free some space, or give a --workspace on another disk"),
    errno.EDQUOT: ("the disk quota is used up", "free some space, or give a --workspace on another disk"),
    errno.EROFS: ("the file system is read-only", "give a --workspace that can be written"),
    errno.EACCES: ("permission denied", "change its permissions, or give another --workspace"),
    errno.EPERM: ("permission denied", "change its permissions, or give another --workspace"),
}
_WORDS = {
    "no space left on device": errno.ENOSPC,
    "disk quota exceeded": errno.EDQUOT,
    "read-only file system": errno.EROFS,
    "permission denied": errno.EACCES,
}


class UserError(Exception):
    """Input that cannot be used; the message says how to fix it.

    Parameters
    ----------
    what
        What is wrong, without a trailing full stop: ``"the file is empty"``.
    where
        The file, row, flag or name that is wrong.
    fix
        What to do about it, as an instruction.
    """

    def __init__(self, what: str, where: str = "", fix: str = "") -> None:
        self.what, self.where, self.fix = what, where, fix
        super().__init__(self.one_line())

    def one_line(self) -> str:
        """``what, where, what to do`` on a single line, safe to print."""
        parts = [part for part in (self.what, self.where, self.fix) if part]
        return " ".join(", ".join(parts).split())


class Interrupted(Exception):
    """Work was stopped on request; finished work is stored.

    Parameters
    ----------
    resume
        The command that resumes the work, or ``""``.
    """

    def __init__(self, resume: str = "") -> None:
        self.resume = resume
        super().__init__(f"interrupted; resume with: {resume}" if resume else "interrupted")


def explain_storage(error: BaseException) -> UserError | None:
    """What a user can do about an error of storage; None for other errors.

    Finished work is kept in each case, so a command with ``--resume`` goes on.
    """
    number = error.errno if isinstance(error, OSError) else None
    text = str(error)
    if number not in _STORAGE:
        told = re.search(r"os error (\d+)", text)
        number = int(told[1]) if told else next((code for word, code in _WORDS.items() if word in text.lower()), None)
    if number not in _STORAGE:
        return None
    what, fix = _STORAGE[number]
    place = getattr(error, "filename", None)
    return UserError(what, str(place) if place else "", fix)
