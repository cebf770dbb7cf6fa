"""Clusters from coarse to fine, as pages read them.

load_levels   the clusters of every level with their evidence, and each span's cluster
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from gsd_core.dashboard.reading.families import Groups
from gsd_core.methods.analyze_method import LEVELS
from gsd_core.methods.structure_method import LEVEL_NAMES
from gsd_core.store import RunReader


def load_levels(run: RunReader, checkpoint: str, spans: pd.Series) -> tuple[dict[str, Groups], pd.DataFrame]:
    """The levels that hold a cluster, by name, and a column a level with the clusters (n,) int32 of ``spans`` (n,).

    Both are empty where none were sought; -1 is in no cluster.
    """
    if "clusters" not in run.results.tables(LEVELS, checkpoint):
        return {}, pd.DataFrame(index=spans.index)
    table = run.results.read(LEVELS, "clusters", checkpoint)
    members = run.results.read(LEVELS, "members", checkpoint)
    levels = {}
    for name in LEVEL_NAMES:
        own = table[table["level"] == name].sort_values("cluster", ignore_index=True)
        if len(own):
            levels[name] = Groups(own)
    names = list(levels)
    if members["span"].equals(spans.reset_index(drop=True)):
        found = members[names].set_axis(spans.index)
    else:
        found = members.set_index("span")[names].reindex(spans).fillna(-1).set_axis(spans.index)
    return levels, found.astype(np.int32)
