"""The trace viewer: a reasoning trace whose spans can be chosen by mouse or keyboard.

TraceSegment   a stretch of text; with an id it is a span
plot_trace     mount the viewer

The text is untrusted: the browser side writes it with ``textContent`` only. Keys: Tab reaches the trace, arrows
move from span to span, Home and End jump, Enter or Space choose. In the search box Enter and Shift+Enter go to the next
and the previous match, Escape ends the search.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gsd_core.dashboard.components import declare, read_sent

_SHELL = """
<div class="gsd-trace">
  <div class="tools" hidden>
    <input type="search" placeholder="Search in trace" aria-label="Search in trace; Enter goes to the next match" />
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
    """A stretch of a trace; ``span`` None: text between spans.

    ``tip`` lines are shown on hover, ``label`` is read out. ``tokens`` are (text, share) with a share in [0, 1] for the
    loss tint, empty without it.
    """

    text: str
    span: str | None = None
    color: str = ""
    label: str = ""
    tip: tuple[str, ...] = ()
    tokens: tuple[tuple[str, float], ...] = field(default=())

    def as_data(self) -> dict[str, Any]:
        """What is sent to the browser; names are short because there may be thousands."""
        if self.span is None:
            return {"t": self.text}
        data: dict[str, Any] = {"t": self.text, "s": self.span, "c": self.color, "l": self.label, "h": list(self.tip)}
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
    """Show a trace, ``segments`` in reading order.

    ``selected`` is the span chosen outside the viewer. The browser remembers its own clicks: then leave it as it was,
    or the whole trace is sent again. ``on_choose`` gets a span's id before the page reruns, unless the
    ``relay.take_picks`` named ``relay`` gets it. A trace longer than ``max_height`` pixels scrolls, with the selected
    span in view. With ``has_tools`` it can be searched and copied.
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
