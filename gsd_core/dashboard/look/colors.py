"""Colours that stay apart for colour-blind readers, in light and dark.

PALETTE, SYMBOLS    eight hues; six marker shapes that repeat them distinguishably
NOISE               colour of spans in no cluster
SEQUENTIAL          colour scale of numbers
COSINES             colours from −1 to 1, evenly spaced
Mark                a colour and a shape
compute_marks       value → mark, most frequent first

Beyond eight values no set of hues is safe for everyone, so shape carries on where hue ends, and every picture names its
clusters in words too.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

# Okabe & Ito (2008) without black and yellow, which vanish on dark and on light, with a violet and an olive added.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6BB1", "#A6A02B")
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "x")
NOISE = "#9AA0A6"
ACCENT = "#E11D48"
SEQUENTIAL = "Viridis"
# Brewer's red and blue, which colour-blind readers tell apart, white at 0.
COSINES = (
    "#053061",
    "#2166AC",
    "#4393C3",
    "#92C5DE",
    "#D1E5F0",
    "#F7F7F7",
    "#FDDBC7",
    "#F4A582",
    "#D6604D",
    "#B2182B",
    "#67001F",
)


class Mark(NamedTuple):
    """How one value is drawn."""

    color: str
    symbol: str


NOISE_MARK = Mark(NOISE, "circle")


def compute_marks(values: Sequence[Hashable]) -> dict[Hashable, Mark]:
    """A mark for each value, in the order given: hue first, then shape, then round again (ours)."""
    marks: dict[Hashable, Mark] = {}
    for position, value in enumerate(values):
        shape = (position // len(PALETTE)) % len(SYMBOLS)
        marks[value] = Mark(PALETTE[position % len(PALETTE)], SYMBOLS[shape])
    return marks
