"""Span gradients while a model is fine-tuned: a callback for ``transformers.Trainer`` and TRL's ``SFTTrainer``.

SpanGradientCallback   captures a probe set at chosen steps; takes training samples' gradients from the training's
passes

docs/training-callback.md has a script that runs.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gsd_core.capture.capture import Capturer
from gsd_core.errors import UserError
from gsd_core.tiers import RIDE_TIER
from gsd_core.training.overhead import Account, Overhead
from gsd_core.training.probing import capture_probe, check_can_track, unchanged_training
from gsd_core.training.riding import GradientRide
from gsd_core.training.sinks import GradientSink

logger = logging.getLogger(__name__)


class SpanGradientCallback(TrainerCallback):
    """Track span gradients during a training without changing it: the weights stay equal bit for bit.

    >>> probe = gsd.open_probe("traces", model=model, tokenizer=tokenizer, run="tuning")
    >>> Trainer(model, arguments, …, callbacks=[SpanGradientCallback(probe, every=50)]).train()

    Parameters
    ----------
    probe
        A probe set and the run that stores its gradients (``gsd_core.open_probe``); None: no probe set.
    every
        Optimizer steps between two captures of the probe set.
    steps
        Other steps at which to capture it.
    at_start, at_end
        Whether to capture it also before the first and after the last step.
    ride
        The run that stores gradients of the training samples (``gsd_core.open_ride``): tier ``position``, taken from
        the training's own passes. None: no ride.
    ride_every
        Optimizer steps between two rides; the checkpoint has the number of the step before the update.

    Raises
    ------
    UserError
        On construction for invalid choices; when the training begins, for one that cannot be tracked
        (``probing.check_can_track``) or whose run has other contents.

    In a training of several processes (DDP) only the first one captures, and a ride has only its samples; the others
    wait for it at their next exchange. A training that is resumed (``resume_from_checkpoint``) does not repeat steps
    that the run has for equal weights. Source: ours.
    """

    def __init__(
        self,
        probe: GradientSink | None = None,
        *,
        every: int | None = None,
        steps: Sequence[int] = (),
        at_start: bool = True,
        at_end: bool = True,
        ride: GradientSink | None = None,
        ride_every: int = 1,
    ) -> None:
        for name, value in (("every", every), ("ride_every", ride_every)):
            if value is not None and value < 1:
                raise UserError(f"{value} is not a number of steps", f"{name}=", "give 1 or more")
        if any(step < 0 for step in steps):
            raise UserError("a step below 0", f"steps={list(steps)}", "optimizer steps count from 0")
        if probe is None and ride is None:
            raise UserError("nothing to track", "SpanGradientCallback", "give a probe, a ride or both")
        if ride is not None and ride.config.tier != RIDE_TIER:
            raise UserError(
                f"a ride needs tier {RIDE_TIER}, not {ride.config.tier}",
                "ride=",
                "make it with gsd.open_ride",
            )
        self.probe, self.ride_sink = probe, ride
        self.every, self.steps, self.ride_every = every, frozenset(steps), ride_every
        self.at_start, self.at_end = at_start, at_end
        self.overhead: Overhead | None = None
        self._capturer: Capturer | None = None
        self._ride: GradientRide | None = None
        self._is_tracking = False
        self._ride_step: int | None = None
        self._ridden: list[Any] = []
        self._last_captured = -1

    # -- what the trainer calls -----------------------------------------------------------------------------------

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Prepare, and capture the weights at the start of the training."""
        self.detach()
        self._is_tracking, self._last_captured = False, -1
        first, last = state.global_step, state.max_steps
        due = {step for step in range(first + 1, last) if self._is_due(step)}
        if self.probe is not None and self.at_end and last > first:
            due.add(last)
        self._account = Account(first, last, sorted(due))
        model = kwargs["model"]
        check_can_track(args, model, rides=self.ride_sink is not None)
        if not state.is_world_process_zero:
            if self.ride_sink is not None:
                self._attach(model, self.ride_sink)  # the hooks still have to remove gsd_row from the batches
            return
        self._is_tracking = True
        with self._account.tracking(), unchanged_training(model):
            if self.probe is not None:
                self._capturer = Capturer(model, self.probe.config)
                self.probe.start(self._capturer, state.global_step)
            if self.ride_sink is not None:
                self.ride_sink.start(self._attach(model, self.ride_sink), state.global_step)
        if self._is_due(first) or (self.at_start and first == 0):
            self._capture(first)

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Decide whether the ride takes this step."""
        if self._ride is not None and self._is_tracking:
            self._ride.is_on = state.global_step % self.ride_every == 0
            self._ride_step = state.global_step if self._ride.is_on else None
            self._ridden = []

    def on_substep_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """A micro-batch of an accumulated step is over."""
        self._collect()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Store the ride's records, and capture the probe set where this step is due."""
        if not self._is_tracking:
            return
        self._collect()
        self._store_ride()
        step = state.global_step
        self._account.end_step(step)
        if self._is_due(step) or (self.at_end and step >= state.max_steps):
            self._capture(step)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """The trainer can resume from here, so the run has to be complete up to here."""
        if self._is_tracking and self.ride_sink is not None:
            with self._account.tracking():
                self.ride_sink.flush()

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Add the cost to the trainer's summary."""
        logs = kwargs.get("logs")
        if self._is_tracking and isinstance(logs, dict) and "train_runtime" in logs:
            logs["tracking_overhead"] = round(self._account.overhead().share, 4)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Capture the end of a training that stopped early, and log the cost of tracking."""
        if not self._is_tracking:
            self.detach()
            return
        # With load_best_model_at_end the weights are by now those of an earlier step.
        is_last = not getattr(args, "load_best_model_at_end", False)
        if self.at_end and is_last and self._last_captured != state.global_step:
            self._capture(state.global_step)
        overhead = self.overhead = self._account.overhead()
        self.detach()
        for sink in (self.probe, self.ride_sink):
            if sink is not None:
                sink.finish(overhead)
        self._is_tracking = False
        logger.info(
            "tracking took %.1f of %.1f s (%.1f %%), CPU %.1f of %.1f s (%.1f %%)",
            *(overhead.capture_seconds, overhead.seconds, 100 * overhead.share),
            *(overhead.capture_cpu_seconds, overhead.cpu_seconds, 100 * overhead.cpu_share),
        )

    def detach(self) -> None:
        """Remove every hook from the model. The training's end does so; after a crash call it by hand."""
        if self._ride is not None:
            self._ride.detach()
        self._ride = self._capturer = None

    # -- inside ---------------------------------------------------------------------------------------------------

    def _is_due(self, step: int) -> bool:
        if self.probe is None:
            return False
        return step in self.steps or (self.every is not None and step > 0 and step % self.every == 0)

    def _attach(self, model: Any, sink: GradientSink) -> Capturer:
        capturer = Capturer(model, sink.config)
        self._ride = GradientRide(capturer, sink.samples)
        self._ride.attach(model)
        return capturer

    def _capture(self, step: int) -> None:
        if self.probe is None or self._capturer is None:
            return
        with self._account.tracking(is_capture=True):
            capture_probe(self._capturer, self.probe, step)
            self.probe.end_step(step, self._account.overhead())
        self._last_captured = step

    def _collect(self) -> None:
        if self._ride is not None and self._ride_step is not None:
            self._ridden += self._ride.take()
            self._account.set_ridden(self._ride.seconds, self._ride.cpu_seconds)

    def _store_ride(self) -> None:
        """Store the step's micro-batches; one without records had no backward pass."""
        if self._ride is None or self._ride_step is None or self.ride_sink is None:
            return
        self._ride.is_on = False
        with self._account.tracking():
            done = self.ride_sink.begin_step(self._ride_step, "")
            for batch, results in enumerate(self._ridden):
                if batch not in done:
                    self.ride_sink.write(self._ride_step, batch, results)
            self.ride_sink.end_step(self._ride_step, self._account.overhead())
        self._ride_step, self._ridden = None, []
