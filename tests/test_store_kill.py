"""A capture may be killed at any moment; nothing is lost, doubled or half there.

Real processes, killed with SIGKILL where they say they are: there are no sleeps here.
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
N_BATCHES = 9  # as the writing process has it unless told


@contextmanager
def writer(workspace: Path, *flags: str) -> Iterator[subprocess.Popen[str]]:
    """The writing process; killed at the latest when the block ends."""
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
    """Let it run to the point, then SIGKILL."""
    with writer(workspace, *flags) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "AT\n", (
            "the writer ended before the point where it was to be killed"
        )
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
        assert found[key] == value, (
            f"{key} differ from an undisturbed run: a batch was lost, doubled or reordered"
        )


@pytest.mark.parametrize(
    ("point", "nth"),
    [
        ("embeddings-done", 1),  # samples are there, nothing captured
        ("records", 1),  # the checkpoint is entered, its tables are not made
        ("records-done", 1),  # first records without markers, and no marker table at all
        ("records-done", 3),  # the hole in the middle: records without markers
        ("captured", 2),
        ("captured-done", 2),  # a clean border
        ("records-done", 6),  # at the second checkpoint
    ],
)
def test_killed_and_resumed_equals_undisturbed(
    tmp_path: Path, undisturbed: dict[str, Any], point: str, nth: int
) -> None:
    # A kill between the two halves of a commit is the moment at which rows get lost or doubled.
    kill_at(tmp_path, "--point", point, "--nth", str(nth))
    run = Workspace.open(tmp_path).open_run("killed")
    seen = {name: len(run.read_vectors(name)) for name in run.checkpoints}
    removed = run.repair()
    if point == "records-done":
        assert removed > 0, "records without a marker survived the repair"
    for name, n in seen.items():
        assert len(run.read_vectors(name)) == n, "repair took away spans that readers were shown"
    write_missing(run, N_BATCHES, 3)
    assert_same(read_everything(run), undisturbed)


@pytest.mark.parametrize("nth", [1, 4])
def test_killed_in_the_midst_of_a_write(tmp_path: Path, undisturbed: dict[str, Any], nth: int) -> None:
    # Here the writer runs on while the signal is on its way: it dies inside the database, wherever that is.
    kill_at(tmp_path, "--point", "records", "--nth", str(nth), "--run-on")
    run = Workspace.open(tmp_path).open_run("killed")
    run.repair()
    write_missing(run, N_BATCHES, 3)
    assert_same(read_everything(run), undisturbed)


def test_killed_twice_and_resumed_by_another_process(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    # The second life is killed too; the batches are grouped differently each time.
    kill_at(tmp_path, "--point", "records-done", "--nth", "2", "--flush-every", "2")
    kill_at(tmp_path, "--point", "records-done", "--nth", "2", "--flush-every", "5")
    with writer(tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "DONE\n"
    assert_same(read_everything(Workspace.open(tmp_path).open_run("killed")), undisturbed)


def test_appending_without_repair_heals_first(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    # Somebody will forget to call repair(); the rows of the dead must not stand beside the new ones.
    kill_at(tmp_path, "--point", "records-done", "--nth", "2")
    run = Workspace.open(tmp_path).open_run("killed")
    write_missing(run, N_BATCHES, 3)
    assert_same(read_everything(run), undisturbed)


def test_second_writer_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
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
        run.repair()  # the lock fell with its holder: no stale lock to remove by hand


def test_two_readers_never_see_half_a_batch(tmp_path: Path) -> None:
    # Readers go on while commits happen; once, the writer stands still between the halves of a commit.
    n_batches = 24
    expected = []
    for number in range(len(CHECKPOINTS)):
        batches = make_batches(n_batches, number)
        rows = [[getattr(result, "records", ()) for result in results] for results in batches]
        expected.append(
            [np.array([r.direction for group in batch for r in group], np.float16) for batch in rows]
        )
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
            for semaphore in looked:  # two whole looks each, so that one began after the writer stood still
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
    assert not problems, f"a reader saw what was not committed whole: {problems[:3]}"
    assert len(Workspace.open(tmp_path).open_run("killed").read_vectors("final")) == sum(
        map(len, expected[1])
    )
