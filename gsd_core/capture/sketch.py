"""Projection ("sketch") of per-module weight gradients.

LayerBlock     the slice of a direction that belongs to one layer
Calibration    what a sketch knows of a model's gradients: leading directions, and which numbers vary most
ModuleSketch, make_module_sketch   the two sides P, Q of one module's projection
Sketch         all modules: projects inputs and output gradients, folds modules into layer blocks
seeded_generator  a random generator that depends only on (seed, name)
compute_projection  one seeded side of a two-sided projection
SparseFold, compute_fold  the seeded sign projection of a layer's modules onto its block
KeptFold, compute_kept_fold   the same, but some numbers are kept as they are
is_whole       whether a side is too narrow to be projected

A weight gradient ``Σ_t δ_t a_tᵀ`` (d_out × d_in) becomes ``Σ_t (P δ_t)(Q a_t)ᵀ`` (p × q): two-sided
random projection (LoGra, Choe et al. 2024; ``methods`` §1.2). A side no wider than its target is not projected.
The modules of one layer are then folded into one block by a sparse sign projection, and a direction is the
concatenation of the blocks in layer order, so that a cosine over a slice is that layer's alignment.

Without a calibration both steps are random. With one, P and Q are leading eigenvectors (LoGra starts from principal
components too), more of them in P than in Q; the numbers that vary most between spans are stored as they are, and each
layer gets a share of the others' sums by its energy (``methods`` §1.2; all of this ours).

Shapes: B batch, T tokens, M modules, p/q sketch rank, w block width, P sketch width, K kept numbers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from gsd_core.capture.modules import OUTPUT_HEAD

N_STRIPES = 4  # non-zeros a row of the sparse fold; more would only cost time


def seeded_generator(seed: int, name: str) -> torch.Generator:
    """CPU generator that depends on ``(seed, name)`` only, so that any worker rebuilds the same projection."""
    digest = hashlib.sha256(f"{seed}\x00{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def compute_projection(
    rows: int, columns: int, seed: int, name: str, device: torch.device | str = "cpu"
) -> torch.Tensor | None:
    """(rows, columns) float32 random projection with orthogonal rows of length √(columns/rows); None for the identity.

    Inner products are preserved on average, as with independent signs, but with (1 − rows/columns) of their variance,
    which matters where a module is not much wider than the sketch. ``columns <= rows`` needs no projection.
    """
    if columns <= rows:
        return None
    gaussian = torch.randn(columns, rows, generator=seeded_generator(seed, name), dtype=torch.float64)
    orthonormal, triangle = torch.linalg.qr(gaussian)
    # The diagonal's signs make the factor unique, so that every LAPACK gives the same rows.
    unique = orthonormal * triangle.diagonal().sign()
    return (unique.T * math.sqrt(columns / rows)).to(torch.float32).contiguous().to(device)


@dataclass(slots=True)
class SparseFold:
    """Sparse sign projection of `rows` numbers onto the columns of a few stripes.

    Every stripe distributes all rows, shuffled and with random signs, over its columns in equal shares, so each row is
    once in each stripe. ``deals`` holds for each stripe the row order (shares, columns) int64, where the number `rows`
    means no row, and ``signs`` (shares, columns) float32. Sums have a fixed order, hence equal bytes on any device.
    """

    deals: list[torch.Tensor]
    signs: list[torch.Tensor]

    def apply(self, values: torch.Tensor) -> torch.Tensor:
        """(B, rows) → (B, width) float32."""
        padded = torch.cat([values, values.new_zeros(values.shape[0], 1)], dim=1)
        stripes = [
            (padded.index_select(1, deal.flatten()).view(-1, *deal.shape) * signs).sum(1)
            for deal, signs in zip(self.deals, self.signs, strict=True)
        ]
        return torch.cat(stripes, dim=1)


def compute_fold(
    rows: int, width: int, seed: int, name: str, device: torch.device | str, n_stripes: int = N_STRIPES
) -> SparseFold | None:
    """The seeded fold; None where ``rows <= width`` and nothing needs folding."""
    if rows <= width:
        return None
    generator = seeded_generator(seed, name)
    n_stripes = min(n_stripes, width)
    edges = torch.linspace(0, width, n_stripes + 1).round().to(torch.int64).tolist()
    deals, signs = [], []
    for low, high in pairwise(edges):
        columns = high - low
        shares = math.ceil(rows / columns)
        deal = torch.full((shares * columns,), rows, dtype=torch.int64)
        deal[:rows] = torch.randperm(rows, generator=generator)
        sign = torch.randint(0, 2, (shares, columns), generator=generator).to(torch.float32) * 2 - 1
        deals.append(deal.view(shares, columns).to(device))
        signs.append((sign / math.sqrt(n_stripes)).to(device))
    return SparseFold(deals, signs)


@dataclass(slots=True)
class KeptFold:
    """The numbers ``kept`` (K,) int64 as they are, and a fold of all others behind them."""

    kept: torch.Tensor
    fold: SparseFold

    def apply(self, values: torch.Tensor) -> torch.Tensor:
        """(B, rows) → (B, K + width) float32."""
        return torch.cat([values.index_select(1, self.kept), self.fold.apply(values)], dim=1)


def compute_kept_fold(
    rows: int, kept: np.ndarray, width: int, seed: int, name: str, device: torch.device | str
) -> KeptFold | None:
    """Keeps the numbers ``kept`` (K,) of `rows`, folds the others to `width`; None where that would not be fewer.

    One stripe is enough here: several would only spread large numbers, and those are kept.
    """
    if rows <= len(kept) + width:
        return None
    rest = np.setdiff1d(np.arange(rows), kept, assume_unique=True)
    fold = compute_fold(len(rest), width, seed, name, "cpu", n_stripes=1)
    assert fold is not None
    places = torch.from_numpy(np.append(rest, rows))  # the last one means no row, as in the fold
    fold.deals = [places[deal].to(device) for deal in fold.deals]
    fold.signs = [signs.to(device) for signs in fold.signs]
    return KeptFold(torch.from_numpy(kept.astype(np.int64)).to(device), fold)


@dataclass(frozen=True, slots=True)
class LayerBlock:
    """Half-open slice ``[start, stop)`` of a direction that belongs to one layer."""

    layer: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What a sketch knows of a model's gradients. Equal calibrations have the same ``digest``.

    Parameters
    ----------
    ranks
        Numbers of an output gradient's and of an input's side.
    sides
        (N,) int8: the sides one after the other, module by module, first the output gradient's, each (rank, d) and
        every row in proportion to a unit vector. A side that ``is_whole`` has none.
    kept
        (K,) int32, sorted: numbers of the modules' projected gradients, one after the other, that are stored as they
        are.
    widths
        (number of layers,) int32: how many numbers the rest of each layer is folded to.
    seed
        Of the random parts.
    n_samples, n_spans
        What it was found on.
    """

    ranks: tuple[int, int]
    sides: np.ndarray
    kept: np.ndarray
    widths: np.ndarray
    seed: int
    n_samples: int
    n_spans: int
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        """Computes the digest."""
        state = hashlib.sha256(f"{self.ranks} {self.seed}".encode())
        for array in (self.sides, self.kept, self.widths):
            state.update(np.ascontiguousarray(array).tobytes() + b"|")
        object.__setattr__(self, "digest", state.hexdigest()[:16])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Calibration) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def split(self, sizes: Sequence[tuple[int, int]]) -> list[tuple[torch.Tensor | None, torch.Tensor | None]]:
        """The two sides of every module of ``sizes`` (d_out, d_in), float32 or None.

        Raises ``ValueError`` where the sides belong to other modules.
        """
        found, at = [], 0
        for module in sizes:
            pair: list[torch.Tensor | None] = []
            for size, rank in zip(module, self.ranks, strict=True):
                if is_whole(size, rank):
                    pair.append(None)
                    continue
                part = self.sides[at : at + rank * size]
                at += rank * size
                if len(part) < rank * size:
                    raise ValueError("the calibration belongs to other modules")
                rows = torch.from_numpy(part.astype(np.float32)).view(rank, size)
                pair.append(rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12))
            found.append((pair[0], pair[1]))
        if at != len(self.sides):
            raise ValueError("the calibration belongs to other modules")
        return found


