"""Errors that are the user's to mend.

UserError     bad input; the command line prints one line ``error: what, where, what to do`` and exits 2
Interrupted   work stopped on request; what was finished is kept, exit 130
"""

from __future__ import annotations


class UserError(Exception):
    """Input that cannot be used, told so that the user can act on it.

    Parameters
    ----------
    what
        What is wrong, without a trailing full stop: ``"the file is empty"``.
    where
        The file, row, flag or name it is wrong in.
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
    """Work was stopped on request; everything that was finished is stored.

    Parameters
    ----------
    resume
        The command line that goes on from here, or ``""``.
    """

    def __init__(self, resume: str = "") -> None:
        self.resume = resume
        super().__init__(f"interrupted; go on with: {resume}" if resume else "interrupted")
