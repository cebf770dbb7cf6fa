"""The races as a drawing: docs/images/performance.svg.

draw_chart   left: cost of every way at the main size; right: cost by the number of spans
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from tests.benchmarks.race_figures import MAIN, Result, compute_ratio, race_key
from tests.benchmarks.race_work import AUTOGRAD, BERGSON_WAYS, PLAIN, Size

OURS, THEIRS, BASE, INK, FAINT = "#2a6fbb", "#c2702b", "#777777", "#222222", "#dddddd"
LINES = ("window 0", "window 1", "exact", *BERGSON_WAYS)
WIDTH, ROW, TOP = 960, 26, 64


def _color(way: str) -> str:
    if way == PLAIN:
        return BASE
    return THEIRS if way in BERGSON_WAYS or way == AUTOGRAD else OURS


def _text(x: float, y: float, words: str, anchor: str = "start", size: int = 13, color: str = INK) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} font-size="{size}" fill="{color}">{escape(words)}</text>'


def _bars(result: Result, left: float, right: float) -> tuple[list[str], float]:
    costs = {way: compute_ratio(result, way).median for way in result["ways"]}
    start, scale = left + 150, (right - left - 190) / max(costs.values())
    parts = [_text(left, 40, f"CPU time / plain step: {Size(**result['size']).describe()}")]
    for at, (way, cost) in enumerate(costs.items()):
        y = TOP + at * ROW
        parts.append(_text(start - 8, y + 15, way, "end"))
        parts.append(f'<rect x="{start:.1f}" y="{y}" width="{cost * scale:.1f}" height="18" fill="{_color(way)}"/>')
        parts.append(_text(start + cost * scale + 6, y + 15, f"{cost:.2f}"))
    return parts, TOP + len(costs) * ROW


def _lines(races: Sequence[Result], left: float, right: float, bottom: float) -> list[str]:
    parts = [_text(left, 40, "by spans a sample (256 tokens; both axes logarithmic)")]
    curves = {
        way: [(r["size"]["spans"], compute_ratio(r, way).median) for r in races if way in r["ways"]] for way in LINES
    }
    curves = {way: points for way, points in curves.items() if len(points) > 1}
    if not curves:
        return parts
    xs = sorted({x for points in curves.values() for x, _ in points})
    low = min(1.0, *(y for points in curves.values() for _, y in points))
    high = max(y for points in curves.values() for _, y in points)
    x0, x1, y0, y1 = left + 36, right - 170, bottom - 24, float(TOP)

    def place(x: float, y: float) -> tuple[float, float]:
        across = math.log(x / xs[0]) / math.log(xs[-1] / xs[0])
        up = math.log(y / low) / math.log(high / low)
        return x0 + across * (x1 - x0), y0 + up * (y1 - y0)

    for x in xs:
        at, _ = place(x, low)
        parts += [
            f'<path d="M{at:.1f} {y0:.1f}V{y1:.1f}" stroke="{FAINT}"/>',
            _text(at, y0 + 18, str(x), "middle"),
        ]
    for y in (1, 2, 4, 8, 16, 32):
        if low <= y <= high:
            _, at = place(xs[0], y)
            parts += [
                f'<path d="M{x0:.1f} {at:.1f}H{x1:.1f}" stroke="{FAINT}"/>',
                _text(x0 - 8, at + 4, str(y), "end"),
            ]
    taken: list[float] = []
    for way, points in sorted(curves.items(), key=lambda item: -item[1][-1][1]):
        placed = [place(x, y) for x, y in points]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in placed)
        parts.append(f'<path d="{path}" fill="none" stroke="{_color(way)}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{_color(way)}"/>' for x, y in placed]
        label = max([placed[-1][1] + 4, *(y + 15 for y in taken)])
        taken.append(label)
        parts.append(_text(placed[-1][0] + 8, label, way, color=_color(way)))
    return parts


def draw_chart(stored: dict[str, Any]) -> str:
    """The drawing as SVG text; needs the race of the main size.

    Raises
    ------
    ValueError
        The main size was not raced.
    """
    races: dict[str, Result] = stored["races"]
    if MAIN not in races:
        raise ValueError(f"no race {MAIN!r} to draw")
    bars, bottom = _bars(races[MAIN], 16, WIDTH / 2)
    by_spans = [races[key] for key in (race_key(Size(spans=n)) for n in (4, 8, 16, 32)) if key in races]
    lines = _lines(by_spans, WIDTH / 2 + 16, WIDTH, bottom)
    title = "Cost of span gradients beside a plain fine-tuning step"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 16:.0f}" '
            'font-family="system-ui, sans-serif" role="img">',
            f"<title>{title}</title>",
            f'<rect width="{WIDTH}" height="{bottom + 16:.0f}" fill="white"/>',
            _text(16, 20, title, size=15),
            *bars,
            *lines,
            "</svg>",
            "",
        ]
    )
