"""How fast a large file of JSON Lines is read, and in how much memory, beside pyarrow's own reader.

    python -m tests.benchmarks.reading [--rows 200000] [--megabytes 500]

Each way runs in a process of its own, on the same file: pyarrow's reader alone, our reader, and the whole of ``gsd
datasets add`` (read, check, store). CPU time is that of the process; memory is the most that it ever held. Arrow takes
its number of threads from ``OMP_NUM_THREADS``, so this variable is taken away: else pyarrow would be slowed, not we.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

WAYS = ("pyarrow", "load_dataset", "gsd datasets add")
WORDS = ("we", "add", "two", "and", "then", "divide", "what", "is", "left", "among", "three", "boxes", "of", "pears")


def write_file(path: Path, n_rows: int, n_bytes: int) -> None:
    """Rows of a question, a list of steps, an answer and two labels; of about `n_bytes` together."""
    rng = np.random.default_rng(0)
    n_words = max(20, int(n_bytes / n_rows / 6.5))  # letters of a word, and its share of the question and of marks
    with path.open("w", encoding="utf-8") as out:
        for number in range(n_rows):
            words = [WORDS[at] for at in rng.integers(len(WORDS), size=n_words)]
            steps = [" ".join(words[at : at + 14]) + f" makes {number}." for at in range(0, n_words, 14)]
            row = {
                "id": f"row-{number}",
                "question": " ".join(words[:20]) + "?",
                "steps": steps,
                "answer": str(number),
                "topic": WORDS[number % 5],
                "level": number % 7,
            }
            out.write(json.dumps(row) + "\n")


def run_way(way: str, file: Path) -> dict[str, float]:
    """Seconds (wall and CPU) and peak bytes of one way."""
    if way == "gsd datasets add":
        with tempfile.TemporaryDirectory() as workspace:
            words = [sys.executable, "-m", "gsd_core", "--workspace", workspace, "--json", "datasets", "add", str(file)]
            begun = time.perf_counter()
            subprocess.run(words, capture_output=True, check=True)
            wall = time.perf_counter() - begun
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
    else:
        if way == "pyarrow":
            from pyarrow import json as arrow_json

            begun = time.perf_counter()
            arrow_json.read_json(file)
        else:
            from gsd_core.dataset.load import load_dataset

            begun = time.perf_counter()
            load_dataset(file)
        wall = time.perf_counter() - begun
        used = resource.getrusage(resource.RUSAGE_SELF)
    return {"wall_s": wall, "cpu_s": used.ru_utime + used.ru_stime, "peak": used.ru_maxrss * 1024}


def main() -> None:
    """Measure every way and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--way", help="measure this one here, on --file, and print JSON")
    parser.add_argument("--file", type=Path)
    flags = parser.parse_args()
    if flags.way:
        sys.stdout.write(json.dumps(run_way(flags.way, flags.file)) + "\n")
        return
    table = ["| way | wall s | / pyarrow | CPU s | / pyarrow | peak MiB |", "| --- " * 6 + "|"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "large.jsonl"
        write_file(file, flags.rows, flags.megabytes << 20)
        found: dict[str, dict[str, float]] = {}
        environment = {
            key: value for key, value in os.environ.items() if key not in ("OMP_NUM_THREADS", "OMP_THREAD_LIMIT")
        }
        for way in WAYS:
            words = [sys.executable, "-m", "tests.benchmarks.reading", "--way", way, "--file", str(file)]
            done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
            row = found[way] = json.loads(done.stdout.splitlines()[-1])
            first = found["pyarrow"]
            table.append(
                f"| {way} | {row['wall_s']:.1f} | {row['wall_s'] / first['wall_s']:.1f} | {row['cpu_s']:.1f} "
                f"| {row['cpu_s'] / first['cpu_s']:.1f} | {row['peak'] / 2**20:,.0f} |"
            )
        sys.stdout.write(f"{flags.rows:,} rows, {file.stat().st_size / 2**20:,.0f} MiB\n\n" + "\n".join(table) + "\n")


if __name__ == "__main__":
    main()
