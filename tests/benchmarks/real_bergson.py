"""Bergson on a real model: every span a row that ends with it. Runs in the environment that ``race_peers`` makes.

    python -m tests.benchmarks.real_bergson MODEL_FOLDER ROWS.json

The rows hold ``input_ids`` and ``labels``. Settings are those of ``race_bergson``: hooks on the decoder layers without
the head, Rademacher projection to 16 × 16, vectors kept in memory. Prints CPU seconds of the collection and peak bytes.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import torch
from bergson import GradientProcessor
from bergson.collector.collector import CollectorComputer
from bergson.collector.in_memory_collector import InMemoryCollector
from bergson.config import IndexConfig
from bergson.data import allocate_batches
from datasets import Dataset, disable_progress_bars
from transformers import AutoModelForCausalLM

RANK, BATCH_TOKENS = 16, 4096


def main() -> None:
    """Collect once and print what it took."""
    disable_progress_bars()
    torch.set_num_threads(1)
    folder, file = sys.argv[1:]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).requires_grad_(False)
    model.get_input_embeddings().requires_grad_(True)
    rows = Dataset.from_dict(json.loads(Path(file).read_text()))
    lengths = [len(row) for row in rows["input_ids"]]
    rows = rows.add_column("length", lengths)
    with tempfile.TemporaryDirectory() as run:
        config = IndexConfig(
            run_path=f"{run}/bergson", token_batch_size=BATCH_TOKENS, projection_dim=RANK, loss_reduction="mean"
        )
        config.partial_run_path.mkdir()
        before = time.process_time()
        collector = InMemoryCollector(
            model=model.base_model, data=rows, cfg=config, processor=GradientProcessor(projection_dim=RANK)
        )
        batches = allocate_batches(lengths, BATCH_TOKENS)
        computer = CollectorComputer(model, rows, collector=collector, batches=batches, cfg=config)
        computer.run_with_collector_hooks(desc="rows")
        used = time.process_time() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sys.stdout.write(json.dumps({"cpu_s": used, "peak": peak, "estimate": 0}) + "\n")


if __name__ == "__main__":
    main()
