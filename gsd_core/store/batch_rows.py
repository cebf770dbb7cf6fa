"""A captured batch as rows of the store's tables.

EncodedBatch   rows of a batch: records and markers
encode_batch   results of capture → ``EncodedBatch``

Shapes: n spans of the batch, P sketch width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from gsd_core.errors import UserError
from gsd_core.store.schema import captured_schema, records_schema
from gsd_core.store.tables import from_matrix
from gsd_core.types import SampleRecords, Skipped, SpanRecord, join_span

_SPAN_FIELDS = ("index", "token_start", "token_end", "char_start", "char_end", "text")
_RECORD_FIELDS = ("loss", "norm", "coherence", "window_cosine", "spectral")


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
    marks: list[tuple[Any, ...]] = [
        (each.sample, 0, each.reason, None)
        if isinstance(each, Skipped)
        else (each.tokenized.id, len(each.records), None, np.asarray(each.token_losses, np.float32))
        for each in results
    ]
    marks = marks or [(None, 0, None, None)]  # a batch without samples is finished too; it is not captured again
    columns = [[batch] * len(marks), range(len(marks)), *zip(*marks, strict=True)]
    schema = captured_schema()
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    owned = [
        (each.tokenized.id, record) for each in results if not isinstance(each, Skipped) for record in each.records
    ]
    rows = _rows_of(batch, owned, sketch_width) if owned else None
    return EncodedBatch(batch, pa.RecordBatch.from_arrays(arrays, schema=schema), rows)


def _rows_of(batch: int, owned: list[tuple[str, SpanRecord]], width: int) -> pa.RecordBatch:
    """Rows of a batch's records; ``owned`` has the sample of each."""
    owners, records = zip(*owned, strict=True)
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
    schema = records_schema(width)
    values = {
        "batch": [batch] * len(records),
        "position": range(len(records)),
        "sample": owners,
        **{name: [getattr(each.span, name.removeprefix("token_")) for each in records] for name in _SPAN_FIELDS},
        **{name: [getattr(record, name) for record in records] for name in _RECORD_FIELDS},
        "grace": [None if record.grace is None or record.grace != record.grace else record.grace for record in records],
    }
    columns = [pa.array(each, schema.field(name).type) for name, each in values.items()]
    return pa.RecordBatch.from_arrays([*columns, from_matrix(directions)], schema=schema)
