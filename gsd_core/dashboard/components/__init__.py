"""Browser components of our own (Streamlit components v2): plain JavaScript, nothing fetched from elsewhere.

declare     a component from the files of its folder
read_sent   what the browser side of one has sent
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

_FOLDER = Path(__file__).parent


def declare(name: str, html: str, *scripts: str) -> Callable[..., Any]:
    """The component ``gsd_name`` (ours): what mounts it, as ``st.components.v2.component`` returns it.

    Its style is ``name.css`` in the folder `name`, where there is one. The `scripts` of that folder, ``../`` for those
    that components share, become one module in this order: each may use what stands above it.
    """
    folder = _FOLDER / name
    style = folder / f"{name}.css"
    return st.components.v2.component(
        f"gsd_{name}",
        html=html,
        css=style.read_text(encoding="utf-8") if style.is_file() else None,
        js="\n".join((folder / script).read_text(encoding="utf-8") for script in scripts),
    )


def read_sent(key: str, name: str) -> Any:
    """What the component mounted under ``key`` sent as ``name`` before this run (ours); None where it sent nothing.

    As the browser gave it: not to be trusted in type or range.
    """
    return (st.session_state.get(key) or {}).get(name)
