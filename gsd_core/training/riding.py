"""Tier ``position`` on a training's own passes: hooks that read values of its forward and backward passes.

GradientRide     attach it to a model; it watches the micro-batches of the chosen steps
FUSED_HEAD_FIX   advice for trainers that do not call the output head

In the forward pass a hook stores ``Q a_t`` of every captured module. In the backward pass another sums
``(P δ_t)(Q a_t)ᵀ`` over the positions of each span (``methods`` §1.1, §1.2; riding is ours). It adds no pass and
replaces nothing that the training uses, so the weights stay equal bit for bit. ``δ`` belongs to the trainer's loss:
directions are those of ``gsd_core.capture.position``, norms are shares of the gradient before clipping and before it
is averaged over processes.

With gradient checkpointing, a pass that the backward pass repeats is ignored where its first pass was watched
(non-reentrant), and watched where the first pass was without gradients (reentrant).

Shapes: B rows, T tokens of a padded row, S spans of a sample, q sketch rank, P sketch width.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from gsd_core.capture.accumulate import make_record
from gsd_core.capture.capture import Capturer
from gsd_core.capture.modules import OUTPUT_HEAD
from gsd_core.capture.position import PositionSum, place_spans
from gsd_core.errors import UserError
from gsd_core.training.rows import NO_SAMPLE, ROW
from gsd_core.types import SampleRecords, Skipped, TokenizedSample

FUSED_HEAD_FIX = "make the sink with with_head=False (gsd.open_ride), or use a trainer that calls the output head"


class _MicroBatch:
    """One watched forward pass. ``members`` are (row of the batch, sample), ``firsts`` their first columns."""

    def __init__(
        self, members: list[tuple[int, TokenizedSample]], firsts: list[int], n_rows: int, total: PositionSum
    ) -> None:
        self.members, self.firsts, self.n_rows, self.total = members, firsts, n_rows, total
        self.watched: set[int] = set()
        self.is_reached = False  # by a backward pass
        self.losses: list[np.ndarray] | None = None


class GradientRide:
    """Takes span gradients from a training's passes.

    >>> ride = GradientRide(Capturer(model, CaptureConfig(tier="position")), samples)
    >>> ride.attach(model)
    >>> ride.is_on = True      # forward, backward
    >>> ride.take()            # one list of records a micro-batch
    >>> ride.detach()

    The hooks refer to the ride weakly: after a training that ends in an exception they are removed with its callback.

    Attributes
    ----------
    is_on
        Whether passes are watched. The column ``gsd_row`` is removed from every batch in any case.
    seconds, cpu_seconds
        Time spent in hooks and in ``take``.
    """

    def __init__(self, capturer: Capturer, samples: Sequence[TokenizedSample]) -> None:
        assert capturer.selection is not None
        assert capturer.sketch is not None
        self._selection, self._sketch = capturer.selection, capturer.sketch
        self._samples = samples
        self._open: list[_MicroBatch] = []
        self._current: _MicroBatch | None = None
        self._handles: list[RemovableHandle] = []
        self._finalizer: Any = None
        self._narrow: dict[tuple[int, str, torch.dtype], torch.Tensor] = {}  # projections in half precision
        self.is_on = False
        self.seconds = self.cpu_seconds = 0.0

    def attach(self, model: nn.Module) -> None:
        """Register the hooks on `model`, which is what the trainer calls (inside of any wrapper of its own)."""
        self.detach()
        handles: list[RemovableHandle] = []
        me = weakref.ref(self)  # all that the hooks know of the ride

        def begin(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            ride = me()
            if ride is not None and module.training:
                ride.begin(kwargs)
            else:
                kwargs.pop(ROW, None)
            return args, kwargs

        def end(module: nn.Module, args: Any, kwargs: dict[str, Any], outputs: Any) -> None:
            ride = me()
            if ride is not None and module.training:
                ride.end(outputs)

        def watch(index: int, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            ride = me()
            if ride is not None:
                ride.watch(index, args[0], output)

        # Without a call of detach the hooks are removed with the ride.
        self._finalizer = weakref.finalize(self, _remove, handles)
        handles.append(model.register_forward_pre_hook(begin, with_kwargs=True))
        handles.append(model.register_forward_hook(end, with_kwargs=True))
        for index, captured in enumerate(self._selection.captured):
            handles.append(captured.module.register_forward_hook(partial(watch, index)))
        self._handles = handles

    def detach(self) -> None:
        """Remove every hook; called twice it does nothing more."""
        if self._finalizer is not None:
            self._finalizer()
        self._finalizer, self._current = None, None
        self._open = []

    def take(self) -> list[list[SampleRecords | Skipped]]:
        """Records of the micro-batches since the last ``take``, in their order, one a sample.

        Raises
        ------
        UserError
            Where captured modules were not called, so that their part of every direction is missing.
        """
        with _Stopwatch(self):
            taken = [self._make_records(micro) for micro in self._open if micro.is_reached]
            self._open, self._current = [], None
        return taken

    # -- the forward pass -----------------------------------------------------------------------------------------

    def begin(self, kwargs: dict[str, Any]) -> None:
        """Begin a micro-batch with the model's arguments, and remove ``gsd_row`` from them."""
        rows = kwargs.pop(ROW, None)
        self._current = None
        if not self.is_on or not torch.is_grad_enabled():
            return
        if rows is None:
            raise UserError(
                f"the training batch has no {ROW}, so its samples are unknown",
                "SpanGradientCallback(ride=…)",
                "wrap the collator in RowCollator, number the rows with make_training_rows or add_row_numbers, "
                "and set remove_unused_columns=False",
            )
        with _Stopwatch(self), torch.no_grad():
            self._current = self._open_micro_batch(rows.tolist(), kwargs)
            if self._current is not None:
                self._open.append(self._current)

    def _open_micro_batch(self, rows: list[int], kwargs: dict[str, Any]) -> _MicroBatch | None:
        ids = kwargs.get("input_ids")
        if ids is None or ids.ndim != 2 or len(ids) != len(rows):
            shape = None if ids is None else tuple(ids.shape)
            raise UserError(
                f"the batch holds {len(rows)} samples but its input_ids are {shape}: rows are packed or flattened",
                "SpanGradientCallback(ride=…)",
                "train without packing and without padding-free batches",
            )
        mask = kwargs.get("attention_mask")
        # Masks of other shapes (4-D, per layer) do not show padding directly; the tokens are checked in any case.
        starts = [0] * len(rows)
        if isinstance(mask, torch.Tensor) and mask.shape == ids.shape:
            starts = mask.to(torch.int64).argmax(1).tolist()
        tokens = ids.cpu().numpy()
        members, firsts = [], []
        for row, (number, first) in enumerate(zip(rows, starts, strict=True)):
            if number == NO_SAMPLE:
                continue
            sample = self._sample(number)
            n = len(sample.token_ids)
            if not np.array_equal(tokens[row, first : first + n], sample.token_ids):
                raise UserError(
                    f"the row is not the sample that its {ROW} names: its tokens differ, or it was cut",
                    f"sample {sample.id} ({ROW} {number})",
                    "tokenize the training data as the sink does (make_training_rows), with room for the longest row",
                )
            if sample.spans:
                members.append((row, sample))
                firsts.append(first)
        if not members:
            return None
        # Rows that are not captured count as samples without spans, so that row b of any tensor is row b here.
        none = tokens[0, :0]
        placed = [(TokenizedSample("", "", none, none, none, (), 0, 0), 0)] * len(rows)
        for (row, sample), first in zip(members, firsts, strict=True):
            placed[row] = (sample, first)
        positions = place_spans([sample for sample, _ in placed], [first for _, first in placed], ids.device)
        return _MicroBatch(members, firsts, len(rows), PositionSum(self._sketch, *positions))

    def _sample(self, number: int) -> TokenizedSample:
        if not 0 <= number < len(self._samples):
            raise UserError(
                f"{ROW} {number} names no sample; there are {len(self._samples)}",
                "the training data",
                "number the rows by the samples of the same sink",
            )
        return self._samples[number]

    def watch(self, index: int, inputs: torch.Tensor, output: Any) -> None:
        """A captured module was called: store its projected input and wait for its output's gradient."""
        micro = self._current
        if micro is None or not torch.is_grad_enabled():
            return
        if not isinstance(output, torch.Tensor):
            return
        if not output.requires_grad:
            raise UserError(
                "the training's backward pass does not reach it: it and all before it are frozen",
                f"module {self._selection.captured[index].name}",
                'call model.enable_input_require_grads() before training, or capture lora="adapters"',
            )
        if _in_backward():
            if index in micro.watched:
                return  # computed again by checkpointing: the first call's output gets the gradient
        else:
            micro.watched.add(index)
        if inputs.ndim != 3 or len(inputs) != micro.n_rows:
            raise UserError(
                f"it regroups tokens before a linear module (input shape {tuple(inputs.shape)}), "
                "so tier position cannot tell the samples apart",
                f"module {self._selection.captured[index].name}",
                "train without riding, and track a probe set with --tier hidden",
            )
        with _Stopwatch(self):
            projected = self._project(inputs.detach(), index, "right")
        me = weakref.ref(self)

        def reached(delta: torch.Tensor) -> None:
            ride = me()
            if ride is None:
                return
            with _Stopwatch(ride):
                micro.is_reached = True
                micro.total.add(index, projected, ride._project(delta.detach(), index, "left"))

        output.register_hook(reached)

    def _project(self, values: torch.Tensor, index: int, side: str) -> torch.Tensor:
        """(B, T, d) → (B, T, rank) float32. Half-precision values are multiplied in their own precision.

        They are rounded already, and converting them would turn a fast product into a slow one. Compared with the
        projection in float32, cosines of directions change by less than 1e-5 for bfloat16.
        """
        kind = values.device.type
        if torch.is_autocast_enabled(kind):  # it would round what is float32 here
            with torch.autocast(kind, enabled=False):
                return self._project(values, index, side)
        matrix = getattr(self._sketch.modules[index], side)
        if matrix is None:
            return values.to(torch.float32)
        if values.dtype not in (torch.bfloat16, torch.float16):
            return values.to(torch.float32) @ matrix.T
        key = (index, side, values.dtype)
        if key not in self._narrow:
            self._narrow[key] = matrix.to(values.dtype)
        return (values @ self._narrow[key].T).to(torch.float32)

    def end(self, outputs: Any) -> None:
        """The forward pass is over: read the spans' token losses from its outputs, where these have them."""
        micro = self._current
        if micro is None or not torch.is_grad_enabled():
            return
        with _Stopwatch(self), torch.no_grad():
            micro.losses = [
                _read_losses(outputs, row, first, sample)
                for (row, sample), first in zip(micro.members, micro.firsts, strict=True)
            ]

    # -- after the backward pass ----------------------------------------------------------------------------------

    def _make_records(self, micro: _MicroBatch) -> list[SampleRecords | Skipped]:
        self._check_complete(micro)
        with torch.no_grad():
            gradients, coherence = micro.total.finish()
        vectors, shares = gradients.cpu().numpy(), coherence.clamp(0, 1).cpu().numpy()
        results: list[SampleRecords | Skipped] = []
        for at, (row, sample) in enumerate(micro.members):
            own = vectors[row, : len(sample.spans)]
            if not np.isfinite(own).all():
                results.append(Skipped(sample.id, "its gradient is not finite"))
                continue
            losses = _unknown_losses(sample) if micro.losses is None else micro.losses[at]
            records = tuple(
                make_record(span, own[k], float(losses[span.start : span.end].mean()), float(shares[row, k]))
                for k, span in enumerate(sample.spans)
            )
            results.append(SampleRecords(sample, records, losses))
        return results

    def _check_complete(self, micro: _MicroBatch) -> None:
        heads = [i for i in micro.total.missing if self._selection.captured[i].layer == OUTPUT_HEAD]
        if heads:
            raise UserError(
                "the trainer computes its loss without calling the output head, so its part of every direction "
                "is missing",
                f"module {self._selection.captured[heads[0]].name}",
                FUSED_HEAD_FIX,
            )


