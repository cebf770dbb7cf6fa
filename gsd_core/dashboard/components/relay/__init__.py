"""What is chosen in one component, taken where it is shown: only that part of the page runs, and once.

take_picks   mount, in the fragment that answers, the end that takes picks

A component reruns the part of the page that it stands in; a callback there may ask for another part, which is a second
run, and a click waits for both. ``plot_trace``, ``plot_heat`` and ``plot_scatter`` hand their picks over in the browser
instead (``pick.js``), to the end with the name that they were given as ``relay``. Where nobody takes them they come
back through the component.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gsd_core.dashboard.components import declare, read_sent

_relay = declare("relay", '<div class="gsd-relay" hidden></div>')


def take_picks(name: str, on_pick: Callable[[Any], None]) -> None:
    """Call ``on_pick`` with what was chosen before the fragment around this call runs again.

    Its argument is what the browser sent: not to be trusted in type or range. ``name`` is the component's ``relay``.
    """
    key = f"relay_{name}"

    def taken() -> None:
        value = read_sent(key, "taken")
        if value is not None:
            on_pick(value)

    _relay(key=key, data={"name": name}, height=1, on_taken_change=taken)
