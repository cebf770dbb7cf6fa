"""Gradient stores that other programs wrote: their contents, and their rows as directions.

ForeignStore     the contract: facts about a store, and its rows in chunks
ModuleColumns    the columns of one module in a stored row
DirectionLayout  stored columns → layer blocks of a direction, folded where they are too wide
Directions       rows as directions of unit length, with their norms
iter_rows        a store's rows in chunks of bounded memory, as directions
sum_rows         the sum of a range of rows as one direction, with its coherence
group_layers     module names → layer names, as in the manifest of a captured run
UNKNOWN_LAYER    the layer's name where a store names no modules
MAX_WIDTH        the widest direction that is stored unfolded
check_values     refuses a store whose rows are too wide

The readers are in ``foreign_bergson`` and ``foreign_less``. No code in a store is ever run.

Shapes: N rows of a chunk, D stored width, P width of a direction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from gsd_core.capture.modules import LAYER_INDEX, OUTPUT_HEAD
from gsd_core.capture.sketch import LayerBlock, compute_fold
from gsd_core.errors import UserError

MAX_WIDTH = 8192  # what LESS stores; wider rows cost disk and time in every analysis
MAX_VALUES = 2**24  # values a stored row: a fold of more would take over a gigabyte of random indices
CHUNK_BYTES = 32 * 2**20  # of float32 rows at once
HEAD_LEAVES = ("lm_head", "embed_out")
UNKNOWN_LAYER = "all layers"


@dataclass(frozen=True, slots=True)
class ModuleColumns:
    """``width`` columns of a stored row that belong to the module ``name`` of the layer ``layer``."""

    name: str
    layer: str
    width: int


class ForeignStore(Protocol):
    """A gradient store of another program, opened and checked.

    ``n_items`` sequences lie in ``n_rows`` rows: one each, or with ``offsets`` (n_items + 1,) int64 the rows
    ``offsets[i]:offsets[i + 1]`` of sequence i, one row a token position. ``has_norms`` is False where rows were scaled
    to unit length, so that norms are unknown. ``details`` go into the manifest, ``notes`` to the user.
    """

    format: str
    path: Path
    n_items: int
    n_rows: int
    modules: tuple[ModuleColumns, ...]
    offsets: np.ndarray | None
    has_norms: bool
    details: dict[str, Any]
    notes: list[str]

    def read_rows(self, start: int, stop: int) -> torch.Tensor:
        """(stop − start, D) float32 rows, modules in the order of ``modules``. ``UserError`` where they are damaged."""
        ...


def group_layers(names: Sequence[str]) -> list[str]:
    """Layer of each module: the dotted name up to its first number, the output head, else "outside layers"."""
    layers = []
    for name in names:
        match = LAYER_INDEX.match(f"{name}.")
        is_head = name.rsplit(".", 1)[-1] in HEAD_LEAVES
        layers.append(OUTPUT_HEAD if is_head else match.group(1) if match else "outside layers")
    return layers


def check_values(n_values: int, where: str) -> None:
    """Raise ``UserError`` for a row of more than ``MAX_VALUES`` values."""
    if n_values > MAX_VALUES:
        raise UserError(
            f"a row has {n_values:,} values, and at most {MAX_VALUES:,} can be folded",
            where,
            "build the store with a random projection",
        )


@dataclass(frozen=True, slots=True)
class Directions:
    """Rows as directions: ``unit`` (N, P) float16 of unit length (zero for a zero row), ``norms`` (N,) float64 of the
    stored rows, ``is_finite`` (N,) whether all numbers of a row are finite. Other rows are zero."""

    unit: np.ndarray
    norms: np.ndarray
    is_finite: np.ndarray


class DirectionLayout:
    """How stored columns become a direction: layer blocks in order of appearance, each folded where P asks for it.

    Parameters
    ----------
    modules
        Columns of a stored row, in stored order.
    max_width
        Rows of at most so many values are not changed, except for the order of their layers. Wider ones are folded:
        each layer gets an equal share of ``max_width`` (at most what it has) by the seeded sparse sign projection of
        ``sketch`` (named ``import:LAYER:fold``), so ``width`` may be a little smaller.
    seed
        Of the fold. Source: ours.
    """

    def __init__(self, modules: Sequence[ModuleColumns], max_width: int, seed: int) -> None:
        self.stored_width = sum(module.width for module in modules)
        self.seed = seed
        columns: dict[str, list[slice]] = {}
        start = 0
        for module in modules:
            columns.setdefault(module.layer, []).append(slice(start, start + module.width))
            start += module.width
        self._columns = columns
        self.is_folded = self.stored_width > max_width
        if self.is_folded and len(columns) > max_width:
            raise UserError(
                f"{len(columns)} layers do not fit into {max_width} numbers",
                "--sketch-width",
                "make it wider",
            )
        share = max_width // len(columns)
        self._folds = {}
        self.blocks: list[LayerBlock] = []
        start = 0
        for layer, parts in columns.items():
            rows = sum(part.stop - part.start for part in parts)
            fold = compute_fold(rows, share, seed, f"import:{layer}:fold", "cpu") if self.is_folded else None
            self._folds[layer] = fold
            stop = start + (rows if fold is None else share)
            self.blocks.append(LayerBlock(layer, start, stop))
            start = stop
        self.width = start

    def apply(self, rows: torch.Tensor) -> Directions:
        """(N, D) float32 → directions.

        A row is first divided by its largest value, so that squares fit into float32. A row that is not finite becomes
        zero, with ``is_finite`` False.
        """
        is_finite = torch.isfinite(rows).all(dim=1)
        rows = torch.where(is_finite[:, None], rows, torch.zeros(()))
        largest = rows.abs().amax(dim=1, keepdim=True)
        scaled = rows / torch.where(largest > 0, largest, torch.ones(()))
        norms = scaled.double().square().sum(1).sqrt() * largest[:, 0].double()
        blocks = []
        for layer, parts in self._columns.items():
            flat = scaled[:, parts[0]] if len(parts) == 1 else torch.cat([scaled[:, p] for p in parts], dim=1)
            fold = self._folds[layer]
            blocks.append(flat if fold is None else fold.apply(flat))
        folded = blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=1)
        lengths = folded.norm(dim=1, keepdim=True)
        unit = folded / torch.where(lengths > 0, lengths, torch.ones(()))
        return Directions(unit.to(torch.float16).numpy(), norms.numpy(), is_finite.numpy())


def iter_rows(store: ForeignStore, layout: DirectionLayout) -> Iterator[tuple[int, Directions]]:
    """``(first row, directions)`` of all rows in order, about ``CHUNK_BYTES`` of stored values at a time."""
    n_chunk = _rows_at_once(layout)
    for start in range(0, store.n_rows, n_chunk):
        yield start, layout.apply(store.read_rows(start, min(start + n_chunk, store.n_rows)))


def sum_rows(store: ForeignStore, layout: DirectionLayout, start: int, stop: int) -> tuple[Directions, float]:
    """The sum of rows ``start:stop`` as one direction (N = 1), and its coherence ``‖Σg‖ / Σ‖g‖`` in the stored space.

    The coherence is NaN where all rows are zero.
    """
    total = torch.zeros(layout.stored_width, dtype=torch.float64)
    lengths = 0.0
    n_chunk = _rows_at_once(layout)
    for first in range(start, stop, n_chunk):
        rows = store.read_rows(first, min(first + n_chunk, stop)).double()
        total += rows.sum(0)
        lengths += float(rows.norm(dim=1).sum())
    found = layout.apply(total[None].to(torch.float32))
    coherence = min(1.0, float(total.norm()) / lengths) if lengths > 0 else float("nan")
    return found, coherence


def _rows_at_once(layout: DirectionLayout) -> int:
    return max(1, CHUNK_BYTES // (4 * layout.stored_width))
