"""Races: span gradients by capture, by Bergson and by an autograd loop, beside a plain fine-tuning step.

plan_races     which sizes are raced by whom
choose_batch   batch sizes tried, the plain step's and Bergson's best kept
main           the command line

    python -m tests.benchmarks.races --quick                        # own ways on 16 samples
    python -m tests.benchmarks.races --quick --ways exact "window 1" --rounds 5
    python -m tests.benchmarks.races --profile exact --threads 2    # where one batch spends its time
    python -m tests.benchmarks.races --publish                      # all; docs/performance.json, .md and the chart
    python -m tests.benchmarks.races --draw                         # the document anew from the stored result

A ratio is formed within a round and its median over rounds is shown. Nothing is asserted: targets are printed beside
what was reached.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from gsd_core.errors import UserError
from tests.benchmarks.race_busy import measure_busy
from tests.benchmarks.race_chart import draw_chart
from tests.benchmarks.race_figures import race_key
from tests.benchmarks.race_peers import BERGSON_VERSION
from tests.benchmarks.race_report import fill_document, format_race, format_targets, render_markdown
from tests.benchmarks.race_turns import ROOT, SCRATCH, Entry, Worker, race
from tests.benchmarks.race_work import AUTOGRAD, BERGSON_WAYS, OWN_WAYS, PLAIN, Settings, Size, write_work

STORED, DOCUMENT = ROOT / "docs" / "performance.json", ROOT / "docs" / "performance.md"
CHART = ROOT / "docs" / "images" / "performance.svg"
FEW = (PLAIN, "window 0", "window 1", "exact", *BERGSON_WAYS)
BATCHES = (1024, 2048, 4096)


def plan_races(is_quick: bool) -> list[tuple[Size, tuple[str, ...]]]:
    """Sizes with their contestants; longer or more finely cut samples are fewer, since a ratio needs no more."""
    plan = [
        (Size(64), (*OWN_WAYS, *BERGSON_WAYS)),
        (Size(64, spans=4), FEW),
        (Size(32, spans=16), FEW),
        (Size(16, spans=32), FEW),
        (Size(16, tokens=1024), (*FEW, "hidden", "position")),
        (Size(2, tokens=4096), (*FEW, "hidden", "position", "window 1, checkpointed", "exact, checkpointed")),
        (Size(32, uneven=True), (*FEW, AUTOGRAD)),
    ]
    if is_quick:  # never less than what fills one of the usual batches; peers on long rows would take most of the time
        plan = [
            (
                replace(size, samples=max(size.samples // 4, min(size.samples, 2048 // size.tokens), 1)),
                tuple(way for way in ways if size.tokens < 4096 or way not in BERGSON_WAYS),
            )
            for size, ways in plan
        ]
    return plan


def make_entries(ways: Sequence[str], settings: Settings, bergson_batch: int) -> list[Entry]:
    """The plain step first, then `ways`; Bergson with its own batch size, all others with the settings'."""
    return [
        Entry(way, way, replace(settings, batch_tokens=bergson_batch) if way in BERGSON_WAYS else settings)
        for way in dict.fromkeys([PLAIN, *ways])
    ]


def choose_batch(settings: Settings, with_bergson: bool, n_rounds: int) -> tuple[int, int, dict[str, Any]]:
    """(best tokens a batch of the plain step, of Bergson, the race that says so), by CPU time on 16 samples."""
    ways = [PLAIN, BERGSON_WAYS[0]] if with_bergson else [PLAIN]
    entries = {
        (way, tokens): Entry(f"{way}, {tokens:,}", way, replace(settings, batch_tokens=tokens))
        for way in ways
        for tokens in BATCHES
    }
    result = race(Size(16), list(entries.values()), n_rounds, _say)
    best = [
        min(BATCHES, key=lambda tokens: median(result["ways"][entries[way, tokens].label]["cpu_s"])) for way in ways
    ]
    return best[0], best[-1], result


def describe_machine(settings: Settings, n_rounds: int) -> dict[str, Any]:
    """What a reader needs to judge the figures; no names of machine or user."""
    names = [line.split(":")[1].strip() for line in _cpu_lines() if line.startswith("model name")]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(pages / 2**30),
        "threads": settings.threads,
        "torch": version("torch"),
        "transformers": version("transformers"),
        "bergson": BERGSON_VERSION,
        "rounds": n_rounds,
        "date": datetime.now(UTC).date().isoformat(),
    }


def _cpu_lines() -> Iterator[str]:
    path = Path("/proc/cpuinfo")
    return iter(path.read_text().splitlines() if path.exists() else [])


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