def is_whole(size: int, rank: int) -> bool:
    """Whether a side of `size` numbers stays as it is where the others get `rank`: at most twice as many."""
    return size <= 2 * rank


@dataclass(slots=True)
class ModuleSketch:
    """The two sides of one module's projection; None is the identity.

    ``left`` is P (p, d_out), ``right`` is Q (q, d_in), float32; each moves to the device of the module's activations.
    """

    name: str
    left: torch.Tensor | None
    right: torch.Tensor | None
    p: int
    q: int

    def project_output_gradient(self, delta: torch.Tensor) -> torch.Tensor:
        """(…, d_out) → (…, p) float32."""
        delta = delta.to(torch.float32)
        if self.left is None:
            return delta
        self.left = self.left.to(delta.device)  # once: a module stays where it is
        return delta @ self.left.T

    def project_input(self, activation: torch.Tensor) -> torch.Tensor:
        """(…, d_in) → (…, q) float32."""
        activation = activation.to(torch.float32)
        if self.right is None:
            return activation
        self.right = self.right.to(activation.device)
        return activation @ self.right.T


def make_module_sketch(
    name: str, d_out: int, d_in: int, ranks: tuple[int, int], seed: int, device: torch.device | str
) -> ModuleSketch:
    """The seeded projection of one module onto at most ``ranks`` (p, q)."""
    p, q = min(ranks[0], d_out), min(ranks[1], d_in)
    left = compute_projection(p, d_out, seed, f"{name}:out", device)
    return ModuleSketch(name, left, compute_projection(q, d_in, seed, f"{name}:in", device), p, q)


