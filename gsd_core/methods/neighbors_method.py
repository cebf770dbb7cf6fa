"""``gsd neighbors``: the spans of other samples best aligned with one span.

NeighborsOptions   the flags
EXACT              the result that cosines without a sketch are
NEIGHBORS          the method
"""

from __future__ import annotations

from dataclasses import dataclass

from gsd_core.registry.method import Job, Method
from gsd_core.registry.options import option
from gsd_core.registry.result_kind import ResultKind, make_columns


@dataclass(frozen=True, slots=True)
class NeighborsOptions:
    """Flags of ``gsd neighbors``."""

    run: str = option(metavar="RUN", is_positional=True)
    """The run."""
    span: str = option(metavar="SAMPLE#K")
    """The span."""
    top: int = option(10, metavar="N", check="positive")
    """How many neighbours to show."""
    checkpoint: str | None = None
    """The checkpoint. Default: the one to look at first."""
    seed: int = 0
    """Seed of the null's random pairs."""
    other_words: bool = False
    """Only spans that say it in other words."""
    exact: bool = False
    """Rank twice as many by gradients without a sketch; this loads the model."""


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

NEIGHBORS = Method(
    "neighbors",
    "spans of other samples best aligned with one span",
    NeighborsOptions,
    run="gsd_core.stages.neighbors_stage:run_neighbors",
    describe="gsd_core.stages.neighbors_stage:describe_neighbors",
    order=40,
    job=Job("Exact neighbours of {span}", "exact cosines", opens="trace"),
    results=(EXACT,),
)
