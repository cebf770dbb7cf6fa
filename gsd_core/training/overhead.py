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

import numpy as np

PREDICT_AFTER = 6  # steps until the cost is predicted
WARM_UP = 2  # first steps, which are slower and do not count

Seconds = np.ndarray
"""(2,) wall clock and CPU time."""


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
        self._spent = self._ridden = self._latest_capture = np.zeros(2)
        self._mark: Seconds | None = None
        self._predicted: list[float | None] = [None, None]

    @contextmanager
    def tracking(self, is_capture: bool = False) -> Iterator[None]:
        """Context whose time is tracking; `is_capture`: it captures the whole probe set at one step."""
        begun = _now()
        try:
            yield
        finally:
            took = _now() - begun
            self._spent = self._spent + took
            if is_capture:
                self._latest_capture = took

    def set_ridden(self, seconds: float, cpu_seconds: float) -> None:
        """Set the time in hooks so far."""
        self._ridden = np.array([seconds, cpu_seconds])

    def end_step(self, step: int) -> None:
        """An optimizer step has ended and its ride is stored; after a few steps, predict the share."""
        self._step = step
        if step - self._first == WARM_UP:
            self._mark = _now() - self._spent - self._ridden
        elif step - self._first == PREDICT_AFTER and self._mark is not None:
            self._predict(self._mark)

    def _predict(self, mark: Seconds) -> None:
        """Share of tracking in the whole training, if steps and captures cost as much as so far."""
        n_captures = sum(1 for each in self._due if each >= self._step)
        n_ahead, n_seen = self._last - self._step, PREDICT_AFTER - WARM_UP
        now, spent = _now(), self._spent + self._ridden
        ahead = self._latest_capture * n_captures + self._ridden / (self._step - self._first) * n_ahead
        whole = now - self._begun + ahead + (now - spent - mark) / n_seen * n_ahead
        pairs = zip((spent + ahead).tolist(), whole.tolist(), strict=True)
        self._predicted = [part / total if total > 0 else 0.0 for part, total in pairs]

    def overhead(self) -> Overhead:
        """The cost so far."""
        seconds = np.concatenate([_now() - self._begun, self._spent + self._ridden])
        return Overhead(*seconds.tolist(), *self._predicted)


def _now() -> Seconds:
    return np.array([time.perf_counter(), time.process_time()])
