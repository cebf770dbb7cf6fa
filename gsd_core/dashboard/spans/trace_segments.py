"""Prepares spans and traces for the trace viewer.

trace_segments   a sample's trace in segments
describe         a span in lines
format_number    a number of a span as text
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from gsd_core.dashboard.components.trace import TraceSegment
from gsd_core.dashboard.reading.run_view import RunView, compute_trace

DESCRIBED = ["index", "n_in_trace", "cluster", "family", "loss", "norm", "coherence"]


def format_number(value: Any, digits: int = 3) -> str:
    """``value`` with so many significant digits; a dash where it is unknown."""
    return f"{value:.{digits}g}" if pd.notna(value) else "–"


def describe(row: Mapping[str, Any] | pd.Series, view: RunView) -> tuple[str, ...]:
    """A span in lines, for hovering and screen readers. ``row`` holds at least ``DESCRIBED``."""
    lines = [f"span {row['index'] + 1} of {row['n_in_trace']}"]
    if view.is_analyzed:
        lines.insert(0, view.find_chip(int(row["cluster"]), int(row["family"]))[1])
    loss, norm = format_number(row["loss"]), format_number(row["norm"])
    lines.append(f"loss {loss} nats · norm {norm} · coherence {format_number(row['coherence'], 2)}")
    return tuple(lines)


class _Tint:
    """Loss of each token as a share in [0, 1] of the trace's 97th percentile.

    ``tokens`` as from ``Run.read_tokens``; ``offset`` is the character of the model's input where the reasoning starts.
    """

    def __init__(self, tokens: pd.DataFrame, offset: int) -> None:
        inside = tokens[(tokens["end"] > offset) & tokens["span"].notna()]
        self._starts = inside["start"].to_numpy(int) - offset
        self._ends = inside["end"].to_numpy(int) - offset
        losses = inside["loss"].to_numpy(float)
        known = losses[~np.isnan(losses)]
        top = float(np.quantile(known, 0.97)) if len(known) else 1.0
        self._shares = np.nan_to_num(np.clip(losses / max(top, 1e-6), 0.0, 1.0))

    def pieces(self, text: str, start: int) -> tuple[tuple[str, float], ...]:
        """``text``, which starts at character ``start`` of the reasoning, cut into tokens with their shares."""
        found: list[tuple[str, float]] = []
        at, stop = start, start + len(text)
        for first, last, share in zip(self._starts, self._ends, self._shares, strict=True):
            first, last = max(int(first), at), min(int(last), stop)
            if first >= last:
                continue
            if first > at:
                found.append((text[at - start : first - start], 0.0))
            found.append((text[first - start : last - start], float(share)))
            at = last
        if at < stop:
            found.append((text[at - start :], 0.0))
        return tuple(found)


def trace_segments(view: RunView, sample: str, tokens: pd.DataFrame | None = None) -> list[TraceSegment]:
    """A sample's trace in segments; with ``tokens`` (``Run.read_tokens``) tinted by the loss of each token."""
    tint = _Tint(tokens, int(view.samples.loc[sample, "reasoning_start"])) if tokens is not None else None
    segments = []
    pieces = compute_trace(view, sample)
    # One look-up for all spans: one row of a frame costs as much as a thousand.
    own = [piece.row for piece in pieces if piece.row is not None]
    rows = iter(view.spans.iloc[own][["span", "char_start", *DESCRIBED]].to_dict("records"))
    for piece in pieces:
        if piece.row is None:
            segments.append(TraceSegment(piece.text))
            continue
        row = next(rows)
        tip = describe(row, view)
        tinted = tint.pieces(piece.text, int(row["char_start"])) if tint is not None else ()
        segments.append(
            TraceSegment(
                piece.text,
                span=str(row["span"]),
                color=view.find_chip(int(row["cluster"]), int(row["family"]))[0].color,
                label="; ".join(tip),
                tip=tip,
                tokens=tinted,
            )
        )
    return segments
