"""What a step on one span does to the losses of others: the lesson test (ours, ``methods`` §1.9).

LessonStep   how far and how a model is moved
Lesson       what a step did to the span itself and to every span of the pool
Classroom    a model, a pool of samples, and their losses before any step
count_moved  how many of a model's numbers a step may move
check_room   refuses lessons whose copies of the weights do not fit into memory

A step is taken on the mean loss of one span, in all weights that training would move, and is then undone: the weights
are put back from a copy, bit by bit. First order says what to expect: a step of gradient descent lowers another span's
loss by the rate times the inner product of the two gradients. :meth:`Classroom.predict` takes this of the losses
themselves, without sketch, window or choice of modules; what a real step does beyond it is measured.

Shapes: n spans of the pool in the order of samples and spans, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from gsd_core.capture.accumulate import token_losses_of
from gsd_core.capture.batches import build_chunk, plan_batches
from gsd_core.capture.deferred_head import DeferredHead
from gsd_core.capture.position import forward_whole
from gsd_core.console.report import Report, ignore
from gsd_core.errors import UserError
from gsd_core.models.devices import input_device
from gsd_core.models.memory import find_free_bytes
from gsd_core.types import TokenizedSample, TokenSpan

BATCH_TOKENS = 4096
"""Padded tokens a batch of the pool, which is read without gradients."""
PROBE = 0.01
"""Share of the taught span's own loss over which the first order is taken as a difference."""
FLOAT = 4  # bytes
EPSILON = 1e-8  # Adam's, where it divides by the root of the second moment


@dataclass(frozen=True, slots=True)
class LessonStep:
    """``share``: the part of the span's own loss that the first order of the whole lesson takes away.

    ``optimizer`` is ``sgd`` or ``adam`` (a fresh state, so its first step moves every weight by the rate); ``n_steps``
    steps of equal rate share the way, each with a gradient of its own.
    """

    optimizer: str = "sgd"
    share: float = 0.5
    n_steps: int = 1


@dataclass(frozen=True, slots=True)
class Lesson:
    """``own_before``, ``own_after``: the taught span's mean loss in nats a token; ``rate`` that of each step.

    ``learned`` (n,) is how much each span's mean loss fell; negative where it rose.
    """

    own_before: float
    own_after: float
    rate: float
    learned: np.ndarray


def count_moved(model: PreTrainedModel) -> int:
    """How many numbers a step may move: all parameters that require a gradient."""
    return sum(each.numel() for each in model.parameters() if each.requires_grad)


def check_room(model: PreTrainedModel, steps: Sequence[LessonStep]) -> None:
    """Refuse to begin where the copies that a lesson keeps do not fit beside the loaded weights.

    In float32 these are, of every weight that a step may move: the weight itself, to put it back, and the taught span's
    gradient; the gradient of a later step; Adam's two moments. Weights of fewer bits are made float32 first.
    Activations are not counted.

    Raises
    ------
    UserError
        They do not fit.
    """
    with_adam, with_later = any(each.optimizer == "adam" for each in steps), any(each.n_steps > 1 for each in steps)
    widened = sum(each.numel() * max(0, FLOAT - each.element_size()) for each in model.parameters())
    needed = FLOAT * (2 + with_later + 2 * with_adam) * count_moved(model) + widened
    free = find_free_bytes(input_device(model))
    if needed > free:
        raise UserError(
            f"a lesson keeps copies of {count_moved(model):,} weights in float32, which need {needed / 2**30:.1f} GiB, "
            f"and {free / 2**30:.1f} GiB are free",
            "gsd lesson",
            "free memory, leave out --optimizer adam and --steps, or take a smaller model",
        )


