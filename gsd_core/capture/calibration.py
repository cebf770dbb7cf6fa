"""What a sketch should keep of a model's gradients: found on a few spans before a capture.

FineGradients, take_fine   gradients of a few spans under one checkpoint
calibrate       gradients of one or several checkpoints → their calibration
choose_samples  which samples of a data set are looked at
SPANS, LEAST_SPANS   how many spans; below the least a capture does not calibrate

The gradients of these spans are captured once more finely than the run's, 128 numbers a side and nothing folded. Then,
module by module, the sides are the leading eigenvectors of ``Σ G Gᵀ`` and ``Σ Gᵀ G`` over spans of unit norm, as in a
higher-order SVD. The projected numbers with the largest variance over spans are kept, as many as make the error of
folding the rest smallest; the rest's second moment decides how many numbers each layer gets for it. All of it ours;
``docs/performance.md`` has what it gains.

Shapes: n spans, p × q finely projected gradient of a module, r calibrated rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from transformers import PreTrainedModel

from gsd_core.capture.batches import plan_batches
from gsd_core.capture.capture import Capturer, rank_by_hash
from gsd_core.capture.sketch import FINE_RANK, Calibration
from gsd_core.capture.tier_capture import CaptureConfig, ModuleTier
from gsd_core.console.report import Report, ignore
from gsd_core.types import TokenizedSample

RANK = 40
SPANS, LEAST_SPANS = 64, 256
MOST_TOKENS = 1_024  # of a batch, and of a sample where there are enough shorter ones
FAIR_SHARE = 0.25  # of an equal share, which every layer gets at least
UNFOLDED = 2**62
SCALE = 256.0  # numbers of a unit vector of millions would be subnormal in half precision


def choose_samples(samples: Sequence[TokenizedSample], seed: int, n_parts: int = 1) -> list[list[TokenizedSample]]:
    """The first samples by seeded hash, in `n_parts` that have ``SPANS`` spans together; none where spans are few.

    Each part is for another checkpoint, so that more spans are seen.
    """
    if sum(len(each.spans) for each in samples) < LEAST_SPANS:
        return []
    by_id = {each.id: each for each in samples}
    ranked = [by_id[name] for name in rank_by_hash(samples, seed)]
    ranked.sort(key=lambda each: len(each.token_ids) > MOST_TOKENS)  # stable: long ones last
    parts: list[list[TokenizedSample]] = []
    at = 0
    for _ in range(n_parts):
        parts.append([])
        while at < len(ranked) and sum(len(each.spans) for each in parts[-1]) < SPANS / n_parts:
            parts[-1].append(ranked[at])
            at += 1
    return parts


@dataclass(frozen=True, slots=True)
class FineGradients:
    """Finely projected gradients of n spans under one checkpoint: ``rows`` (n, W) float16, unit norm times ``SCALE``.

    ``sizes`` (p, q) and ``layers`` are those of each captured module; W lists layer by layer.
    """

    rows: np.ndarray
    sizes: tuple[tuple[int, int], ...]
    layers: tuple[str, ...]
    n_samples: int


def take_fine(
    model: PreTrainedModel, config: CaptureConfig, samples: Sequence[TokenizedSample], report: Report = ignore
) -> FineGradients | None:
    """Gradients of all spans of `samples`; None for a tier that does not project the gradients of modules.

    Raises ``UserError`` as ``Capturer``.
    """
    fine = replace(
        config, calibration=None, sketch_rank=FINE_RANK, sketch_width=UNFOLDED, measures=False, all_token_losses=False
    )
    capturer = Capturer(model, fine)
    tier = capturer.implementation
    if not isinstance(tier, ModuleTier):
        return None
    rows: list[np.ndarray] = []
    batches = plan_batches(samples, MOST_TOKENS)
    for number, batch in enumerate(batches):
        for gradients in capturer.compute_gradients([samples[at] for at in batch], config.window).gradients:
            norms = np.linalg.norm(gradients, axis=1, keepdims=True)
            is_good = np.isfinite(norms[:, 0]) & (norms[:, 0] > 0)
            rows.append((gradients[is_good] / norms[is_good] * SCALE).astype(np.float16))
        report((number + 1) / len(batches))
    sizes = tuple((m.p, m.q) for m in tier.sketch.modules)
    layers = tuple(each.layer for each in tier.selection.captured)
    return FineGradients(np.concatenate(rows), sizes, layers, len(samples))


def calibrate(parts: Sequence[FineGradients], config: CaptureConfig) -> Calibration | None:
    """The calibration of a configuration's sketch, from one or several checkpoints; None without any gradient.

    A sketch that knows one checkpoint alone misses what others hold: directions hardly stay the same in a fine-tune.
    """
    n_spans = sum(len(part.rows) for part in parts)
    if n_spans == 0:
        return None
    sides, kept, widths = _summarise([part.rows for part in parts], parts[0], config.sketch_width)
    return Calibration(RANK, sides, kept, widths, config.seed, sum(part.n_samples for part in parts), n_spans)


def _summarise(rows: Sequence[np.ndarray], of: FineGradients, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sides, kept numbers and widths, from parts of finely projected gradients."""
    sides: dict[int, list[torch.Tensor]] = {}
    variances: list[np.ndarray] = []  # layer by layer, as a direction is laid out
    moments: list[np.ndarray] = []
    owners: list[np.ndarray] = []
    start = 0
    for number, layer in enumerate(dict.fromkeys(of.layers)):
        for module in (index for index, own in enumerate(of.layers) if own == layer):
            p, q = of.sizes[module]
            part = np.concatenate([each[:, start : start + p * q] for each in rows]).astype(np.float32)
            start += p * q
            gradients = torch.from_numpy(part).view(-1, p, q) / SCALE
            left = _lead(gradients.transpose(0, 1).reshape(p, -1))
            right = _lead(gradients.permute(2, 0, 1).reshape(q, -1))
            sides[module] = [side for side in (left, right) if side is not None]
            if left is not None:
                gradients = left.to(torch.float32) @ gradients
            if right is not None:
                gradients = gradients @ right.to(torch.float32).T
            flat = gradients.flatten(1).numpy()
            variances.append(flat.var(axis=0))
            moments.append(np.square(flat).mean(axis=0))
            owners.append(np.full(flat.shape[1], number, np.int32))
    variance, moment, owner = map(np.concatenate, (variances, moments, owners))
    ranked = np.argsort(-variance, kind="stable")
    kept = np.sort(ranked[: _count_kept(variance[ranked], width)]).astype(np.int32)
    is_rest = np.ones(len(owner), bool)
    is_rest[kept] = False
    n_layers = len(set(of.layers))
    energy = np.bincount(owner[is_rest], moment[is_rest], n_layers)
    room = np.bincount(owner[is_rest], minlength=n_layers)
    widths = _share_out(max(0, width - len(kept)), energy, room)
    packed = [side.numpy().ravel() for module in range(len(of.layers)) for side in sides[module]]
    return np.concatenate([*packed, np.zeros(0, np.float16)]), kept, widths


