"""The cost of tracking beside the training: measured, and predicted after a few steps.

Overhead   seconds of tracking and of the whole training, their ratio, and its prediction
Account    measures them during a training
Seconds    wall clock and CPU time
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

PREDICT_AFTER = 6  # steps until the cost is predicted
WARM_UP = 2  # first steps, which are slower and do not count

Seconds = tuple[float, float]
"""Wall clock and CPU time."""


@dataclass(frozen=True, slots=True)
class Overhead:
    """Cost of tracking: seconds of the wall clock and of all CPUs, since the training began."""

    seconds: float
    """Wall clock, training and tracking together."""
    cpu_seconds: float
    """CPU time of this process, training and tracking together."""
    capture_seconds: float
    """Of these, seconds in the callback (on a GPU: until the host is free again)."""
    capture_cpu_seconds: float
    """Of these, seconds in the callback."""
    predicted_share: float | None = None
    """Prediction of ``share`` after the first steps; None where it was not possible."""
    predicted_cpu_share: float | None = None
    """The same for ``cpu_share``."""

    @property
    def share(self) -> float:
        """Part of the wall clock, 0 … 1."""
        return self.capture_seconds / self.seconds if self.seconds > 0 else 0.0

    @property
    def cpu_share(self) -> float:
        """Part of the CPU time, 0 … 1."""
        return self.capture_cpu_seconds / self.cpu_seconds if self.cpu_seconds > 0 else 0.0

    def describe(self) -> dict[str, Any]:
        """All fields and both shares, for JSON."""
        return {**asdict(self), "share": self.share, "cpu_share": self.cpu_share}


class Account:
    """Measures one training from `first_step` to `last_step`; `due` are the steps to capture."""

    def __init__(self, first_step: int, last_step: int, due: Sequence[int]) -> None:
        self._step, self._first, self._last, self._due = first_step, first_step, last_step, sorted(due)
        self._begun = _now()
        self._spent: Seconds = (0.0, 0.0)
        self._ridden: Seconds = (0.0, 0.0)
        self._latest_capture: Seconds | None = None
        self._mark: Seconds | None = None
        self._predicted: tuple[float, float] | None = None

    @contextmanager
    def tracking(self, is_capture: bool = False) -> Iterator[None]:
        """Context whose time is tracking; `is_capture`: it captures the whole probe set at one step."""
        begun = _now()
        try:
            yield
        finally:
            took = _sum(_now(), begun, -1)
            self._spent = _sum(self._spent, took)
            if is_capture:
                self._latest_capture = took

    def set_ridden(self, seconds: float, cpu_seconds: float) -> None:
        """Set the time in hooks so far."""
        self._ridden = (seconds, cpu_seconds)

    def end_step(self, step: int) -> None:
        """An optimizer step has ended and its ride is stored; after a few steps, predict the share."""
        self._step = step
        if step - self._first == WARM_UP:
            self._mark = _sum(_now(), self._all_spent(), -1)
        elif step - self._first == PREDICT_AFTER and self._mark is not None:
            self._predict(self._mark)

    def _predict(self, mark: Seconds) -> None:
        """Share of tracking in the whole training, if steps and captures cost as much as so far."""
        n_captures = sum(1 for each in self._due if each >= self._step)
        capture = self._latest_capture or (0.0, 0.0)
        n_ahead, n_seen = self._last - self._step, PREDICT_AFTER - WARM_UP
        elapsed, spent = _sum(_now(), self._begun, -1), self._all_spent()
        training = _sum(_sum(_now(), spent, -1), mark, -1)
        shares = []
        for kind in (0, 1):
            ahead = capture[kind] * n_captures + self._ridden[kind] / (self._step - self._first) * n_ahead
            whole = elapsed[kind] + ahead + training[kind] / n_seen * n_ahead
            shares.append((spent[kind] + ahead) / whole if whole > 0 else 0.0)
        self._predicted = (shares[0], shares[1])

    def _all_spent(self) -> Seconds:
        return _sum(self._spent, self._ridden)

    def overhead(self) -> Overhead:
        """The cost so far."""
        share, cpu_share = self._predicted or (None, None)
        return Overhead(*_sum(_now(), self._begun, -1), *self._all_spent(), share, cpu_share)


def _now() -> Seconds:
    return time.perf_counter(), time.process_time()


def _sum(a: Seconds, b: Seconds, sign: int = 1) -> Seconds:
    return a[0] + sign * b[0], a[1] + sign * b[1]
