"""Links to a span.

link_to_trace   a link that opens a span in its trace
link_to_map     a link that opens the map with a span chosen
"""

from __future__ import annotations

import streamlit as st

from gsd_core.dashboard.frame.address import PAGES
from gsd_core.dashboard.frame.run_cache import Chosen


def link_to_trace(chosen: Chosen, sample: str, span: str, label: str) -> None:
    """A link that opens a sample's trace at a span."""
    st.page_link(
        PAGES["trace"],
        label=label,
        icon=":material/arrow_forward:",
        icon_position="right",
        query_params=chosen.address(sample=sample, span=span),
    )


def link_to_map(chosen: Chosen, span: str, label: str) -> None:
    """A link that opens the map with a span chosen."""
    query = chosen.address(span=span)
    st.page_link(PAGES["map"], label=label, icon=":material/scatter_plot:", query_params=query)
