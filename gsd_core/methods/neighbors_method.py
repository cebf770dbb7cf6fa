"""``gsd neighbors``: the spans of other samples best aligned with one span.

EXACT   the result that cosines without a sketch are
"""

from __future__ import annotations

from gsd_core.registry.result_kind import ResultKind, make_columns

EXACT = ResultKind(
    "exact",
    "neighbors --exact",
    {
        "pairs": make_columns("""
            checkpoint text      checkpoint
            a,b text             the span that was asked for, and its neighbour
            cosine_exact float   centred cosine whose product of the two gradients is exact
            raw_exact float      cosine of the two gradients, not centred, not sketched
        """),
    },
    is_by_checkpoint=False,
)
