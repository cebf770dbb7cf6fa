"""A captured batch as rows of the store's tables.

EncodedBatch   rows of a batch: records and markers
encode_batch   results of capture → ``EncodedBatch``

Shapes: n spans of the batch, P sketch width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gsd_core.errors import UserError
from gsd_core.store.schema import captured_schema, records_schema
from gsd_core.store.tables import from_matrix
from gsd_core.types import SampleRecords, Skipped, SpanRecord, join_span


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """``marks`` of ``captured_schema``; ``records`` (n rows) of ``records_schema``, None without spans."""

    batch: int
    marks: pa.RecordBatch
    records: pa.RecordBatch | None


def encode_batch(batch: int, results: Sequence[SampleRecords | Skipped], sketch_width: int) -> EncodedBatch:
    """Rows of one batch; P = ``sketch_width``.

    Raises
    ------
    UserError
        For a direction that is not finite.
    ValueError
        For a direction that is not (P,).
    """
    marks, records, owners = _marks_of(batch, results)
    return EncodedBatch(batch, marks, _rows_of(batch, records, owners, sketch_width) if records else None)


def _marks_of(
    batch: int, results: Sequence[SampleRecords | Skipped]
) -> tuple[pa.RecordBatch, list[SpanRecord], list[str]]:
    records: list[SpanRecord] = []
    owners: list[str] = []
    samples: list[str | None] = []
    counts: list[int] = []
    reasons: list[str | None] = []
    losses: list[np.ndarray | None] = []
    for result in results:
        if isinstance(result, Skipped):
            samples.append(result.sample)
            counts.append(0)
            reasons.append(result.reason)
            losses.append(None)
            continue
        samples.append(result.tokenized.id)
        counts.append(len(result.records))
        reasons.append(None)
        losses.append(np.asarray(result.token_losses, np.float32))
        records.extend(result.records)
        owners.extend([result.tokenized.id] * len(result.records))
    if not samples:  # a batch without samples is finished too; it must not be captured again
        samples, counts, reasons, losses = [None], [0], [None], [None]
    schema = captured_schema()
    columns = [
        pa.array([batch] * len(samples), pa.int32()),
        pa.array(range(len(samples)), pa.int32()),
        pa.array(samples, pa.string()),
        pa.array(counts, pa.int32()),
        pa.array(reasons, pa.string()),
        pa.array(losses, pa.list_(pa.float32())),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema), records, owners


def _rows_of(batch: int, records: list[SpanRecord], owners: list[str], width: int) -> pa.RecordBatch:
    directions = np.stack([np.asarray(record.direction) for record in records])
    if directions.shape[1:] != (width,):
        raise ValueError(f"directions are {directions.shape[1:]}, the run stores ({width},)")
    directions = directions.astype(np.float16)
    if not np.isfinite(directions).all():
        bad = int(np.argmin(np.isfinite(directions).all(axis=1)))
        raise UserError(
            "a gradient direction is not finite",
            f"span {join_span(owners[bad], records[bad].span.index)}",
            "capture with --dtype float32, or leave that sample out",
        )
    spans = [record.span for record in records]
    integers = {
        "index": [span.index for span in spans],
        "token_start": [span.start for span in spans],
        "token_end": [span.end for span in spans],
        "char_start": [span.char_start for span in spans],
        "char_end": [span.char_end for span in spans],
    }
    numbers = {
        "loss": [record.loss for record in records],
        "norm": [record.norm for record in records],
        "coherence": [record.coherence for record in records],
        "window_cosine": [record.window_cosine for record in records],
        "spectral": [record.spectral for record in records],
        "grace": [None if record.grace is None or record.grace != record.grace else record.grace for record in records],
    }
    columns = [
        pa.array([batch] * len(records), pa.int32()),
        pa.array(range(len(records)), pa.int32()),
        pa.array(owners, pa.string()),
        *(pa.array(values, pa.int32()) for values in integers.values()),
        pa.array([span.text for span in spans], pa.string()),
        *(pa.array(values, pa.float32()) for values in numbers.values()),
        from_matrix(directions),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=records_schema(width))