def _lead(rows: torch.Tensor) -> torch.Tensor | None:
    """(RANK, d) float16: leading eigenvectors of ``rows rowsᵀ``; None where d is no more than the rank."""
    if len(rows) <= RANK:
        return None
    vectors = torch.linalg.eigh((rows @ rows.T).to(torch.float64))[1]
    return vectors.flip(1)[:, :RANK].T.to(torch.float16).contiguous()


def _count_kept(variance: np.ndarray, width: int) -> int:
    """How many of the numbers to keep, largest variance first, so that folding the rest to `width` less errs least.

    The squared error of an inner product is about ``R² / w`` for a rest of variance R that is folded to w numbers.
    """
    n = min(width, len(variance))
    rest = variance.sum() - np.cumsum(np.append(0.0, variance[: n - 1]))
    return int(np.argmin(np.square(rest) / (width - np.arange(n))))


def _share_out(total: int, energy: np.ndarray, room: np.ndarray) -> np.ndarray:
    """(n,) int32 numbers of each layer, at most its `room`: by energy, but a part of an equal share at least."""
    least = np.minimum(room, max(1, int(FAIR_SHARE * total / len(room))))
    by_energy = energy / energy.sum() if energy.sum() > 0 else np.full(len(room), 1 / len(room))
    found = least + np.floor(np.maximum(0, total - least.sum()) * by_energy).astype(int)
    return np.minimum(found, room).astype(np.int32)
