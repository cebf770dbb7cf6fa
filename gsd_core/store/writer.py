"""Capture writes: whole batches, buffered, committed in an order that a kill cannot spoil.

BatchWriter   buffer of one checkpoint: append, commit, repair

A commit is two: first the records, then the markers of their batches. Records whose batch has no marker are
invisible to every reader and are deleted by ``repair``, so a kill anywhere costs at most the batches that were
not yet marked, and never leaves half of one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from gsd_core.errors import UserError
from gsd_core.store.schema import captured_schema, records_schema
from gsd_core.store.tables import Table, from_matrix
from gsd_core.types import SampleRecords, Skipped, SpanRecord

COMMIT_ROWS = 2_000
COMMIT_BYTES = 64 * 2**20
COMMIT_S = 60.0  # a slow model must not have more than a minute of work unsaved


class BatchWriter:
    """Writes the batches of one checkpoint; P = ``sketch_width``. The caller holds the run's writer lock."""

    def __init__(self, records: Table, captured: Table, sketch_width: int) -> None:
        self._records, self._captured, self._width = records, captured, sketch_width
        self._rows: list[pa.RecordBatch] = []
        self._marks: list[pa.RecordBatch] = []
        self._n_rows = self._n_marks = self._n_bytes = 0
        self._last_commit = time.monotonic()
        self._known = self.finished()

    @property
    def n_pending(self) -> int:
        """Batches taken in and not stored yet."""
        return len(self._marks)

    def finished(self) -> set[int]:
        """Batches that are stored whole."""
        table = self._captured.open()
        if table is None:
            return set()
        return set(np.unique(table.to_table(columns=["batch"]).column("batch").to_numpy()).tolist())

    def repair(self) -> int:
        """Delete records of batches that were never finished; returns how many rows."""
        self._known = self.finished()
        table = self._records.open()
        if table is None:
            return 0
        stored = np.unique(table.to_table(columns=["batch"]).column("batch").to_numpy()).tolist()
        return self._records.delete_batches(set(stored) - self._known)

    def forget(self, first: int) -> int:
        """Delete the batches from number ``first`` on, markers before records; returns how many spans."""
        self._captured.delete_batches({batch for batch in self.finished() if batch >= first})
        return self.repair()

    def append(self, batch: int, results: Sequence[SampleRecords | Skipped]) -> bool:
        """Take in one whole batch; returns whether a commit is due.

        Raises
        ------
        ValueError
            A batch that is stored already, or a direction that is not (P,): mistakes of the caller.
        """
        if batch in self._known:
            raise ValueError(f"batch {batch} is stored already; finished_batches() names those to leave out")
        marks, records, owners = self._marks_of(batch, results)
        if records:
            self._rows.append(self._rows_of(batch, records, owners))
            self._n_bytes += self._rows[-1].nbytes
        self._marks.append(marks)
        self._n_bytes += marks.nbytes
        self._n_rows += len(records)
        self._n_marks += marks.num_rows
        self._known.add(batch)
        late = time.monotonic() - self._last_commit > COMMIT_S
        return max(self._n_rows, self._n_marks) >= COMMIT_ROWS or self._n_bytes >= COMMIT_BYTES or late

    def commit(self) -> None:
        """Store everything buffered: records first, markers last."""
        if self._rows:
            self._records.append(pa.Table.from_batches(self._rows, schema=records_schema(self._width)))
            self._rows = []  # a failure below must not write them twice
        if self._marks:
            self._captured.append(pa.Table.from_batches(self._marks, schema=captured_schema()))
        self._marks = []
        self._n_rows = self._n_marks = self._n_bytes = 0
        self._last_commit = time.monotonic()

    def compact(self) -> None:
        """Join the fragments of many small commits."""
        self._records.compact()
        self._captured.compact()

    def _marks_of(
        self, batch: int, results: Sequence[SampleRecords | Skipped]
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
        if not samples:  # a batch without samples is finished too, and must not come again
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

    def _rows_of(self, batch: int, records: list[SpanRecord], owners: list[str]) -> pa.RecordBatch:
        directions = np.stack([np.asarray(record.direction) for record in records])
        if directions.shape[1:] != (self._width,):
            raise ValueError(f"directions are {directions.shape[1:]}, the run was made for ({self._width},)")
        directions = directions.astype(np.float16)
        if not np.isfinite(directions).all():
            bad = int(np.argmin(np.isfinite(directions).all(axis=1)))
            raise UserError(
                "a gradient direction is not finite",
                f"span {owners[bad]}#{records[bad].span.index}",
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
        return pa.RecordBatch.from_arrays(columns, schema=records_schema(self._width))
