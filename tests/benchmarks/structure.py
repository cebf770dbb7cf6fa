"""Cost of the structure of one checkpoint, and recall of the twins' candidates against brute force.

Run ``python -m tests.benchmarks.structure --sizes 500 1000``. Each size is a process of its own: planted directions
of width 1,024, 10 spans a trace, clusters as planted; with ``--map`` also layout and clusters from raw vectors, as
``gsd analyze`` does. It prints seconds, peak memory, the exponent of the growth in time, and for ``--recall N`` how
many of the best 50 twins of N traces are found when not every pair is aligned. The promise is 10,000 traces in 10
minutes and 6 GiB on two cores, growing no faster than n^1.3 from 2,500.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np

TOPICS, PROCEDURES, STEPS, KINDS = 40, 20, 6, 60


@dataclass
class Planted:
    """Traces that follow one of 20 procedures and speak of one of 40 topics, which have nothing to do with each other.

    ``directions`` (n, P) centred unit float32, ``samples``, ``indices`` and ``labels`` (n,), ``questions`` (N, 32),
    ``procedures`` and ``topics`` (N,); ``texts`` (n) have two words of their kind, in one of three wordings a trace,
    and six of anything.
    """

    directions: np.ndarray
    samples: np.ndarray
    indices: np.ndarray
    labels: np.ndarray
    questions: np.ndarray
    procedures: np.ndarray
    topics: np.ndarray
    texts: list[str]


def make_planted(n_traces: int, n_spans: int = 10, width: int = 1024, seed: int = 0, shuffled: bool = False) -> Planted:
    """``n_spans`` spans a trace: a procedure's six kinds of step in order among steps of any kind, or all in random
    order."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(KINDS, width)).astype(np.float32)
    topics = random.normal(size=(TOPICS, width)).astype(np.float32)
    meanings = random.normal(size=(TOPICS, 32)).astype(np.float32)
    orders = [random.permutation(KINDS)[:STEPS] for _ in range(PROCEDURES)]
    procedure, topic = random.integers(PROCEDURES, size=n_traces), random.integers(TOPICS, size=n_traces)
    labels = np.empty((n_traces, n_spans), dtype=np.int64)
    for trace in range(n_traces):
        others = random.integers(KINDS, size=n_spans - STEPS)
        start = int(random.integers(n_spans - STEPS + 1))
        row = np.concatenate([others[:start], orders[procedure[trace]], others[start:]])
        labels[trace] = random.permutation(row) if shuffled else row
    directions = np.empty((n_traces * n_spans, width), dtype=np.float32)
    for trace in range(n_traces):
        rows = slice(trace * n_spans, (trace + 1) * n_spans)
        noise = random.standard_normal((n_spans, width), dtype=np.float32)
        directions[rows] = centres[labels[trace]] + 0.3 * topics[topic[trace]] + noise
    directions -= directions.mean(axis=0)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return Planted(
        directions,
        np.repeat(np.array([f"s{trace}" for trace in range(n_traces)], dtype=object), n_spans),
        np.tile(np.arange(n_spans), n_traces),
        labels.ravel(),
        meanings[topic] + 0.5 * random.normal(size=(n_traces, 32)).astype(np.float32),
        procedure,
        topic,
        _make_texts(labels, seed),
    )


def _make_texts(labels: np.ndarray, seed: int) -> list[str]:
    random = np.random.default_rng([seed, 1])
    n_traces, n_spans = labels.shape
    wordings = np.repeat(random.integers(3, size=n_traces), n_spans)
    fillers = (2000 * random.random((labels.size, 6)) ** 3).astype(np.int64)  # few words are common, most are rare
    letters = str.maketrans("0123456789", "abcdefghij")
    return [
        f"k{label}w{wording} v{label}w{wording} {' '.join(f'x{word}' for word in row)}".translate(letters)
        for label, wording, row in zip(labels.ravel(), wordings, fillers, strict=True)
    ]


