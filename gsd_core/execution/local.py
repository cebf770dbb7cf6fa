"""The executor contract, and the executor that works in this process.

Executor       protocol: ``run_batches(make_worker, batches)`` yields ``(index, result)``
LocalExecutor  one worker, in this process, batch after batch
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

BatchT = TypeVar("BatchT")
ResultT = TypeVar("ResultT")


class Executor(Protocol):
    """Computes numbered batches with workers that are expensive to make (a loaded model)."""

    name: str
    n_workers: int

    def run_batches(
        self,
        make_worker: Callable[[], Callable[[BatchT], ResultT]],
        batches: Iterable[tuple[int, BatchT]],
    ) -> Iterator[tuple[int, ResultT]]:
        """Yield ``(index, worker(batch))`` for every batch, each exactly once, whole or not at all.

        * ``make_worker`` is called once for each worker, and not before a batch is at hand, so an
          empty (already finished) list of batches loads no model.
        * The order of results is free; callers that need an order keep one by ``index``.
        * A worker's exception reaches the caller after every result that was finished before it. So does
          ``KeyboardInterrupt``: the caller stores what it has received and stops.
        * A result depends on its batch alone, never on the worker or on batches before it.
        """
        ...


class LocalExecutor:
    """One worker in this process; results come in the order of the batches."""

    name = "local"
    n_workers = 1

    def run_batches(
        self,
        make_worker: Callable[[], Callable[[BatchT], ResultT]],
        batches: Iterable[tuple[int, BatchT]],
    ) -> Iterator[tuple[int, ResultT]]:
        """See :meth:`Executor.run_batches`. Batches are drawn lazily: one is in memory at a time."""
        worker: Callable[[BatchT], ResultT] | None = None
        for index, batch in batches:
            if worker is None:
                worker = make_worker()
            yield index, worker(batch)
