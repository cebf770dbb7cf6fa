"""The list of clusters: a table that can be sorted and whose rows open a cluster by mouse or keyboard.

ClusterRow      one cluster
plot_clusters   mount the list; returns the cluster that was opened last

The list is beside the map when the page opens. Streamlit's own table would bring 1.5 MB of scripts, which the browser
would read before it draws the map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

from gsd_core.dashboard.components import declare

_list = declare("clusters", '<div class="gsd-clusters"></div>')


@dataclass(frozen=True)
class ClusterRow:
    """``glyph`` in ``color`` is the cluster's mark on the map; ``n_spans``, ``n_samples`` are its sizes."""

    cluster: int
    glyph: str
    color: str
    name: str
    n_spans: int
    n_samples: int


def plot_clusters(rows: Sequence[ClusterRow], *, key: str, max_height: int, title: str = "Cluster") -> int | None:
    """Show ``rows`` of clusters, or of what ``title`` says, in this order; ``key`` must differ for each run and
    checkpoint. Lists longer than ``max_height`` pixels scroll.

    Returns the cluster of ``rows`` that was opened last, None before the first is. Until then the first row is marked.
    """
    answer = _list(
        key=key,
        data={"rows": [list(astuple(row)) for row in rows], "maxHeight": max_height, "title": title},
        on_opened_change=lambda: None,
    )
    opened = answer.get("opened") if answer else None
    return next((row.cluster for row in rows if row.cluster == opened), None)