def compute_recall(planted: Planted, top: int = 50, seed: int = 0) -> float:
    """Share of the ``top`` twins by brute force that the candidates' search finds among its own ``top``."""
    from gsd_core.analysis.align import TracedSpans, compute_match_scale, group_traces
    from gsd_core.analysis.twins import find_twins
    from gsd_core.comparison.nulls import compute_null_cosines

    traces = group_traces(planted.samples, planted.indices)
    null = compute_null_cosines(planted.directions, planted.samples, 50_000, seed)
    every = np.stack(np.triu_indices(len(traces.ids), 1), axis=1)
    spans = TracedSpans(planted.directions, traces, planted.labels, planted.questions)
    common = (spans, compute_match_scale(null), seed)
    found, expected = (
        {(twin.a, twin.b) for twin in find_twins(*common, top=top, pairs=pairs).twins} for pairs in (None, every)
    )
    return len(found & expected) / max(len(expected), 1)


def run_size(n_traces: int, width: int, with_map: bool) -> dict[str, float]:
    """Do the work in this process: seconds of each part, peak memory in bytes."""
    from gsd_core.analysis.analyze import analyze_directions
    from gsd_core.analysis.structure import Corpus, analyze_structure

    small = make_planted(60, width=64)  # compiles, or loads what was compiled
    analyze_structure(
        Corpus(small.directions, small.samples, small.indices, small.labels, small.questions, small.texts)
    )
    planted = make_planted(n_traces, width=width)
    seconds: dict[str, float] = {}
    labels, null = planted.labels, None
    if with_map:
        start = time.perf_counter()
        found = analyze_directions(planted.directions.astype(np.float16), planted.samples, planted.texts)
        labels, null = found.clusters, found.null
        seconds["map"] = time.perf_counter() - start
    start = last = time.perf_counter()

    def report(stage: str, done: int, total: int) -> None:
        nonlocal last
        if done >= total:
            now = time.perf_counter()
            seconds[stage] = seconds.get(stage, 0.0) + now - last
            last = now

    layers = [(f"layer.{at}", at * width // 8, (at + 1) * width // 8) for at in range(8)]
    corpus = Corpus(planted.directions, planted.samples, planted.indices, labels, planted.questions, planted.texts)
    result = analyze_structure(corpus, on_progress=report, layer_slices=layers, null=null)
    seconds["structure"] = time.perf_counter() - start
    counts = {key: result.info[key] for key in ("n_stresses", "n_twins", "n_rewordings")}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {**seconds, **counts, "peak_bytes": peak, "n_pairs": result.info["twins"]["n_pairs_tested"]}


def main() -> None:
    """Run every size and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2_500, 10_000])
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--map", action="store_true", help="also layout and clusters")
    parser.add_argument("--recall", type=int, default=0, metavar="N", help="traces of the brute force")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.one:
        print(json.dumps(run_size(flags.one, flags.width, flags.map)))  # noqa: T201 - the parent reads it
        return
    before: tuple[int, float] | None = None
    for size in flags.sizes:
        words = [sys.executable, "-m", "tests.benchmarks.structure", "--one", str(size)]
        words += ["--width", str(flags.width), *(["--map"] if flags.map else [])]
        answer = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        found = json.loads(answer.splitlines()[-1])
        total = found["structure"] + found.get("map", 0.0)
        parts = ", ".join(f"{key} {found[key]:.1f}" for key in ("map", "stresses", "twins", "tables") if key in found)
        growth = ""
        if before:
            growth = f", grows as n^{math.log(total / before[1]) / math.log(size / before[0]):.2f}"
        print(  # noqa: T201
            f"{size:6,} traces: {total:6.1f} s ({parts}), peak {found['peak_bytes'] / 2**30:.2f} GiB, "
            f"{found['n_pairs']:,} pairs, {found['n_stresses']} stresses, {found['n_twins']} twins, "
            f"{found['n_rewordings']} in other words{growth}",
            flush=True,
        )
        before = (size, total)
    if flags.recall:
        recall = compute_recall(make_planted(flags.recall, width=flags.width))
        print(f"recall of the top 50 twins of {flags.recall:,} traces: {recall:.2f}")  # noqa: T201


if __name__ == "__main__":
    main()
