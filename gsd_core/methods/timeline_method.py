"""``gsd timeline``: the same spans at every checkpoint of a run.

TimelineOptions   the flags
TIMELINE          the result that curves, drift and aligned layouts are
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
    """The checkpoint whose clusters are followed. Default: the one to look at first."""
    seed: int = 0
    """Seed of resampling and maps."""
    again: bool = False
    """Compute it anew."""


TIMELINE = ResultKind(
    "timeline",
    "timeline",
    {
        "curves": make_columns("""
            checkpoint text              checkpoint
            step int                     training step, or the place in capture order
            measure text                 what is measured
            value,ci_low,ci_high float   mean and its 95 % interval over samples
            n int                        spans or pairs
            chance float                 what chance gives
        """),
        "drift": make_columns("""
            span text                     span id
            checkpoint text               checkpoint
            to_previous,to_first float    cosine of the span with itself at the checkpoint before, and at the first
        """),
        "layouts": make_columns("""
            checkpoint text   checkpoint
            step int          training step
            span text         span id
            x,y float         coordinates; layouts of all checkpoints are aligned
        """),
    },
    is_by_checkpoint=False,
)

FOLLOW = Method(
    "timeline",
    "the same spans at every checkpoint: curves, drift, maps",
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
        answers="when in training structure appears, and when it goes",
    ),
)
