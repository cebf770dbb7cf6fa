"""Writing whole batches, safe against a kill at any moment.

BatchWriter   buffers batches of several tables: append, commit, repair
COMMIT_ROWS, COMMIT_BYTES, COMMIT_S   when a commit is due

A commit has two steps: first the rows, then the marks of their batches. Readers ignore rows whose batch has no mark,
and ``repair`` deletes them. So a kill loses only batches without a mark, and no batch is ever half stored.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from gsd_core.store.tables import Table

COMMIT_ROWS = 2_000
COMMIT_BYTES = 64 * 2**20
COMMIT_S = 60.0  # a slow model must not lose more than a minute of work


class BatchWriter:
    """Writes batches into ``tables``, which have a column ``batch``, and ``marks`` for every whole batch.

    The caller holds a lock. ``known`` are the stored and the buffered batches.
    """

    def __init__(self, tables: Mapping[str, Table], marks: Table) -> None:
        self.tables, self._marks = dict(tables), marks
        self._rows: dict[str, list[pa.RecordBatch]] = {name: [] for name in tables}
        self._fragments: dict[str, list[str]] = {name: [] for name in tables}
        self._new_marks: list[pa.RecordBatch] = []
        self._n_rows = self._n_marks = self._n_bytes = 0
        self._last_commit = time.monotonic()
        self.known = self.finished()

    @property
    def n_pending(self) -> int:
        """Number of buffered batches."""
        return len(self._new_marks)

    def finished(self) -> set[int]:
        """Batches that are stored whole."""
        return _batches_of(self._marks)

    def repair(self) -> int:
        """Delete rows of unfinished batches. Returns how many."""
        self.known = self.finished()
        return sum(table.delete_batches(_batches_of(table) - self.known) for table in self.tables.values())

    def forget(self, first: int) -> int:
        """Delete batches from number ``first`` on, marks before rows. Returns how many rows."""
        self._marks.delete_batches({batch for batch in self.finished() if batch >= first})
        return self.repair()

    def append(self, batch: int, rows: Mapping[str, pa.RecordBatch], marks: pa.RecordBatch) -> bool:
        """Buffer one whole batch. Returns whether a commit is due.

        Raises
        ------
        ValueError
            For a batch that is stored already.
        """
        self._refuse_known(batch)
        for name, each in rows.items():
            self._rows[name].append(each)
            self._n_bytes += each.nbytes
            self._n_rows += each.num_rows
        return self._enter(batch, marks)

    def append_fragments(
        self, batch: int, table: str, fragments: Sequence[str], n_rows: int, marks: pa.RecordBatch
    ) -> bool:
        """Buffer one whole batch whose rows of ``table`` a worker wrote. Returns whether a commit is due.

        Raises
        ------
        UserError
            If the worker's files are not in the table's folder.
        ValueError
            For a batch that is stored already.
        """
        self._refuse_known(batch)
        self.tables[table].check_fragments(fragments)
        self._fragments[table].extend(fragments)
        self._n_rows += n_rows
        return self._enter(batch, marks)

    def _refuse_known(self, batch: int) -> None:
        if batch in self.known:
            raise ValueError(f"batch {batch} is stored already; leave out the finished ones")

    def _enter(self, batch: int, marks: pa.RecordBatch) -> bool:
        self._new_marks.append(marks)
        self._n_bytes += marks.nbytes
        self._n_marks += marks.num_rows
        self.known.add(batch)
        late = time.monotonic() - self._last_commit > COMMIT_S
        return max(self._n_rows, self._n_marks) >= COMMIT_ROWS or self._n_bytes >= COMMIT_BYTES or late

    def commit(self) -> None:
        """Store all buffered batches: rows first, marks last."""
        for name, table in self.tables.items():
            if self._rows[name]:
                table.append(pa.Table.from_batches(self._rows[name], schema=table.schema))
                self._rows[name] = []  # if a step below fails, these must not be written twice
            if self._fragments[name]:
                table.append_fragments(self._fragments[name])
                self._fragments[name] = []
        if self._new_marks:
            self._marks.append(pa.Table.from_batches(self._new_marks, schema=self._marks.schema))
        self._new_marks = []
        self._n_rows = self._n_marks = self._n_bytes = 0
        self._last_commit = time.monotonic()

    def compact(self, from_fragments: int) -> None:
        """Join fragments of tables that have at least ``from_fragments``."""
        for table in (*self.tables.values(), self._marks):
            table.compact(from_fragments)


def _batches_of(table: Table) -> set[int]:
    found = table.open()
    if found is None:
        return set()
    return set(np.unique(found.to_table(columns=["batch"]).column("batch").to_numpy()).tolist())
