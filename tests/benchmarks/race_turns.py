"""Contestants take turns: the processes, and the rounds.

Entry    a contestant in one race: its label, its way, its settings
Worker   its process
race     all entries on one size, round by round

Every contestant is a process of its own with the same model, rows and threads. They take turns within a round, and
every other round in reverse, so that a busy or slowing machine hits all of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gsd_core.console.threads import let_threads_yield
from tests.benchmarks.race_peers import ensure_bergson
from tests.benchmarks.race_work import BERGSON_WAYS, Settings, Size, write_work

ROOT = Path(__file__).resolve().parents[2]
SCRATCH = ROOT / "build" / "races"


@dataclass(frozen=True, slots=True)
class Entry:
    """``way`` with ``settings``, called ``label`` in the result; `spins`: its threads wait as OpenMP lets them."""

    label: str
    way: str
    settings: Settings
    spins: bool = False


class Worker:
    """A contestant's process, ready for commands; ``held_bytes`` is its memory before any work."""

    def __init__(self, entry: Entry, folder: Path) -> None:
        self.entry = entry
        is_bergson = entry.way in BERGSON_WAYS
        python = str(ensure_bergson()) if is_bergson else sys.executable
        module = "tests.benchmarks.race_bergson" if is_bergson else "tests.benchmarks.race_ways"
        ours, theirs = os.pipe()  # answers have a pipe of their own, since libraries print where they like
        words = [
            python,
            "-m",
            module,
            entry.way,
            str(folder),
            json.dumps(asdict(entry.settings)),
            str(theirs),
        ]
        quiet = {"OMP_NUM_THREADS": str(entry.settings.threads), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        environment = os.environ | quiet
        environment.pop("OMP_WAIT_POLICY", None)
        if not entry.spins:
            let_threads_yield(environment)
        self._log = tempfile.TemporaryFile("w+", dir=folder)  # noqa: SIM115 - close() closes it
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            text=True,
            cwd=ROOT,
            env=environment,
            pass_fds=(theirs,),
        )
        os.close(theirs)
        self._answers = os.fdopen(ours)
        self.held_bytes = int(self._answer()["held_bytes"])

    def ask(self, command: str) -> dict[str, Any]:
        """Give a command and wait for its answer. Raises ``RuntimeError`` with the log's end where none comes."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            self._process.wait()
            self._log.seek(0)
            raise RuntimeError(f"contestant {self.entry.label!r} ended:\n{self._log.read()[-3000:]}")
        return json.loads(line)

    def close(self) -> None:
        """Let the process end."""
        self._process.communicate()
        self._answers.close()
        self._log.close()


def race(
    size: Size, entries: Sequence[Entry], n_rounds: int, report: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Let `entries` take turns for `n_rounds`; `report` is told of each turn.

    Returns ``size`` and ``ways``: by label the ``settings``, lists ``cpu_s`` and ``wall_s`` over rounds,
    ``held_bytes`` before any work and ``peak_bytes`` after all of it. ``load`` is the machine's at the end, over 5
    minutes.
    """
    SCRATCH.mkdir(parents=True, exist_ok=True)
    ways: dict[str, dict[str, Any]] = {}
    workers: list[Worker] = []
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        write_work(Path(folder), size)
        try:
            for entry in entries:
                workers.append(Worker(entry, Path(folder)))
                held = workers[-1].held_bytes
                ways[entry.label] = {
                    "settings": asdict(entry.settings),
                    "cpu_s": [],
                    "wall_s": [],
                    "held_bytes": held,
                }
            for at in range(n_rounds):
                for worker in workers if at % 2 == 0 else reversed(workers):
                    found = worker.ask("round")
                    row = ways[worker.entry.label]
                    row["cpu_s"].append(round(found["cpu_s"], 4))
                    row["wall_s"].append(round(found["wall_s"], 4))
                    row["peak_bytes"] = found["peak_bytes"]
                    report(f"round {at + 1}/{n_rounds}  {worker.entry.label:24} {found['cpu_s']:8.2f} s CPU")
        finally:
            for worker in workers:
                worker.close()
    return {"size": asdict(size), "ways": ways, "load": round(os.getloadavg()[1], 1)}
