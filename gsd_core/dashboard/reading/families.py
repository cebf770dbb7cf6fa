"""Families as pages read them: prototypes with the spans aligned with them beyond chance.

Groups          numbered groups of spans with their evidence, names and marks
Families        families of one checkpoint, and their members
load_families   read them
LEAST_COLOURED  share of spans in groups that a picture begins with
choose_telling  the prototype that shows best what a family is
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from gsd_core.dashboard.look.colors import NOISE_MARK, Mark, compute_marks
from gsd_core.methods.analyze_method import FAMILIES
from gsd_core.store import RunReader

LEAST_COLOURED = 0.1
"""Share of spans in clusters, or in families, below which a picture does not begin with them: it would be grey."""
MAX_MARKED = 48  # families with a mark of their own: eight hues in six shapes


@dataclass(frozen=True)
class Groups:
    """Groups of spans with their evidence: ``table`` has a row a group, numbered from 0 in this order, with columns
    ``label`` and ``strength``."""

    table: pd.DataFrame

    @cached_property
    def _marks(self) -> dict[Hashable, Mark]:
        return compute_marks(list(range(min(len(self.table), MAX_MARKED))))

    def count(self, strength: str) -> int:
        """How many groups are of this strength."""
        return int((self.table["strength"] == strength).sum())

    def mark(self, group: int) -> Mark:
        """How a group is drawn: hollow unless it is confirmed, grey beyond the first 48."""
        mark = self._marks.get(group, NOISE_MARK)
        is_open = 0 <= group < len(self.table) and self.table["strength"].iloc[group] != "confirmed"
        return mark.as_open() if is_open else mark

    def name(self, group: int) -> str:
        """``"3 · # - # = #"``; ``""`` for a group that is not there."""
        return f"{group} · {self.table['label'].iloc[group]}" if 0 <= group < len(self.table) else ""

    def list_groups(self) -> pd.DataFrame:
        """All groups in their order: columns ``group, label, name, mark``."""
        groups = list(range(len(self.table)))
        return pd.DataFrame(
            {
                "group": groups,
                "label": self.table["label"].astype(str).tolist(),
                "name": [self.name(group) for group in groups],
                "mark": [self.mark(group) for group in groups],
            }
        )


@dataclass(frozen=True)
class Families(Groups):
    """``table`` has a row a family as ``FAMILIES`` declares, confirmed ones first; ``members`` a row a member."""

    members: pd.DataFrame

    @property
    def n_confirmed(self) -> int:
        """How many are confirmed."""
        return self.count("confirmed")

    def find_families(self, spans: pd.Series) -> np.ndarray:
        """(n,) int32 the first family that holds each of the spans (n,) as a member or prototype; -1 for none."""
        first = dict(zip(self.table["prototype"], self.table["family"].astype(int), strict=True))
        for span, family in zip(self.members["span"], self.members["family"].astype(int), strict=True):
            if span not in first or family < first[span]:
                first[span] = family
        return spans.map(first).fillna(-1).to_numpy(np.int32)

    def members_of(self, family: int) -> pd.DataFrame:
        """Members of one family, best first: columns ``span, cosine``."""
        return self.members.loc[self.members["family"] == family, ["span", "cosine"]].reset_index(drop=True)


def load_families(run: RunReader, checkpoint: str) -> Families:
    """The families of a checkpoint; empty where none were sought."""
    tables = {name: pd.DataFrame(columns=[each.name for each in columns]) for name, columns in FAMILIES.tables.items()}
    for name in run.results.tables(FAMILIES, checkpoint):
        tables[name] = run.results.read(FAMILIES, name, checkpoint)
    return Families(tables["families"].sort_values("family", ignore_index=True), tables["members"])


def choose_telling(families: Families) -> str:
    """The prototype of the confirmed family whose members have the fewest words in common with it, of those that have
    at least half as many samples as the largest; ``""`` where none is confirmed. Source: ours.

    A family of one wording is large and tells little.
    """
    table = families.table[families.table["strength"] == "confirmed"]
    if not len(table):
        return ""
    table = table[2 * table["n_samples"] >= table["n_samples"].max()]
    words = table["wording"].astype(float).fillna(1.0)
    return str(table["prototype"].iloc[int(np.argmin(words))])
