"""Clusters from coarse to fine, as pages read them.

ClusterLevel   the clusters of one level, their evidence and marks
load_levels    read them, with each span's cluster at every level
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from gsd_core.dashboard.look.colors import NOISE_MARK, Mark, compute_marks
from gsd_core.dashboard.reading.families import MAX_MARKED
from gsd_core.methods.analyze_method import LEVELS
from gsd_core.methods.structure_method import LEVEL_NAMES
from gsd_core.store import RunReader


@dataclass(frozen=True)
class ClusterLevel:
    """``table`` has a row a cluster as ``LEVELS`` declares, by falling size."""

    name: str
    table: pd.DataFrame

    @cached_property
    def _marks(self) -> dict[Hashable, Mark]:
        return compute_marks(self.table["cluster"].head(MAX_MARKED).tolist())

    def mark(self, cluster: int) -> Mark:
        """How a cluster is drawn: hollow unless it is confirmed, grey beyond the first 48."""
        mark = self._marks.get(cluster, NOISE_MARK)
        is_open = 0 <= cluster < len(self.table) and self.table["strength"].iloc[cluster] != "confirmed"
        return mark.as_open() if is_open else mark

    def title(self, cluster: int) -> str:
        """``"3 · # - # = #"``; ``""`` for a cluster that is not there."""
        return f"{cluster} · {self.table['label'].iloc[cluster]}" if 0 <= cluster < len(self.table) else ""

    def list_groups(self) -> pd.DataFrame:
        """All clusters by size: columns ``group, label, name, mark``."""
        groups = self.table["cluster"].astype(int).tolist()
        return pd.DataFrame(
            {
                "group": groups,
                "label": self.table["label"].astype(str).tolist(),
                "name": [self.title(group) for group in groups],
                "mark": [self.mark(group) for group in groups],
            }
        )

    def count(self, strength: str) -> int:
        """How many clusters are of this strength."""
        return int((self.table["strength"] == strength).sum())


def load_levels(run: RunReader, checkpoint: str, spans: pd.Series) -> tuple[dict[str, ClusterLevel], pd.DataFrame]:
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
            levels[name] = ClusterLevel(name, own)
    names = list(levels)
    if members["span"].equals(spans.reset_index(drop=True)):
        found = members[names].set_axis(spans.index)
    else:
        found = members.set_index("span")[names].reindex(spans).fillna(-1).set_axis(spans.index)
    return levels, found.astype(np.int32)
