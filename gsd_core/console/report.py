"""How a long call tells which share of its work is done.

Report       a function that gets the share, 0 … 1
ignore       a ``Report`` that does nothing
report_part  a ``Report`` for one part of a work
"""

from __future__ import annotations

from collections.abc import Callable

Report = Callable[[float], None]


def ignore(share: float) -> None:
    """Do nothing with the share."""


def report_part(report: Report, start: float, stop: float) -> Report:
    """`report` for the part ``[start, stop)`` of a work, whose own share goes from 0 to 1."""
    return lambda share: report(start + share * (stop - start))
