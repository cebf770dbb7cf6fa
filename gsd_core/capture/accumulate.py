"""From output gradients to one direction: the arithmetic that the tiers share.

GradientSum     running ``Σ_t (P δ_t)(Q a_t)ᵀ`` of every module for a batch, with the token norms for coherence
make_record     sketched gradient → direction, norm
token_losses_of  logits → negative log-likelihood of each target
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from gsd_core.capture.hooks import TappedCall
from gsd_core.capture.sketch import Sketch
from gsd_core.types import SpanRecord, TokenSpan


class GradientSum:
    """Sketched weight gradients of a batch, (B, p, q) float32 a module, summed over the positions added.

    Coherence is ``‖Σ_t g_t‖ / Σ_t ‖g_t‖`` (``methods`` §1.2) over the positions that were added with
    ``own``: the span's own. ``g_t`` is position t's share ``(P δ_t)(Q a_t)ᵀ`` over all modules, whose norm is
    ``sqrt(Σ_m ‖P δ_t‖² ‖Q a_t‖²)`` because each share has rank one [ours]. It is 1 where all positions pull one way and
    about 1/√n for n unrelated ones; pulls that cancel bring it below.
    """

    def __init__(self, sketch: Sketch, batch: int, device: torch.device | str) -> None:
        self._sketch, self._device = sketch, torch.device(device)
        self._sums = [torch.zeros(batch, m.p, m.q, device=device) for m in sketch.modules]
        self._own_squared = torch.zeros(batch, device=device)
        self._token_norms = torch.zeros(batch, device=device)

    def add(
        self,
        calls: Sequence[TappedCall],
        deltas: Sequence[torch.Tensor | None],
        own: torch.Tensor | bool = False,
    ) -> None:
        """Add one chunk: `deltas` are the gradients of the calls' outputs, None where the loss does not reach.

        `own` says which positions count for coherence: all, none, or those of a mask (B, t).
        """
        token_squares: torch.Tensor | None = None
        for call, delta in zip(calls, deltas, strict=True):
            if delta is None:
                continue
            left = self._sketch.modules[call.module].project_output_gradient(delta)
            inputs = call.inputs.to(left.device)
            share = (left.transpose(1, 2) @ inputs).to(self._device)
            self._sums[call.module] += share
            if own is not False:
                if isinstance(own, torch.Tensor):
                    left = left * own.to(left.device)[..., None]
                    share = (left.transpose(1, 2) @ inputs).to(self._device)
                self._own_squared += share.flatten(1).square().sum(1)
                squares = (left.square().sum(-1) * inputs.square().sum(-1)).to(self._device)
                token_squares = squares if token_squares is None else token_squares + squares
        if token_squares is not None:
            self._token_norms += token_squares.sqrt().sum(1)

    def fold(self) -> torch.Tensor:
        """(B, P) float32 sketched gradients."""
        return self._sketch.fold(self._sums)

    def coherence(self) -> torch.Tensor:
        """(B,) in [0, 1]; 0 where the gradient vanishes."""
        return (self._own_squared.sqrt() / self._token_norms.clamp_min(1e-30)).clamp(0, 1)


def make_record(
    span: TokenSpan,
    gradient: np.ndarray,
    loss: float,
    coherence: float,
    window_cosine: float | None = None,
    spectral: float | None = None,
    grace: float | None = None,
) -> SpanRecord:
    """Normalise a sketched gradient (P,) float32 into a record; a vanishing gradient keeps a zero direction."""
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
