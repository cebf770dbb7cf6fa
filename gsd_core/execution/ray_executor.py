"""Batches on several processes or machines: the executor contract over Ray actors.

RayExecutor   n workers, each an actor with its own GPU where there are any

Ray is optional (``pip install -r requirements-ray.txt``). The cluster that ``$RAY_ADDRESS`` names is used; without one,
Ray is started on this machine and ended with the executor. An actor gets one batch at a time, so that the batch of a
lost worker is always known.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import traceback
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from gsd_core.console.threads import let_threads_yield
from gsd_core.errors import UserError
from gsd_core.execution.local import BatchesLost, BatchT, News, ResultT, Worker

MAX_DEATHS_A_BATCH = 2
MAX_DEATHS_AT_START = 3
NEWS_INTERVAL_S = 5.0
_OBJECT_STORE_BYTES = 128 * 2**20  # only batches of text and descriptions of files pass through it
_INSTALL = "pip install -r requirements-ray.txt"


class _Holder:
    """The actor's code. It returns exceptions as values, because Ray would wrap them in its own classes."""

    def __init__(self) -> None:
        let_threads_yield()  # the factory of workers, which comes later, loads torch
        self._worker: Any = None

    def prepare(self, make_worker: Callable[[], Any]) -> tuple[int, BaseException | None]:
        try:
            self._worker = None
            self._worker = make_worker()
        except Exception as problem:
            return os.getpid(), _noted(problem)
        return os.getpid(), None

    def work(self, batch: Any) -> tuple[Any, BaseException | None]:
        try:
            return self._worker(batch, _ignore), None
        except Exception as problem:
            return None, _noted(problem)


def _ignore(share: float) -> None:
    """Shares of a batch stay in its worker; the driver reports which batches are under way."""


def _noted(problem: Exception) -> Exception:
    problem.add_note(f"in a worker: {traceback.format_exc()}")  # tracebacks cannot be sent
    return problem


class _Actor:
    """One actor for the driver: its handle, its process, and its batch."""

    def __init__(self, handle: Any, held: tuple[int, Any]) -> None:
        self.handle = handle
        self.pid: int | None = None  # until its worker is made
        self.task: Any = None  # what it is doing
        self.held: tuple[int, Any] | None = held


class _Queue:
    """Batches that no actor has; ``lost`` maps those that are given up to the reason."""

    def __init__(self, batches: Iterable[tuple[int, Any]]) -> None:
        self._waiting = iter(batches)
        self._again: deque[tuple[int, Any]] = deque()
        self._deaths: Counter[int] = Counter()
        self.lost: dict[int, str] = {}

    def draw(self, actors: Iterable[_Actor] = ()) -> tuple[int, Any] | None:
        """The next batch; where there is none, the batch of one of `actors` whose worker is not made yet.

        So an actor that waits for a machine does not delay the last batches.
        """
        if self._again:
            return self._again.popleft()
        batch = next(self._waiting, None)
        waiting = next((each for each in actors if each.pid is None and each.held is not None), None)
        if batch is None and waiting is not None:
            batch, waiting.held = waiting.held, None
        return batch

    def take_back(self, batch: tuple[int, Any] | None, reason: str) -> None:
        """Return a batch whose actor ended; `reason` is empty where the batch had not begun, so it is not the cause."""
        if batch is None:
            return
        self._deaths[batch[0]] += bool(reason)
        if reason and self._deaths[batch[0]] >= MAX_DEATHS_A_BATCH:
            self.lost[batch[0]] = reason
        else:
            self._again.append(batch)


