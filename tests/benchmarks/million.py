"""A million spans in the store: ingest, disk, index, search.

    python -m tests.benchmarks.million [--spans 1000000] [--width 1024] [--folder DIR]

Synthetic directions: 2,000 planted clusters, noise, and a common offset as real gradients have one. Prints target and
reached side by side and asserts nothing. Queries are centred as on the pages.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gsd_core.store import Run, Workspace
from gsd_core.types import SampleRecords, SpanRecord, TokenizedSample, TokenSpan

N_SPANS, BATCH_SAMPLES, TOP, N_QUERIES = 10, 200, 50, 40


def iter_batches(n_spans: int, width: int) -> Iterator[list[SampleRecords]]:
    """Batches of 200 samples with ten spans each."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((2000, width), dtype=np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    offset = random.standard_normal(width, dtype=np.float32)
    offset *= 0.5 / np.linalg.norm(offset)
    tokens = np.arange(N_SPANS * 8 + 1, dtype=np.int32)
    spans = tuple(
        TokenSpan(k, 8 * k + 1, 8 * k + 9, 30 * k, 30 * k + 30, f"step {k}") for k in range(N_SPANS)
    )
    for number in range(n_spans // (BATCH_SAMPLES * N_SPANS)):
        seeded = np.random.default_rng([1, number])
        n = BATCH_SAMPLES * N_SPANS
        vectors = seeded.standard_normal((n, width), dtype=np.float32) / np.sqrt(width)
        vectors += 0.8 * centres[seeded.integers(0, 2000, n)] + offset
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        halves = vectors.astype(np.float16)
        yield [
            SampleRecords(
                TokenizedSample(f"s{number}-{row}", "", tokens, tokens, tokens, spans, 1, 0),
                tuple(SpanRecord(span, halves[row * N_SPANS + span.index], 1.0, 1.0, 0.5) for span in spans),
                np.zeros(len(tokens), np.float32),
            )
            for row in range(BATCH_SAMPLES)
        ]


def measure(folder: Path, n_spans: int, width: int) -> list[tuple[str, str, str]]:
    """Rows (what, target, reached)."""
    run = Workspace.open(folder).create_run("million", {}, width, 4)
    ingest = 0.0
    for number, batch in enumerate(iter_batches(n_spans, width)):
        started = time.perf_counter()
        run.append_batch("final", None, number, batch)
        ingest += time.perf_counter() - started
    started = time.perf_counter()
    run.close()
    ingest += time.perf_counter() - started
    n = run.count_spans("final")
    raw = 2 * n * width
    disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    rows = [
        ("spans × width", "", f"{n:,} × {width:,}"),
        ("ingest (spans/s)", "≥ 20,000", f"{n / ingest:,.0f}"),
        ("disk before the index / raw float16", "≤ 1.15", f"{disk / raw:.3f}"),
    ]
    rows += measure_search(run, width)
    with_index = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    rows.append(("index / raw float16", "", f"{(with_index - disk) / raw:.3f}"))
    rows.append(
        ("peak memory (GiB)", "", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f}")
    )
    return rows


def measure_search(run: Run, width: int) -> list[tuple[str, str, str]]:
    """Index, latency and recall; queries are spans of the run itself, their own sample excluded."""
    started, cpu = time.perf_counter(), time.process_time()
    built = run.build_index("final")
    if built is None:
        return [("index", "", "not needed at this size")]
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    reader = Workspace.open(Path(run.uri).parents[1]).open_run("million")
    places = np.random.default_rng(5).choice(reader.count_spans("final"), N_QUERIES, replace=False)
    center = np.mean(
        [reader.read_vectors("final", p, p + 1)[0].astype(np.float32) for p in range(0, 5000, 10)], axis=0
    )
    owners = reader.read_spans("final", ["sample"])["sample"]
    queries = [(reader.read_vectors("final", p, p + 1)[0], owners.iloc[p]) for p in places]
    indexed_ms, exact_ms, recalls = [], [], []
    for is_warm in (False, True):
        for query, owner in queries:
            started = time.perf_counter()
            found = reader.search(query, TOP, "final", owner, center)
            if is_warm:
                indexed_ms.append(1000 * (time.perf_counter() - started))
                recalls.append(found)
    for at, (query, owner) in enumerate(queries[:20]):
        started = time.perf_counter()
        truth = set(reader.search(query, TOP, "final", owner, center, is_exact=True)["span"])
        exact_ms.append(1000 * (time.perf_counter() - started))
        recalls[at] = len(truth & set(recalls[at]["span"])) / TOP
    return [
        ("index built in (s, CPU s)", "", f"{seconds:.0f}, {cpu:.0f}"),
        ("top-50 neighbours, warm median (ms)", "≤ 100", f"{np.median(indexed_ms):.1f}"),
        ("… 95th percentile (ms)", "", f"{np.quantile(indexed_ms, 0.95):.1f}"),
        ("… reading everything (ms)", "", f"{np.median(exact_ms):.0f}"),
        ("recall@50 against reading everything", "≥ 0.95", f"{np.mean(recalls[:20]):.3f}"),
        ("recall as the store reports it", "", f"{built['recall']:.3f}"),
    ]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--folder", type=Path, help="where the store is made; default: the temporary folder")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gsd-million-", dir=options.folder))
    try:
        rows = measure(folder, options.spans, options.width)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for what, target, reached in rows:
        print(f"{what:<42}{target:>10}  {reached}")  # noqa: T201 - a benchmark prints
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
