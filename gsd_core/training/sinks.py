"""Where gradients captured during a training go: the contract between the callback and whoever stores them.

GradientSink   protocol of a destination: samples and settings out, batches of records in

``gsd_core.open_probe`` and ``gsd_core.open_ride`` make sinks that store a run in a workspace; a script may bring its
own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gsd_core.capture.capture import CaptureConfig, Capturer
from gsd_core.training.overhead import Overhead
from gsd_core.types import SampleRecords, Skipped, TokenizedSample


class GradientSink(Protocol):
    """Takes in what the callback captures.

    The callback calls ``start``, then for each captured step ``begin_step``, ``write`` …, ``end_step``, at last
    ``finish``; all from one process and one thread. A sink that raises stops the training.
    """

    @property
    def samples(self) -> Sequence[TokenizedSample]:
        """What is captured; for a ride, row ``i`` of the training data is sample ``i``."""
        ...

    @property
    def config(self) -> CaptureConfig:
        """Tier, window, sketch and batch size."""
        ...

    def start(self, capturer: Capturer, step: int) -> None:
        """The training begins, or goes on, at optimizer step `step` with the model of `capturer`.

        Raises
        ------
        UserError
            Where what is stored already does not go together with this training.
        """
        ...

    def begin_step(self, step: int, fingerprint: str) -> set[int]:
        """Weights at `step` are about to be captured; returns the batches of it that are stored already.

        `fingerprint` is that of the weights: batches that other weights left under the same step do not count.
        """
        ...

    def write(self, step: int, batch: int, results: Sequence[SampleRecords | Skipped]) -> None:
        """Take in one whole batch."""
        ...

    def end_step(self, step: int, overhead: Overhead) -> None:
        """Everything of `step` has come."""
        ...

    def flush(self) -> None:
        """Keep every batch taken in so far: the trainer saves a checkpoint, or a step was broken off."""
        ...

    def finish(self, overhead: Overhead) -> None:
        """The training is over."""
        ...
