"""Bergson as a contestant; runs in the environment that ``race_peers`` makes, which has no ``gsd_core``.

BergsonRows       each span a label-masked row, whole or cut at the span's end; Bergson's in-memory collector
make_bergson_way  a contestant by name

Set up as Bergson sets itself up: its own batches by ``allocate_batches``, weights frozen but for the token embedding,
hooks on the decoder layers (not the output head), Rademacher projection on both sides, mean loss over a row's labels.
Nothing is written to disk but a counter. Only where vectors are compared with ours are its projection matrices
replaced by ours.
"""

from __future__ import annotations

import os
import sys

import numpy as np
import torch
from bergson import GradientProcessor
from bergson.collector.collector import CollectorComputer
from bergson.collector.in_memory_collector import InMemoryCollector
from bergson.config import IndexConfig
from bergson.data import allocate_batches
from datasets import Dataset, disable_progress_bars

from tests.benchmarks.race_work import BERGSON_WAYS, Work, load_model, mask_rows
from tests.benchmarks.race_worker import Contestant, serve


class BergsonRows:
    """Every span a row of its own."""

    def __init__(self, work: Work, cut: bool) -> None:
        disable_progress_bars()
        self.work, self.cut = work, cut
        self.model = load_model(work).requires_grad_(False)
        self.model.get_input_embeddings().requires_grad_(True)
        self.processor = GradientProcessor(projection_dim=work.settings.rank)
        self.config = IndexConfig(
            run_path=str(work.folder / f"bergson-{os.getpid()}"),
            token_batch_size=max(work.settings.batch_tokens, work.size.tokens),
            projection_dim=work.settings.rank,
            loss_reduction="mean",
        )
        self.config.partial_run_path.mkdir()
        self.rows = self._make_rows(work.size.samples)

    def _make_rows(self, n_samples: int) -> Dataset:
        rows, labels = mask_rows(self.work.ids[:n_samples], self.work.borders[:n_samples], self.cut)
        return Dataset.from_dict({"input_ids": rows, "labels": labels, "length": [len(row) for row in rows]})

    def collect(self, rows: Dataset, processor: GradientProcessor) -> dict[str, np.ndarray]:
        """By module, (rows, numbers) float32."""
        collector = InMemoryCollector(model=self.model.base_model, data=rows, cfg=self.config, processor=processor)
        batches = allocate_batches(rows["length"][:], self.config.token_batch_size)
        computer = CollectorComputer(self.model, rows, collector=collector, batches=batches, cfg=self.config)
        computer.run_with_collector_hooks(desc="rows")
        return {name: values.numpy() for name, values in collector.gradients.items()}

    def warm_up(self) -> None:
        self.collect(self.rows.select(range(min(len(self.rows), self.work.size.spans))), self.processor)

    def run_round(self) -> None:
        self.collect(self.rows, self.processor)

    def get_vectors(self) -> dict[str, np.ndarray]:
        """By module: projected with the matrices of ``projection.npz`` in the work's folder, dense where there is
        none."""
        rows = self._make_rows(len(self.work.iter_batches()[0]))
        path = self.work.folder / "projection.npz"
        processor = GradientProcessor(projection_dim=None)
        if path.exists():
            processor = GradientProcessor(projection_dim=self.work.settings.rank)
            with np.load(path) as matrices:
                for key in matrices.files:
                    name, _, side = key.rpartition("/")
                    # Bergson makes a matrix where this table has none yet; it offers no other way to give it one.
                    processor._projection_matrices[(name, side, self.model.device)] = torch.from_numpy(matrices[key])
        return self.collect(rows, processor)


def make_bergson_way(way: str, work: Work) -> Contestant:
    """The contestant of that name."""
    return BergsonRows(work, cut=way == BERGSON_WAYS[1])


if __name__ == "__main__":
    serve(make_bergson_way, *sys.argv[1:])
