"""Records written by workers: the same rows as any others, whole or not at all."""

from __future__ import annotations

import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from gsd_core.errors import UserError
from gsd_core.store import Run, Workspace, WrittenBatch
from gsd_core.store.batch_rows import encode_batch
from gsd_core.store.schema import records_schema
from gsd_core.store.tables import Table
from gsd_core.types import Skipped
from tests.store_rows import CHECKPOINTS, WIDTH, make_batches, make_run, read_everything, write_missing

N_BATCHES = 9


def write_by_workers(run: Run, batches: range, flush_every: int = 3) -> None:
    """As ``write_missing``, in another order, by pickled writers."""
    for number, (checkpoint, step) in enumerate(CHECKPOINTS):
        writer = pickle.loads(pickle.dumps(run.make_fragment_writer(checkpoint, step)))
        results = make_batches(N_BATCHES, number)
        for batch in reversed(batches):
            written = pickle.loads(pickle.dumps(writer.write(batch, results[batch])))
            run.append_written(checkpoint, step, written)
            if batch % flush_every == 0:
                run.flush()
        run.flush()


def test_rows_of_workers_read_like_rows_of_one_process(tmp_path: Path) -> None:
    one = make_run(Workspace.open(tmp_path / "one"), "r", N_BATCHES)
    write_missing(one, N_BATCHES, 3)
    many = make_run(Workspace.open(tmp_path / "many"), "r", N_BATCHES)
    write_by_workers(many, range(N_BATCHES))
    assert read_everything(many) == read_everything(one)
    many.compact()
    assert read_everything(many) == read_everything(one), "joining fragments changed what is read"


def test_one_run_can_be_written_by_process_and_workers(tmp_path: Path) -> None:
    # A capture may start with one executor and resume with another.
    one = make_run(Workspace.open(tmp_path / "one"), "r", N_BATCHES)
    write_missing(one, N_BATCHES, 3)
    both = make_run(Workspace.open(tmp_path / "both"), "r", N_BATCHES)
    write_by_workers(both, range(4))
    write_missing(both, N_BATCHES, 2)
    assert read_everything(both) == read_everything(one)


def test_fragments_that_were_not_appended_are_not_read(tmp_path: Path) -> None:
    run = make_run(Workspace.open(tmp_path), "r", N_BATCHES)
    results = make_batches(N_BATCHES, 0)
    writer = run.make_fragment_writer("final", None)
    writer.write(3, results[3])  # its worker died before it reported
    first = writer.write(3, results[3])
    run.append_written("final", None, first)
    run.close()
    again = Workspace.open(tmp_path).open_run("r")
    assert again.finished_batches("final") == {3}
    assert len(again.read_spans("final")) == first.n_rows > 0, "a batch that was written twice is read twice"


def test_a_written_batch_cannot_be_appended_twice(tmp_path: Path) -> None:
    run = make_run(Workspace.open(tmp_path), "r", N_BATCHES)
    writer = run.make_fragment_writer("final", None)
    written = writer.write(1, make_batches(N_BATCHES, 0)[1])
    run.append_written("final", None, written)
    with pytest.raises(ValueError, match="batch 1 is stored already"):
        run.append_written("final", None, written)


def test_a_batch_without_spans_is_finished_too(tmp_path: Path) -> None:
    run = make_run(Workspace.open(tmp_path), "r", N_BATCHES)
    written = run.make_fragment_writer("final", None).write(0, [Skipped("left-out", "too long")])
    assert (written.fragments, written.n_rows) == ((), 0)
    run.append_written("final", None, written)
    run.flush()
    assert run.finished_batches("final") == {0}
    assert run.read_skipped()["reason"].tolist() == ["too long"]


def test_files_on_a_workers_own_disk_are_refused(tmp_path: Path) -> None:
    # Two machines with the same path and no shared folder: a commit would name files that are not here.
    run = make_run(Workspace.open(tmp_path), "r", N_BATCHES)
    writer = run.make_fragment_writer("final", None)
    written = writer.write(1, make_batches(N_BATCHES, 0)[1])
    assert isinstance(written, WrittenBatch)
    shutil.rmtree(Path(writer.records_uri, "data"))
    with pytest.raises(UserError, match="a disk that this process does not see"):
        run.append_written("final", None, written)
    run.close()
    assert len(Workspace.open(tmp_path).open_run("r").read_spans("final")) == 0


def test_fragments_fit_a_migrated_table(tmp_path: Path) -> None:
    # A migration adds columns at the end; the current schema has them before the directions.
    today = records_schema(WIDTH)
    added = [today.field(name) for name in ("spectral", "grace")]
    earlier = pa.schema([field for field in today if field not in added])
    uri = str(tmp_path / "records.lance")
    results = [
        replace(each, records=tuple(replace(r, spectral=0.25, grace=0.5) for r in each.records))
        for each in make_batches(3, 0)[1]
        if not isinstance(each, Skipped)
    ]
    rows = encode_batch(0, results, WIDTH).records
    assert rows is not None
    before = pa.Table.from_batches([rows])
    Table(uri, earlier).append(before.select(earlier.names).cast(earlier))
    Table(uri, earlier).add_null_columns(added)
    table = Table(uri, today)
    table.append_fragments(table.write_fragments(before))
    opened = table.open()
    assert opened is not None
    found = opened.to_table(columns=today.names, scan_in_order=True)
    n = before.num_rows
    for name in earlier.names:
        assert found.column(name).slice(n).to_pylist() == found.column(name).slice(0, n).to_pylist()
    for name, value in (("spectral", 0.25), ("grace", 0.5)):
        assert found.column(name).to_pylist() == [None] * n + [value] * n
