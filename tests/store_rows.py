"""Rows for the tests of the store, and a process that writes them and stops at a given point.

make_tokenized, make_records   one sample, and its captured records
make_run_samples   samples of a run, with tokens and spans
make_batches       results of capture, batch by batch; the same for the same arguments
make_run           a new run with samples and embeddings
write_missing      capture the missing batches of a run
make_analysis      points, clusters, arrays and summary of one checkpoint
read_everything    all contents of a run, to compare two runs
main               the writing process: prints ``AT`` at a given point and waits there for a line
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
import pandas as pd

from gsd_core.store import Run, RunSample, Workspace
from gsd_core.store.tables import Table
from gsd_core.types import Sample, SampleRecords, Skipped, SpanRecord, TokenizedSample, TokenSpan

WIDTH, EMBEDDING_WIDTH = 16, 4
INFO = {"format": "jsonl", "fields": {"question": "q"}, "data_hash": "aa", "source": "x.jsonl"}
CHECKPOINTS = [("step-10", 10), ("final", None)]


def make_tokenized(sample: str, words: list[str]) -> tuple[Sample, TokenizedSample]:
    """A sample whose reasoning is ``words``: each word is a token and a span, after three prompt tokens."""
    reasoning = "".join(words)
    prompt = "abc"
    starts = [0, 1, 2]
    ends = [1, 2, 3]
    spans = []
    at = 0
    for index, word in enumerate(words):
        starts.append(3 + at)
        ends.append(3 + at + len(word))
        spans.append(TokenSpan(index, 3 + index, 4 + index, at, at + len(word), word))
        at += len(word)
    ids = np.arange(len(starts), dtype=np.int32)
    tokenized = TokenizedSample(
        sample,
        prompt + reasoning,
        ids,
        np.array(starts, np.int32),
        np.array(ends, np.int32),
        tuple(spans),
        3,
        3,
    )
    return Sample(sample, f"question of {sample}?", reasoning, "42", meta={"kind": sample[-1]}), tokenized


def make_records(tokenized: TokenizedSample, seed: int) -> SampleRecords:
    """Random unit directions for every span of a sample."""
    generator = np.random.default_rng(seed)
    records = []
    for span in tokenized.spans:
        direction = generator.standard_normal(WIDTH)
        direction = (direction / np.linalg.norm(direction)).astype(np.float16)
        audited = float(generator.random()) if span.index % 3 == 0 else None
        norm, loss = float(generator.random() * 9), float(generator.random() * 4)
        records.append(SpanRecord(span, direction, norm, loss, 0.5, audited))
    losses = generator.random(len(tokenized.token_ids)).astype(np.float32)
    losses[0] = np.nan
    return SampleRecords(tokenized, tuple(records), losses)


def make_run_samples(n_batches: int) -> list[RunSample]:
    """Samples of ``n_batches`` batches: batch b has b % 3 + 1 samples of (b + i) % 4 spans (so some have none)."""
    rows = []
    for batch in range(n_batches):
        for i in range(batch % 3 + 1):
            words = [f"word{k} of {batch}, " for k in range((batch + i) % 4)]
            sample, tokenized = make_tokenized(f"row-{batch}-{i}", words)
            rows.append(RunSample(tokenized, sample, np.full(EMBEDDING_WIDTH, 0.5, np.float32)))
    return rows


def make_batches(n_batches: int, seed: int) -> list[list[SampleRecords | Skipped]]:
    """Results of capture; every fifth batch ends with a skipped sample."""
    rows = iter(make_run_samples(n_batches))
    batches: list[list[SampleRecords | Skipped]] = []
    for batch in range(n_batches):
        results: list[SampleRecords | Skipped] = [
            make_records(next(rows).tokenized, seed * 1000 + batch * 10 + i) for i in range(batch % 3 + 1)
        ]
        if batch % 5 == 4:
            results.append(Skipped(f"left-out-{batch}", "700 tokens > context 512"))
        batches.append(results)
    return batches


def write_missing(run: Run, n_batches: int, flush_every: int) -> None:
    """Capture as the driver does: skip finished batches, append the others in order."""
    for number, (checkpoint, step) in enumerate(CHECKPOINTS):
        done = run.finished_batches(checkpoint)
        for batch, results in enumerate(make_batches(n_batches, number)):
            if batch not in done:
                run.append_batch(checkpoint, step, batch, results)
                if batch % flush_every == flush_every - 1:
                    run.flush()
        run.flush()


def make_run(workspace: Workspace, name: str, n_batches: int) -> Run:
    """A new run with its samples and embeddings."""
    run = workspace.create_run(name, {"seed": 0}, WIDTH, EMBEDDING_WIDTH)
    rows = make_run_samples(n_batches)
    run.write_samples(rows)
    spans = [f"{row.sample.id}#{span.index}" for row in rows for span in row.tokenized.spans]
    run.write_embeddings(spans, np.ones((len(spans), EMBEDDING_WIDTH), np.float32))
    return run


def make_analysis(run: Run, checkpoint: str, x: float = 0.0) -> tuple[Any, Any, Any, Any]:
    spans = run.read_spans(checkpoint, ["span"])["span"].tolist()
    points = pd.DataFrame({"span": spans, "x": x, "y": np.arange(len(spans)), "cluster": 0, "probability": 1.0})
    rows = {"cluster": [0], "size": [len(spans)], "label": ["sum it's"], "terms": [["sum", "add"]]}
    clusters = pd.DataFrame({**rows, "exemplars": [spans[:2]]})
    arrays = {
        "mean": np.arange(WIDTH, dtype=np.float32),
        "shape": np.zeros((2, 0, 3)),
        "flag": np.array(True),
    }
    return points, clusters, arrays, {"n_clusters": 1}


def read_everything(run: Run) -> dict[str, Any]:
    """All contents of a run, in comparable form."""
    ids, embeddings = run.read_embeddings()
    found: dict[str, Any] = {
        "checkpoints": run.checkpoints,
        "samples": run.read_samples().to_dict("records"),
        "skipped": run.read_skipped().to_dict("records"),
        "embeddings": (ids, embeddings.tobytes()),
    }
    for name in run.checkpoints:
        found[f"spans {name}"] = run.read_spans(name).to_csv()
        found[f"vectors {name}"] = run.read_vectors(name).tobytes()
        for sample in run.read_samples()["sample"]:
            found[f"tokens {name} {sample}"] = run.read_tokens(sample, name).to_csv()
    return found


def _pause_at(point: str, nth: int, is_waiting: bool) -> None:
    """Print ``AT`` and wait before the ``nth`` commit of ``point``, such as ``records``; ``-done``: after it."""
    kind, _, when = point.partition("-")
    original = Table.append
    seen = 0

    def append(self: Table, rows: Any) -> None:
        nonlocal seen
        is_it = self.uri.endswith(f"{kind}.lance")
        seen += is_it
        if is_it and seen == nth and not when:
            _say_and_wait(is_waiting)
        original(self, rows)
        if is_it and seen == nth and when:
            _say_and_wait(is_waiting)

    Table.append = append  # type: ignore[method-assign]  # only in this process, to stop at an exact point


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def _say_and_wait(is_waiting: bool) -> None:
    _say("AT")
    if is_waiting:
        sys.stdin.readline()


def main() -> None:
    """Write the run and pause at a point of a commit."""
    parser = argparse.ArgumentParser()
    parser.add_argument("workspace")
    parser.add_argument("run")
    parser.add_argument("--batches", type=int, default=9)
    parser.add_argument("--flush-every", type=int, default=3)
    parser.add_argument("--point", default="")
    parser.add_argument("--nth", type=int, default=1)
    parser.add_argument("--run-on", action="store_true", help="say AT without waiting")
    options = parser.parse_args()
    workspace = Workspace.open(options.workspace)
    if options.point:
        _pause_at(options.point, options.nth, not options.run_on)
    if any(info.name == options.run for info in workspace.list_runs()):
        run = workspace.open_run(options.run)
        run.repair()
    else:
        run = make_run(workspace, options.run, options.batches)
    write_missing(run, options.batches, options.flush_every)
    run.close()
    _say("DONE")


if __name__ == "__main__":
    main()
