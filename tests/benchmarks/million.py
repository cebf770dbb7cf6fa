"""A million spans in the store: ingest, disk, index, search; with --analyze, ``gsd analyze`` of them.

    python -m tests.benchmarks.million [--spans 1000000] [--width 1024] [--corpus even|uneven] [--store DIR] [--analyze]

Synthetic directions with planted clusters and a common offset as real gradients have one. Prints target and reached
side by side and asserts nothing. Queries are centred as on the pages; a neighbour counts as found where its cosine is
no more than 1e-4 below that of the true 50th, since repeated directions are equally good.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gsd_core.console.progress import Progress
from gsd_core.driver.capture_work import COMPACT_FROM
from gsd_core.methods.analyze_method import AnalyzeOptions
from gsd_core.stages.analyze_stage import run_analyze
from gsd_core.store import RunReader, Workspace
from gsd_core.store.index import SAME
from gsd_core.types import SampleRecords, SpanRecord, TokenizedSample, TokenSpan

N_SPANS, BATCH_SAMPLES, TOP, N_QUERIES = 10, 200, 50, 40
RUN = "million"

Draw = Callable[[np.random.Generator, int], np.ndarray]
Row = tuple[str, str, str]


def make_even(random: np.random.Generator, width: int) -> Draw:
    """2,000 clusters of one size and spread, and a common offset of half the norm."""
    centres = _draw_units(random, 2000, width)
    offset = 0.5 * _draw_units(random, 1, width)

    def draw(seeded: np.random.Generator, n: int) -> np.ndarray:
        noise = seeded.standard_normal((n, width), dtype=np.float32) / np.sqrt(width)
        return noise + 0.8 * centres[seeded.integers(0, 2000, n)] + offset

    return draw


def make_uneven(random: np.random.Generator, width: int) -> Draw:
    """3,000 clusters in 12 families, sizes by Zipf's law, spreads from 0.05 to 1; 2 % repeat one direction exactly, 2 %
    nearly, 0.2 % have none."""
    centres = 0.6 * _draw_units(random, 3000, width)
    centres += 0.8 * _draw_units(random, 12, width)[random.integers(0, 12, 3000)]
    offset = 0.6 * _draw_units(random, 1, width)
    spreads = random.choice(np.float32([0.05, 0.2, 0.6, 1.0]), 3000)
    shares = 1 / np.arange(1, 3001) ** 1.1
    repeated = _draw_units(random, 2, width)

    def draw(seeded: np.random.Generator, n: int) -> np.ndarray:
        noise = seeded.standard_normal((n, width), dtype=np.float32) / np.sqrt(width)
        cluster = seeded.choice(3000, n, p=shares / shares.sum())
        rows = centres[cluster] + spreads[cluster, None] * noise + offset
        kind = seeded.random(n)[:, None]
        rows = np.where(kind < 0.02, repeated[0], rows)
        rows = np.where((kind >= 0.02) & (kind < 0.04), repeated[1] + 0.03 * noise, rows)
        return np.where(kind > 0.998, np.float32(0), rows)

    return draw


def _draw_units(random: np.random.Generator, n: int, width: int) -> np.ndarray:
    rows = random.standard_normal((n, width), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


CORPORA = {"even": make_even, "uneven": make_uneven}


def iter_batches(n_spans: int, width: int, corpus: str = "even") -> Iterator[list[SampleRecords]]:
    """Batches of 200 samples with ten spans each."""
    draw = CORPORA[corpus](np.random.default_rng(0), width)
    tokens = np.arange(N_SPANS * 8 + 1, dtype=np.int32)
    spans = tuple(TokenSpan(k, 8 * k + 1, 8 * k + 9, 30 * k, 30 * k + 30, f"step {k}") for k in range(N_SPANS))
    for number in range(n_spans // (BATCH_SAMPLES * N_SPANS)):
        seeded = np.random.default_rng([1, number])
        n = BATCH_SAMPLES * N_SPANS
        vectors = draw(seeded, n)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        halves = (vectors / np.where(norms > 0, norms, 1)).astype(np.float16)
        yield [
            SampleRecords(
                TokenizedSample(f"s{number}-{row}", "", tokens, tokens, tokens, spans, 1, 0),
                tuple(SpanRecord(span, halves[row * N_SPANS + span.index], 1.0, 1.0, 0.5) for span in spans),
                np.zeros(len(tokens), np.float32),
            )
            for row in range(BATCH_SAMPLES)
        ]


def make_store(folder: Path, n_spans: int, width: int, corpus: str) -> list[Row]:
    """Ingest, joined as a capture joins it; the rest of the modes work on this store."""
    run = Workspace.open(folder).create_run(RUN, {}, width, 4)
    ingest = 0.0
    for number, batch in enumerate(iter_batches(n_spans, width, corpus)):
        started = time.perf_counter()
        run.append_batch("final", None, number, batch)
        ingest += time.perf_counter() - started
    started = time.perf_counter()
    run.flush()
    ingest += time.perf_counter() - started
    n = run.count_spans("final")
    disk = _measure_disk(folder)
    started = time.perf_counter()
    run.compact(COMPACT_FROM)
    joined = time.perf_counter() - started
    run._checkpoint_tables("0000")[0].forget(0.0)  # what was joined; a capture leaves it for an hour
    run.close()
    return [
        ("spans × width, corpus", "", f"{n:,} × {width:,}, {corpus}"),
        ("ingest (spans/s)", "≥ 20,000", f"{n / ingest:,.0f}"),
        ("disk before the index / raw float16", "≤ 1.15", f"{disk / (2 * n * width):.3f}"),
        ("commits joined in (s)", "", f"{joined:.0f}"),
    ]


def _measure_disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measure_search(folder: Path) -> list[Row]:
    """Index, latency and recall; queries are spans of the run itself, their own sample excluded."""
    run = Workspace.open(folder).open_run(RUN)
    before, started, cpu = _measure_disk(folder), time.perf_counter(), time.process_time()
    built = run.build_index("final", again=True)
    if built is None:
        return [("index", "", "not needed at this size")]
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    run.close()
    reader = Workspace.open(folder).open_run(RUN)
    n = reader.count_spans("final")
    places = np.random.default_rng(5).choice(n, N_QUERIES, replace=False)
    vectors = np.concatenate([reader.read_vectors("final", p, p + 1) for p in places])
    center = np.mean(
        [reader.read_vectors("final", p, p + 64).astype(np.float32).mean(axis=0) for p in range(0, n, n // 99)],
        axis=0,
    )
    owners = reader.read_spans("final", ["sample"])["sample"].iloc[places].tolist()
    queries = [(vector, owner) for vector, owner in zip(vectors, owners, strict=True) if vector.any()]
    cold_ms, indexed_ms, exact_ms, shares = [], [], [], []
    for times in (cold_ms, indexed_ms):
        found = [_time(times, reader, query, owner, center) for query, owner in queries]
    for (query, owner), cosines in zip(queries[:20], found, strict=False):
        best = _time(exact_ms, reader, query, owner, center, is_exact=True)
        shares.append(np.count_nonzero(cosines >= best[-1] - SAME) / TOP)
    return [
        ("index built and measured in (s, CPU s)", "", f"{seconds:.0f}, {cpu:.0f}"),
        (
            "index / raw float16",
            "",
            f"{(_measure_disk(folder) - before) / (2 * n * reader.sketch_width):.3f}",
        ),
        ("first search of a process (ms)", "", f"{cold_ms[0]:.0f}"),
        (f"top-{TOP} neighbours, warm median (ms)", "≤ 100", f"{np.median(indexed_ms):.1f}"),
        ("… 95th percentile (ms)", "", f"{np.quantile(indexed_ms, 0.95):.1f}"),
        ("… reading everything (ms)", "", f"{np.median(exact_ms):.0f}"),
        (f"recall@{TOP} against reading everything", "≥ 0.95", f"{np.mean(shares):.3f}"),
        ("recall as the store reports it", "", f"{built['recall']:.3f}"),
        ("candidates for each neighbour", "", f"{built['factor']}"),
    ]


def _time(times: list[float], reader: RunReader, query: np.ndarray, owner: str, *more: Any, **how: Any) -> Any:
    started = time.perf_counter()
    found = reader.search(query, TOP, "final", owner, *more, **how)
    times.append(1000 * (time.perf_counter() - started))
    return found["cosine"].to_numpy()


def measure_analysis(folder: Path) -> list[Row]:
    """``gsd analyze`` of the same store."""
    started, cpu = time.perf_counter(), time.process_time()
    with Progress(quiet=False) as progress:
        done = run_analyze(Workspace.open(folder), AnalyzeOptions(RUN, again=True), progress)
    info = Workspace.open(folder).open_run(RUN).results.infos("map")["final"]
    return [
        (
            "analyze (s, CPU s)",
            "≤ 1,800",
            f"{time.perf_counter() - started:.0f}, {time.process_time() - cpu:.0f}",
        ),
        ("… clusters, share of noise", "", f"{done['n_clusters']:,}, {done['noise_share']:.3f}"),
        ("… stresses, twins", "", f"{done['n_stresses']}, {done['n_twins']}"),
        ("… fitted on (spans)", "", f"{info['n_fitted']:,}"),
    ]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--corpus", choices=sorted(CORPORA), default="even")
    parser.add_argument("--store", type=Path, help="made here and kept; one that is here is used again")
    parser.add_argument("--analyze", action="store_true", help="measure gsd analyze in place of the index")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    options = parser.parse_args()
    folder = options.store or Path(tempfile.mkdtemp(prefix="gsd-million-"))
    try:
        rows: list[Row] = []
        if not (folder / "runs" / RUN).exists():
            rows += make_store(folder, options.spans, options.width, options.corpus)
        rows += measure_analysis(folder) if options.analyze else measure_search(folder)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        rows.append(("peak memory (GiB)", "≤ 6" if options.analyze else "", f"{peak:.2f}"))
    finally:
        if options.store is None:
            shutil.rmtree(folder, ignore_errors=True)
    for what, target, reached in rows:
        print(f"{what:<42}{target:>10}  {reached}")  # noqa: T201 - a benchmark prints
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
