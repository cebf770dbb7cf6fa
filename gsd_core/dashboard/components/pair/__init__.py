"""Two traces side by side; aligned spans share a colour and are joined by a line.

PairSpan    a span or a stretch of text between spans
PairLink    an aligned pair: its colour, letter and cosine
plot_pair   mount the viewer; returns the span whose trace is to be opened

The text is untrusted: the browser side writes it with ``textContent`` only. Keys: Tab reaches the traces, up and down
move within one, left and right go to the aligned span of the other, Home and End jump, Enter or Space choose; Tab also
reaches the link to the span's trace. Long traces scroll in boxes of their own, together unless the reader switches
that off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gsd_core.dashboard.components import declare, read_sent

_SHELL = """
<div class="gsd-pair">
  <label class="tools" hidden><input type="checkbox" checked /> Scroll together, aligned spans level</label>
  <div class="head left"><span class="name"></span><button type="button">Copy</button></div>
  <div class="head right"><span class="name"></span><button type="button">Copy</button></div>
  <svg class="lines" aria-hidden="true"></svg>
  <div class="side left" role="group"></div>
  <div class="side right" role="group"></div>
</div>
"""

_pair_viewer = declare("pair", _SHELL)


@dataclass(frozen=True)
class PairSpan:
    """A stretch of a trace; ``span`` None: text between spans.

    ``number`` counts spans from 1, ``link`` is the index of the span's pair in ``links``, ``address`` that of its
    trace, ``tip`` is read out and shown on hover.
    """

    text: str
    span: str | None = None
    number: int = 0
    link: int | None = None
    address: str = ""
    tip: str = ""

    def as_data(self) -> dict[str, Any]:
        """What is sent to the browser."""
        if self.span is None:
            return {"t": self.text}
        return {"t": self.text, "s": self.span, "n": self.number, "l": self.link, "a": self.address, "h": self.tip}


@dataclass(frozen=True)
class PairLink:
    """``letter`` tells pairs apart where colours do not; ``value`` is written on the line."""

    color: str
    letter: str
    value: str


def plot_pair(
    left: list[PairSpan],
    right: list[PairSpan],
    links: list[PairLink],
    *,
    names: tuple[str, str],
    key: str,
    selected: Sequence[str] = (),
    on_choose: Callable[[str], None] | None = None,
) -> str | None:
    """Show two traces in reading order under their ``names``; the ``selected`` spans are marked as chosen.

    ``on_choose`` gets a span's id before the page reruns. Returns the span whose link was clicked just now, else None.
    """

    def chosen() -> None:
        span = read_sent(key, "chosen")
        if on_choose is not None and span:
            on_choose(str(span))

    data = {
        "left": [each.as_data() for each in left],
        "right": [each.as_data() for each in right],
        "links": [[link.color, link.letter, link.value] for link in links],
        "names": list(names),
        "selected": list(selected),
    }
    answer = _pair_viewer(key=key, data=data, on_chosen_change=chosen, on_opened_change=lambda: None)
    opened = answer.get("opened") if answer else None
    return str(opened) if opened else None
