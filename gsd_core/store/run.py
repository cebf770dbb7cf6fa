"""One run: its manifest, what capture and analysis write, what everybody reads.

Run        a run of the workspace; reads are in ``RunReader``
RunSample  one sample of a run (see ``infos``)

Writers: capture (``write_samples``, ``append_batch`` …) holds the run's writer lock from its first call until
``close()`` or the end of its process; on object storage, where a lock cannot fall with its process, the lease of
``lease`` takes its place. An analysis needs no lock: it writes beside and is switched to at once.
"""

from __future__ import annotations

import uuid
import weakref
from collections.abc import Sequence
from types import TracebackType
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
from gsd_core.store.samples import check_ids, iter_run_sample_batches
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

__all__ = ["Run", "RunSample"]


class Run(RunReader):
    """A run of a workspace; made by ``Workspace.create_run`` and ``Workspace.open_run``.

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
        weakref.finalize(self, _release, folder.path, folder.is_local)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- manifest -------------------------------------------------------------------------------------------------

    def update_manifest(self, **fields: Any) -> None:
        """Set fields of the manifest, all of them at once or none."""
        if STORE_KEY in fields:
            raise ValueError(f"the field {STORE_KEY!r} belongs to the store")
        self._document.change(lambda document: document.update(fields))

    # -- capture --------------------------------------------------------------------------------------------------

    def write_samples(self, rows: Sequence[RunSample], skipped: Sequence[Skipped] = ()) -> None:
        """Store the run's samples whole, in place of earlier ones; ``skipped`` are those left out of every batch."""
        self._become_writer()
        check_ids([row.sample.id for row in rows], f"run {self.name}")
        schema = run_sample_schema(self.embedding_width)
        self._samples_table().overwrite(iter_run_sample_batches(rows, schema))
        if skipped or self._table("skipped", skipped_schema()).open() is not None:
            left_out = [{"sample": each.sample, "reason": each.reason} for each in skipped]
            table = pa.Table.from_pylist(left_out, schema=skipped_schema())
            self._table("skipped", skipped_schema()).overwrite(table.to_batches())

    def write_embeddings(self, spans: Sequence[str], vectors: np.ndarray) -> None:
        """Add sentence embeddings (n, E) of spans. Those already stored stay as they are, so repeating is harmless."""
        self._become_writer()
        matrix = np.asarray(vectors, np.float32)
        if matrix.shape != (len(spans), self.embedding_width):
            raise ValueError(
                f"{matrix.shape} embeddings for {len(spans)} spans of width {self.embedding_width}"
            )
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
        """Take in one whole batch; it is stored by the next commit (2,000 spans, 64 MiB or a minute), or ``flush()``.

        Raises
        ------
        UserError
            When another process writes the run, or a direction is not finite.
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
        """What workers of other processes write a checkpoint's batches with; ``append_written`` takes them in."""
        self._become_writer()
        self._writer(checkpoint, step)
        records, _ = self._checkpoint_tables(str(self._folder_of(checkpoint)))
        records.create()
        return FragmentWriter(records.uri, self.sketch_width)

    def append_written(self, checkpoint: str, step: int | None, written: WrittenBatch) -> None:
        """Take in one whole batch that a worker wrote with ``make_fragment_writer``; otherwise as ``append_batch``."""
        self._become_writer()
        writer = self._writer(checkpoint, step)
        part = (written.fragments, written.n_rows, written.marks)
        if writer.append_fragments(written.batch, RECORDS_TABLE, *part):
            self.flush()

    def flush(self) -> None:
        """Store every batch taken in so far."""
        if self._writers:
            if not self._folder.is_local and any(writer.n_pending for writer in self._writers.values()):
                check_lease(self._folder, self._lease_owner, f"run {self.name}")
            self._become_writer()  # somebody who took over meanwhile repeats these batches
        for writer in self._writers.values():
            writer.commit()

    def finished_batches(self, checkpoint: str) -> set[int]:
        """Batches of a checkpoint that are stored whole."""
        folder = self._folder_of(checkpoint)
        if folder is None:
            return set()
        return self._open_writer(folder).finished()

    def repair(self) -> int:
        """Remove what a killed capture left of unfinished batches; returns how many spans. Starts a resumed capture.

        Batches that this object had taken in and not stored are dropped: they will be captured again.
        """
        return self._become_writer(takeover=True)

    def forget_batches(self, checkpoint: str, first: int = 0) -> int:
        """Delete the batches of a checkpoint from number ``first`` on, to capture them again; returns how many spans.

        What was analysed of the checkpoint goes with them. Killed half-way, it leaves whole batches or none.
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
        """Join the fragments of many commits, for faster reads, where a table has at least so many; rows stay."""
        self._become_writer()
        self.flush()
        for entry in self._document.store()["checkpoints"]:
            self._open_writer(entry["folder"]).compact(from_fragments)

    def build_index(self, checkpoint: str, *, again: bool = False) -> dict[str, Any] | None:
        """Index a checkpoint's directions where that makes ``search`` quicker; what was built, None where nothing was.

        Below 200 MiB of directions reading them all is as quick. ``{n_rows, factor, recall, recall_at, seconds}`` is
        kept in ``manifest["index"]`` under the checkpoint's name; an index of all rows stays, unless `again`.
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
        """Store what was taken in and let others write. The object can still read, and write again."""
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
        """Store the controls of a checkpoint whole, in place of earlier ones.

        ``frame``: ``kind`` ("windows", "tokens"), ``sample, token_start, token_end``; ``vectors`` (n, P) unit norm or
        zero, row by row. Raises ``ValueError`` for another shape and for a checkpoint without captured spans.
        """
        self._become_writer()
        folder = self._folder_of(checkpoint)
        if folder is None or vectors.shape != (len(frame), self.sketch_width):
            raise ValueError(f"{vectors.shape} controls for {len(frame)} rows of checkpoint {checkpoint!r}")
        table = self._controls_table(folder)
        columns = [
            pa.array(frame[name].tolist(), table.schema.field(name).type) for name in table.schema.names[:-1]
        ]
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
        """Store an analysis of one checkpoint whole, in place of an earlier one.

        Results that were found in the earlier clusters are dropped with them.

        ``points``: ``span, x, y, cluster, probability``, one row a span, stored in capture order. ``clusters``:
        ``cluster, size, label, terms, exemplars``. ``arrays``: booleans or numbers by name.
        """
        place = {span: at for at, span in enumerate(self.read_spans(checkpoint, ["span"])["span"])}
        ranks = points["span"].map(place)
        if ranks.isna().any() or ranks.duplicated().any():
            raise ValueError("every point must be a captured span of its own")
        points = points.iloc[np.argsort(ranks.to_numpy(), kind="stable")]
        tables = {"points": points, "clusters": clusters, "arrays": pack_arrays(arrays)}
        self.results.write(MAP, tables, info, checkpoint)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _become_writer(self, takeover: bool = False) -> int:
        """Hold the lock; at the start of writing, also repair what a kill left. Returns how many spans that removed."""
        if self._folder.is_local:
            is_lost = self._is_writing and not is_writer(self._folder.path, self)
            if is_lost and not takeover and any(writer.n_pending for writer in self._writers.values()):
                raise UserError(
                    "the run was taken over by another part of this process",
                    f"run {self.name}",
                    "resume the capture: the batches not stored here will be repeated",
                )
            acquire_writer(self._folder.path, self, f"run {self.name}", takeover)
            self._is_writing = self._is_writing and not is_lost
        elif takeover or not self._is_writing:
            claim_lease(self._folder, self._lease_owner, f"run {self.name}", takeover)
        if self._is_writing and not takeover:
            return 0
        self._is_writing = True
        self._writers = {}
        return self._repair()

    def _repair(self) -> int:
        return sum(
            self._open_writer(each["folder"]).repair() for each in self._document.store()["checkpoints"]
        )

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
                # Numbered, not named: a checkpoint may be called anything, a folder may not.
                entries.append(
                    {
                        "name": checkpoint,
                        "step": None if step is None else int(step),
                        "folder": f"{len(entries):04d}",
                    }
                )

            self._document.change(enter)
        folder = self._folder_of(checkpoint)
        if folder is None:  # only if somebody edits the document by hand meanwhile
            raise UserError(
                "the checkpoint vanished from the run's document", f"run {self.name}", "start again"
            )
        writer = self._open_writer(folder)
        self._writers[checkpoint] = writer
        return writer


def _release(path: str, is_local: bool) -> None:
    """The lock of a run object that is gone falls; one that was taken over stays with its new owner."""
    if is_local:
        release_writer(path, None)
