"""``gsd neighbors``: the spans of other samples best aligned with one span.

NeighborsOptions   the flags
EXACT              the result: cosines without a sketch
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
    """The checkpoint. Default: the run's default checkpoint."""
    seed: int = 0
    """Seed of the null's random pairs."""
    other_words: bool = False
    """Only spans in other words."""
    exact: bool = False
    """Rank twice as many candidates by gradients without a sketch. This loads the model."""


EXACT = ResultKind(
    "exact",
    "neighbors --exact",
    {
        "pairs": make_columns("""
            checkpoint text      checkpoint
            a,b text             the span, and its neighbour
            cosine_exact float   centred cosine, with the exact product of the two gradients
            raw_exact float      cosine of the two gradients, not centred and not sketched
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