def run_all(settings: Settings, n_rounds: int, is_quick: bool, with_peers: bool, only: Sequence[str]) -> dict[str, Any]:
    """Every planned race, or those `only` names; the stored result is written after each, so a break loses one.

    Raises
    ------
    UserError
        `only` names races that nobody planned, or the stored result comes from another machine or sizes.
    """
    from tests.benchmarks.race_checks import compute_checks

    plan = plan_races(is_quick)
    known = {"batch", "busy", "checks", *(race_key(size) for size, _ in plan)}
    if unknown := set(only) - known:
        raise UserError(f"no race {min(unknown)!r}", "--only", f"choose of {', '.join(sorted(known))}")
    stored: dict[str, Any] = {"races": {}}
    machine = describe_machine(settings, n_rounds) | {"quick": is_quick}
    if only and STORED.exists():
        stored = json.loads(STORED.read_text())
        changed = [key for key, value in machine.items() if key != "date" and stored["environment"].get(key) != value]
        if changed and list(only) != ["busy"]:
            raise UserError(
                f"the stored result was measured differently ({', '.join(changed)}), so races cannot be mixed",
                STORED.name,
                "race all sizes again, without --only",
            )
    if list(only) == ["busy"]:  # compared with itself alone, so it may come from another machine
        stored["busy"] = {**measure_busy(settings, n_rounds, _say), "machine": machine}
        STORED.write_text(json.dumps(stored, indent=1) + "\n")
        return stored
    stored["environment"] = machine
    if not only or "batch" in only or "batch" not in stored:
        plain, bergson, stored["batch"] = choose_batch(settings, with_peers, n_rounds)
        stored["best_batch"] = {"plain": plain, "bergson": bergson}
    settings = replace(settings, batch_tokens=stored["best_batch"]["plain"])
    for size, ways in plan:
        key = race_key(size)
        if only and key not in only:
            continue
        _say(f"{size.describe()}")
        chosen = [way for way in ways if with_peers or way not in BERGSON_WAYS]
        entries = make_entries(chosen, settings, stored["best_batch"]["bergson"])
        stored["races"][key] = race(size, entries, n_rounds, _say)
        STORED.write_text(json.dumps(stored, indent=1) + "\n")
    if not only or "busy" in only:
        stored["busy"] = {**measure_busy(settings, n_rounds, _say), "machine": machine}
    if not only or "checks" in only:
        stored["checks"] = compute_checks(with_peers)
    STORED.write_text(json.dumps(stored, indent=1) + "\n")
    return stored


def write_document(stored: dict[str, Any]) -> None:
    """The chart, and the tables between the document's markers."""
    CHART.write_text(draw_chart(stored))
    DOCUMENT.write_text(fill_document(DOCUMENT.read_text(), render_markdown(stored)))


def profile_way(way: str, size: Size, settings: Settings, n_rows: int) -> str:
    """The first batch of `way` under torch's profiler, after one that warmed up."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        write_work(Path(folder), size)
        worker = Worker(Entry(way, way, settings), Path(folder))
        try:
            return str(worker.ask(f"profile {n_rows}")["table"])
        finally:
            worker.close()


def main() -> None:
    """Read the flags, race, print or publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer samples; without --publish also without peers")
    parser.add_argument("--publish", action="store_true", help="race all sizes and write the document")
    parser.add_argument("--draw", action="store_true", help="write the document from the stored result")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="RACE",
        help="with --publish: '256 x 32', batch, busy, checks …",
    )
    parser.add_argument("--no-peers", action="store_true", help="leave Bergson out; nothing is installed")
    parser.add_argument("--ways", nargs="+", choices=(*OWN_WAYS, *BERGSON_WAYS), metavar="WAY")
    parser.add_argument("--samples", type=int)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--spans", type=int, default=8)
    parser.add_argument("--uneven", action="store_true", help="spans of random length")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-tokens", type=int, default=2048)
    parser.add_argument("--profile", choices=(*OWN_WAYS, *BERGSON_WAYS), metavar="WAY")
    flags = parser.parse_args()
    settings = Settings(flags.batch_tokens, flags.threads)
    try:
        if flags.draw:
            write_document(json.loads(STORED.read_text()))
        elif flags.publish:
            write_document(run_all(settings, flags.rounds, flags.quick, not flags.no_peers, flags.only))
        elif flags.profile:
            size = Size(flags.samples or 8, flags.tokens, flags.spans, flags.uneven)
            sys.stdout.write(profile_way(flags.profile, size, settings, 30) + "\n")
        else:
            size = Size(flags.samples or (16 if flags.quick else 64), flags.tokens, flags.spans, flags.uneven)
            peers = () if flags.quick or flags.no_peers else BERGSON_WAYS
            entries = make_entries(flags.ways or (*OWN_WAYS, *peers), settings, flags.batch_tokens)
            result = race(size, entries, flags.rounds, _say)
            sys.stdout.write(format_race(result) + "\n\n" + format_targets({race_key(size): result}) + "\n")
    except UserError as problem:
        parser.exit(2, f"error: {problem.one_line()}\n")


if __name__ == "__main__":
    main()
