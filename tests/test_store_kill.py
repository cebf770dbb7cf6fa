"""A kill at any moment loses, repeats or halves no batch.

Real processes report a point of the commit and are then killed with SIGKILL; there are no sleeps.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsd_core.errors import UserError
from gsd_core.store import Workspace
from tests.store_rows import CHECKPOINTS, make_batches, make_run, read_everything, write_missing

ROOT = Path(__file__).resolve().parents[1]
N_BATCHES = 9  # the default of the writing process


@contextmanager
def writer(workspace: Path, *flags: str) -> Iterator[subprocess.Popen[str]]:
    """The writing process, killed when the block ends."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.store_rows", str(workspace), "killed", *flags],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def kill_at(workspace: Path, *flags: str) -> None:
    """Kill the writing process at a point of its commit."""
    with writer(workspace, *flags) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "AT\n", "the writer ended before it reached the point"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    run = make_run(Workspace.open(tmp_path_factory.mktemp("whole")), "killed", N_BATCHES)
    write_missing(run, N_BATCHES, 3)
    return read_everything(run)


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == value, f"{key} differ from an undisturbed run: a batch was lost, repeated or reordered"


@pytest.mark.parametrize(
    ("point", "nth"),
    [
        ("embeddings-done", 1),  # samples are stored, nothing is captured
        ("records", 1),  # the checkpoint is listed, its tables do not exist
        ("records-done", 1),  # first records, and no marker table
        ("records-done", 3),  # records without markers
        ("captured", 2),
        ("captured-done", 2),  # between two commits
        ("records-done", 6),  # at the second checkpoint
    ],
)
def test_a_killed_and_resumed_run_equals_an_undisturbed_one(
    tmp_path: Path, undisturbed: dict[str, Any], point: str, nth: int
) -> None:
    # A kill between the two steps of a commit could lose or repeat rows.
    kill_at(tmp_path, "--point", point, "--nth", str(nth))
    run = Workspace.open(tmp_path).open_run("killed")
    seen = {name: len(run.read_vectors(name)) for name in run.checkpoints}
    removed = run.repair()
    if point == "records-done":
        assert removed > 0, "records without a marker survived the repair"
    for name, n in seen.items():
        assert len(run.read_vectors(name)) == n, "repair deleted spans that readers had seen"
    write_missing(run, N_BATCHES, 3)
    assert_same(read_everything(run), undisturbed)


@pytest.mark.parametrize("nth", [1, 4])
def test_a_run_killed_during_a_write_can_be_resumed(tmp_path: Path, undisturbed: dict[str, Any], nth: int) -> None:
    # The writer goes on while the signal is delivered, so it dies somewhere inside the database.
    kill_at(tmp_path, "--point", "records", "--nth", str(nth), "--run-on")
    run = Workspace.open(tmp_path).open_run("killed")
    run.repair()
    write_missing(run, N_BATCHES, 3)
    assert_same(read_everything(run), undisturbed)


def test_a_run_killed_twice_equals_an_undisturbed_one(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    # The resumed process is killed too; each one groups batches differently.
    kill_at(tmp_path, "--point", "records-done", "--nth", "2", "--flush-every", "2")
    kill_at(tmp_path, "--point", "records-done", "--nth", "2", "--flush-every", "5")
    with writer(tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "DONE\n"
    assert_same(read_everything(Workspace.open(tmp_path).open_run("killed")), undisturbed)


def test_the_first_append_repairs_the_run(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    # A caller may forget repair(); rows of unfinished batches must still be deleted.
    kill_at(tmp_path, "--point", "records-done", "--nth", "2")
    run = Workspace.open(tmp_path).open_run("killed")
    write_missing(run, N_BATCHES, 3)
    assert_same(read_everything(run), undisturbed)


def test_a_second_writer_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    with writer(tmp_path, "--point", "records", "--nth", "1") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "AT\n"
        run = Workspace.open(tmp_path).open_run("killed")
        for write in (run.repair, lambda: run.append_batch("final", None, 0, []), run.compact):
            with pytest.raises(UserError, match=f"process {process.pid}"):
                write()
        with pytest.raises(UserError, match="being written"):
            Workspace.open(tmp_path).remove_run("killed")
        assert len(run.read_samples()) > 0, "a refused writer must still be able to read"
        process.kill()
        process.wait()
        run.repair()  # the lock ended with its process


def test_readers_never_see_half_a_batch(tmp_path: Path) -> None:
    # Readers read during commits; once, the writer stops between the two steps of a commit.
    n_batches = 24
    expected = []
    for number in range(len(CHECKPOINTS)):
        batches = make_batches(n_batches, number)
        rows = [[getattr(result, "records", ()) for result in results] for results in batches]
        expected.append([np.array([r.direction for group in batch for r in group], np.float16) for batch in rows])
    names = [name for name, _ in CHECKPOINTS]
    problems: list[str] = []
    is_done = threading.Event()
    looked = [threading.Semaphore(0), threading.Semaphore(0)]

    def check(workspace: Workspace) -> None:
        run = workspace.open_run("killed").snapshot()
        for name in run.checkpoints:
            spans, vectors = run.read_spans(name), run.read_vectors(name)
            batches = [len(rows) for rows in expected[names.index(name)]]
            counts = spans["batch"].value_counts()
            for batch, count in counts.items():
                if count != batches[int(batch)]:
                    problems.append(f"batch {batch} of {name}: {count} of {batches[int(batch)]} spans")
            whole = [expected[names.index(name)][batch] for batch in sorted(counts.index)]
            if len(spans) and not np.array_equal(np.concatenate(whole), vectors):
                problems.append(f"{name}: vectors do not belong to the spans read beside them")

    def read(which: int) -> None:
        workspace = Workspace.open(tmp_path)
        while not is_done.is_set():
            try:
                check(workspace)
            except Exception as error:
                problems.append(f"{type(error).__name__}: {error}")
                is_done.set()
            looked[which].release()

    flags = ["--point", "records-done", "--nth", "20", "--batches", str(n_batches), "--flush-every", "1"]
    with writer(tmp_path, "--point", "embeddings-done", "--nth", "1", "--batches", str(n_batches)) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "AT\n"
    readers = [threading.Thread(target=read, args=(which,)) for which in range(2)]
    with writer(tmp_path, *flags) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        for reader in readers:
            reader.start()
        try:
            assert process.stdout.readline() == "AT\n"
            for semaphore in looked:  # two reads each, so that one began after the writer stopped
                while semaphore.acquire(blocking=False):
                    pass
                assert semaphore.acquire(timeout=60)
                assert semaphore.acquire(timeout=60)
            process.stdin.write("go on\n")
            process.stdin.flush()
            assert process.stdout.readline() == "DONE\n"
        finally:
            is_done.set()
            for reader in readers:
                reader.join()
    check(Workspace.open(tmp_path))
    assert not problems, f"a reader saw part of a batch: {problems[:3]}"
    assert len(Workspace.open(tmp_path).open_run("killed").read_vectors("final")) == sum(map(len, expected[1]))
