"""Runs that a training writes: the sinks of ``gsd_core.training.SpanGradientCallback``.

open_probe   a probe set, captured whole at chosen steps; one checkpoint a step
open_ride    gradients read off the training's own samples; one checkpoint a step, or a group of steps

What both return is in ``gsd_core.driver.tracked_run``.

A tracked run is like one of ``gsd capture``: ``gsd analyze``, ``gsd timeline`` and every page work on it. Its manifest
says more: ``tracking`` (how it came to be) and ``tracking_overhead`` (what that has cost).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from gsd_core.capture.capture import SKETCH_RANK, CaptureConfig
from gsd_core.capture.models import max_positions
from gsd_core.console.progress import Progress
from gsd_core.dataset.segmenters import make_segmenter
from gsd_core.dataset.tokenization import check_tokenizer
from gsd_core.driver.capture_plan import DEFAULT_SKETCH_WIDTH, CaptureOptions, resolve_tier
from gsd_core.driver.tracked_run import TrackedRun
from gsd_core.errors import UserError
from gsd_core.stages.capture_stage import tokenize_samples
from gsd_core.stages.datasets_stage import resolve_dataset
from gsd_core.store import Workspace
from gsd_core.types import name_is_valid

RIDE_RANK = 16  # cosines a sixth to a quarter less sure than with 32, for two thirds of the cost


def open_probe(
    dataset: str | Path,
    *,
    model: Any,
    tokenizer: Any,
    run: str,
    workspace: str | Path | None = None,
    tier: str | None = None,
    window: int | str | None = None,
    **choices: Any,
) -> TrackedRun:
    """A probe set for ``SpanGradientCallback``: its span gradients go into run `run`, one checkpoint a captured step.

    Parameters
    ----------
    dataset
        Name of a stored data set, or a file.
    model, tokenizer
        What is trained, and its fast tokenizer. The model tells the context length; nothing is captured yet.
    run
        Name of the run, made when the training begins.
    workspace
        Folder or URI; None: ``$GSD_WORKSPACE``, else ``./gsd-workspace``.
    tier, window
        As in ``gsd capture``: any tier, any window; None chooses as it does.
    choices
        ``segmenter="steps", sketch_width=2048, batch_tokens=4096, limit=None, truncate=False, seed=0, encoder=…,
        lora="adapters", with_head=True, gradient_checkpointing=False, map=None``: as the flags of ``gsd capture``.
        ``sketch_rank=32``: numbers that each side of a module's gradient is projected to; less is quicker and coarser.
        ``replace=False``: whether a run of that name is removed when a training begins at step 0. ``quiet=True``: no
        progress bars.

    Raises
    ------
    UserError
        Unknown data set, no sample to capture, an invalid name, or a choice that does not exist.
    """
    return _open(dataset, model, tokenizer, run, workspace, tier, window, None, choices)


def open_ride(
    dataset: str | Path,
    *,
    model: Any,
    tokenizer: Any,
    run: str,
    workspace: str | Path | None = None,
    group: int = 1,
    **choices: Any,
) -> TrackedRun:
    """A place for tier ``position`` of the training samples themselves; train on ``make_training_rows(ride.samples)``.

    `group` is the number of optimizer steps that share a checkpoint, named by the first of them. With the steps of
    an epoch, every checkpoint holds every sample once, and ``gsd timeline`` can follow them; a sample that comes again
    within a group is counted (``tracking.n_repeated``) and left out. ``sketch_rank`` is 16, which keeps the cost of a
    ride within a tenth of the training. Other parameters and errors as in ``open_probe``.
    """
    if group < 1:
        raise UserError(f"{group} is no number of steps", "group=", "give 1 or more")
    choices = {"sketch_rank": RIDE_RANK, **choices}
    return _open(dataset, model, tokenizer, run, workspace, "position", None, group, choices)


def _open(
    dataset: str | Path,
    model: Any,
    tokenizer: Any,
    run: str,
    workspace: str | Path | None,
    tier: str | None,
    window: int | str | None,
    group: int | None,
    choices: dict[str, Any],
) -> TrackedRun:
    replace, quiet = choices.pop("replace", False), choices.pop("quiet", True)
    with_head, rank = choices.pop("with_head", True), choices.pop("sketch_rank", SKETCH_RANK)
    known = [
        "segmenter",
        "sketch_width",
        "batch_tokens",
        "limit",
        "truncate",
        "seed",
        "encoder",
        "lora",
        "map",
    ]
    if group is None:  # a ride has no passes of its own
        known.append("gradient_checkpointing")
    for name in choices:
        if name not in known:
            raise UserError(f"unknown choice {name!r}", "open_probe", f"there are {', '.join(known)}")
    if not name_is_valid(run):
        raise UserError(
            f"{run!r} is not a valid name", "run=", "letters, digits, '.', '_' and '-', at most 64"
        )
    store = Workspace.open(workspace or os.environ.get("GSD_WORKSPACE") or "./gsd-workspace")
    progress = Progress(quiet=quiet)
    source = str(getattr(model, "name_or_path", "") or "") or f"a {type(model).__name__} in memory"
    stored = resolve_dataset(store, str(dataset), map_flag=choices.get("map"), progress=progress)
    options = CaptureOptions(
        dataset=stored,
        model=source,
        tier=tier,
        window=None if window is None else str(window),
        run=run,
        no_head=not with_head,
        **{**choices, "map": None},
    )
    samples = store.read_samples(stored, head=options.limit)
    check_tokenizer(tokenizer)
    segmenter = make_segmenter(options.segmenter)
    tokenized, skipped = tokenize_samples(
        samples, tokenizer, segmenter, max_positions(model), options, progress
    )
    if not tokenized:
        reason = f"; the first: {skipped[0].sample}: {skipped[0].reason}" if skipped else ""
        raise UserError(f"no sample is left to capture{reason}", f"data set {stored}", "check segmenter=")
    chosen, spans_back = resolve_tier(options.tier, options.window, tokenized, options.gradient_checkpointing)
    config = CaptureConfig(
        tier=chosen,
        window=spans_back,
        sketch_width=options.sketch_width or DEFAULT_SKETCH_WIDTH,
        sketch_rank=rank,
        seed=options.seed,
        batch_tokens=options.batch_tokens,
        lora=options.lora,
        with_head=with_head,
        gradient_checkpointing=options.gradient_checkpointing,
    )
    return TrackedRun(store, options, config, (samples, tokenized, skipped), progress, group, replace)
