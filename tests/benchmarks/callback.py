"""What the callback adds to a training: CPU and wall time as ratios to the same training without it, in one run.

Run ``python -m tests.benchmarks.callback``. One process trains the benchmarks' Llama (width 256, 6 layers, about 6.5 M
parameters) with ``transformers.Trainer`` again and again, plain and tracked in turn so that a busy machine disturbs
both alike. Time is of ``train()``, the median of the repeats. From the callback's own account come the CPU time of its
beginning (the run's tables, the sentence encoder; once, whatever the number of steps), what it added to the rest of
the training's CPU time, and the share that it predicted after six steps beside the share that it came to.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

VOCABULARY = 2048


def make_samples(n: int, n_tokens: int, n_spans: int) -> list[Any]:
    """Random samples of equal length: a prompt of a fifth, then spans."""
    from gsd_core.types import TokenizedSample, TokenSpan

    rng = np.random.default_rng(0)
    prompt = n_tokens // 5
    edges = np.linspace(prompt, n_tokens, n_spans + 1).astype(int)
    zeros = np.zeros(n_tokens, dtype=np.int32)
    spans = tuple(TokenSpan(k, int(edges[k]), int(edges[k + 1]), 0, 0, "span") for k in range(n_spans))
    return [
        TokenizedSample(
            f"s{i}",
            "",
            rng.integers(3, VOCABULARY, n_tokens).astype(np.int32),
            zeros,
            zeros,
            spans,
            prompt,
            0,
        )
        for i in range(n)
    ]


class StoredSink:
    """A tracked run of given samples: everything ``open_probe`` does but reading a file and tokenising it."""

    def __new__(cls, folder: Path, name: str, samples: list[Any], config: Any, group: int | None) -> Any:
        from gsd_core.console.progress import Progress
        from gsd_core.driver.capture_plan import CaptureOptions
        from gsd_core.driver.capture_run import RunSamples
        from gsd_core.driver.tracked_run import TrackedRun
        from gsd_core.store import Workspace
        from gsd_core.types import Sample

        store = Workspace.open(folder / "w")
        rows = [Sample(s.id, "question", "span" * len(s.spans)) for s in samples]
        if not any(info.name == name for info in store.list_datasets()):
            info = {
                "format": "benchmark",
                "fields": {},
                "rejected": [],
                "data_hash": name,
                "source": "benchmark",
            }
            store.write_dataset(name, rows, info)
        options = CaptureOptions(dataset=name, model="benchmark", run=name)
        return TrackedRun(store, options, config, RunSamples(rows, samples), Progress(quiet=True), group, True)


def train(way: str, folder: Path, flags: argparse.Namespace) -> dict[str, float]:
    """One training; seconds of wall clock and CPU, and the callback's own account."""
    import torch
    from datasets import Dataset
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments, default_data_collator

    from gsd_core.capture.capture import CaptureConfig
    from gsd_core.training import RowCollator, SpanGradientCallback, make_training_rows

    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=256,
            intermediate_size=704,
            num_hidden_layers=6,
            num_attention_heads=8,
            num_key_value_heads=4,
            max_position_embeddings=flags.tokens,
        )
    )
    samples = make_samples(flags.steps * flags.batch, flags.tokens, flags.spans)
    probe_samples = make_samples(flags.probe, flags.tokens, flags.spans)
    callback = None
    if way == "ride":
        config = CaptureConfig(tier="position", sketch_rank=flags.rank, sketch_width=1536)
        callback = SpanGradientCallback(ride=StoredSink(folder, "ride", samples, config, flags.steps))
    elif way == "probe":
        config = CaptureConfig(tier="span", window=1, sketch_rank=flags.rank, sketch_width=1536, audit_share=0.0)
        sink = StoredSink(folder, "probe", probe_samples, config, None)
        callback = SpanGradientCallback(sink, every=max(1, flags.steps // 3))
    rows = make_training_rows(samples)
    if way != "ride":
        rows = [{key: row[key] for key in ("input_ids", "labels")} for row in rows]
    trainer = Trainer(
        model,
        TrainingArguments(
            output_dir=str(folder / "out"),
            max_steps=flags.steps,
            per_device_train_batch_size=flags.batch,
            remove_unused_columns=False,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            logging_steps=10_000,
        ),
        train_dataset=Dataset.from_list(rows),
        data_collator=RowCollator(default_data_collator),
        callbacks=[callback] if callback is not None else [],
    )
    begin_cpu_s = [0.0]
    for sink in (callback.probe, callback.ride_sink) if callback is not None else ():
        if sink is not None:
            sink.start = _timed(sink.start, begin_cpu_s)
    wall, cpu = time.perf_counter(), time.process_time()
    trainer.train()
    found = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    if callback is not None and callback.overhead is not None:
        cost = callback.overhead
        found |= {key: value for key, value in cost.describe().items() if value is not None}
        tracked = cost.capture_cpu_seconds - begin_cpu_s[0]
        found["begin_cpu_s"] = begin_cpu_s[0]
        found["added"] = tracked / (cost.cpu_seconds - cost.capture_cpu_seconds)
    return found


def _timed(call: Any, into: list[float]) -> Any:
    def timed(*arguments: Any) -> Any:
        begun = time.process_time()
        result = call(*arguments)
        into[0] += time.process_time() - begun
        return result

    return timed


def main() -> None:
    """Train every way in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--spans", type=int, default=8)
    parser.add_argument("--probe", type=int, default=4, help="samples of the probe set")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=2)
    flags = parser.parse_args()
    ways = ("plain", "ride", "probe")
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(flags.repeats + 1):
            for way in ways:
                took = train(way, Path(folder), flags)
                if repeat:  # the first of each warms up
                    found[way].append(took)

    def median(way: str, key: str) -> float:
        return statistics.median(each[key] for each in found[way])

    head = f"{flags.steps} steps of {flags.batch} x {flags.tokens} tokens, {flags.spans} spans, rank {flags.rank}"
    lines = [head, f"{'way':8} {'CPU s':>7} {'ratio':>6} {'wall s':>7} {'ratio':>6}   callback's own account"]
    for way in ways:
        cpu, wall = median(way, "cpu_s"), median(way, "wall_s")
        ratios = cpu / median("plain", "cpu_s"), wall / median("plain", "wall_s")
        line = f"{way:8} {cpu:7.2f} {ratios[0]:6.3f} {wall:7.2f} {ratios[1]:6.3f}"
        if way != "plain":
            line += f"   begin {median(way, 'begin_cpu_s'):.2f} s CPU, then adds {median(way, 'added'):.3f} of the rest"
            line += f"; CPU share {median(way, 'cpu_share'):.3f}, predicted {median(way, 'predicted_cpu_share'):.3f}"
        lines.append(line)
    print("\n".join(lines))  # noqa: T201


if __name__ == "__main__":
    main()
