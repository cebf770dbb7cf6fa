"""Runs that a training writes: the sinks of ``gsd_core.training.SpanGradientCallback``.

open_probe   a probe set, captured whole at chosen steps; one checkpoint a step
open_ride    gradients of the training's own samples, from its own passes; one checkpoint a step or a group of steps

Both return a ``gsd_core.driver.tracked_run.TrackedRun``. ``gsd analyze``, ``gsd timeline`` and every page work on a
tracked run as on one of ``gsd capture``. Its manifest also has ``tracking`` (how it was made) and
``tracking_overhead`` (what that has cost).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from gsd_core.capture.tier_capture import SKETCH_RANK
from gsd_core.console.progress import Progress
from gsd_core.console.workspace_choice import choose_workspace
from gsd_core.dataset.segmenters import make_segmenter
from gsd_core.driver.capture_plan import MOST_BATCH_TOKENS, CaptureOptions
from gsd_core.driver.capture_run import make_config, tokenize_samples
from gsd_core.driver.stored_data import check_name, resolve_dataset
from gsd_core.driver.tracked_run import TrackedRun
from gsd_core.errors import UserError
from gsd_core.models.loading import max_positions
from gsd_core.store import Workspace
from gsd_core.tiers import RIDE_TIER

CHOICES = "segmenter", "sketch_width", "batch_tokens", "limit", "truncate", "seed", "encoder", "lora", "map"
RIDE_RANK = 16  # errors of cosines are a sixth to a quarter larger than with 32, at two thirds of the cost


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
        The model that is trained, and its fast tokenizer. The model gives the context length; nothing is captured yet.
    run
        Name of the run, made when the training begins.
    workspace
        Folder or URI; None: ``$GSD_WORKSPACE``, else ``./gsd-workspace``.
    tier, window
        As in ``gsd capture``: any tier, any window; None chooses as it does.
    choices
        ``segmenter="steps", sketch_width=2048, batch_tokens=4096, limit=None, truncate=False, seed=0, encoder=…,
        lora="adapters", with_head=True, gradient_checkpointing=False, map=None``: as the flags of ``gsd capture``.
        ``sketch_rank=32``: numbers that each side of a module's gradient is projected to; fewer are faster and less
        exact. ``replace=False``: whether a run of that name is removed when a training begins at step 0.
        ``quiet=True``: no progress bars.

    Raises
    ------
    UserError
        Unknown data set, no sample to capture, an invalid name, or a choice that does not exist.
    """
    gradient = {"tier": tier, "window": None if window is None else str(window)}
    return _open(dataset, (model, tokenizer), run, workspace, gradient, choices)


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
    """A sink for tier ``position`` of the training samples themselves; train on ``make_training_rows(ride.samples)``.

    `group` is the number of optimizer steps that share a checkpoint, which has the name of the first. With the steps of
    an epoch, every checkpoint has every sample once, and ``gsd timeline`` can follow them. A sample that is repeated
    within a group is counted (``tracking.n_repeated``) and left out. ``sketch_rank`` is 16, which keeps the cost of a
    ride below a tenth of the training. Other parameters and errors are those of ``open_probe``.
    """
    if group < 1:
        raise UserError(f"{group} is not a number of steps", "group=", "give 1 or more")
    choices = {"sketch_rank": RIDE_RANK, **choices}
    return _open(dataset, (model, tokenizer), run, workspace, {"tier": RIDE_TIER}, choices, group)


def _open(
    dataset: str | Path,
    trained: tuple[Any, Any],
    run: str,
    workspace: str | Path | None,
    gradient: dict[str, Any],
    choices: dict[str, Any],
    group: int | None = None,
) -> TrackedRun:
    """A sink for `trained` (model, tokenizer); `gradient` has the flags tier and window; a ride has a `group`."""
    model, tokenizer = trained
    is_replacing, quiet = choices.pop("replace", False), choices.pop("quiet", True)
    with_head, rank = choices.pop("with_head", True), choices.pop("sketch_rank", SKETCH_RANK)
    # A ride has no passes of its own, so there is nothing to checkpoint in them.
    known = (*CHOICES, *(("gradient_checkpointing",) if group is None else ()))
    for name in choices:
        if name not in known:
            raise UserError(f"unknown choice {name!r}", "open_probe", f"there are {', '.join(known)}")
    check_name(run, "run=")
    store = Workspace.open(choose_workspace(workspace))
    progress = Progress(quiet=quiet)
    source = str(getattr(model, "name_or_path", "") or "") or f"a {type(model).__name__} in memory"
    options = CaptureOptions(
        dataset=resolve_dataset(store, str(dataset), map_flag=choices.get("map"), progress=progress),
        model=source,
        run=run,
        no_head=not with_head,
        **gradient,
        **{"batch_tokens": MOST_BATCH_TOKENS, **choices, "map": None},
    )
    samples = tokenize_samples(
        store.read_samples(options.dataset, head=options.limit),
        tokenizer,
        make_segmenter(options.segmenter),
        max_positions(model),
        options,
        progress,
    )
    config = replace(make_config(options, samples.tokenized), sketch_rank=rank, measures=False)
    return TrackedRun(store, options, config, samples, progress, group, is_replacing)
