"""The list of spans aligned with one span: each with its cosine, its null, its text and a link.

AlignedSpan    one row of the list
plot_aligned   mount the list; returns the span whose trace is to be opened

The whole list is one component because twenty-five spans as Streamlit's own elements would be two hundred messages.
Texts are untrusted and written with ``textContent`` only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass

from gsd_core.dashboard.components import declare, read_sent

_list = declare("aligned", '<div class="gsd-aligned"></div>')


@dataclass(frozen=True)
class AlignedSpan:
    """``share`` and ``tick`` are per cent of the bar: the cosine and the null's 95th percentile (None: unknown).

    ``beside`` is the null in words. ``glyph`` in ``color`` is the mark of the cluster called ``name``. ``exact`` is the
    cosine without a sketch, "" where it is not known. ``link`` is the text of the link to ``address``.
    """

    span: str
    cosine: str
    share: float
    tick: float | None
    beside: str
    glyph: str
    color: str
    name: str
    text: str
    exact: str
    link: str
    address: str


def plot_aligned(
    spans: Sequence[AlignedSpan],
    *,
    of: str,
    key: str,
    explained: tuple[str, str],
    on_show: Callable[[str], None] | None = None,
) -> str | None:
    """Show ``spans`` in this order, which are aligned with the span ``of``.

    ``explained`` says on hover what a cosine and an exact one are. ``on_show`` gets a span's id before the page reruns,
    from a button that chooses it; None: no button. Returns the span whose link was clicked just now, else None.
    """

    def shown() -> None:
        span = read_sent(key, "shown")
        if on_show is not None and span:
            on_show(str(span))

    data = {
        "of": of,
        "spans": [list(astuple(each)) for each in spans],
        "explained": list(explained),
        "canShow": on_show is not None,
    }
    answer = _list(key=key, data=data, on_shown_change=shown, on_opened_change=lambda: None)
    opened = answer.get("opened") if answer else None
    return str(opened) if opened else None
