"""Colours that colour-blind readers can tell apart, on light and dark pages.

PALETTE         eight hues
SYMBOLS         six marker shapes
GLYPHS          the same shapes as characters
ACCENT          colour of what is chosen
SEQUENTIAL      colour scale of numbers
COSINES         colours from −1 to 1, evenly spaced
Mark            a colour and a shape
NOISE           colour of spans in no cluster
NOISE_MARK      mark of spans in no cluster
compute_marks   value → mark
choose_ink      colours of text in a figure and of the box behind it

No set of more than eight hues is safe for everyone: further values differ in shape, and every figure also names its
clusters.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

# Okabe & Ito (2008) without black and yellow, which vanish on dark and on light, with a violet and an olive added.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6BB1", "#A6A02B")
GLYPHS = {"circle": "●", "diamond": "◆", "square": "■", "triangle-up": "▲", "cross": "✚", "x": "✖"}
SYMBOLS = tuple(GLYPHS)
GLYPHS |= {f"{symbol}-open": glyph for symbol, glyph in zip(SYMBOLS, "○◇□△✙✕", strict=True)}
NOISE = "#9AA0A6"
ACCENT = "#E11D48"
SEQUENTIAL = "Viridis"
# Brewer's red and blue, which colour-blind readers tell apart, white at 0.
COSINES = (
    *("#053061", "#2166AC", "#4393C3", "#92C5DE", "#D1E5F0", "#F7F7F7"),
    *("#FDDBC7", "#F4A582", "#D6604D", "#B2182B", "#67001F"),
)


class Mark(NamedTuple):
    """How one value is drawn; ``symbol`` is one of ``SYMBOLS``, or with ``-open``."""

    color: str
    symbol: str

    @property
    def glyph(self) -> str:
        """The shape as a character."""
        return GLYPHS[self.symbol]

    def as_open(self) -> Mark:
        """The same, hollow: what is tentative."""
        return Mark(self.color, f"{self.symbol}-open")


NOISE_MARK = Mark(NOISE, "circle")


def compute_marks(values: Sequence[Hashable]) -> dict[Hashable, Mark]:
    """A mark for each value in the order given: all hues in one shape, then the next shape (ours)."""
    marks: dict[Hashable, Mark] = {}
    for position, value in enumerate(values):
        shape = (position // len(PALETTE)) % len(SYMBOLS)
        marks[value] = Mark(PALETTE[position % len(PALETTE)], SYMBOLS[shape])
    return marks


def choose_ink(is_dark: bool) -> tuple[str, str]:
    """Colour of text in a figure, and of the box behind it."""
    return ("#F3F4F6", "rgba(17,20,28,0.72)") if is_dark else ("#1F2937", "rgba(255,255,255,0.78)")
