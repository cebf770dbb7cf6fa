"""Chooses the run and checkpoint of a page.

find_owners   which runs are baselines or controls of which
pick_run      the run that a page begins with
choose_run    select boxes for run and checkpoint, and keys that step through the checkpoints
choose_keys   a switch for these keys
has_keys      whether the keys are on
"""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from gsd_core.dashboard.frame import address, workspaces
from gsd_core.dashboard.frame.page_text import escape
from gsd_core.dashboard.frame.run_cache import Chosen
from gsd_core.methods.demo_method import DEMO_SOURCE
from gsd_core.store import RunInfo
from gsd_core.tiers import find_tier

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


def find_owners(infos: Sequence[RunInfo]) -> dict[str, str]:
    """Run → the run that it is a baseline or control of: what it was captured as or, for a tier that is no gradient,
    the newest run of the same spans that is."""
    owners = {info.name: str(info.manifest.get("baseline_of") or "") for info in infos}
    spans_of = {info.name: [info.manifest.get(key) for key in ("dataset", "segmenter")] for info in infos}
    gradients = [info.name for info in infos if _is_gradient(info)]
    for info in infos:
        if not owners[info.name] and not _is_gradient(info):
            same = [name for name in gradients if spans_of[name] == spans_of[info.name]]
            owners[info.name] = same[0] if same else ""
    return {name: owner for name, owner in owners.items() if owner in owners}


def _is_gradient(info: RunInfo) -> bool:
    tier = find_tier(info.manifest.get("tier"))
    return tier is None or tier.is_gradient


def _is_planted(info: RunInfo) -> bool:
    return (info.manifest.get("dataset") or {}).get("source") == DEMO_SOURCE


def pick_run(infos: Sequence[RunInfo], needs: Sequence[str] = ()) -> str:
    """The newest run with all results that a page ``needs``, else the newest with spans, else the newest. ``infos`` are
    newest first; baselines are left out where they can be, and the planted corpus comes after real data."""
    owners = find_owners(infos)
    infos = sorted(infos, key=_is_planted)
    own = [info for info in infos if info.name not in owners] or list(infos)
    ready = [info for info in own if info.n_spans and all(info.results.get(each) for each in needs)]
    return next(iter(ready or [info for info in own if info.n_spans] or own)).name


def choose_run(needs: Sequence[str] = ()) -> Chosen | None:
    """Select boxes for the run and, where there are several, its checkpoint; None where there is no run.

    It begins with ``pick_run`` of what the page ``needs``. Two buttons, each with a key, go to the checkpoints before
    and after.
    """
    infos = [info for info in workspaces.list_runs() if info.status != "broken"]
    if not infos:
        return None
    wanted, owners = address.read_address("run"), find_owners(infos)
    runs = {info.name: info for info in infos if info.name not in owners or info.name == wanted}
    if st.query_params.get("run") and wanted not in runs:
        st.warning(f"There is no run “{escape(wanted)}” in this workspace; showing another.")
    if wanted not in runs:
        address.write_address("run", pick_run(infos, needs))  # a copied link must name its run
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
    for key, word, icon, to in (("P", "Previous", "skip_previous", at - 1), ("N", "Next", "skip_next", at + 1)):
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
