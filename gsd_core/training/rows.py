"""Training data in which each row has the number of its sample.

ROW                  name of the column with the number
NO_SAMPLE            the number of a row without sample
RowCollator          a data collator that keeps the column
make_training_rows   samples → rows to fine-tune on
add_row_numbers      finds the sample of each row of a data set that was tokenized elsewhere

    data = Dataset.from_list(make_training_rows(ride.samples))
    collator = RowCollator(DataCollatorForSeq2Seq(tokenizer))
    trainer = Trainer(model, arguments, train_dataset=data, data_collator=collator)

``TrainingArguments(remove_unused_columns=False)`` is needed, because a trainer removes columns that the model does not
use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from gsd_core.training.objectives import make_labels
from gsd_core.types import TokenizedSample

ROW = "gsd_row"
NO_SAMPLE = -1


class RowCollator:
    """Wraps a data collator; the batch gets ``gsd_row`` (B,) int64, −1 for rows without sample.

    A batch of rows without the column (an evaluation set) passes through unchanged.
    """

    def __init__(self, inner: Callable[[list[dict[str, Any]]], dict[str, Any]]) -> None:
        self.inner = inner

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """Features of B rows → padded batch."""
        if not any(ROW in feature for feature in features):
            return self.inner(features)
        rows = [int(feature.get(ROW, NO_SAMPLE)) for feature in features]
        batch = self.inner([{k: v for k, v in feature.items() if k != ROW} for feature in features])
        batch[ROW] = torch.tensor(rows, dtype=torch.int64)
        return batch


def make_training_rows(
    samples: Sequence[TokenizedSample], end_token: int | None = None, labels: Sequence[np.ndarray] | None = None
) -> list[dict[str, Any]]:
    """Rows ``input_ids, labels, gsd_row``: the loss is on everything after the prompt, as tier position has it.

    ``labels`` (T,) of each sample are taken as they are. Where `end_token` is given, every row ends with it and is
    trained on it.
    """
    end = [] if end_token is None else [end_token]
    return [
        {
            "input_ids": sample.token_ids.tolist() + end,
            "labels": (make_labels(sample) if labels is None else labels[number]).tolist() + end,
            ROW: number,
        }
        for number, sample in enumerate(samples)
    ]


def add_row_numbers(samples: Sequence[TokenizedSample]) -> Callable[[dict[str, Any]], dict[str, int]]:
    """A function for ``Dataset.map`` that numbers rows whose ``input_ids`` begin with a sample's tokens.

    The longest such sample counts. A row that begins with no sample gets −1; it is trained on and not captured.
    """
    known: dict[int, dict[bytes, int]] = {}
    for number, sample in enumerate(samples):
        ids = np.asarray(sample.token_ids, dtype=np.int64)
        known.setdefault(len(ids), {}).setdefault(ids.tobytes(), number)
    lengths = sorted(known, reverse=True)

    def number_row(row: dict[str, Any]) -> dict[str, int]:
        ids = np.asarray(row["input_ids"], dtype=np.int64)
        for length in lengths:
            found = known[length].get(ids[:length].tobytes()) if length <= len(ids) else None
            if found is not None:
                return {ROW: found}
        return {ROW: NO_SAMPLE}

    return number_row
