"""Tier ``span``: which of two ways computes a span's own gradient, and whether the model can be served by it.

SpanTier  the implementation: windows in whole passes where the model allows it, else in chunks
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from gsd_core.capture.accumulate import token_losses_of
from gsd_core.capture.batches import count_padded, spread_losses
from gsd_core.capture.hooks import ModuleTap
from gsd_core.capture.position import forward_whole
from gsd_core.capture.span import compute_span_batch
from gsd_core.capture.tier_capture import ModuleTier, SpanBatch
from gsd_core.capture.window import check_windows, compute_window_batch
from gsd_core.errors import UserError
from gsd_core.tiers import PREFIX_SHARE
from gsd_core.types import TokenizedSample

SELF_CHECK_TOLERANCE = {torch.float32: 2e-3, torch.float64: 1e-6}


class SpanTier(ModuleTier):
    """Gradients of the spans' own losses, exact or through a window; a ``TierCapture``.

    Windows share backward passes (``window.py``) in models where attention alone mixes positions, which is found out
    once and kept in ``shares_passes``. The exact gradient, and windows of other models, are computed in chunks
    (``span.py``).
    """

    shares_passes: bool | None = None
    _is_chunking_checked = False

    def __call__(self, samples: Sequence[TokenizedSample], window: int | None) -> SpanBatch:
        """Raises ``UserError`` where the model's forward pass in chunks differs from the plain one."""
        checkpointed = self.config.gradient_checkpointing
        with ModuleTap(self.selection, self.sketch) as tap:
            if (checkpointed or window is not None) and self._can_share_passes(tap, samples[0]):
                return compute_window_batch(
                    self.model, tap, self.sketch, samples, window, self.pad_id, self.config.wanted
                )
            if checkpointed:
                raise UserError(
                    "its attention is not ordinary, so spans are captured in chunks, whose layers cannot be "
                    "computed again",
                    f"model {type(self.model).__name__}",
                    "leave out --gradient-checkpointing; a smaller --batch-tokens needs less memory too",
                )
            self._check_chunked_forward(tap, samples[0])
            return compute_span_batch(self.model, tap, self.sketch, samples, window, self.pad_id, self.config.wanted)

    def count_passes(self, samples: Sequence[TokenizedSample], window: int | None) -> float:
        """A forward pass and, for each span or for each of the passes that windows share, one back."""
        n_spans = max(len(sample.spans) for sample in samples)
        if self.config.gradient_checkpointing:
            back = 2.0 * (n_spans if window is None else min(window + 1, n_spans))
        else:
            back = PREFIX_SHARE * n_spans if window is None else min(window + 1, n_spans)
        return (1 + back) * count_padded(samples)

    def _can_share_passes(self, tap: ModuleTap, sample: TokenizedSample) -> bool:
        """Whether windows can share backward passes here; found out once."""
        if self.shares_passes is None:
            plain, tolerance = self._compute_plain_losses(sample)
            self.shares_passes = check_windows(self.model, tap, self.sketch, sample, plain, tolerance)
        return self.shares_passes

    def _compute_plain_losses(self, sample: TokenizedSample) -> tuple[np.ndarray, float]:
        """(T,) token losses of a plain forward pass, and how far another way of computing them may be off."""
        with torch.no_grad():
            chunk, logits = forward_whole(self.model, [sample], self.pad_id)
            losses = token_losses_of(logits, chunk.targets)
        (plain,) = spread_losses(losses, chunk.positions, chunk.valid, [sample])
        tolerance = SELF_CHECK_TOLERANCE.get(next(self.model.parameters()).dtype, 0.25)
        return plain, tolerance * max(1.0, float(np.nanmax(np.abs(plain), initial=0.0)))

    def _check_chunked_forward(self, tap: ModuleTap, sample: TokenizedSample) -> None:
        """Compare the chunked forward pass with the plain one, once: no vector may be silently wrong."""
        if self._is_chunking_checked:
            return
        name = type(self.model).__name__
        way_out = "use --tier position or --tier hidden"
        try:
            chunked = compute_span_batch(self.model, tap, self.sketch, [sample], 0, self.pad_id)
        except (TypeError, AttributeError, NotImplementedError) as problem:
            raise UserError(
                f"tier span needs a differentiable key-value cache, which this architecture does not take ({problem})",
                f"model {name}",
                way_out,
            ) from problem
        plain, tolerance = self._compute_plain_losses(sample)
        known = ~np.isnan(chunked.token_losses[0])
        gap = np.abs(chunked.token_losses[0][known] - plain[known]).max(initial=0.0)
        if not gap <= tolerance:
            raise UserError(
                f"its forward pass in chunks differs from the plain one (token loss off by {gap:.2g} nats), "
                "so tier span would be wrong",
                f"model {name}",
                way_out,
            )
        self._is_chunking_checked = True
