"""What a sketch should keep of a model's gradients: found on a few spans before a capture.

choose_samples   which samples of a data set are looked at
SideSums, sum_sides      what inputs and output gradients of a model's modules have in common, under one checkpoint
find_sides       sums of one or several checkpoints → the sides of every module's projection
Numbers, take_numbers    gradients of a few spans, projected onto the sides and not folded, under one checkpoint
leave_unfolded   sides → a calibration that keeps every number
calibrate        their numbers → the calibration
OUT_RANK, IN_RANK    numbers of a side
SPANS, LEAST_SPANS   how many spans; below the least a capture does not calibrate

Two parts of the spans are looked at, so that no number is chosen on what the sides were fitted to. The *sides* of a
module are leading eigenvectors of the second moments ``Σ_t |a_t|/|δ_t| δ_t δ_tᵀ`` and ``Σ_t |δ_t|/|a_t| a_t a_tᵀ``,
each token by itself and as its gradient's length says, not its square, which a few tokens would decide. a and δ are
those of an ordinary capture of the spans. The moments are never formed, only their product with random vectors,
from which the Nyström approximation gives the eigenvectors (Tropp et al. 2017, arXiv 1706.05736). Output gradients get
many directions and inputs few, because inputs of a module hardly leave a few directions.

Then the gradients of other spans are projected onto the sides. The numbers with the largest variance over spans are
kept, as many as make the error of folding the rest smallest; the rest's second moment decides how many numbers each
layer gets for it. All of this ours; ``docs/performance.md`` has what it gains.

Shapes: n spans, d numbers of a side, r its rank, l random vectors, W projected numbers of all modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from gsd_core.capture.batches import plan_batches
from gsd_core.capture.capture import Capturer, rank_by_hash
from gsd_core.capture.sketch import Calibration, is_whole, seeded_generator
from gsd_core.capture.tier_capture import CaptureConfig, ModuleTier
from gsd_core.console.report import Report, ignore
from gsd_core.types import TokenizedSample

OUT_RANK, IN_RANK = 96, 16
RANKS = (OUT_RANK, IN_RANK)
SPANS, LEAST_SPANS = 128, 256
MOST_SHARE = 1 / 12  # of a data set's spans that are looked at
SIDES_SHARE = 2 / 3  # of them
MOST_TOKENS = 1_024  # of a batch, and of a sample where there are enough shorter ones
OVERSAMPLED = 1.5  # random vectors for each eigenvector
FAIR_SHARE = 0.25  # of an equal share, which every layer gets at least
UNFOLDED = 2**62
_ONLY_VECTORS: dict[str, Any] = {"calibration": None, "measures": False, "all_token_losses": False}
SCALE = 256.0  # numbers of a unit vector of millions would be subnormal in half precision


def choose_samples(
    samples: Sequence[TokenizedSample], seed: int, n_checkpoints: int = 1
) -> list[tuple[list[TokenizedSample], list[TokenizedSample]]]:
    """Two parts for each checkpoint: two thirds for the sides and a third for the numbers; none where spans are few.

    They are the first samples by seeded hash, all others of them for another checkpoint, so that more spans are seen.
    """
    n_spans = sum(len(each.spans) for each in samples)
    if n_spans < LEAST_SPANS:
        return []
    by_id = {each.id: each for each in samples}
    ranked = [by_id[name] for name in rank_by_hash(samples, seed) if by_id[name].spans]
    ranked.sort(key=lambda each: len(each.token_ids) > MOST_TOKENS)  # stable: long ones last
    wanted = min(SPANS, MOST_SHARE * n_spans) / n_checkpoints
    waiting = iter(ranked)

    def draw(least: float) -> list[TokenizedSample]:
        drawn: list[TokenizedSample] = []
        while sum(len(each.spans) for each in drawn) < least and (one := next(waiting, None)):
            drawn.append(one)
        return drawn

    chosen = [(draw(wanted * SIDES_SHARE), draw(wanted * (1 - SIDES_SHARE))) for _ in range(n_checkpoints)]
    return chosen if all(first and second for first, second in chosen) else []


class _SideSum:
    """``C Ω`` (d, l) of a second moment C (d, d) of weighted rows, scaled to a trace of 1; Ω (d, l) random."""

    def __init__(self, d: int, rank: int, seed: int, name: str, device: torch.device) -> None:
        generator = seeded_generator(seed, f"{name}:probe")
        self._probe = torch.randn(d, round(OVERSAMPLED * rank), generator=generator).to(device)
        self._product = torch.zeros_like(self._probe)
        self._trace = 0.0

    def add(self, rows: torch.Tensor, weights: torch.Tensor) -> None:
        """Rows (n, d), each as often as its weight (n,) says."""
        weighted = rows * weights[:, None]
        self._product += weighted.T @ (rows @ self._probe)
        self._trace += float((weighted * rows).sum())

    def read(self) -> np.ndarray:
        return (self._product / max(self._trace, 1e-30)).cpu().numpy()


class _Watcher:
    """Stands for a module's projection while its inputs and output gradients are summed; projects onto nothing.

    A gradient belongs to the inputs of the module's last call. Where they are of other tokens, because the forward pass
    goes chunk by chunk, rows weigh the same whatever the length of the other side.
    """

    p = q = 1

    def __init__(self, name: str, d_out: int, d_in: int, seed: int, device: torch.device) -> None:
        self.name = name
        self._sums = [
            None if is_whole(d, rank) else _SideSum(d, rank, seed, f"{name}:{end}", device)
            for d, rank, end in ((d_out, OUT_RANK, "out"), (d_in, IN_RANK, "in"))
        ]
        self._latest: torch.Tensor | None = None

    def project_input(self, activation: torch.Tensor) -> torch.Tensor:
        self._latest = activation
        return activation.new_zeros(*activation.shape[:-1], 1, dtype=torch.float32)

    def project_output_gradient(self, delta: torch.Tensor) -> torch.Tensor:
        left = delta.flatten(0, -2).to(torch.float32)
        inputs = delta[..., :0] if self._latest is None else self._latest
        right = inputs.flatten(0, -2).to(left.device, torch.float32)
        lengths, sizes = left.norm(dim=1), right.norm(dim=1)
        if len(left) == len(right):
            weights = sizes * (lengths > 0) / lengths.clamp_min(1e-30), lengths / sizes.clamp_min(1e-30)
        else:
            weights = (lengths > 0) / lengths.clamp_min(1e-30), (sizes > 0) / sizes.clamp_min(1e-30)
        for total, rows, own in zip(self._sums, (left, right), weights, strict=True):
            if total is not None and rows.shape[1]:
                total.add(rows, own)
        return delta.new_zeros(*delta.shape[:-1], 1, dtype=torch.float32)

    def read(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        left, right = (None if total is None else total.read() for total in self._sums)
        return left, right


@dataclass(frozen=True, slots=True)
class SideSums:
    """``products`` (d, l) float32 of each module's two sides, output gradients first; None for a side kept whole.

    ``names`` are those of the modules, ``seed`` gives the random vectors.
    """

    products: tuple[tuple[np.ndarray | None, np.ndarray | None], ...]
    names: tuple[str, ...]
    seed: int


def sum_sides(
    model: PreTrainedModel, config: CaptureConfig, samples: Sequence[TokenizedSample], report: Report = ignore
) -> SideSums | None:
    """Sums over the tokens of all spans of `samples`; None for a tier that does not project the gradients of modules.

    Raises ``UserError`` as ``Capturer``.
    """
    capturer = Capturer(model, replace(config, **_ONLY_VECTORS, sketch_rank=1, sketch_width=1))
    tier = capturer.implementation
    if not isinstance(tier, ModuleTier):
        return None
    captured = tier.selection.captured
    batches = plan_batches(samples, MOST_TOKENS)
    if batches:  # checks of the model, which would be summed too
        capturer.compute_gradients([samples[batches[0][0]]], config.window)
    watchers = [_Watcher(c.name, c.d_out, c.d_in, config.seed, capturer.device) for c in captured]
    tier.sketch.modules = list(watchers)  # type: ignore[arg-type]
    for number, batch in enumerate(batches):
        capturer.compute_gradients([samples[at] for at in batch], config.window)
        report((number + 1) / len(batches))
    return SideSums(tuple(each.read() for each in watchers), tuple(c.name for c in captured), config.seed)


def find_sides(sums: Sequence[SideSums]) -> np.ndarray:
    """(N,) int8 sides of all modules, as ``Calibration.sides``.

    Sides that know one checkpoint alone miss what others hold: directions hardly stay the same in a fine-tune.
    """
    first = sums[0]
    packed = [np.zeros(0, np.int8)]
    for module, name in enumerate(first.names):
        for side, (rank, end) in enumerate(((OUT_RANK, "out"), (IN_RANK, "in"))):
            parts = [part for each in sums if (part := each.products[module][side]) is not None]
            if not parts:
                continue
            product = torch.from_numpy(np.sum(parts, axis=0))
            probe = torch.randn(product.shape, generator=seeded_generator(first.seed, f"{name}:{end}:probe"))
            rows = _lead(product, probe, rank)
            packed.append(
                (rows / rows.abs().amax(1, keepdim=True).clamp_min(1e-30) * 127).round().to(torch.int8).numpy().ravel()
            )
    return np.concatenate(packed)


def _lead(product: torch.Tensor, probe: torch.Tensor, rank: int) -> torch.Tensor:
    """(rank, d) leading eigenvectors of C, from ``C Ω`` (d, l) and Ω (d, l), by the Nyström approximation.

    C is shifted a little, as in Tropp et al., so that a C of low rank does no harm.
    """
    shifted = product.to(torch.float64) + 1e-6 * float(product.norm()) / max(float(probe.norm()), 1e-30) * probe
    inner = probe.T.to(torch.float64) @ shifted
    values, vectors = torch.linalg.eigh((inner + inner.T) / 2)
    good = values > 1e-12 * values.abs().max().clamp_min(1e-300)
    root = shifted @ (vectors[:, good] / values[good].sqrt())
    lengths, turned = torch.linalg.eigh(root.T @ root)
    rows = (root @ turned[:, -rank:]).T / lengths[-rank:, None].clamp_min(1e-300).sqrt()
    found = torch.zeros(rank, len(product))
    found[: len(rows)] = rows.flip(0)
    return found


def leave_unfolded(sides: np.ndarray, n_layers: int, config: CaptureConfig) -> Calibration:
    """The calibration of a sketch that projects onto ``sides`` and keeps every number."""
    nothing = np.zeros(0, np.int32)
    return Calibration(RANKS, sides, nothing, np.full(n_layers, 2**31 - 1, np.int32), config.seed, 0, 0)


@dataclass(frozen=True, slots=True)
class Numbers:
    """Projected gradients of n spans under one checkpoint: ``rows`` (n, W) float16, unit norm times ``SCALE``.

    ``sizes`` are the numbers of each layer, in the order of W.
    """

    rows: np.ndarray
    sizes: tuple[int, ...]
    n_samples: int


def take_numbers(
    model: PreTrainedModel,
    config: CaptureConfig,
    sides: np.ndarray,
    samples: Sequence[TokenizedSample],
    report: Report = ignore,
) -> Numbers:
    """Gradients of all spans of `samples`, projected onto `sides`. Raises ``UserError`` as ``Capturer``."""
    selection = Capturer(model, replace(config, calibration=None, sketch_rank=1, sketch_width=1)).selection
    n_layers = len({each.layer for each in selection.captured}) if selection else 0
    unfolded = leave_unfolded(sides, n_layers, config)
    capturer = Capturer(model, replace(config, **_ONLY_VECTORS | {"calibration": unfolded}))
    rows: list[np.ndarray] = []
    batches = plan_batches(samples, MOST_TOKENS)
    for number, batch in enumerate(batches):
        for gradients in capturer.compute_gradients([samples[at] for at in batch], config.window).gradients:
            norms = np.linalg.norm(gradients, axis=1, keepdims=True)
            is_good = np.isfinite(norms[:, 0]) & (norms[:, 0] > 0)
            rows.append((gradients[is_good] / norms[is_good] * SCALE).astype(np.float16))
        report((number + 1) / len(batches))
    sizes = tuple(block.stop - block.start for block in capturer.blocks)
    return Numbers(np.concatenate(rows), sizes, len(samples))


def calibrate(sides: np.ndarray, parts: Sequence[Numbers], config: CaptureConfig) -> Calibration | None:
    """The calibration of a configuration's sketch, from one or several checkpoints; None without any gradient."""
    rows = np.concatenate([part.rows for part in parts]) if parts else np.zeros((0, 0), np.float16)
    if not len(rows):
        return None
    owner = np.repeat(np.arange(len(parts[0].sizes)), parts[0].sizes)
    variance, moment = _measure(rows)
    width = config.sketch_width
    ranked = np.argsort(-variance, kind="stable")
    kept = np.sort(ranked[: _count_kept(variance[ranked], width)]).astype(np.int32)
    is_rest = np.ones(len(owner), bool)
    is_rest[kept] = False
    n_layers = len(parts[0].sizes)
    energy = np.bincount(owner[is_rest], moment[is_rest], n_layers)
    room = np.bincount(owner[is_rest], minlength=n_layers)
    widths = _share_out(max(0, width - len(kept)), energy, room)
    return Calibration(RANKS, sides, kept, widths, config.seed, sum(part.n_samples for part in parts), len(rows))


def _measure(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variance and second moment (W,) of the numbers over rows (n, W)."""
    total, squares = np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
    for row in rows:  # one at a time: all of them in double precision are gigabytes
        own = row.astype(np.float64) / SCALE
        total += own
        squares += own * own
    moment = squares / len(rows)
    return moment - np.square(total / len(rows)), moment


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