class RayExecutor:
    """``n_workers`` Ray actors.

    Parameters
    ----------
    n_workers
        How many actors; no more than the machine or cluster can place at once.
    use_gpus
        Whether an actor takes a GPU where there are any; without GPUs it takes CPUs.
    spread_gpus
        Share all GPUs among the actors, for models that need several; otherwise one each.

    Attributes
    ----------
    n_lost
        Workers that ended so far, during a batch or while they were made.
    pids
        Process ids of the actors whose workers are made, on their own machines.

    Raises
    ------
    UserError
        On entering: Ray is not installed or cannot be reached, or there is no room for so many workers.
    """

    name = "ray"

    def __init__(self, n_workers: int, *, use_gpus: bool = True, spread_gpus: bool = False) -> None:
        self.n_workers, self._use_gpus, self._spread_gpus = n_workers, use_gpus, spread_gpus
        self.n_lost = 0
        self._ray: Any = None
        self._actors: list[_Actor] = []
        self._maker: Any = None
        self._options: dict[str, Any] = {}

    @property
    def pids(self) -> list[int]:
        """See the class."""
        return [actor.pid for actor in self._actors if actor.pid is not None]

    # -- life -----------------------------------------------------------------------------------------------------

    def __enter__(self) -> RayExecutor:
        self._ray = _import_ray()
        if self._ray.is_initialized():
            raise UserError("Ray is running in this process already", "--executor ray", "end it first")
        try:
            with _signals_kept():
                _start(self._ray, self.n_workers)
            self._options = self._share_out()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        ray, self._ray = self._ray, None
        if ray is None:
            return
        try:
            for actor in self._actors:
                _kill(ray, actor)
        finally:
            self._actors, self._maker = [], None
            with _signals_kept():
                ray.shutdown()

    def _share_out(self) -> dict[str, Any]:
        """The resources of one actor."""
        resources = self._ray.cluster_resources()
        n_gpus, n_cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 0))
        where = f"--workers {self.n_workers}"
        if self._use_gpus and n_gpus:
            if self.n_workers > n_gpus:
                fix = f"give at most {n_gpus}, or --device cpu"
                raise UserError(f"there are {n_gpus} GPUs, one for each worker", where, fix)
            return {"num_gpus": n_gpus // self.n_workers if self._spread_gpus else 1, "num_cpus": 1}
        if self.n_workers > n_cpus:
            what = f"the cluster has {n_cpus} CPUs, at least one for each worker"
            raise UserError(what, where, f"give at most {n_cpus}")
        return {"num_cpus": max(1, n_cpus // self.n_workers)}

    # -- work -----------------------------------------------------------------------------------------------------

    def run_batches(
        self,
        make_worker: Callable[[], Worker[BatchT, ResultT]],
        batches: Iterable[tuple[int, BatchT]],
        on_news: News | None = None,
    ) -> Iterator[tuple[int, ResultT]]:
        """See :meth:`Executor.run_batches`. ``make_worker``, batches and results are pickled."""
        if self._ray is None:
            raise RuntimeError("the executor is used outside its with block")
        ray = self._ray
        if self._maker is not make_worker:
            for actor in self._actors:
                _kill(ray, actor)
            self._actors, self._maker = [], make_worker
        queue = _Queue(batches)
        pending: dict[Any, _Actor] = {}
        made: Any = None  # the factory is put into the object store once, and only where there is a batch
        starts_failed = 0
        try:
            while True:
                for actor in self._actors:
                    if actor.task is not None:
                        pending[actor.task] = actor  # still being made for an earlier call
                    elif actor.pid is not None and actor.held is None:
                        self._give(actor, queue.draw(pending.values()), pending)
                while len(self._actors) < self.n_workers and (batch := queue.draw()) is not None:
                    made = ray.put(make_worker) if made is None else made
                    actor = _Actor(ray.remote(_Holder).options(**self._options).remote(), batch)
                    actor.task = actor.handle.prepare.remote(made)
                    pending[actor.task] = actor
                    self._actors.append(actor)
                if not any(actor.held for actor in pending.values()):
                    break
                ready, _ = ray.wait(list(pending), num_returns=1, timeout=NEWS_INTERVAL_S if on_news else None)
                if not ready and on_news is not None:
                    on_news({actor.held[0]: 0.0 for actor in pending.values() if actor.held is not None})
                    continue
                actor = pending.pop(ready[0])
                actor.task = None
                try:
                    value, problem = ray.get(ready[0])
                except ray.exceptions.RayTaskError:
                    raise  # a result cannot be sent: an error in this program, not a lost worker
                except ray.exceptions.RayError as end:
                    self._drop(actor)
                    self.n_lost += 1
                    queue.take_back(actor.held, _one_line(end) if actor.pid is not None else "")
                    starts_failed += actor.pid is None
                    if starts_failed >= MAX_DEATHS_AT_START:
                        raise UserError(
                            f"{starts_failed} workers in a row ended while they were made ({_one_line(end)})",
                            f"--executor ray --workers {self.n_workers}",
                            "give fewer workers, or machines with more memory",
                        ) from end
                    continue
                if problem is not None:
                    actor.held = None
                    raise problem
                if actor.pid is None:
                    actor.pid, starts_failed = value, 0
                    self._give(actor, actor.held, pending)
                    continue
                held = actor.held
                assert held is not None
                self._give(actor, queue.draw(pending.values()), pending)  # it continues while the caller stores
                yield held[0], value
        finally:
            # Nobody will take what is under way; an actor cannot be stopped inside a batch, only ended.
            for actor in pending.values():
                if actor.held is not None:
                    self._drop(actor)
        if queue.lost:
            raise BatchesLost(queue.lost)

    def _give(self, actor: _Actor, batch: tuple[int, Any] | None, pending: dict[Any, _Actor]) -> None:
        actor.held = batch
        if batch is not None:
            actor.task = actor.handle.work.remote(batch[1])
            pending[actor.task] = actor

    def _drop(self, actor: _Actor) -> None:
        _kill(self._ray, actor)
        if actor in self._actors:
            self._actors.remove(actor)


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray  # noqa: PLC0415 - an extra, and a second of import
    except ImportError as problem:
        raise UserError(
            f"Ray is not installed ({problem})", "--executor ray", f"{_INSTALL}, or leave the flag out"
        ) from problem
    return ray


def _start(ray: Any, n_workers: int) -> None:
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    address = os.environ.get("RAY_ADDRESS")
    if not address or address == "local":
        options |= {
            "num_cpus": max(n_workers, os.cpu_count() or 1),
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE_BYTES,
            "_node_ip_address": "127.0.0.1",  # Ray's ports allow running code, so only this machine reaches them
        }
    try:
        with warnings.catch_warnings():
            # Libraries warn when the process forks; here the fork starts another program at once.
            warnings.filterwarnings("ignore", message=".*fork-safe")
            ray.init(address=address or "local", **options)
    except (ConnectionError, ValueError, RuntimeError, OSError) as problem:
        raise UserError(
            f"Ray does not start ({_one_line(problem)})",
            f"RAY_ADDRESS {address}" if address else "--executor ray",
            "check the cluster's address, or leave the flag out",
        ) from problem


def _kill(ray: Any, actor: _Actor) -> None:
    if ray is None:
        return  # the executor was left, which ended every actor
    with suppress(Exception):  # an actor that has ended cannot be ended
        ray.kill(actor.handle, no_restart=True)


def _one_line(problem: BaseException) -> str:
    text = " ".join(str(problem).split())
    return text if len(text) <= 240 else f"{text[:240]}…"


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray sets its own handler for SIGTERM; this restores the program's, which keeps finished work."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