class _Stopwatch:
    """Adds the time inside to the ride's seconds."""

    __slots__ = ("cpu", "ride", "wall")

    def __init__(self, ride: GradientRide) -> None:
        self.ride = ride

    def __enter__(self) -> None:
        self.cpu, self.wall = time.process_time(), time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.ride.seconds += time.perf_counter() - self.wall
        self.ride.cpu_seconds += time.process_time() - self.cpu


def _in_backward() -> bool:
    return torch._C._current_graph_task_id() != -1


def _unknown_losses(sample: TokenizedSample) -> np.ndarray:
    return np.full(len(sample.token_ids), np.nan, dtype=np.float32)


def _read_losses(outputs: Any, row: int, first: int, sample: TokenizedSample) -> np.ndarray:
    """(T,) float32 nats of the tokens from the first span to the last, NaN elsewhere and where outputs hold none."""
    losses = _unknown_losses(sample)
    start, end = sample.spans[0].start, sample.spans[-1].end
    positions = slice(first + start - 1, first + end - 1)
    logits, log_probs = getattr(outputs, "logits", None), getattr(outputs, "log_probs", None)
    if isinstance(logits, torch.Tensor) and logits.ndim == 3 and logits.shape[1] >= positions.stop:
        targets = torch.from_numpy(sample.token_ids[start:end].astype("int64")).to(logits.device)
        own = logits[row, positions].to(torch.float32)
        found = torch.nn.functional.cross_entropy(own, targets, reduction="none")
    elif isinstance(log_probs, torch.Tensor) and log_probs.ndim == 2 and log_probs.shape[1] >= positions.stop:
        found = -log_probs[row, positions].to(torch.float32)  # a fused loss gives log-probabilities instead of logits
    else:
        return losses
    losses[start:end] = found.cpu().numpy()
    return losses


def _remove(handles: list[RemovableHandle]) -> None:
    for handle in handles:
        handle.remove()
    handles.clear()
