"""The executor contract, and the executor that works in this process.

Executor       protocol: ``run_batches(make_worker, batches)`` yields ``(index, result)``
LocalExecutor  one worker, in this process, batch after batch
BatchesLost    some batches ended their worker again and again; all others were computed
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Protocol, TypeVar

BatchT = TypeVar("BatchT")
ResultT = TypeVar("ResultT")


class BatchesLost(Exception):
    """Raised after the last result: these batches have none, because their worker ended under them each time.

    ``reasons`` maps the index of a lost batch to what was seen of the end.
    """

    def __init__(self, reasons: Mapping[int, str]) -> None:
        self.reasons = dict(reasons)
        super().__init__(f"batches {', '.join(map(str, sorted(self.reasons)))} ended their workers")


class Executor(Protocol):
    """Computes numbered batches with workers that are expensive to make (a loaded model).

    A context manager: on leaving it, whatever happened, its workers are gone.
    """

    name: str
    n_workers: int

    def run_batches(
        self,
        make_worker: Callable[[], Callable[[BatchT], ResultT]],
        batches: Iterable[tuple[int, BatchT]],
    ) -> Iterator[tuple[int, ResultT]]:
        """Yield ``(index, worker(batch))`` for every batch, each exactly once, whole or not at all.

        * ``make_worker`` is called once for each worker, and not before a batch is at hand, so an
          empty (already finished) list of batches loads no model. A later call with the same ``make_worker`` object
          goes on with the same workers; one with another object replaces them.
        * The order of results is free; callers that need an order keep one by ``index``.
        * A worker's exception reaches the caller after every result that was finished before it. So does
          ``KeyboardInterrupt``: the caller stores what it has received and stops.
        * A result depends on its batch alone, never on the worker or on batches before it.
        * Where a worker can end without a word (another process, another machine), its batch is given to a fresh one.
          A batch that ends two workers is left out, the rest is computed, and then ``BatchesLost`` is raised.
        """
        ...

    def __enter__(self) -> Executor: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class LocalExecutor:
    """One worker in this process; results come in the order of the batches."""

    name = "local"
    n_workers = 1

    def __init__(self) -> None:
        self._maker: Any = None
        self._worker: Any = None

    def run_batches(
        self,
        make_worker: Callable[[], Callable[[BatchT], ResultT]],
        batches: Iterable[tuple[int, BatchT]],
    ) -> Iterator[tuple[int, ResultT]]:
        """See :meth:`Executor.run_batches`. Batches are drawn lazily: one is in memory at a time."""
        for index, batch in batches:
            if self._maker is not make_worker:
                self._worker = None  # the earlier worker's memory is needed for the next
                self._maker, self._worker = make_worker, make_worker()
            yield index, self._worker(batch)

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._maker = self._worker = None
