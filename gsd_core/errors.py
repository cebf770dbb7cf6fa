"""Errors that the user can fix, and a stop on request.

UserError     bad input; the command line prints ``error: what, where, what to do`` on one line and exits 2
Interrupted   work was stopped; finished work is kept; exit 130
"""

from __future__ import annotations


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
