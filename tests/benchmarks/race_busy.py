"""Capture beside a busy core: OpenMP threads that spin while they wait, and threads that yield.

WAITS         both ways to wait, by label
measure_busy  capture with both ways in turns, on cores that nobody else asks for and beside a process that uses one
busy_core     context: a process that uses one core all the time
format_busy   the result as rows of a table

Threads that spin are what OpenMP does unless told otherwise; ``gsd_core.console.threads`` tells it otherwise.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from statistics import median
from typing import Any

from tests.benchmarks.race_turns import Entry, race
from tests.benchmarks.race_work import Settings, Size

WAITS = {"threads spin": True, "threads yield": False}
SIZE = Size(4)  # spinning beside other work is slow
WAYS = ("window 1", "exact")


@contextmanager
def busy_core() -> Iterator[None]:
    """Another process that never rests."""
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        other.kill()
        other.wait()


def measure_busy(
    settings: Settings, n_rounds: int, report: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """``threads``; ``idle`` and ``busy``: results of ``race`` with ``WAY, threads spin`` and ``WAY, threads yield``."""
    entries = [
        Entry(f"{way}, {label}", way, replace(settings, threads=os.cpu_count() or 1), spins)
        for way in WAYS
        for label, spins in WAITS.items()
    ]
    found: dict[str, Any] = {"threads": entries[0].settings.threads}
    for name, around in (("idle", nullcontext()), ("busy", busy_core())):
        report(f"{SIZE.describe()}, {name}")
        with around:
            found[name] = race(SIZE, entries, n_rounds, report)
    return found


def format_busy(stored: dict[str, Any]) -> list[list[str]]:
    """A row a way and place: median tokens/s and CPU seconds of both ways to wait, and the ratio within a round."""
    rows = []
    n_tokens = SIZE.samples * SIZE.tokens
    for name, place in (("idle", "cores free"), ("busy", "beside a busy core")):
        for way in WAYS:
            spin, rest = (stored[name]["ways"][f"{way}, {label}"] for label in WAITS)
            cells = []
            for clock in ("wall_s", "cpu_s"):
                for each in (spin, rest):
                    middle = median(each[clock])
                    cells.append(f"{n_tokens / middle:,.0f}" if clock == "wall_s" else f"{middle:.2f}")
                ratios = [b / a for a, b in zip(spin[clock], rest[clock], strict=True)]
                cells.append(f"**{median(ratios):.2f}** ({min(ratios):.2f}–{max(ratios):.2f})")
            rows.append([f"{way}, {place}", *cells])
    return rows
