"""``gsd lesson``: what a training step on one span teaches the others.

LessonOptions   the flags
LESSON          the result: what every span learned, and how well that was foretold
TEACH           the method
"""

from __future__ import annotations

from dataclasses import dataclass

from gsd_core.registry.method import Export, Job, Method
from gsd_core.registry.options import option
from gsd_core.registry.result_kind import ResultKind, make_columns


@dataclass(frozen=True, slots=True)
class LessonOptions:
    """Flags of ``gsd lesson``."""

    run: str = option(metavar="RUN", is_positional=True)
    """The run."""
    queries: int | None = option(None, metavar="N", check="positive")
    """How many spans to teach, drawn at random, each of another sample. Default: 24; none where --spans names some."""
    spans: list[str] = option([], metavar="SAMPLE#K")
    """Teach these spans too, and watch the spans best aligned with them."""
    samples: int | None = option(None, metavar="N", check="positive")
    """How many samples to watch, drawn at random. Default: 100; 20 where only --spans are taught."""
    optimizer: list[str] = option(["sgd"], choices=("sgd", "adam"))
    """Which optimizers take the step; adam starts with a fresh state."""
    step_size: list[float] = option([0.5], metavar="SHARE", check="above zero")
    """How far to go: the share of the span's own loss that the first order takes away."""
    steps: list[int] = option([1], metavar="N", check="positive")
    """In how many steps to go this far."""
    checkpoint: str | None = None
    """The checkpoint, or all. Default: the run's default checkpoint."""
    against: list[str] = option([], metavar="RUN")
    """Runs of the same data to compare with: other tiers, seeds, or tier state."""
    differ: list[str] = option([], metavar="meta.FIELD")
    """Also count only spans that differ from the taught one in all of these fields."""
    remove: list[int] = option([0, 5], metavar="M")
    """How many principal directions to remove from gradients. Each number gives a row."""
    model: str | None = option(None, metavar="SOURCE")
    """Where the run's model lies now, if not where it lay. Its weights must be the same."""
    seed: int = 0
    """Seed of the choice of spans and samples, of resampling and controls."""
    again: bool = False
    """Teach again what was taught before."""


LESSON = ResultKind(
    "lesson",
    "lesson",
    {
        "scores": make_columns("""
            representation text          what is compared
            kind text                    gradient, baseline, limit or control
            metric text                  what is measured, and among which spans
            optimizer text               sgd or adam
            share float                  share of the taught span's loss that the first order takes away
            n_steps int                  number of steps
            value,ci_low,ci_high float   mean and its 95 % interval over taught spans
            n int                        number of taught spans
            chance,ceiling float         value of random spans and of the exact first order
        """),
        "taught": make_columns("""
            span text                      taught span
            is_drawn bool                  drawn at random, not asked for
            optimizer text                 sgd or adam
            share float                    share of its loss that the first order takes away
            n_steps int                    number of steps
            rate float                     rate of each step
            own_before,own_after float     its loss in nats a token, before and after
        """),
        "learned": make_columns("""
            taught text         taught span
            span text           span that was watched
            optimizer text      sgd or adam
            share float         share of the taught span's loss that the first order takes away
            n_steps int         number of steps
            before float32      its loss before, nats a token
            learned float32     how much its loss fell, nats a token
            predicted float32   how much the exact first order says, nats a token
        """),
    },
)

TEACH = Method(
    "lesson",
    "what a training step on one span teaches the others",
    LessonOptions,
    run="gsd_core.stages.lesson_stage:run_lesson",
    describe="gsd_core.stages.lesson_stage:describe_lesson",
    order=52,
    job=Job("Teach {run}", "lesson", opens="evidence"),
    results=(LESSON,),
    exports=(Export("learned"),),
)