def _make_known(
    name: str, d_out: int, d_in: int, sides: tuple[torch.Tensor | None, torch.Tensor | None], device: Any
) -> ModuleSketch:
    """The projection of one module onto calibrated sides."""
    left, right = (None if side is None else side.to(device) for side in sides)
    return ModuleSketch(name, left, right, d_out if left is None else len(left), d_in if right is None else len(right))


class Sketch:
    """Projection of all captured modules onto one vector of about `width` numbers.

    Parameters
    ----------
    modules
        ``(name, layer, d_out, d_in)`` of every captured module, in model order.
    width
        Requested width P. The output head gets half of it, or all of its projection where that is less; every layer
        gets an equal share of the rest (at least 1, at most what it has). So ``self.width`` may be a little smaller.
    rank
        p = q of the two-sided projection.
    seed
        Together with the modules' names it decides all random numbers.
    calibration
        Replaces `width` and `rank` by its own, and the sides by its. Raises ``ValueError`` for that of other modules.
    """

    def __init__(
        self,
        modules: Sequence[tuple[str, str, int, int]],
        width: int,
        rank: int,
        seed: int,
        device: torch.device | str = "cpu",
        calibration: Calibration | None = None,
    ) -> None:
        self.seed = seed
        if calibration is None:
            self.modules = [
                make_module_sketch(name, d_out, d_in, (rank, rank), seed, device) for name, _, d_out, d_in in modules
            ]
        else:
            known = calibration.split([(d_out, d_in) for _, _, d_out, d_in in modules])
            self.modules = [
                _make_known(name, d_out, d_in, sides, device)
                for (name, _, d_out, d_in), sides in zip(modules, known, strict=True)
            ]
        layers: dict[str, list[int]] = {}
        for position, (_, layer, _, _) in enumerate(modules):
            layers.setdefault(layer, []).append(position)
        self._layers = layers
        self._folds: dict[str, SparseFold | KeptFold | None] = {}
        self.blocks: list[LayerBlock] = []
        self.rows = {
            layer: sum(self.modules[m].p * self.modules[m].q for m in members) for layer, members in layers.items()
        }
        widths = self._fold_kept(calibration, device) if calibration else self._fold_all(width, device)
        start = 0
        for layer, each in widths.items():
            self.blocks.append(LayerBlock(layer, start, start + each))
            start += each
        self.width = start

    def _fold_all(self, width: int, device: torch.device | str) -> dict[str, int]:
        """Fold every layer by random signs; the numbers of each."""
        has_both = OUTPUT_HEAD in self.rows and len(self.rows) > 1
        head_width = min(self.rows[OUTPUT_HEAD], width // 2) if has_both else 0
        shared = max(1, (width - head_width) // max(1, len(self.rows) - has_both))
        widths = {}
        for layer, rows in self.rows.items():
            widths[layer] = max(1, head_width) if has_both and layer == OUTPUT_HEAD else shared
            self._folds[layer] = compute_fold(rows, widths[layer], self.seed, f"{layer}:fold", device)
            widths[layer] = min(rows, widths[layer])
        return widths

    def _fold_kept(self, calibration: Calibration, device: torch.device | str) -> dict[str, int]:
        """Keep the calibrated numbers and fold the rest of every layer; the numbers of each."""
        if len(calibration.widths) != len(self.rows) or calibration.kept.max(initial=0) >= sum(self.rows.values()):
            raise ValueError("the calibration belongs to other modules")
        widths, start = {}, 0
        for (layer, rows), width in zip(self.rows.items(), calibration.widths.tolist(), strict=True):
            low, high = np.searchsorted(calibration.kept, [start, start + rows])
            kept = calibration.kept[low:high] - start
            self._folds[layer] = compute_kept_fold(rows, kept, width, self.seed, f"{layer}:rest", device)
            widths[layer] = rows if self._folds[layer] is None else len(kept) + width
            start += rows
        return widths

    def fold(self, gradients: Sequence[torch.Tensor]) -> torch.Tensor:
        """Module gradients, each (B, p, q), → sketched gradients (B, P) float32, layer blocks in order."""
        blocks = []
        for layer, members in self._layers.items():
            flat = torch.cat([gradients[m].flatten(1) for m in members], dim=1)
            fold = self._folds[layer]
            blocks.append(flat if fold is None else fold.apply(flat))
        return torch.cat(blocks, dim=1)

    def project_dense(self, gradients: Sequence[torch.Tensor]) -> torch.Tensor:
        """Dense weight gradients, each (d_out, d_in), → (P,): the reference that tests compare with."""
        projected = []
        for module, dense in zip(self.modules, gradients, strict=True):
            left = dense.to(torch.float32) if module.left is None else module.left @ dense.to(torch.float32)
            projected.append((left if module.right is None else left @ module.right.T)[None])
        return self.fold(projected)[0]
