"""``gsd evaluate``: the structure benchmark of a run against a label.

EVIDENCE   the result that its rows are
"""

from __future__ import annotations

from gsd_core.registry.result_kind import ResultKind, make_columns

EVIDENCE = ResultKind(
    "evidence",
    "evaluate",
    {
        "rows": make_columns("""
            checkpoint text              checkpoint
            step int                     its training step, missing where unknown
            label text                   field whose values should bring spans together
            level text                   span or sample
            where text                   conditions on the spans
            representation text          what is compared
            kind text                    gradient, baseline or control
            metric text                  what is measured
            value,ci_low,ci_high float   value and its 95 % interval over samples
            n int                        queries
            chance,ceiling float         what random and perfect neighbours give
            seed_spread float            largest less smallest value over sketch seeds
            n_seeds int                  sketch seeds
        """),
    },
    is_by_checkpoint=False,
)
