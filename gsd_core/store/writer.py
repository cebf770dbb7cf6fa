"""Capture writes: whole batches, buffered, committed in an order that a kill cannot spoil.

BatchWriter   buffer of one checkpoint: append, take in what a worker wrote, commit, repair

A commit is two: first the records, then the markers of their batches. Records whose batch has no marker are
invisible to every reader and are deleted by ``repair``, so a kill anywhere costs at most the batches that were
not yet marked, and never leaves half of one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from gsd_core.store.batch_rows import encode_batch
from gsd_core.store.fragments import WrittenBatch
from gsd_core.store.schema import captured_schema, records_schema
from gsd_core.store.tables import Table
from gsd_core.types import SampleRecords, Skipped

COMMIT_ROWS = 2_000
COMMIT_BYTES = 64 * 2**20
COMMIT_S = 60.0  # a slow model must not have more than a minute of work unsaved


class BatchWriter:
    """Writes the batches of one checkpoint; P = ``sketch_width``. The caller holds the run's writer lock."""

    def __init__(self, records: Table, captured: Table, sketch_width: int) -> None:
        self._records, self._captured, self._width = records, captured, sketch_width
        self._rows: list[pa.RecordBatch] = []
        self._fragments: list[str] = []
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
        self._refuse_known(batch)
        encoded = encode_batch(batch, results, self._width)
        if encoded.records is not None:
            self._rows.append(encoded.records)
            self._n_bytes += encoded.records.nbytes
            self._n_rows += encoded.records.num_rows
        return self._enter(batch, encoded.marks)

    def take_written(self, written: WrittenBatch) -> bool:
        """Take in one whole batch whose records a worker has written; returns whether a commit is due.

        Raises
        ------
        UserError
            When the worker's files are not in the table's folder.
        ValueError
            A batch that is stored already.
        """
        self._refuse_known(written.batch)
        self._records.check_fragments(written.fragments)
        self._fragments.extend(written.fragments)
        self._n_rows += written.n_rows
        return self._enter(written.batch, written.marks)

    def _refuse_known(self, batch: int) -> None:
        if batch in self._known:
            raise ValueError(f"batch {batch} is stored already; finished_batches() names those to leave out")

    def _enter(self, batch: int, marks: pa.RecordBatch) -> bool:
        self._marks.append(marks)
        self._n_bytes += marks.nbytes
        self._n_marks += marks.num_rows
        self._known.add(batch)
        late = time.monotonic() - self._last_commit > COMMIT_S
        return max(self._n_rows, self._n_marks) >= COMMIT_ROWS or self._n_bytes >= COMMIT_BYTES or late

    def commit(self) -> None:
        """Store everything buffered: records first, markers last."""
        if self._rows:
            self._records.append(pa.Table.from_batches(self._rows, schema=records_schema(self._width)))
            self._rows = []  # a failure below must not write them twice
        if self._fragments:
            self._records.append_fragments(self._fragments)
            self._fragments = []
        if self._marks:
            self._captured.append(pa.Table.from_batches(self._marks, schema=captured_schema()))
        self._marks = []
        self._n_rows = self._n_marks = self._n_bytes = 0
        self._last_commit = time.monotonic()

    def compact(self, from_fragments: int) -> None:
        """Join the fragments of many small commits."""
        self._records.compact(from_fragments)
        self._captured.compact(from_fragments)
