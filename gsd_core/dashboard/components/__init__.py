"""Our own browser components (Streamlit components v2): plain JavaScript, nothing is fetched from elsewhere.

declare     a component from the files of its folder
read_sent   a value that a component's browser side sent
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
    """The value ``name`` that the component mounted under ``key`` sent before this run (ours); None for none.

    It comes from the browser, so its type and range must be checked.
    """
    return (st.session_state.get(key) or {}).get(name)
