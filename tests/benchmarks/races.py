"""Races: span gradients by capture, by Bergson and by an autograd loop, beside a plain fine-tuning step.

race     contestants on one size, round by round in turns
main     the command line

    python -m tests.benchmarks.races --quick              # two minutes: capture's tiers and the autograd loop
    python -m tests.benchmarks.races --quick --ways exact "window 1" --rounds 5
    python -m tests.benchmarks.races --publish            # everything; writes docs/performance.json, .svg and .md

Every contestant is a process of its own with the same model, rows and threads. They take turns within a round, so
that a busy machine slows all of them; a ratio is formed within a round, and the median over rounds is shown.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.benchmarks.race_work import Settings, Size, write_work

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "races"
OWN_WAYS = (
    "plain",
    "hidden",
    "head",
    "position",
    "window 0",
    "window 1",
    "window 2",
    "exact",
    "exact with head",
    "autograd loop",
)
QUICK_SIZE = Size(samples=16)


class Worker:
    """A contestant's process, ready for commands; ``held_bytes`` is its memory before any work."""

    def __init__(self, way: str, folder: Path, threads: int) -> None:
        self.way = way
        self._log = (folder / f"{way.replace(' ', '-')}.log").open("w+")
        words = [sys.executable, "-m", "tests.benchmarks.race_ways", way, str(folder)]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=ROOT,
            env=environment,
        )
        self.held_bytes = int(self._answer()["held_bytes"])

    def ask(self, command: str) -> dict[str, Any]:
        """Give a command and wait for its answer. Raises ``RuntimeError`` with the log's end where there is none."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._log.seek(0)
            raise RuntimeError(f"contestant {self.way!r} ended:\n{self._log.read()[-3000:]}")
        return json.loads(line)

    def close(self) -> None:
        """Let the process end."""
        self._process.communicate()
        self._log.close()


def race(size: Size, settings: Settings, ways: Sequence[str], n_rounds: int) -> dict[str, Any]:
    """Let `ways` take turns for `n_rounds`.

    Returns ``size``, ``settings`` and, by way, lists ``cpu_s``, ``wall_s`` over rounds, ``held_bytes`` before any work
    and ``peak_bytes`` after all of it.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        write_work(Path(folder), size, settings)
        workers: list[Worker] = []
        results: dict[str, dict[str, Any]] = {}
        try:
            for way in ways:
                workers.append(Worker(way, Path(folder), settings.threads))
                results[way] = {"cpu_s": [], "wall_s": [], "held_bytes": workers[-1].held_bytes}
            for at in range(n_rounds):
                for worker in workers if at % 2 == 0 else reversed(workers):
                    found = worker.ask("round")
                    results[worker.way]["cpu_s"].append(found["cpu_s"])
                    results[worker.way]["wall_s"].append(found["wall_s"])
                    results[worker.way]["peak_bytes"] = found["peak_bytes"]
        finally:
            for worker in workers:
                worker.close()
    return {"size": asdict(size), "settings": asdict(settings), "ways": results}


def compute_medians(result: dict[str, Any], base: str = "plain") -> dict[str, dict[str, float]]:
    """By way: median seconds, and median over rounds of the ratio to `base` within the round; growth of memory."""
    from statistics import median

    first = result["ways"][base]
    table = {}
    for way, found in result["ways"].items():
        row = {key: median(found[key]) for key in ("cpu_s", "wall_s")}
        for key in ("cpu_s", "wall_s"):
            row[f"{key[:-2]}_ratio"] = median(a / b for a, b in zip(found[key], first[key], strict=True))
        row["peak_bytes"] = found["peak_bytes"]
        row["peak_ratio"] = found["peak_bytes"] / first["peak_bytes"]
        row["growth_bytes"] = found["peak_bytes"] - found["held_bytes"]
        row["growth_ratio"] = row["growth_bytes"] / (first["peak_bytes"] - first["held_bytes"])
        table[way] = row
    return table


def main() -> None:
    """Read the flags, race, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--ways", nargs="+", default=list(OWN_WAYS))
    parser.add_argument("--samples", type=int, default=QUICK_SIZE.samples)
    parser.add_argument("--tokens", type=int, default=QUICK_SIZE.tokens)
    parser.add_argument("--spans", type=int, default=QUICK_SIZE.spans)
    parser.add_argument("--uneven", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-tokens", type=int, default=2048)
    flags = parser.parse_args()
    size = Size(flags.samples, flags.tokens, flags.spans, flags.uneven)
    settings = Settings(flags.batch_tokens, flags.threads)
    result = race(size, settings, list(dict.fromkeys(["plain", *flags.ways])), flags.rounds)
    heads = ("CPU s", "ratio", "wall s", "ratio", "peak MiB", "ratio", "growth", "ratio")
    lines = [size.describe(), f"{'way':16}" + "".join(f"{head:>9}" for head in heads)]
    for way, row in compute_medians(result).items():
        cells = [row["cpu_s"], row["cpu_ratio"], row["wall_s"], row["wall_ratio"]]
        cells += [
            row["peak_bytes"] / 2**20,
            row["peak_ratio"],
            row["growth_bytes"] / 2**20,
            row["growth_ratio"],
        ]
        lines.append(
            f"{way:16}" + "".join(f"{cell:9.2f}" if cell < 100 else f"{cell:9.0f}" for cell in cells)
        )
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
