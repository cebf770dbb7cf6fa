"""Helpers of the tests that train: a tiny model folder, a data set, a trainer of a few steps.

TinyTraining   a folder with model, data and workspace; builds sinks and trainers that differ in what is asked only
weights_of     all parameters as one vector
CollectingSink   keeps what a callback captures, in memory
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainingArguments,
    set_seed,
)

import gsd_core as gsd
from gsd_core.capture.capture import CaptureConfig
from gsd_core.training import RowCollator, SpanGradientCallback, make_training_rows
from gsd_core.types import TokenizedSample
from tests.cli_support import make_rows, save_tiny_model, write_rows


def weights_of(model: torch.nn.Module) -> torch.Tensor:
    """All parameters, in name order, as one vector."""
    return torch.cat([p.detach().float().flatten() for _, p in sorted(model.named_parameters())])


class CollectingSink:
    """A sink in memory. ``results[step]`` are the batches; ``before`` are the weights when each arrived."""

    def __init__(self, samples: Sequence[TokenizedSample], config: CaptureConfig) -> None:
        self.samples, self.config = samples, config
        self.results: dict[int, list[Any]] = {}
        self.models: dict[int, torch.nn.Module] = {}
        self.model: Any = None
        self.overhead: Any = None

    def start(self, capturer: Any, step: int) -> None:
        self.model = capturer.model

    def begin_step(self, step: int, fingerprint: str) -> set[int]:
        self.results.setdefault(step, [])
        return set()

    def write(self, step: int, batch: int, results: Any) -> None:
        self.results[step].append(results)

    def end_step(self, step: int, overhead: Any) -> None:
        self.overhead = overhead

    def flush(self) -> None:
        pass

    def finish(self, overhead: Any) -> None:
        self.overhead = overhead


class TinyTraining:
    """Everything a test needs to train a tiny random Llama for a few steps."""

    def __init__(self, folder: Path, n_rows: int = 8) -> None:
        self.folder = folder
        self.model_folder, self.data = folder / "model", folder / "apples.jsonl"
        if not self.data.exists():  # a second process finds them made
            save_tiny_model(self.model_folder)
            write_rows(self.data, make_rows(n_rows))
        self.workspace = folder / "w"
        self.tokenizer = AutoTokenizer.from_pretrained(self.model_folder)

    def load(self, seed: int = 0, **options: Any) -> Any:
        """A fresh model in training mode, all random generators seeded."""
        set_seed(seed)
        return AutoModelForCausalLM.from_pretrained(self.model_folder, **options)

    def open_probe(self, model: Any, run: str = "probe", **choices: Any) -> Any:
        """A probe of the data set, small directions."""
        choices = {"sketch_width": 128, **choices}
        return gsd.open_probe(
            self.data, model=model, tokenizer=self.tokenizer, run=run, workspace=self.workspace, **choices
        )

    def open_ride(self, model: Any, run: str = "ride", **choices: Any) -> Any:
        """A ride on the data set, small directions."""
        choices = {"sketch_width": 128, **choices}
        return gsd.open_ride(
            self.data, model=model, tokenizer=self.tokenizer, run=run, workspace=self.workspace, **choices
        )

    def arguments(self, **options: Any) -> TrainingArguments:
        """A few quick steps on the CPU."""
        options = {
            "output_dir": str(self.folder / "out"),
            "max_steps": 4,
            "per_device_train_batch_size": 3,
            "learning_rate": 1e-2,
            "remove_unused_columns": False,
            "save_strategy": "no",
            "report_to": [],
            "use_cpu": True,
            "disable_tqdm": True,
            **options,
        }
        return TrainingArguments(**options)

    def trainer(
        self,
        model: Any,
        samples: Sequence[TokenizedSample],
        callback: SpanGradientCallback | None = None,
        **options: Any,
    ) -> Trainer:
        """A trainer on the samples' rows; without a callback the rows are not numbered."""
        rows = copy.deepcopy(make_training_rows(samples))
        if callback is None:
            rows = [{key: row[key] for key in ("input_ids", "labels")} for row in rows]
        return Trainer(
            model,
            self.arguments(**options),
            train_dataset=Dataset.from_list(rows),
            data_collator=RowCollator(DataCollatorForSeq2Seq(self.tokenizer)),
            callbacks=[callback] if callback is not None else [],
        )
