"""``gsd attribute``: which segments of a trace bear on its answer.

AttributeOptions   the flags
ATTRIBUTION        the result: scores of tokens and segments
ATTRIBUTE          the method
"""

from __future__ import annotations

from dataclasses import dataclass

from gsd_core.methods.datasets_method import MAP_FORM
from gsd_core.registry.method import Export, Job, Method, Page
from gsd_core.registry.options import option
from gsd_core.registry.result_kind import ResultKind, make_columns


@dataclass(frozen=True, slots=True)
class AttributeOptions:
    """Flags of ``gsd attribute``."""

    run: str | None = option(None, metavar="NAME")
    """A captured run, whose spans are the segments. Where there is none of this name, --dataset and --model make it:
    with tier hidden, one forward pass a sample."""
    dataset: str | None = option(None, metavar="NAME|FILE")
    """For a new run: a stored data set, or a file, which is stored first."""
    model: str | None = option(None, metavar="demo|smollm2|PATH|HUB_ID")
    """For a new run: the model. For a captured run: where its model lies now, if not where it lay."""
    segmenter: str = option("cues", metavar="RULE")
    """What a segment of a new run is, as for gsd capture."""
    checkpoint: str | None = None
    """The checkpoint of a captured run. Default: the one to look at first."""
    baseline: str = option("question", choices=("question", "pad", "mean", "noise"))
    """Where the path begins: the pad token's embedding everywhere but in the question, which is kept; the pad token's
    everywhere, as published; the mean embedding everywhere; or random numbers that vary as embeddings do."""
    nodes: str = option("adaptive", choices=("adaptive", "gauss", "published"))
    """Where gradients are taken on the path: until the residual is small; Gauss and Legendre's nodes; evenly spaced."""
    steps: int = option(50, metavar="J", check="positive")
    """Gradients of a trace with --nodes gauss or published."""
    residual: float = option(0.01, metavar="SHARE", check="above zero")
    """Share of the answer's gain that adaptive nodes may leave unexplained."""
    most_steps: int = option(512, metavar="N", check="positive")
    """Gradients after which adaptive nodes give up on a trace."""
    tau: float = option(0.7, metavar="SHARE", check="above zero")
    """Of each trace the strongest segments are chosen that together hold this share of the strength ..."""
    beta: float = option(0.8, metavar="SHARE", check="above zero")
    """... and of those the ones whose consistency is at most this."""
    bridge: str | None = option(None, metavar="TEXT")
    """Words between reasoning and answer. Default: the published ones, which open a box."""
    check: int = option(0, metavar="N", check="count")
    """For N traces also measure the residual against the number of gradients, and strengths under other baselines."""
    seed: int = 0
    """Seed of baseline noise and of segments drawn at random."""
    limit: int | None = option(None, metavar="N", check="positive")
    """Only the first N samples."""
    batch_tokens: int | None = option(None, metavar="N", check="positive")
    """Tokens in a batch of points. Default: 4,096, or fewer where less memory is free."""
    gradient_checkpointing: bool = False
    """Recompute layers in each backward pass: less memory for long traces, more time."""
    again: bool = False
    """Attribute again what is attributed already."""
    map: str | None = option(None, metavar=MAP_FORM)
    """Correct what the reader guessed of a file."""
    trust_remote_code: bool = False
    """Run code that comes with a model. Use it only for sources that you trust."""


ATTRIBUTION = ResultKind(
    "attribution",
    "attribute",
    {
        "segments": make_columns("""
            span text                 segment, a span of the run
            sample text               its sample
            n_tokens int              number of tokens
            absolute float            sum of the absolute scores of its tokens, nats
            signed float              sum of the scores of its tokens, nats
            strength float            its share of the trace: absolute over the root of the number of tokens, sum 1
            consistency float         absolute value of signed, over absolute
            mass float                strength of the segments that rank before it
            loss float                mean loss of its tokens, nats
            entropy float             mean entropy of what the model expected in their places, nats
            gain float                how much likelier the answer is right after it than right before it, nats
            repeats float             BLEU with the other segments of its trace as references, 0 to 1
            tells_answer bool         whether it holds the answer as a word
        """),
        "traces": make_columns("""
            sample text               sample
            answer text               answer that the scores are about
            value float               log-probability of the answer, nats
            baseline_value float      the same at the baseline
            residual float            part of the difference that the scores do not explain, nats
            n_points int              gradients on the path
            n_values int              forward passes beside them
            n_tokens int              tokens of the trace, words before the answer and answer included
            scores list<float>        score of each token, nats; those of the last segment end where its reasoning does
        """),
        "removals": make_columns("""
            sample text               sample
            choice text               chosen, random, none or all: which segments are left
            tau,beta float            thresholds
            value float               log-probability of the answer with the others removed, nats
            share float               share of the segments' tokens that is left
        """),
        "curves": make_columns("""
            sample text               sample
            nodes text                gauss or published
            n_points int              gradients on the path
            residual float            share of the answer's gain that is left unexplained
        """),
        "baselines": make_columns("""
            span text                 segment
            sample text               its sample
            baseline text             baseline; noise with its seed
            strength float            strength under it
        """),
        "links": make_columns("""
            span text                 segment
            relative float            its strength over an even share of its trace
            near float                mean of that over the ten best aligned segments of other traces
        """),
        "skipped": make_columns("""
            sample text               sample that was left out
            reason text               why
        """),
    },
)

ATTRIBUTE = Method(
    "attribute",
    "which segments of a trace bear on its answer",
    AttributeOptions,
    run="gsd_core.stages.attribute_stage:run_attribute",
    describe="gsd_core.stages.attribute_stage:describe_attribution",
    needs="new workspace",
    order=53,
    job=Job("Attribute {run}", "attribute", opens="segments"),
    results=(ATTRIBUTION,),
    exports=(
        Export("segments", compute="gsd_core.stages.attribute_stage:compute_segment_table"),
        Export("traces", compute="gsd_core.stages.attribute_stage:compute_trace_table"),
    ),
    page=Page(
        "segments",
        "Segments",
        "gsd_core.dashboard.segments.segments_view:show_segments",
        ("No segments yet", "Capture a data set with answers to see which parts of its traces bear on them."),
        order=65,
        needs=("attribution",),
        answers="which parts of a trace bear on its answer, and which a curator would keep",
    ),
)
