"""``gsd evaluate``: the structure benchmark of a run against a label.

EvaluateOptions   the flags
EVIDENCE          the result that its rows are
EVALUATE          the method
"""

from __future__ import annotations

from dataclasses import dataclass

from gsd_core.registry.method import Job, Method, Page
from gsd_core.registry.options import option
from gsd_core.registry.result_kind import ResultKind, make_columns


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """Flags of ``gsd evaluate``."""

    run: str = option(metavar="RUN", is_positional=True)
    """The run."""
    label: str = option(metavar="meta.FIELD")
    """The field whose values should bring spans or samples together."""
    level: str = option("span", choices=("span", "sample"))
    """What is compared."""
    checkpoint: str | None = None
    """The checkpoint, or all for a curve over training. Default: the one to look at first."""
    differ: list[str] = option([], metavar="meta.FIELD")
    """A neighbour must differ from the query in all of these fields."""
    where: list[str] = option([], metavar="meta.FIELD=VALUE")
    """Only spans for which all of these hold."""
    wording: str | None = option(None, metavar="meta.FIELD")
    """A field whose values are wordings: adds the mean hidden state centred per wording."""
    against: list[str] = option([], metavar="RUN")
    """Runs of the same data to compare with: other tiers, other seeds, controls, tier state."""
    remove: list[int] = option([0, 5], metavar="M")
    """How many principal directions to remove from gradients; each gives a row."""
    layers: bool = False
    """Also a row for every layer of the run's own directions."""
    seed: int = 0
    """Seed of resampling, of the control and of the choice of queries."""


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

EVALUATE = Method(
    "evaluate",
    "the structure benchmark of a run against a label",
    EvaluateOptions,
    run="gsd_core.stages.evaluate_stage:run_evaluate",
    describe="gsd_core.stages.evaluate_stage:describe_evaluation",
    order=51,
    job=Job("Evaluate {run} by {label}", "evaluate", opens="evidence"),
    results=(EVIDENCE,),
    page=Page(
        "evidence",
        "Evidence",
        "gsd_core.dashboard.evidence.evidence_view:show_evidence",
        ("No evidence yet", "Capture a data set with labels to evaluate it here."),
        order=70,
        needs=("evidence",),
        answers="whether directions bring together what labels say belongs together, beside every baseline",
    ),
)
