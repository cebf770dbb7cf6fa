"""``gsd timeline``: follow the same spans through every checkpoint of a run.

TimelineOptions   the flags
TIMELINE          the result: curves, drift and aligned layouts
FOLLOW            the method
"""

from __future__ import annotations

from dataclasses import dataclass

from gsd_core.registry.method import Job, Method, Page
from gsd_core.registry.options import option
from gsd_core.registry.result_kind import ResultKind, make_columns


@dataclass(frozen=True, slots=True)
class TimelineOptions:
    """Flags of ``gsd timeline``."""

    run: str = option(metavar="RUN", is_positional=True)
    """The run."""
    label: list[str] | None = option(None, metavar="meta.FIELD")
    """Also follow the spans that share a value of these fields. Default: the fields that label steps, at most four."""
    reference: str | None = option(None, metavar="CHECKPOINT")
    """The checkpoint whose clusters are followed. Default: the run's default checkpoint."""
    seed: int = 0
    """Seed of resampling and maps."""
    again: bool = False
    """Compute it again."""


TIMELINE = ResultKind(
    "timeline",
    "timeline",
    {
        "curves": make_columns("""
            checkpoint text              checkpoint
            step int                     training step, or number in capture order
            measure text                 what is measured
            value,ci_low,ci_high float   mean and its 95 % interval over samples
            n int                        number of spans or pairs
            chance float                 value by chance
        """),
        "drift": make_columns("""
            span text                     span id
            checkpoint text               checkpoint
            to_previous,to_first float    cosine with itself at the previous or the first checkpoint
        """),
        "layouts": make_columns("""
            checkpoint text   checkpoint
            step int          training step
            span text         span id
            x,y float         coordinates, comparable between checkpoints
        """),
    },
    is_by_checkpoint=False,
)

FOLLOW = Method(
    "timeline",
    "follow the same spans through every checkpoint: curves, drift, maps",
    TimelineOptions,
    run="gsd_core.stages.timeline_stage:run_timeline",
    describe="gsd_core.stages.timeline_stage:describe_timeline",
    order=50,
    job=Job("Timeline of {run}", "timeline", opens="timeline"),
    results=(TIMELINE,),
    page=Page(
        "timeline",
        "Timeline",
        "gsd_core.dashboard.timeline.timeline_view:show_timeline",
        (
            "No timeline yet",
            "Capture a data set at several checkpoints of one training to see what changes between them.",
        ),
        order=60,
        needs=("timeline",),
        answers="when in training structure appears and disappears",
    ),
)
