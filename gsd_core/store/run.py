"""Writing a run: manifest, captured batches, analysis.

Run        a run of the workspace; ``RunReader`` has the reads

A capture (``write_samples``, ``append_batch`` …) holds the run's writer lock from its first write until ``close()`` or
the end of its process; on object storage it holds the lease of ``lease``. An analysis needs no lock: it writes a new
folder and then switches to it.
"""

from __future__ import annotations

import uuid
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from gsd_core.errors import UserError
from gsd_core.methods.analyze_method import MAP
from gsd_core.store import index
from gsd_core.store.batch_rows import encode_batch
from gsd_core.store.files import Folder
from gsd_core.store.fragments import FragmentWriter, WrittenBatch
from gsd_core.store.infos import RunSample
from gsd_core.store.lease import check_lease, claim_lease, release_lease
from gsd_core.store.locks import acquire_writer, is_writer, release_writer
from gsd_core.store.reading import RunReader
from gsd_core.store.results import pack_arrays, take_out
from gsd_core.store.samples import check_ids, iter_sample_batches
from gsd_core.store.schema import (
    GROWING_KEY,
    RECORDS_TABLE,
    RESULTS_KEY,
    STORE_KEY,
    embeddings_schema,
    run_sample_schema,
    skipped_schema,
)
from gsd_core.store.tables import from_matrix
from gsd_core.store.writer import BatchWriter
from gsd_core.types import SampleRecords, Skipped


