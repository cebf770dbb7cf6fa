"""``gsd timeline``: the same spans at every checkpoint of a run.

TIMELINE   the result that curves, drift and aligned layouts are
"""

from __future__ import annotations

from gsd_core.registry.result_kind import ResultKind, make_columns

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
