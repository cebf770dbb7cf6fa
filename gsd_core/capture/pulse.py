"""How much of a batch is done, while it is computed.

Pulse   context that reports at intervals which share of a work is done

A batch of a big model takes minutes. To show progress inside it, for any tier, the model's linear modules are watched:
each call adds the columns that went through the module, weighted by the module's size, and each gradient that comes
back adds as much. Work is counted in *passes*: padded columns through all modules, forward or backward.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from gsd_core.capture.modules import get_sizes
from gsd_core.console.report import Report, ignore

INTERVAL_S = 1.0


class Pulse:
    """While it lasts, calls of `model` tell `report` the share done of `expected` passes, at most once a second.

    The share only grows and never reaches 1: an expectation that was too low slows it down near its end.
    """

    def __init__(
        self, model: nn.Module, expected: float, report: Report, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._model, self._expected, self._report, self._clock = model, max(expected, 1.0), report, clock
        self._weights: dict[nn.Module, float] = {}
        self._handles: list[RemovableHandle] = []
        self._done, self._last = 0.0, clock()

    def __enter__(self) -> Pulse:
        if self._report is ignore:
            return self
        sizes = {module: sizes for module in self._model.modules() if (sizes := get_sizes(module))}
        total = sum(d_out * d_in for d_out, d_in in sizes.values())
        # What one number of the output is of a pass.
        self._weights = {module: d_in / total for module, (_, d_in) in sizes.items()}
        self._handles = [each.register_forward_hook(self._count_call) for each in sizes]
        return self

    def __exit__(self, *details: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _count_call(self, module: nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> None:
        passes = output.numel() * self._weights[module]
        self._add(passes)
        if output.requires_grad:
            output.register_hook(lambda _: self._add(passes))

    def _add(self, passes: float) -> None:
        self._done += passes
        now = self._clock()
        if now - self._last >= INTERVAL_S:
            self._last = now
            left = max(self._expected - self._done, 0.02 * self._expected)
            self._report(self._done / (self._done + left))