class Run(RunReader):
    """A run of a workspace, made by ``Workspace.create_run`` and ``Workspace.open_run``.

    >>> with workspace.create_run("first", manifest, sketch_width=512, embedding_width=384) as run:
    ...     run.write_samples(rows)
    ...     for batch, results in captured:
    ...         run.append_batch("final", None, batch, results)
    """

    def __init__(self, folder: Folder, name: str) -> None:
        super().__init__(folder, name)
        self._writers: dict[str, BatchWriter] = {}
        self._is_writing = False
        self._lease_owner = uuid.uuid4().hex
        if folder.is_local:  # a deleted run releases its lock, unless another object took over
            weakref.finalize(self, release_writer, folder.path)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    # -- manifest -------------------------------------------------------------------------------------------------

    def update_manifest(self, **fields: Any) -> None:
        """Set fields of the manifest: all or none."""
        if STORE_KEY in fields:
            raise ValueError(f"the field {STORE_KEY!r} belongs to the store")
        self._document.change(lambda document: document.update(fields))

    # -- capture --------------------------------------------------------------------------------------------------

    def write_samples(self, rows: Sequence[RunSample], skipped: Sequence[Skipped] = ()) -> None:
        """Store the run's samples and replace earlier ones. ``skipped`` are samples that are in no batch."""
        self._become_writer()
        check_ids([row.sample.id for row in rows], f"run {self.name}")
        schema = run_sample_schema(self.embedding_width)
        self._samples_table().overwrite(iter_sample_batches(rows, schema))
        if skipped or self._table("skipped", skipped_schema()).open() is not None:
            left_out = [{"sample": each.sample, "reason": each.reason} for each in skipped]
            table = pa.Table.from_pylist(left_out, schema=skipped_schema())
            self._table("skipped", skipped_schema()).overwrite(table.to_batches())

    def write_embeddings(self, spans: Sequence[str], vectors: np.ndarray) -> None:
        """Add sentence embeddings (n, E) of spans. Stored ones are kept, so repeating is safe."""
        self._become_writer()
        matrix = np.asarray(vectors, np.float32)
        if matrix.shape != (len(spans), self.embedding_width):
            raise ValueError(f"{matrix.shape} embeddings for {len(spans)} spans of width {self.embedding_width}")
        table = self._table("embeddings", embeddings_schema(self.embedding_width))
        existing = table.open()
        known = set(existing.to_table(columns=["span"]).column("span").to_pylist()) if existing else set()
        new = [at for at, span in enumerate(spans) if span not in known]
        if new or existing is None:
            columns = [pa.array([spans[at] for at in new], pa.string()), from_matrix(matrix[new])]
            table.append(pa.Table.from_arrays(columns, schema=table.schema))

    def append_batch(
        self, checkpoint: str, step: int | None, batch: int, results: Sequence[SampleRecords | Skipped]
    ) -> None:
        """Add one whole batch. The next commit (2,000 spans, 64 MiB or a minute) or ``flush()`` stores it.

        Raises
        ------
        UserError
            If another process writes the run, or a direction is not finite.
        ValueError
            For a batch that is stored already.
        """
        self._become_writer()
        writer = self._writer(checkpoint, step)
        encoded = encode_batch(batch, results, self.sketch_width)
        rows = {} if encoded.records is None else {RECORDS_TABLE: encoded.records}
        if writer.append(batch, rows, encoded.marks):
            self.flush()

    def make_fragment_writer(self, checkpoint: str, step: int | None) -> FragmentWriter:
        """A writer of a checkpoint's batches for worker processes; ``append_written`` adds what it wrote."""
        self._become_writer()
        self._writer(checkpoint, step)
        records, _ = self._checkpoint_tables(str(self._folder_of(checkpoint)))
        records.create()
        return FragmentWriter(records.uri, self.sketch_width)

    def append_written(self, checkpoint: str, step: int | None, written: WrittenBatch) -> None:
        """Add one whole batch from a worker's ``make_fragment_writer``; otherwise as ``append_batch``."""
        self._become_writer()
        writer = self._writer(checkpoint, step)
        part = (written.fragments, written.n_rows, written.marks)
        if writer.append_fragments(written.batch, RECORDS_TABLE, *part):
            self.flush()

    def flush(self) -> None:
        """Store all buffered batches."""
        if self._writers:
            if not self._folder.is_local and any(writer.n_pending for writer in self._writers.values()):
                check_lease(self._folder, self._lease_owner, f"run {self.name}")
            self._become_writer()  # a writer that took over meanwhile repeats these batches
        for writer in self._writers.values():
            writer.commit()

    def finished_batches(self, checkpoint: str) -> set[int]:
        """Batches of a checkpoint that are stored whole."""
        folder = self._folder_of(checkpoint)
        if folder is None:
            return set()
        return self._open_writer(folder).finished()

    def repair(self) -> int:
        """Start a resumed capture: delete spans of unfinished batches. Returns how many.

        Batches that this object has buffered are dropped and will be captured again.
        """
        return self._become_writer(takeover=True)

    def forget_batches(self, checkpoint: str, first: int = 0) -> int:
        """Delete a checkpoint's batches from number ``first`` on, to capture them again. Returns how many spans.

        Results of the checkpoint are deleted too. After a kill, each batch is whole or gone.
        """
        self.flush()
        self._become_writer()
        folder = self._folder_of(checkpoint)
        if folder is None or not any(batch >= first for batch in self.finished_batches(checkpoint)):
            return 0
        self._writers.pop(checkpoint, None)
        old: list[str] = []

        def drop(document: dict[str, Any]) -> None:
            for key in (RESULTS_KEY, GROWING_KEY):
                entries = document[STORE_KEY][key]
                old.extend(each for name in list(entries) for each in take_out(entries, name, checkpoint))

        self._document.change(drop)
        for stale in old:
            self.results.folder_of({"folder": stale}).remove_tree()
        return self._open_writer(folder).forget(first)

    def compact(self, from_fragments: int = 2) -> None:
        """Join fragments of tables that have at least ``from_fragments``, for faster reads. Rows do not change."""
        self._become_writer()
        self.flush()
        for entry in self._document.store()["checkpoints"]:
            self._open_writer(entry["folder"]).compact(from_fragments)

    def build_index(self, checkpoint: str, *, again: bool = False) -> dict[str, Any] | None:
        """Index a checkpoint's directions, if there are more than 200 MiB of them; below that an index saves no time.

        Returns ``{n_rows, factor, recall, recall_at, seconds}``, which ``manifest["index"]`` keeps under the
        checkpoint's name, or None if nothing was built. An index of all rows is kept, unless `again`.
        """
        folder = self._folder_of(checkpoint)
        records = self._checkpoint_tables(folder)[0] if folder else None
        rows = records.open() if records else None
        if records is None or rows is None:
            return None
        n_rows = rows.count_rows()
        known = (self.manifest.get("index") or {}).get(checkpoint) or {}
        if not index.needs_index(n_rows, self.sketch_width) or (
            not again and index.has_index(rows) and known.get("n_rows") == n_rows
        ):
            return None
        self._become_writer()
        built = index.build_index(records, self.sketch_width)
        self.update_manifest(index={**(self.manifest.get("index") or {}), checkpoint: built})
        return built

    def close(self) -> None:
        """Store buffered batches and release the lock. The object can still read, and write again."""
        was_writing = self._is_writing
        try:
            if was_writing and (not self._folder.is_local or is_writer(self._folder.path, self)):
                self.flush()
        finally:
            self._writers = {}
            self._is_writing = False
            if self._folder.is_local:
                release_writer(self._folder.path, self)
            elif was_writing:
                release_lease(self._folder, self._lease_owner)

    def write_controls(self, checkpoint: str, frame: pd.DataFrame, vectors: np.ndarray) -> None:
        """Store the controls of a checkpoint and replace earlier ones.

        ``frame`` has ``kind`` ("windows", "tokens"), ``sample, token_start, token_end``; ``vectors`` (n, P) has its
        directions, unit norm or zero. Raises ``ValueError`` for another shape or a checkpoint without spans.
        """
        self._become_writer()
        folder = self._folder_of(checkpoint)
        if folder is None or vectors.shape != (len(frame), self.sketch_width):
            raise ValueError(f"{vectors.shape} controls for {len(frame)} rows of checkpoint {checkpoint!r}")
        table = self._controls_table(folder)
        columns = [pa.array(frame[name].tolist(), table.schema.field(name).type) for name in table.schema.names[:-1]]
        rows = pa.Table.from_arrays([*columns, from_matrix(vectors.astype(np.float16))], schema=table.schema)
        table.overwrite(rows.to_batches())

    # -- analysis -------------------------------------------------------------------------------------------------

    def write_analysis(
        self,
        checkpoint: str,
        points: pd.DataFrame,
        clusters: pd.DataFrame,
        arrays: dict[str, np.ndarray],
        info: dict[str, Any],
    ) -> None:
        """Store the analysis of a checkpoint and replace an earlier one. Results that need the earlier one are dropped.

        ``points``: ``span, x, y, cluster, probability``, a row for each span, stored in capture order. ``clusters``:
        ``cluster, size, label, terms, exemplars``. ``arrays``: booleans or numbers by name.
        """
        row_of = {span: at for at, span in enumerate(self.read_spans(checkpoint, ["span"])["span"])}
        ranks = points["span"].map(row_of)
        if ranks.isna().any() or ranks.duplicated().any():
            raise ValueError("every point must be another captured span")
        points = points.iloc[np.argsort(ranks.to_numpy(), kind="stable")]
        tables = {"points": points, "clusters": clusters, "arrays": pack_arrays(arrays)}
        self.results.write(MAP, tables, info, checkpoint)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _become_writer(self, takeover: bool = False) -> int:
        """Hold the lock. At the start of writing, also repair after a kill; returns how many spans were deleted."""
        if self._folder.is_local:
            is_lost = self._is_writing and not is_writer(self._folder.path, self)
            if is_lost and not takeover and any(writer.n_pending for writer in self._writers.values()):
                raise UserError(
                    "the run was taken over by another part of this process",
                    f"run {self.name}",
                    "resume the capture; batches that are not stored will be captured again",
                )
            acquire_writer(self._folder.path, self, f"run {self.name}", takeover)
            self._is_writing = self._is_writing and not is_lost
        elif takeover or not self._is_writing:
            claim_lease(self._folder, self._lease_owner, f"run {self.name}", takeover)
        if self._is_writing and not takeover:
            return 0
        self._is_writing = True
        self._writers = {}
        return sum(self._open_writer(each["folder"]).repair() for each in self._document.store()["checkpoints"])

    def _open_writer(self, folder: str) -> BatchWriter:
        records, captured = self._checkpoint_tables(folder)
        return BatchWriter({RECORDS_TABLE: records}, captured)

    def _folder_of(self, checkpoint: str) -> str | None:
        for entry in self._document.store()["checkpoints"]:
            if entry["name"] == checkpoint:
                return str(entry["folder"])
        return None

    def _writer(self, checkpoint: str, step: int | None) -> BatchWriter:
        if checkpoint in self._writers:
            return self._writers[checkpoint]
        if not checkpoint:
            raise ValueError("a checkpoint needs a name")
        if not self.sketch_width:
            raise ValueError(f"run {self.name} was made without directions")
        if self._folder_of(checkpoint) is None:

            def enter(document: dict[str, Any]) -> None:
                entries = document[STORE_KEY]["checkpoints"]
                name = f"{len(entries):04d}"  # a checkpoint may have any name; a folder may not
                entries.append({"name": checkpoint, "step": None if step is None else int(step), "folder": name})

            self._document.change(enter)
        writer = self._writers[checkpoint] = self._open_writer(str(self._folder_of(checkpoint)))
        return writer
