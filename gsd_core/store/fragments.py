"""Records written by workers, so that directions need not be sent to the process that commits.

WrittenBatch     description of a batch that a worker wrote
FragmentWriter   is sent to a worker; writes captured results as files and returns a ``WrittenBatch``

The files count when the driver commits their description. Files of a dead worker or a repeated batch are never
committed and do no harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from gsd_core.store.batch_rows import encode_batch
from gsd_core.store.schema import records_schema
from gsd_core.store.tables import Table
from gsd_core.types import SampleRecords, Skipped


@dataclass(frozen=True, slots=True)
class WrittenBatch:
    """One written batch: ``marks`` (a row for each sample), ``fragments`` (JSON texts), ``n_rows`` spans."""

    batch: int
    marks: pa.RecordBatch
    fragments: tuple[str, ...]
    n_rows: int


@dataclass(frozen=True, slots=True)
class FragmentWriter:
    """Writes batches of one checkpoint, in any process that reaches the workspace (``Run.make_fragment_writer``).

    Object storage uses the environment of that process (``docs/scale.md``).
    """

    records_uri: str
    sketch_width: int

    def write(self, batch: int, results: Sequence[SampleRecords | Skipped]) -> WrittenBatch:
        """Write the records of one batch. Raises as ``batch_rows.encode_batch``."""
        encoded = encode_batch(batch, results, self.sketch_width)
        if encoded.records is None:
            return WrittenBatch(batch, encoded.marks, (), 0)
        schema = records_schema(self.sketch_width)
        rows = pa.Table.from_batches([encoded.records], schema=schema)
        fragments = Table(self.records_uri, schema).write_fragments(rows)
        return WrittenBatch(batch, encoded.marks, tuple(fragments), rows.num_rows)