class Classroom:
    """A model and the samples whose losses are watched; ``before`` (n,) their spans' losses without any step.

    Raises
    ------
    UserError
        The pool has no span, or the model no weight that training would move.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        pool: Sequence[TokenizedSample],
        pad_id: int = 0,
        batch_tokens: int = BATCH_TOKENS,
        report: Report = ignore,
    ) -> None:
        self.model, self.pool, self.pad_id, self.batch_tokens = model, list(pool), pad_id, batch_tokens
        self._moved = {name: each for name, each in model.named_parameters() if each.requires_grad}
        name = f"model {type(model).__name__}"
        if not self._moved:
            raise UserError("every weight is frozen, so no step can be taken", name, "give a model that can be trained")
        if not any(each.spans for each in self.pool):
            raise UserError("no sample has a span", name, "give samples with spans")
        self._kept = {each: weight.detach().clone() for each, weight in self._moved.items()}
        self.spans = [(sample.id, span) for sample in self.pool for span in sample.spans]
        with self._still():
            self.before = self._measure(report)

    def find_gradient(self, sample: TokenizedSample, span: TokenSpan) -> tuple[float, dict[str, torch.Tensor]]:
        """The span's mean loss and its gradient in every weight that training would move."""
        with self._still(), torch.enable_grad():
            device = input_device(self.model)
            chunk = build_chunk([sample], [(0, span.end - 1)], self.pad_id, device)
            assert chunk is not None, "a span before any token"
            logits = self.model(input_ids=chunk.ids, use_cache=False).logits[:, span.start - 1 :]
            loss = token_losses_of(logits, chunk.targets[:, span.start - 1 :]).mean()
            found = torch.autograd.grad(loss, list(self._moved.values()), allow_unused=True)
        slopes = {
            name: torch.zeros_like(weight) if slope is None else slope
            for (name, weight), slope in zip(self._moved.items(), found, strict=True)
        }
        return float(loss.detach()), slopes

    def predict(self, known: tuple[float, dict[str, torch.Tensor]], optimizer: str = "sgd") -> np.ndarray:
        """(n,) how fast every span's loss falls at the outset, for a step at rate 1; `known` is ``find_gradient``.

        For ``sgd`` this is the inner product of the two gradients in all weights. It is a central difference over steps
        that change the taught span's own loss by ``PROBE`` of it: two forward passes, in any architecture.
        """
        loss, slopes = known
        path = self._find_path(slopes, optimizer)
        rate = self.find_rate(loss, slopes, LessonStep(optimizer, PROBE))
        if rate == 0:
            return np.zeros_like(self.before)
        sides = []
        try:
            for sign in (1.0, -1.0):
                with torch.no_grad():
                    for name, weight in self._moved.items():
                        torch.add(self._kept[name], path[name], alpha=sign * rate, out=weight)
                with self._still():
                    sides.append(self._measure().astype(np.float64))
        finally:
            self._put_back()
        return np.asarray((sides[0] - sides[1]) / (2 * rate), dtype=np.float32)

    def _find_path(self, slopes: dict[str, torch.Tensor], optimizer: str) -> dict[str, torch.Tensor]:
        """The direction that a first step subtracts at rate 1: the gradient, or what Adam makes of it."""
        if optimizer == "sgd":
            return slopes
        return {name: slope / (slope.abs() + EPSILON) for name, slope in slopes.items()}

    def find_rate(self, loss: float, slopes: dict[str, torch.Tensor], step: LessonStep) -> float:
        """The rate at which the first order of all steps together takes away the share of `loss`; 0 without slope."""
        path = self._find_path(slopes, step.optimizer)
        slope = sum(float(torch.dot(slopes[name].flatten(), path[name].flatten())) for name in slopes)
        return step.share * loss / (step.n_steps * slope) if slope > 0 else 0.0

    def teach(
        self,
        sample: TokenizedSample,
        span: TokenSpan,
        step: LessonStep,
        known: tuple[float, dict[str, torch.Tensor]] | None = None,
        report: Report = ignore,
    ) -> Lesson:
        """Take the step on `span` of `sample`, measure every span of the pool, and put the weights back.

        `known` is ``find_gradient`` of the span, if that was called before.
        """
        loss, slopes = known or self.find_gradient(sample, span)
        rate = self.find_rate(loss, slopes, step)
        make = torch.optim.SGD if step.optimizer == "sgd" else torch.optim.Adam
        optimizer = make(self._moved.values(), lr=rate)
        try:
            for number in range(step.n_steps):
                now = slopes if number == 0 else self.find_gradient(sample, span)[1]
                for name, weight in self._moved.items():
                    weight.grad = now[name]
                optimizer.step()
            with self._still():
                after = self._measure(report)
                own = self._measure_spans([sample], span)
        finally:
            self._put_back()
        return Lesson(loss, own, rate, self.before - after)

    def _put_back(self) -> None:
        """Make the weights what they were, bit by bit."""
        with torch.no_grad():
            for name, weight in self._moved.items():
                weight.grad = None
                weight.copy_(self._kept[name])

    # -- inside -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _still(self) -> Iterator[None]:
        """Evaluation mode, so that dropout does not hide what a small step does."""
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode

    def _measure(self, report: Report = ignore) -> np.ndarray:
        """(n,) float32 mean loss of every span of the pool, one forward pass."""
        batches = plan_batches(self.pool, self.batch_tokens)
        found: dict[int, list[float]] = {}
        for number, members in enumerate(batches, 1):
            samples = [self.pool[i] for i in members]
            for index, losses in zip(members, self._read_losses(samples), strict=True):
                own = self.pool[index].spans
                found[index] = [float(losses[span.start - 1 : span.end - 1].mean()) for span in own]
            report(number / len(batches))
        return np.array([value for index in range(len(self.pool)) for value in found[index]], dtype=np.float32)

    def _measure_spans(self, samples: Sequence[TokenizedSample], span: TokenSpan) -> float:
        (losses,) = self._read_losses(samples)
        return float(losses[span.start - 1 : span.end - 1].mean())

    @torch.no_grad()
    def _read_losses(self, samples: Sequence[TokenizedSample]) -> list[np.ndarray]:
        """Losses of every target of the samples' spans, NaN elsewhere; the head runs for these rows only."""
        with DeferredHead(self.model) as head:
            chunk, _ = forward_whole(self.model, samples, self.pad_id)
            states = head.take_states()
            wanted = torch.zeros_like(chunk.valid)
            for row, sample in enumerate(samples):
                for span in sample.spans:
                    wanted[row, span.start - 1 : span.end - 1] = True
            losses = torch.full(chunk.targets.shape, torch.nan, device=chunk.targets.device)
            losses[wanted] = head.read_losses(states, chunk.targets, wanted).to(losses.device)
        return list(losses.cpu().numpy())
