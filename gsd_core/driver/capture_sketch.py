"""Where a capture's sketch comes from: calibrated now, taken from another run, as it was before, or random.

find_calibration   decides, and calibrates where that is asked for
store_calibration  keeps it with the run, so that a resumed capture and other workers have the same
read_calibration   of a run; None where its sketch is random
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gsd_core.capture.calibration import calibrate, choose_samples, find_sides
from gsd_core.capture.capture import CaptureConfig
from gsd_core.capture.sketch import Calibration
from gsd_core.console.progress import Progress, Stage
from gsd_core.driver.capture_plan import CaptureOptions
from gsd_core.driver.capture_worker import Job, SumSides, TakeNumbers
from gsd_core.errors import UserError
from gsd_core.methods.capture_method import CALIBRATION
from gsd_core.store import Run, Workspace
from gsd_core.store.results import pack_arrays, unpack_arrays
from gsd_core.types import TokenizedSample

_NUMBERS = "seed", "n_samples", "n_spans"
_ARRAYS = "sides", "kept", "widths"


def find_calibration(
    workspace: Workspace,
    asks: Sequence[Callable[[Job[Any], Stage], Any]],
    config: CaptureConfig,
    options: CaptureOptions,
    tokenized: Sequence[TokenizedSample],
    existing: Run | None,
    progress: Progress,
) -> Calibration | None:
    """The calibration of a capture, None for a random sketch.

    `asks` give the answers of the checkpoints' workers, by step. All checkpoints share one sketch, so that a timeline
    can compare them; so the first, the middle and the last one are looked at. A run that goes on keeps what it has; one
    that was stopped before its tables starts over. A data set of few spans is not worth the passes. Raises
    ``UserError`` for ``--sketch-of`` beside ``--random-sketch``, and where the other run does not exist.
    """
    if options.sketch_of and options.random_sketch:
        raise UserError("the sketch is either another run's or random", "--sketch-of", "leave out --random-sketch")
    if existing is not None and existing.manifest.get("has_tables"):
        return read_calibration(existing)
    if options.sketch_of:
        return read_calibration(workspace.open_run(options.sketch_of))
    looked_at = [asks[at] for at in sorted({0, len(asks) // 2, len(asks) - 1})]
    n = len(looked_at)
    chosen = [] if options.random_sketch else choose_samples(tokenized, config.seed, n)
    if not chosen:
        return None

    def look(number: int, ask: Callable[[Job[Any], Stage], Any], job: Job[Any]) -> Any:
        with progress.stage(f"looking at a few spans ({number + 1}/{2 * n})", 100, "%") as stage:
            return ask(job, stage)

    turns = zip(looked_at, chosen, strict=True)
    sums = [look(at, ask, SumSides(config, first)) for at, (ask, (first, _)) in enumerate(turns)]
    if any(each is None for each in sums):
        return None
    sides = find_sides(sums)
    # The other way round, because the last model is still there and the first one is wanted next.
    again = enumerate(zip(looked_at[::-1], chosen[::-1], strict=True), start=n)
    numbers = [look(at, ask, TakeNumbers(config, sides, second)) for at, (ask, (_, second)) in again]
    return calibrate(sides, numbers, config)


def store_calibration(run: Run, calibration: Calibration) -> None:
    """Keep it with the run, before anything is captured."""
    arrays = {name: np.asarray(getattr(calibration, name)) for name in ("ranks", *_NUMBERS, *_ARRAYS)}
    run.results.write(CALIBRATION, {"arrays": pack_arrays(arrays)}, {"digest": calibration.digest})


def read_calibration(run: Run) -> Calibration | None:
    """What ``store_calibration`` has kept. Raises ``UserError`` where the run should have it and has not."""
    told: dict[str, Any] | None = (run.manifest.get("sketch") or {}).get("calibration")
    if told is None:
        return None
    found = None
    if run.results.has(CALIBRATION):
        arrays = unpack_arrays(run.results.read(CALIBRATION, "arrays"))
        ranks = (int(arrays["ranks"][0]), int(arrays["ranks"][1]))
        sides, kept, widths = (arrays[name] for name in _ARRAYS)
        found = Calibration(ranks, sides, kept, widths, *(int(arrays[name]) for name in _NUMBERS))
    if found is None or found.digest != told["digest"]:
        raise UserError(
            "what its sketch knew of the model is not stored with it, so nothing can be added",
            f"run {run.name}",
            "capture under another --run name",
        )
    return found
