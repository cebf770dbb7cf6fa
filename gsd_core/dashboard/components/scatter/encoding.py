"""The bytes that the scatter map fetches over HTTP.

Block                content that is fetched, and its digest
encode_coordinates   where the spans lie
encode_values        which colour each span has
encode_mask          which spans a filter keeps
NO_COORDINATE        stands for a span without coordinates

Layout, little-endian, gzipped as a whole. A header of 48 bytes:

    0   4 bytes    "GSDM"
    4   uint8      version, 1
    5   uint8      kind: 1 coordinates, 2 values, 3 mask
    6   uint16     bytes an item: 2 for coordinates, 1 or 2 for values, 0 for a mask
    8   uint32     n, rows of the view
    12  uint32     0
    16  4 float64  coordinates: lowest and highest x, lowest and highest y; else 0

then for coordinates n uint16 x and n uint16 y, where 0 … 65534 stand for lowest … highest and 65535 for none; for
values n indices of colours; for a mask ceil(n / 8) bytes, span i in bit i mod 8 (lowest first) of byte i // 8. Row i is
row i of ``RunView.spans``. The browser refuses a block whose header and length disagree.
"""

from __future__ import annotations

import gzip
import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAGIC, VERSION = b"GSDM", 1
COORDINATES, VALUES, MASK = 1, 2, 3
NO_COORDINATE = 65_535
_HEADER = struct.Struct("<4sBBHII4d")


@dataclass(frozen=True)
class Block:
    """``content``, gzipped, and its hexadecimal ``digest``."""

    content: bytes
    digest: str


def _make_block(kind: int, item_bytes: int, n: int, bounds: Sequence[float], *parts: np.ndarray) -> Block:
    header = _HEADER.pack(MAGIC, VERSION, kind, item_bytes, n, 0, *bounds)
    # Level 1: coordinates hardly shrink at any level, indices and masks already at the first.
    content = gzip.compress(b"".join([header, *(part.tobytes() for part in parts)]), 1, mtime=0)
    return Block(content, hashlib.sha256(content).hexdigest())


def _quantise(values: np.ndarray, low: float, high: float) -> np.ndarray:
    span = high - low or 1.0
    steps = np.rint((values - low) * ((NO_COORDINATE - 1) / span))
    return np.where(np.isfinite(values), steps, NO_COORDINATE).astype("<u2")


def encode_coordinates(x: np.ndarray, y: np.ndarray) -> Block:
    """``x``, ``y`` (n,) coordinates; a span has none where either is not finite.

    Raises
    ------
    ValueError
        Where the shapes differ.
    """
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"x is {x.shape}, y is {y.shape}: both must be (n,)")
    known = np.isfinite(x) & np.isfinite(y)
    bounds: list[float] = []
    columns = []
    for axis in (x, y):
        low, high = (float(axis[known].min()), float(axis[known].max())) if known.any() else (0.0, 1.0)
        bounds += [low, high]
        columns.append(_quantise(np.where(known, axis, np.nan).astype(np.float64), low, high))
    return _make_block(COORDINATES, 2, len(x), bounds, *columns)


def encode_values(values: np.ndarray) -> Block:
    """``values`` (n,) indices of colours, 0 … 65535.

    Raises
    ------
    ValueError
        For any other values.
    """
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise ValueError(f"values are {values.dtype} {values.shape}: they must be whole numbers (n,)")
    if len(values) and not 0 <= values.min() <= values.max() < 2**16:
        raise ValueError(f"values lie in {values.min()} … {values.max()}: 0 … 65535 can be sent")
    kind = np.dtype("<u1" if not len(values) or values.max() < 2**8 else "<u2")
    return _make_block(VALUES, kind.itemsize, len(values), (0.0,) * 4, values.astype(kind))


def encode_mask(mask: np.ndarray) -> Block:
    """``mask`` (n,) bool."""
    if mask.ndim != 1 or mask.dtype != bool:
        raise ValueError(f"the mask is {mask.dtype} {mask.shape}: it must be bool (n,)")
    return _make_block(MASK, 0, len(mask), (0.0,) * 4, np.packbits(mask, bitorder="little"))
