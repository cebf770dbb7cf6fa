"""A contestant's process: it gets ready once, then works a round whenever it is told to.

Contestant   what a way of getting gradients has to offer
serve        the process's loop: a command a line on standard input, each answered with a JSON object on a line

Commands are ``round`` (all samples once: seconds of CPU and wall, memory), ``save PATH`` (the vectors of the work's
first batch as npz) and ``profile N`` (the first batch under torch's profiler, as a table of N rows). One process a
contestant, so that peak memory is its own; rounds on demand, so that contestants can take turns.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tests.benchmarks.race_work import Settings, Work, read_work


class Contestant(Protocol):
    """One way of getting the gradients of all spans."""

    def warm_up(self) -> None:
        """One batch, not measured: first-use checks and caches."""

    def run_round(self) -> None:
        """All samples once."""

    def get_vectors(self) -> dict[str, np.ndarray]:
        """The vectors of the first batch's spans, for the comparison of contestants; empty where there are none."""


def resident_bytes() -> int:
    """Memory this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_bytes() -> int:
    """The most memory this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _measure(work: Callable[[], None]) -> dict[str, float]:
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}


def _profile(work: Callable[[], None], n_rows: int) -> str:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        work()
    averages = recorded.key_averages()
    return averages.table(sort_by="self_cpu_time_total", row_limit=n_rows, max_name_column_width=60)


def serve(make: Callable[[str, Work], Contestant], way: str, folder: str, settings: str, answers: str) -> None:
    """Get `way` ready on the work in `folder` and answer commands until standard input ends.

    `settings` is JSON with the fields of ``Settings``, `answers` the number of the open file to answer on.
    """
    out = os.fdopen(int(answers), "w", buffering=1)

    def answer(found: dict[str, Any]) -> None:
        out.write(json.dumps(found) + "\n")

    import torch

    work = read_work(Path(folder), Settings(**json.loads(settings)))
    torch.set_num_threads(work.settings.threads)
    contestant = make(way, work)
    gc.collect()
    held = resident_bytes()
    contestant.warm_up()
    answer({"held_bytes": held})
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "round":
            answer({**_measure(contestant.run_round), "peak_bytes": peak_bytes()})
        elif command == "save":
            np.savez(argument, **contestant.get_vectors())
            answer({})
        elif command == "profile":
            answer({"table": _profile(contestant.warm_up, int(argument))})
        else:
            raise ValueError(f"unknown command {command!r}")
