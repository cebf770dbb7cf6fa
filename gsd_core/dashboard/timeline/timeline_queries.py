"""The timeline of a run, as ``gsd timeline`` stored it.

Timeline              its tables
load_timeline         read a Timeline
list_label_measures   measures of the labels that were followed
find_coordinates      where the spans lie on the map of one checkpoint
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from gsd_core.dashboard.reading.run_view import RunView
from gsd_core.methods.timeline_method import TIMELINE
from gsd_core.store import Run


@dataclass(frozen=True)
class Timeline:
    """Stored tables (see ``gsd_core.analysis.timeline``); ``ticks``: checkpoint → its name on an axis, in order."""

    info: dict[str, Any]
    curves: pd.DataFrame
    drift: pd.DataFrame
    layouts: pd.DataFrame
    ticks: dict[str, str]


def load_timeline(run: Run) -> Timeline:
    """Read the timeline of a run. ``UserError`` where there is none."""
    info = run.results.info(TIMELINE)
    tables = {name: run.results.read(TIMELINE, name) for name in ("curves", "drift", "layouts")}
    steps = tables["curves"].drop_duplicates("checkpoint").set_index("checkpoint")["step"]
    known = set(steps.index) if info["has_steps"] else set()  # a checkpoint without curves has no step
    ticks = {each: f"{int(steps[each]):,}" if each in known else each for each in info["checkpoints"]}
    return Timeline(info, **tables, ticks=ticks)


def list_label_measures(timeline: Timeline, head: str) -> list[str]:
    """Measures named ``head`` plus a label, for the labels that were followed."""
    known = set(timeline.curves["measure"])
    return [f"{head}{label}" for label in timeline.info["labels"] if f"{head}{label}" in known]


def find_coordinates(timeline: Timeline, view: RunView, at: str) -> pd.DataFrame:
    """``span, x, y, cluster, text`` on one checkpoint's map; the index is the row in ``view.spans``."""
    here = timeline.layouts[timeline.layouts["checkpoint"] == at]
    here = here[here["span"].isin(view.row_of)]
    rows = [view.row_of[span] for span in here["span"]]
    known = view.spans.loc[rows, ["cluster", "text"]]
    return known.assign(span=here["span"].to_numpy(), x=here["x"].to_numpy(), y=here["y"].to_numpy())
