"""The executors' contract, for each of them; and what only workers in other processes can do: end without a word.

The workers here compute on numbers, so that nothing but the executor is tested. Ray itself is real.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gsd_core.errors import UserError
from gsd_core.execution import BatchesLost, Executor, LocalExecutor, RayExecutor

ROOT = Path(__file__).resolve().parents[1]


def leave_mark(file: Path) -> bool:
    """Make the file; False where it was there before. Whole or not at all, whoever else tries."""
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


class Factory:
    """Makes workers that square numbers; text tells them to do something else. Notes every worker it makes."""

    def __init__(self, folder: Path, ends_at_start: bool = False) -> None:
        self.folder, self.ends_at_start = folder, ends_at_start

    def __call__(self) -> Callable[[Any], Any]:
        if self.ends_at_start:
            os.kill(os.getpid(), signal.SIGKILL)
        number = 0
        while not leave_mark(self.folder / f"made-{number}"):
            number += 1
        return self.work

    def n_made(self) -> int:
        return len(list(self.folder.glob("made-*")))

    def work(self, batch: Any, report: Callable[[float], None]) -> Any:
        if batch == "raise":
            raise UserError("a bad thing", "in a batch", "leave it out")
        if batch == "kill once" and leave_mark(self.folder / "killed"):
            os.kill(os.getpid(), signal.SIGKILL)
        if batch == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return batch if isinstance(batch, str) else batch * batch


@pytest.fixture(scope="module")
def ray_executor() -> Iterator[RayExecutor]:
    with RayExecutor(2) as executor:
        yield executor


@pytest.fixture(params=["local", "ray"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    if request.param == "ray":
        yield request.getfixturevalue("ray_executor")
    else:
        with LocalExecutor() as local:
            yield local


def test_every_batch_gives_one_result(executor: Executor, tmp_path: Path) -> None:
    found = list(executor.run_batches(Factory(tmp_path), [(7 + n, n) for n in range(20)]))
    assert sorted(found) == [(7 + n, n * n) for n in range(20)], "a batch was lost, doubled or renumbered"


def test_no_batches_make_no_worker(executor: Executor, tmp_path: Path) -> None:
    factory = Factory(tmp_path)
    assert list(executor.run_batches(factory, iter([]))) == []
    assert factory.n_made() == 0, "a finished run would load a model for nothing"


def test_the_same_factory_keeps_its_workers(executor: Executor, tmp_path: Path) -> None:
    factory = Factory(tmp_path)
    for first in (0, 10, 20):
        assert len(list(executor.run_batches(factory, [(n, n) for n in range(first, first + 6)]))) == 6
    assert 1 <= factory.n_made() <= executor.n_workers, "a second call loads the model again"


def test_another_factory_replaces_the_workers(executor: Executor, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        list(executor.run_batches(Factory(tmp_path / name), [(0, 1)]))
        assert Factory(tmp_path / name).n_made() == 1


def test_an_exception_comes_as_it_was_raised(executor: Executor, tmp_path: Path) -> None:
    batches: list[tuple[int, Any]] = [(0, 3), (1, "raise"), (2, 4)]
    with pytest.raises(UserError) as caught:
        list(executor.run_batches(Factory(tmp_path), batches))
    assert caught.value.one_line() == "a bad thing, in a batch, leave it out"
    found = list(executor.run_batches(Factory(tmp_path), [(0, 3)]))
    assert found == [(0, 9)], "the executor cannot be used after a failure"


def test_batches_are_drawn_as_workers_take_them(executor: Executor, tmp_path: Path) -> None:
    drawn: list[int] = []

    def batches() -> Iterator[tuple[int, int]]:
        for n in range(40):
            drawn.append(n)
            yield n, n

    results = executor.run_batches(Factory(tmp_path), batches())
    next(results)
    assert len(drawn) <= 2 * executor.n_workers + 1, "the whole corpus would be in flight at once"
    results.close()  # type: ignore[attr-defined]  # a generator


def test_a_worker_killed_half_way_changes_nothing(ray_executor: RayExecutor, tmp_path: Path) -> None:
    before = ray_executor.n_lost
    found = {}
    for index, value in ray_executor.run_batches(Factory(tmp_path), [(n, n) for n in range(60)]):
        assert index not in found
        found[index] = value
        if len(found) == 10:
            os.kill(ray_executor.pids[0], signal.SIGKILL)
    assert found == {n: n * n for n in range(60)}
    assert ray_executor.n_lost == before + 1, "nobody noticed: the test killed the wrong process"


def test_dead_workers_are_replaced(ray_executor: RayExecutor, tmp_path: Path) -> None:
    found = {}
    for index, value in ray_executor.run_batches(Factory(tmp_path), [(n, n) for n in range(60)]):
        found[index] = value
        if len(found) == 10:
            alive = ray_executor.pids
            for pid in alive:
                os.kill(pid, signal.SIGKILL)
    assert found == {n: n * n for n in range(60)}
    assert not set(alive) & set(ray_executor.pids), "somebody dead is still counted as a worker"


def test_a_batch_that_ends_its_worker_once_is_repeated(ray_executor: RayExecutor, tmp_path: Path) -> None:
    batches: list[tuple[int, Any]] = [(0, 2), (1, "kill once"), (2, 3)]
    assert dict(ray_executor.run_batches(Factory(tmp_path), batches)) == {0: 4, 1: "kill once", 2: 9}


def test_a_batch_that_ends_two_workers_is_named_and_the_rest_goes_on(ray_executor: RayExecutor, tmp_path: Path) -> None:
    batches: list[tuple[int, Any]] = [(0, "kill"), *((n, n) for n in range(1, 12))]
    found = {}

    def run() -> None:
        for index, value in ray_executor.run_batches(Factory(tmp_path), batches):
            found[index] = value

    with pytest.raises(BatchesLost) as caught:
        run()
    assert list(caught.value.reasons) == [0]
    assert found == {n: n * n for n in range(1, 12)}, "one bad batch took others with it"


def test_workers_that_end_at_their_start_are_not_made_for_ever(ray_executor: RayExecutor, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="in a row ended while they were made"):
        list(ray_executor.run_batches(Factory(tmp_path, ends_at_start=True), [(0, 1), (1, 2)]))


def test_more_workers_than_places_are_refused(ray_executor: RayExecutor) -> None:
    too_many = RayExecutor(10_000)
    too_many._ray = ray_executor._ray  # the running Ray stands for a cluster
    with pytest.raises(UserError, match="--workers 10000, give at most"):
        too_many._share_out()


def test_without_ray_the_way_to_get_it_is_told() -> None:
    # An own process: here Ray is loaded already.
    code = "import sys; sys.modules['ray'] = None; from gsd_core.execution import RayExecutor as R; R(2).__enter__()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "UserError: Ray is not installed" in done.stderr
    assert "pip install -r requirements-ray.txt" in done.stderr
