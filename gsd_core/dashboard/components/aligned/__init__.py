"""The list of spans aligned with one: each with its cosine beside chance, its text, and the way to it.

AlignedSpan    one of them
plot_aligned   mount the list; returns the span whose trace is to be opened

One component for the whole list: twenty-five spans as Streamlit's own elements are two hundred messages, and a browser
takes longer to place an element than to fill it. Texts are untrusted and written with ``textContent`` only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass

from gsd_core.dashboard.components import declare, read_sent

_list = declare("aligned", '<div class="gsd-aligned"></div>')


@dataclass(frozen=True)
class AlignedSpan:
    """``share`` and ``tick`` are per cent of the bar: the cosine, and what chance reaches (None: unknown), which
    ``beside`` says in words. ``glyph`` in ``color`` is the mark of the cluster ``name``; ``exact`` is the cosine
    without a sketch, "" where it is not known; ``link`` names the trace at ``address``."""

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
    """Show ``spans`` in this order.

    Parameters
    ----------
    of
        The span that they are aligned with.
    explained
        What a cosine is, and what an exact one is, on hover.
    on_show
        Called with a span's id before the page reruns, by a button that makes it the chosen span; None: no button.

    Returns
    -------
    The span whose trace is to be opened, None in all reruns but the one after such a click.
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
