"""The batch that fits into memory, decided before anything is captured.

fit_memory         tokens of a batch, and of the longest sample that can be captured
leave_out_longest  skips samples that do not fit alone
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gsd_core.capture.batches import count_padded, plan_batches
from gsd_core.capture.capture import CaptureConfig
from gsd_core.capture.memory import STEP, count_held, fit_tokens
from gsd_core.console.output import format_bytes
from gsd_core.console.progress import Progress
from gsd_core.driver.capture_plan import CaptureOptions
from gsd_core.driver.capture_run import RunSamples
from gsd_core.driver.capture_work import Crew
from gsd_core.driver.capture_worker import EstimateNeed
from gsd_core.errors import UserError
from gsd_core.models.sources import Checkpoint
from gsd_core.types import Skipped, TokenizedSample

LOOKED_AT = 3  # batches; planning exact ones takes time


def fit_memory(
    crew: Crew,
    checkpoint: Checkpoint,
    device: str,
    config: CaptureConfig,
    options: CaptureOptions,
    samples: RunSamples,
    kept: dict[str, Any] | None,
    progress: Progress,
) -> dict[str, Any]:
    """``batch_tokens``, ``most_tokens`` that a sample may have, and ``estimated_bytes`` of the process at its peak.

    Decided by what is free, unless a batch is given; a run that goes on keeps what it had (`kept`, its manifest). The
    last two are None where nothing was estimated.
    """
    if kept is not None:
        known = {"batch_tokens": kept["batch_tokens"], "most_tokens": None, "estimated_bytes": None}
        return {**known, **kept.get("memory", {})} | (
            {"batch_tokens": options.batch_tokens} if options.batch_tokens else {}
        )
    if options.batch_tokens is not None:
        return {"batch_tokens": options.batch_tokens, "most_tokens": None, "estimated_bytes": None}
    by_length = sorted(samples.tokenized, key=lambda sample: len(sample.token_ids))
    with progress.stage("estimating memory", 100, "%") as stage:
        job = EstimateNeed(config, by_length[len(by_length) // 2])
        need, resident = crew.ask(checkpoint, job, stage)
    most = fit_tokens(need, options.workers)
    if device == "cuda":
        # A GPU tells that memory runs out, and the batch is halved then: nothing is refused or skipped on an estimate.
        most = max(most, len(by_length[-1].token_ids))
    if most < len(by_length[0].token_ids):
        raise UserError(
            f"not one sample fits into memory: {len(by_length[0].token_ids)} tokens need "
            f"{format_bytes(need.total(len(by_length[0].token_ids)))}, {format_bytes(need.free)} are free",
            f"model {options.model}, tier {config.tier}",
            "free memory, use --tier hidden or --gradient-checkpointing, or try anyway with --batch-tokens",
        )
    fitting = [each for each in by_length if len(each.token_ids) <= most]
    batch_tokens = config.batch_tokens
    while (held := _count_most_held(fitting, batch_tokens, config, device)) > most and batch_tokens > STEP:
        batch_tokens = max(STEP, min(batch_tokens - STEP, batch_tokens * most // held // STEP * STEP))
    if batch_tokens < config.batch_tokens:
        progress.note(
            f"batches of {batch_tokens:,} tokens, because {format_bytes(need.free)} of memory are free; "
            f"a batch needs {format_bytes(need.total(held))}"
        )
    estimated = int(resident + need.total(held))
    return {"batch_tokens": batch_tokens, "most_tokens": most, "estimated_bytes": estimated}


def _count_most_held(samples: list[TokenizedSample], batch_tokens: int, config: CaptureConfig, device: str) -> int:
    """The most tokens that the graph of a planned batch holds, by its largest batches."""
    batches = [[samples[i] for i in members] for members in plan_batches(samples, batch_tokens)]
    largest = sorted(batches, key=count_padded)[-LOOKED_AT:]
    return max(count_held(each, config, device) for each in largest)


def leave_out_longest(samples: RunSamples, memory: dict[str, Any]) -> RunSamples:
    """Samples that would not fit into memory alone are skipped, with the reason."""
    most = memory["most_tokens"]
    if most is None:
        return samples
    reason = "{} tokens need more memory than was free; try --gradient-checkpointing or --tier hidden"
    too_long = [each for each in samples.tokenized if len(each.token_ids) > most]
    skipped = [Skipped(each.id, reason.format(len(each.token_ids))) for each in too_long]
    kept = [each for each in samples.tokenized if len(each.token_ids) <= most]
    return replace(samples, tokenized=kept, skipped=[*samples.skipped, *skipped])
