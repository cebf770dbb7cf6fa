"""The executor contract, and the executor that works in this process.

Executor       protocol: ``run_batches(make_worker, batches)`` yields ``(index, result)``
LocalExecutor  one worker, in this process, batch after batch
BatchesLost    some batches ended their worker again and again; all others were computed
BatchT, ResultT   types of a batch and of its result
Worker         a callable that computes one batch and reports which share of it is done
News           a callable that gets the batches under way, with the share of each that is done
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

BatchT = TypeVar("BatchT")
ResultT = TypeVar("ResultT")
Worker = Callable[[BatchT, Callable[[float], None]], ResultT]
News = Callable[[Mapping[int, float]], None]


class BatchesLost(Exception):
    """Raised after the last result: some batches have none, because their worker ended each time.

    ``reasons`` maps the index of a lost batch to the last that was seen of its worker.
    """

    def __init__(self, reasons: Mapping[int, str]) -> None:
        self.reasons = dict(reasons)
        super().__init__(f"batches {', '.join(map(str, sorted(self.reasons)))} ended their workers")


class Executor(Protocol):
    """Computes numbered batches with workers that are expensive to make (a loaded model).

    A context manager: when it is left, for whatever reason, its workers are ended.
    """

    name: str
    n_workers: int

    def run_batches(
        self,
        make_worker: Callable[[], Worker[BatchT, ResultT]],
        batches: Iterable[tuple[int, BatchT]],
        on_news: News | None = None,
    ) -> Iterator[tuple[int, ResultT]]:
        """Yield ``(index, worker(batch, report))`` for every batch, each exactly once, whole or not at all.

        * A worker may call ``report(share)`` at any time with the share of its batch that is done, 0 … 1.
        * `on_news` gets the batches under way between two results: index → share, 0 where it is not known. It is called
          in the thread that takes the results, and every few seconds where workers are in other processes.
        * ``make_worker`` is called once for each worker, and only when there is a batch, so an empty list of batches
          loads no model. A later call with the same ``make_worker`` object keeps the workers; another object replaces
          them.
        * Results come in any order; callers that need one sort by ``index``.
        * A worker's exception reaches the caller after every result that was finished before it, and so does
          ``KeyboardInterrupt``. The caller stores what it has received and stops.
        * A result depends only on its batch, not on the worker or on earlier batches.
        * Where a worker in another process or machine ends, a new one gets its batch. A batch that ends two workers is
          left out, the rest is computed, and then ``BatchesLost`` is raised.
        """
        ...

    def __enter__(self) -> Executor: ...

    def __exit__(self, *_: object) -> None: ...


class LocalExecutor:
    """One worker in this process; results come in the order of the batches."""

    name = "local"
    n_workers = 1

    def __init__(self) -> None:
        self._maker: Any = None
        self._worker: Any = None

    def run_batches(
        self,
        make_worker: Callable[[], Worker[BatchT, ResultT]],
        batches: Iterable[tuple[int, BatchT]],
        on_news: News | None = None,
    ) -> Iterator[tuple[int, ResultT]]:
        """See :meth:`Executor.run_batches`. Batches are drawn lazily: one is in memory at a time."""
        for index, batch in batches:

            def report(share: float, index: int = index) -> None:
                if on_news is not None:
                    on_news({index: share})

            if self._maker is not make_worker:
                self._worker = None  # the earlier worker's memory is needed for the next
                self._maker, self._worker = make_worker, make_worker()
            yield index, self._worker(batch, report)

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self._maker = self._worker = None
