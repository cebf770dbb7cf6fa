"""What training steps on single spans taught others, as ``gsd lesson`` stored it.

Lesson            one step on one span
load_lesson       the newest lesson of a span
load_scores       how well every representation foretold what was learned
describe_step     how far a step went, in words
STEP              columns that tell one kind of step from another
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from gsd_core.methods.lesson_method import LESSON
from gsd_core.store import Run

STEP = ["optimizer", "share", "n_steps"]


class Lesson(NamedTuple):
    """``learned`` maps watched spans to (how much their loss fell, how much first order says), in nats a token."""

    own_before: float
    own_after: float
    how: str
    learned: Mapping[str, tuple[float, float]]


def describe_step(optimizer: str, share: float, n_steps: int) -> str:
    """``"one SGD step, 50 % of its loss to first order"``."""
    steps = f"one {optimizer.upper()} step" if n_steps == 1 else f"{n_steps} {optimizer.upper()} steps"
    return f"{steps}, {share:.0%} of its loss to first order"


def load_lesson(run: Run, checkpoint: str, span: str) -> Lesson | None:
    """The newest lesson of ``span`` at ``checkpoint``; None where it was not taught."""
    if "taught" not in run.results.tables(LESSON, checkpoint):
        return None
    taught = run.results.read(LESSON, "taught", checkpoint)
    taught = taught[taught["span"] == span]
    if not len(taught):
        return None
    row = taught.iloc[-1]
    learned = run.results.read(LESSON, "learned", checkpoint)
    own = learned[(learned["taught"] == span) & (learned[STEP] == row[STEP]).all(axis=1)]
    values = zip(own["learned"].astype(float), own["predicted"].astype(float), strict=True)
    how = describe_step(str(row["optimizer"]), float(row["share"]), int(row["n_steps"]))
    return Lesson(float(row["own_before"]), float(row["own_after"]), how, dict(zip(own["span"], values, strict=True)))


def load_scores(run: Run, checkpoint: str) -> pd.DataFrame:
    """Table ``scores`` of the checkpoint, with the column ``step`` in words; empty where spans were not drawn."""
    if "scores" not in run.results.tables(LESSON, checkpoint):
        return pd.DataFrame()
    scores = run.results.read(LESSON, "scores", checkpoint)
    return scores.assign(step=[describe_step(*key) for key in scores[STEP].itertuples(index=False, name=None)])
