"""From output gradients to one direction: the arithmetic that the tiers share.

GradientSum      ``Σ_t (P δ_t)(Q a_t)ᵀ`` over all modules of a batch, for each backward walk in turn
make_record      sketched gradient → direction, norm
token_losses_of  logits → negative log-likelihood of each target

Shapes: B batch, T columns (padded positions), n calls, p, q sketch rank, P sketch width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gsd_core.capture.sketch import Sketch
from gsd_core.types import SpanRecord, TokenSpan


@dataclass(slots=True)
class _Group:
    """Calls of equal rank: their modules, ``right`` (n, B, T, q), and ``left`` (n, B, T, p) of the current walk."""

    modules: list[int]
    right: torch.Tensor
    left: torch.Tensor


class GradientSum:
    """Sketched weight gradients of a batch, summed over the columns that a walk has passed.

    The projected inputs are stored once. Each walk writes its projected output gradients beside them and ends with one
    product for all modules of equal rank, because a product for each module and chunk costs more calls than arithmetic.

    Coherence is ``‖Σ_t g_t‖ / Σ_t ‖g_t‖`` (``methods`` §1.2) over the span's own positions. ``g_t`` is position t's
    share ``(P δ_t)(Q a_t)ᵀ`` over all modules, whose norm is ``sqrt(Σ_m ‖P δ_t‖² ‖Q a_t‖²)`` because each share has
    rank one [ours]. It is 1 where the gradients of all positions are parallel, about 1/√n for n unrelated ones, and
    less where they cancel.
    """

    def __init__(self, sketch: Sketch, batch: int, n_columns: int, device: torch.device | str) -> None:
        self._sketch, self._device, self._shape = sketch, torch.device(device), (batch, n_columns)
        self._slots: dict[tuple[int, int], int] = {}
        self._inputs: list[torch.Tensor] = []
        self._groups: list[_Group] = []
        self._places: dict[int, tuple[_Group, int]] = {}

    def keep(self, calls: Sequence[tuple[int, torch.Tensor]], start: int) -> list[int]:
        """Store one chunk's calls before any walk: module and projected inputs (B, t, q), from column `start` on.

        Returns each call's slot, which :meth:`add` and :meth:`write` take.
        """
        seen: Counter[int] = Counter()
        slots = []
        for module, inputs in calls:
            key = (module, seen[module])
            seen[module] += 1
            slot = self._slots.setdefault(key, len(self._slots))
            if slot == len(self._inputs):
                self._inputs.append(torch.zeros(*self._shape, inputs.shape[-1], device=self._device))
            self._inputs[slot][:, start : start + inputs.shape[1]] = inputs
            slots.append(slot)
        return slots

    def add(self, slots: Sequence[int], deltas: Sequence[torch.Tensor | None], start: int, stop: int) -> None:
        """Write the gradients (B, t, d_out) of the calls' outputs in the columns ``[start, stop)``; None is 0."""
        for slot, delta in zip(slots, deltas, strict=True):
            group, at = self._find(slot)
            if delta is None:
                group.left[at, :, start:stop] = 0.0
            else:
                module = self._sketch.modules[group.modules[at]]
                group.left[at, :, start:stop] = module.project_output_gradient(delta)

    def write(self, slot: int, left: torch.Tensor) -> None:
        """Write a call's projected output gradients (B, T, p) in all columns."""
        group, at = self._find(slot)
        group.left[at] = left

    def finish(self, columns: slice, own: torch.Tensor, near: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """End a walk that has written every call's `columns`: sketched gradients (B, P) and coherence (B,), float32.

        `own` (B, T) bool marks the span's own positions, which all lie within `near`.
        """
        sums = [torch.zeros(self._shape[0], m.p, m.q, device=self._device) for m in self._sketch.modules]
        own_squared = torch.zeros(self._shape[0], device=self._device)
        token_squares = torch.zeros(self._shape[0], near.stop - near.start, device=self._device)
        for group in self._groups:
            shares = group.left[:, :, columns].mT @ group.right[:, :, columns]
            left, right = group.left[:, :, near] * own[None, :, near, None], group.right[:, :, near]
            token_squares += (left.square().sum(-1) * right.square().sum(-1)).sum(0)
            together: dict[int, torch.Tensor] = {}
            for module, share, of_own in zip(group.modules, shares, left.mT @ right, strict=True):
                sums[module] += share
                together[module] = together[module] + of_own if module in together else of_own
            own_squared += torch.stack(list(together.values())).square().sum((0, 2, 3))
        norms = token_squares.sqrt().sum(1).clamp_min(1e-30)
        return self._sketch.fold(sums), (own_squared.sqrt() / norms).clamp(0, 1)

    def _find(self, slot: int) -> tuple[_Group, int]:
        """Group of a call and its index there; the first call stacks inputs of equal rank."""
        if self._inputs:
            modules = [module for module, _ in self._slots]
            ranks = [(self._sketch.modules[module].p, self._sketch.modules[module].q) for module in modules]
            for p, q in dict.fromkeys(ranks):
                slots = [slot for slot, rank in enumerate(ranks) if rank == (p, q)]
                right = torch.stack([self._inputs[slot] for slot in slots])
                left = torch.zeros(*right.shape[:3], p, device=self._device)
                group = _Group([modules[slot] for slot in slots], right, left)
                self._groups.append(group)
                self._places.update((slot, (group, at)) for at, slot in enumerate(slots))
            self._inputs = []
        return self._places[slot]


def make_record(
    span: TokenSpan,
    gradient: np.ndarray,
    loss: float,
    coherence: float,
    window_cosine: float | None = None,
    spectral: float | None = None,
    grace: float | None = None,
) -> SpanRecord:
    """A record of a sketched gradient (P,) float32; a zero gradient has a zero direction."""
    norm = float(np.linalg.norm(gradient.astype(np.float64)))
    direction = gradient / norm if norm > 0 else np.zeros_like(gradient)
    return SpanRecord(
        span=span,
        direction=direction.astype(np.float16),
        norm=norm,
        loss=float(loss),
        coherence=float(coherence),
        window_cosine=window_cosine,
        spectral=spectral,
        grace=grace,
    )


def token_losses_of(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """(B, t) float32 negative log-likelihood in nats; 0 where the target is -100."""
    flat = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).to(torch.float32), targets.flatten(), ignore_index=-100, reduction="none"
    )
    return flat.view(targets.shape)
