"""Hands a click in one component to another part of the page, so that only that part runs.

take_picks   mount the receiving end in the fragment that shows what was clicked

A component reruns its own part of the page. To rerun another part from there takes a second run, and the click waits
for both. Instead ``plot_trace``, ``plot_heat`` and ``plot_scatter`` send the click in the browser (``pick.js``) to the
receiver named by their argument ``relay``. Without a receiver the click comes back through the component.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gsd_core.dashboard.components import declare, read_sent

_relay = declare("relay", '<div class="gsd-relay" hidden></div>')


def take_picks(name: str, on_pick: Callable[[Any], None]) -> None:
    """Call ``on_pick`` with what was clicked, before the fragment around this call runs again.

    ``name`` is the component's ``relay``. The value comes from the browser, so ``on_pick`` must check it.
    """
    key = f"relay_{name}"

    def taken() -> None:
        value = read_sent(key, "taken")
        if value is not None:
            on_pick(value)

    _relay(key=key, data={"name": name}, height=1, on_taken_change=taken)
