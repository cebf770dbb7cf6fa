"""``gsd evaluate``: the structure benchmark of a run, against a label.

EvaluateOptions   the flags
EVIDENCE          the result: the rows of the benchmark
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
    """The field whose values are the labels of spans or samples."""
    level: str = option("span", choices=("span", "sample"))
    """Whether spans or whole samples are compared."""
    checkpoint: str | None = None
    """The checkpoint; all gives a curve over training. Default: the run's default checkpoint."""
    differ: list[str] = option([], metavar="meta.FIELD")
    """A neighbour must differ from the query in all of these fields."""
    where: list[str] = option([], metavar="meta.FIELD=VALUE")
    """Only spans that match all of these."""
    wording: str | None = option(None, metavar="meta.FIELD")
    """A field that names each sample's wording. It adds a row: the mean hidden state, centred per wording."""
    against: list[str] = option([], metavar="RUN")
    """Runs of the same data to compare with: other tiers, seeds, controls, or tier state."""
    remove: list[int] = option([0, 5], metavar="M")
    """How many principal directions to remove from gradients. Each number gives a row."""
    layers: bool = False
    """Add a row for every layer of the run's own directions."""
    seed: int = 0
    """Seed of resampling, random labels and the choice of queries."""


EVIDENCE = ResultKind(
    "evidence",
    "evaluate",
    {
        "rows": make_columns("""
            checkpoint text              checkpoint
            step int                     training step, missing if unknown
            label text                   field of the labels
            level text                   span or sample
            where text                   conditions on the spans
            representation text          what is compared
            kind text                    gradient, baseline or control
            metric text                  what is measured
            value,ci_low,ci_high float   value and its 95 % interval over samples
            n int                        number of queries
            chance,ceiling float         value of random and of perfect neighbours
            seed_spread float            largest minus smallest value over sketch seeds
            n_seeds int                  number of sketch seeds
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
        answers="whether spans with the same label have similar directions, beside every baseline",
    ),
)
