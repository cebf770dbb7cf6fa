"""Records that workers write themselves, so that no direction travels through the process that commits.

WrittenBatch     what a worker hands over: markers, and the description of the files it wrote
FragmentWriter   goes to the worker: captured results → files in the table's folder → ``WrittenBatch``

A worker's files belong to no version of the table until the driver commits their description; those of a worker that
died, or of a batch that was repeated, are never named and do no harm.
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
    """One whole batch on storage: ``marks`` (one row a sample), ``fragments`` (JSON texts), ``n_rows`` spans."""

    batch: int
    marks: pa.RecordBatch
    fragments: tuple[str, ...]
    n_rows: int


@dataclass(frozen=True, slots=True)
class FragmentWriter:
    """Writes batches of one checkpoint from any process that reaches the workspace (``Run.make_fragment_writer``).

    Object storage is reached with the environment of the process that writes (``docs/scale.md``).
    """

    records_uri: str
    sketch_width: int

    def write(self, batch: int, results: Sequence[SampleRecords | Skipped]) -> WrittenBatch:
        """Write one batch's records as fragments. Raises as ``batch_rows.encode_batch``."""
        encoded = encode_batch(batch, results, self.sketch_width)
        if encoded.records is None:
            return WrittenBatch(batch, encoded.marks, (), 0)
        schema = records_schema(self.sketch_width)
        rows = pa.Table.from_batches([encoded.records], schema=schema)
        fragments = Table(self.records_uri, schema).write_fragments(rows)
        return WrittenBatch(batch, encoded.marks, tuple(fragments), rows.num_rows)
