"""Random projection ("sketch") of per-module weight gradients.

LayerBlock     the slice of a direction that belongs to one layer
ModuleSketch, make_module_sketch   the two sides P, Q of one module's projection
Sketch         all modules: projects inputs and output gradients, folds modules into layer blocks
seeded_generator  a random generator that depends only on (seed, name)
compute_projection  one seeded side of a two-sided projection
SparseFold, compute_fold  the seeded sign projection of a layer's modules onto its block

A weight gradient ``Σ_t δ_t a_tᵀ`` (d_out × d_in) becomes ``Σ_t (P δ_t)(Q a_t)ᵀ`` (p × q): two-sided
random projection (LoGra, Choe et al. 2024; ``methods`` §1.2). A side no wider than its target is not projected.
The modules of one layer are then folded into one block by a sparse sign projection, and a direction is the
concatenation of the blocks in layer order, so that a cosine over a slice is that layer's alignment.

Shapes: B batch, T tokens, M modules, p/q sketch rank, w block width, P sketch width.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

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


def compute_fold(rows: int, width: int, seed: int, name: str, device: torch.device | str) -> SparseFold | None:
    """The seeded fold; None where ``rows <= width`` and nothing needs folding."""
    if rows <= width:
        return None
    generator = seeded_generator(seed, name)
    n_stripes = min(N_STRIPES, width)
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


@dataclass(frozen=True, slots=True)
class LayerBlock:
    """Half-open slice ``[start, stop)`` of a direction that belongs to one layer."""

    layer: str
    start: int
    stop: int


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
    """

    def __init__(
        self,
        modules: Sequence[tuple[str, str, int, int]],
        width: int,
        rank: int,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.rank, self.seed = rank, seed
        self.modules = [
            make_module_sketch(name, d_out, d_in, (rank, rank), seed, device) for name, _, d_out, d_in in modules
        ]
        layers: dict[str, list[int]] = {}
        for position, (_, layer, _, _) in enumerate(modules):
            layers.setdefault(layer, []).append(position)
        self._layers = layers
        self._folds: dict[str, SparseFold | None] = {}
        self.blocks: list[LayerBlock] = []
        rows_of = {
            layer: sum(self.modules[m].p * self.modules[m].q for m in members) for layer, members in layers.items()
        }
        has_both = OUTPUT_HEAD in layers and len(layers) > 1
        head_width = min(rows_of[OUTPUT_HEAD], width // 2) if has_both else 0
        shared = max(1, (width - head_width) // max(1, len(layers) - has_both))
        start = 0
        for layer, rows in rows_of.items():
            block_width = max(1, head_width) if has_both and layer == OUTPUT_HEAD else shared
            self._folds[layer] = compute_fold(rows, block_width, seed, f"{layer}:fold", device)
            stop = start + min(rows, block_width)
            self.blocks.append(LayerBlock(layer, start, stop))
            start = stop
        self.width = start

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
