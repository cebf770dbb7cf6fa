"""Small pieces of HTML that Streamlit has no element for. They escape every text.

show             pieces below one another, as one element
make_chips       marks and names of clusters
make_quote       a span's text
Number           a measure with its unit
make_numbers     measures side by side, explained on hover
show_numbers     the same, drawn
CosineBar        a cosine as a bar with its null
describe_cosine  a CosineBar
show_cosine      the same, drawn
format_bytes     "1.2 GB"
format_duration  "3 min 20 s"
format_when      "2026-11-21 14:03"
MEASURES         explanations of the measures
"""

from __future__ import annotations

import html
import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import streamlit as st

from gsd_core.comparison.nulls import Null
from gsd_core.dashboard.look.colors import Mark

MEASURES = {
    "loss": "Mean negative log-likelihood of the span's tokens, in nats per token.",
    "norm": "Length of the span's sketched gradient. Compare it within one run only.",
    "coherence": "‖Σg‖ / Σ‖g‖ over the span's tokens: 1 where all token gradients point the same way.",
    "cosine": "Cosine of two centred gradient directions. Beside it: the 95th percentile of random pairs of spans of "
    "different samples, and of random windows; q is against the stricter. It correlates, it does not explain.",
    "words": "Only spans that share no more words with this one than 95 % of random pairs do (TF-IDF over words, "
    "without numbers).",
    "exact": "Centred cosine of the two gradients without the sketch. It loads the model and takes one forward-mode "
    "pass a sample.",
    "lesson": "Takes one training step on this span, measures how the losses of aligned spans and of twenty other "
    "samples change, and puts the weights back. It loads the model. First order is what the gradients without sketch "
    "foretell.",
    "spectral": "Spectral strength: share of the step's tokens in the leading gradient directions that hold 95 % of "
    "the trace's energy (ICML 2026). By chance it is rank / tokens.",
    "grace": "GRACE-like score (ours): mean cosine of the step's hidden gradient to the answer's and to that of the "
    "trace before it.",
    "answer_strength": "Share of the trace's integrated gradients of the answer's log-probability, by root of tokens "
    "(`gsd attribute`).",
    "window": "Cosine of this direction to the exact one, on the audited share of spans.",
}


class Number(NamedTuple):
    """A measure to show."""

    label: str
    value: str
    help: str = ""


def _chip(mark: Mark, name: str) -> str:
    return (
        f'<span style="display:inline-flex;align-items:center;gap:.4em;padding:.1em .65em;border-radius:1em;'
        f'font-size:.82rem;background:{mark.color}26;border:1px solid {mark.color}80;max-width:100%">'
        f'<span style="color:{mark.color};font-size:.8em" aria-hidden="true">{mark.glyph}</span>'
        f'<span style="overflow:hidden;text-overflow:ellipsis;white-space:nowrap">{html.escape(name)}</span></span>'
    )


def show(*pieces: str) -> None:
    """Pieces below one another as one element: each further element slows a click by a millisecond or two."""
    st.html(f'<div style="display:flex;flex-direction:column;gap:.7rem">{"".join(pieces)}</div>')


def make_chips(*chips: tuple[Mark, str]) -> str:
    """Marks and names of clusters side by side."""
    inner = "".join(_chip(mark, name) for mark, name in chips)
    return f'<div style="display:flex;flex-wrap:wrap;gap:.35rem .5rem">{inner}</div>'


def make_quote(text: str, color: str) -> str:
    """A span's text with a rule in its cluster's colour."""
    return (
        f'<div style="border-left:3px solid {color};padding:.1em 0 .1em .75em;white-space:pre-wrap;'
        f'overflow-wrap:anywhere;line-height:1.5">{html.escape(text)}</div>'
    )


def make_numbers(numbers: Sequence[Number]) -> str:
    """Measures side by side, each explained on hover."""
    cells = "".join(
        f'<div title="{html.escape(number.help)}" style="min-width:4.2rem"><div style="font-size:.72rem;opacity:.65">'
        f'{html.escape(number.label)}</div><div style="font-size:1.02rem;font-variant-numeric:tabular-nums">'
        f"{html.escape(number.value)}</div></div>"
        for number in numbers
    )
    return f'<div style="display:flex;flex-wrap:wrap;gap:.35rem 1.4rem">{cells}</div>'


def show_numbers(*numbers: Number) -> None:
    """Draw ``make_numbers``."""
    show(make_numbers(numbers))


class CosineBar(NamedTuple):
    """``share`` and ``tick`` in per cent of the bar: the cosine and the null's 95th percentile (None: unknown).

    ``beside`` is the null and q in words.
    """

    share: float
    tick: float | None
    beside: str


def describe_cosine(cosine: float, null: Null, q_value: float) -> CosineBar:
    """A cosine as a bar from 0 to 1."""
    share = 100 * min(max(cosine, 0.0), 1.0)
    if not null.n:
        return CosineBar(share, None, "null unknown")
    beside = f"null 95 %: {null.p95:.2f}"
    if len(null.windows):
        beside += f" · windows 95 %: {float(np.quantile(null.windows, 0.95)):.2f}"
    if not math.isnan(q_value):
        beside += f" · q {'< 0.001' if q_value < 0.001 else f'= {q_value:.3f}'}"
    return CosineBar(share, 100 * min(max(null.p95, 0.0), 1.0), beside)


def show_cosine(cosine: float, null: Null, q_value: float, mark: Mark, name: str) -> None:
    """A cosine as a bar from 0 to 1 with a tick at the null's 95th percentile, and the chip ``name``."""
    chip = _chip(mark, name) if name else ""
    bar = describe_cosine(cosine, null, q_value)
    tick = ""
    if bar.tick is not None:
        tick = (
            f'<div style="position:absolute;left:calc({bar.tick:.1f}% - 1px);top:-3px;width:2px;height:12px;'
            'background:currentColor;opacity:.75"></div>'
        )
    st.html(
        f'<div title="{html.escape(MEASURES["cosine"])}"><div style="display:flex;justify-content:space-between;'
        'align-items:baseline;gap:.6rem;flex-wrap:wrap;font-variant-numeric:tabular-nums">'
        f'<span><b style="font-size:1.02rem">{cosine:.2f}</b>'
        f'<span style="opacity:.65;font-size:.78rem;margin-left:.6em">{html.escape(bar.beside)}</span></span>'
        f"{chip}</div>"
        '<div style="position:relative;height:6px;border-radius:3px;margin-top:.35rem;'
        'background:rgba(128,128,128,.22)"><div style="height:100%;border-radius:3px;'
        f'width:{bar.share:.1f}%;background:{mark.color}"></div>{tick}</div></div>'
    )


def format_bytes(n: float | None) -> str:
    """``"1.2 GB"``; a dash for None."""
    if n is None:
        return "–"
    for unit in ("B", "kB", "MB", "GB"):
        if abs(n) < 1000:
            return f"{n:.0f} {unit}" if unit in ("B", "kB") else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"


def format_duration(seconds: float | None) -> str:
    """``"3 min 20 s"``; a dash where it is unknown."""
    if seconds is None or seconds != seconds or seconds < 0:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_when(moment: float | str | None) -> str:
    """A moment (seconds since the epoch, or ISO text) as ``2026-11-21 14:03``; a dash for None."""
    if isinstance(moment, str):
        return moment[:16].replace("T", " ")
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment)) if moment else "–"
