"""Chooses the run and checkpoint of a page.

choose_run    select boxes for run and checkpoint, and keys that step through the checkpoints
choose_keys   a switch for these keys
has_keys      whether the keys are on
"""

from __future__ import annotations

import streamlit as st

from gsd_core.dashboard.frame import address, workspaces
from gsd_core.dashboard.frame.page_text import escape
from gsd_core.dashboard.frame.run_cache import Chosen
from gsd_core.store import RunInfo

_KEYS, _OFF = "keys", "off"  # in the address


def has_keys() -> bool:
    """Whether keys of one letter work. People who dictate must be able to switch them off (WCAG 2.1.4)."""
    return address.read_address(_KEYS) != _OFF


def choose_keys() -> None:
    """A switch for keys of one letter, kept in the address."""
    box = "single_keys"
    st.session_state[box] = has_keys()
    st.toggle(
        "Keys of one letter (P, N)",
        key=box,
        help="Switch them off if you dictate to your computer. The address keeps the choice, so a bookmark does too.",
        on_change=lambda: address.write_address(_KEYS, None if st.session_state[box] else _OFF),
    )


def choose_run() -> Chosen | None:
    """Select boxes for the run and, where there are several, its checkpoint; None where there is no run.

    Two buttons, each with a key, go to the checkpoints before and after.
    """
    runs = {info.name: info for info in workspaces.list_runs() if info.status != "broken"}
    if not runs:
        return None
    wanted = st.query_params.get("run")
    if wanted and wanted not in runs:
        st.warning(f"There is no run “{escape(wanted)}” in this workspace; showing another.")
    name = address.choose(
        "Run",
        "run",
        list(runs),
        format_func=lambda run: f"{run}  ·  {runs[run].n_spans:,} spans" if run in runs else run,
    )
    info = runs[name]
    if len(info.checkpoints) > 1:
        checkpoint = address.choose("Checkpoint", "checkpoint", info.checkpoints, default=info.first_look)
        _show_steps(info, info.checkpoints.index(checkpoint))
    else:
        checkpoint = info.checkpoints[0] if info.checkpoints else ""
    return Chosen(info, checkpoint)


def _show_steps(info: RunInfo, at: int) -> None:
    """Buttons with keys to the checkpoints before and after number ``at``."""
    # Letters because Streamlit has no shortcuts with punctuation, and arrows belong to the focused element. Streamlit
    # ignores letters while text is typed. Screen readers read the icons' names.
    if not has_keys():
        address.write_address(_KEYS, _OFF)  # a link from another page may lack it
    for key, word, icon, to in (
        ("P", "Previous", "skip_previous", at - 1),
        ("N", "Next", "skip_next", at + 1),
    ):
        is_there = 0 <= to < len(info.checkpoints)
        name = info.checkpoints[to] if is_there else ""
        st.button(
            "",
            key=f"checkpoint_{word.lower()}",
            icon=f":material/{icon}:",
            help=f"{word} checkpoint: {escape(name)}" if is_there else f"No {word.lower()} checkpoint",
            disabled=not is_there,
            shortcut=key if has_keys() else None,
            on_click=address.write_address,
            args=("checkpoint", None if name == info.first_look else name),
        )
