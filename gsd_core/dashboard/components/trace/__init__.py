"""The trace viewer: a reasoning trace whose spans can be clicked, and reached and chosen by keyboard.

TraceSegment   a stretch of text; with an id it is a span
plot_trace     mount the viewer; it calls back when a span is chosen

The text is untrusted: the browser side writes it with ``textContent`` only. Keys: Tab reaches the trace, arrows
move from span to span, Home and End jump, Enter or Space choose. In the search box Enter goes on, Shift+Enter back,
Escape ends the search.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gsd_core.dashboard.components import declare, read_sent

_SHELL = """
<div class="gsd-trace">
  <div class="tools" hidden>
    <input type="search" placeholder="Search in trace" aria-label="Search in trace; Enter goes to the next place" />
    <output aria-live="polite"></output>
    <button type="button">Copy</button>
  </div>
  <div class="text" role="group"></div>
  <div class="tip" aria-hidden="true" hidden></div>
</div>
"""

_trace_viewer = declare("trace", _SHELL)


@dataclass(frozen=True)
class TraceSegment:
    """``span`` None: plain text between spans. ``tip`` lines shown on hover and read out; ``tokens`` are (text, share)
    with share in [0, 1] for the loss tint, empty without it."""

    text: str
    span: str | None = None
    color: str = ""
    label: str = ""
    tip: tuple[str, ...] = ()
    tokens: tuple[tuple[str, float], ...] = field(default=())

    def as_data(self) -> dict[str, Any]:
        """What travels to the browser; short names, for there may be thousands."""
        if self.span is None:
            return {"t": self.text}
        data: dict[str, Any] = {
            "t": self.text,
            "s": self.span,
            "c": self.color,
            "l": self.label,
            "h": list(self.tip),
        }
        if self.tokens:
            data["k"] = [[text, round(share, 3)] for text, share in self.tokens]
        return data


def plot_trace(
    segments: list[TraceSegment],
    *,
    key: str,
    selected: str | None = None,
    on_choose: Callable[[str], None] | None = None,
    relay: str = "",
    max_height: int | None = None,
    has_tools: bool = False,
    name: str = "Reasoning trace",
) -> None:
    """Show a trace.

    Parameters
    ----------
    segments
        In reading order.
    key
        Identity on the page; also names what is called back.
    selected
        The span chosen from elsewhere. What is clicked here is kept by the browser: leave this as it was, so that a
        click does not send the whole trace again.
    on_choose
        Called with the span's id before the page reruns.
    relay
        ``relay.take_picks`` of this name takes the span's id instead.
    max_height
        In pixels; longer traces scroll, with the selected span in view. None: as long as it is.
    has_tools
        Whether the trace can be searched and copied.
    """

    def chosen() -> None:
        span = read_sent(key, "chosen")
        if on_choose is not None and span:
            on_choose(str(span))

    data = {
        "segments": [segment.as_data() for segment in segments],
        "selected": selected,
        "maxHeight": max_height,
        "name": name,
        "tools": has_tools,
        "clickable": on_choose is not None,
        "relay": relay,
    }
    _trace_viewer(key=key, data=data, on_chosen_change=chosen)
