"""Where gradients of a training go: the contract between the callback and the code that stores them.

GradientSink   protocol: gives samples and settings, takes batches of records

``gsd_core.open_probe`` and ``gsd_core.open_ride`` make sinks that store a run in a workspace; a script may define its
own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gsd_core.capture.capture import CaptureConfig, Capturer
from gsd_core.training.overhead import Overhead
from gsd_core.types import SampleRecords, Skipped, TokenizedSample


class GradientSink(Protocol):
    """Stores what the callback captures.

    The callback calls ``start``, then ``begin_step``, ``write`` …, ``end_step`` for each captured step, and ``finish``
    at the end, all from one process and one thread. An exception of a sink stops the training.
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
        """The training begins, or is resumed, at optimizer step `step` with the model of `capturer`.

        Raises
        ------
        UserError
            Where the stored run does not belong to this training.
        """
        ...

    def begin_step(self, step: int, fingerprint: str) -> set[int]:
        """Weights at `step` will be captured; returns its batches that are stored already.

        `fingerprint` is the weights': stored batches of other weights at the same step do not count.
        """
        ...

    def write(self, step: int, batch: int, results: Sequence[SampleRecords | Skipped]) -> None:
        """Store one whole batch."""
        ...

    def end_step(self, step: int, overhead: Overhead) -> None:
        """All batches of `step` are written."""
        ...

    def flush(self) -> None:
        """Write every batch so far to disk: the trainer saves a checkpoint, or a step was interrupted."""
        ...

    def finish(self, overhead: Overhead) -> None:
        """The training is over."""
        ...
