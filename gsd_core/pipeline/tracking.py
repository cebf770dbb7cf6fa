"""Runs that a training writes: the sinks of ``gsd_core.training.SpanGradientCallback``.

open_probe   a probe set, captured whole at chosen steps; one checkpoint a step
open_ride    gradients read off the training's own samples; one checkpoint a step, or a group of steps
TrackedRun   what both return

A tracked run is like one of ``gsd capture``: ``gsd analyze``, ``gsd timeline`` and every page work on it. Its manifest
says more: ``tracking`` (how it came to be) and ``tracking_overhead`` (what that has cost).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsd_core.capture.capture import SKETCH_RANK, CaptureConfig, Capturer
from gsd_core.capture.embeddings import load_sentence_encoder
from gsd_core.capture.models import max_positions
from gsd_core.dataset.segmenters import make_segmenter
from gsd_core.dataset.tokenization import check_tokenizer
from gsd_core.errors import UserError
from gsd_core.pipeline.capture import (
    create_run,
    describe_model,
    describe_sketch,
    measure_window_cosine,
    tokenize_samples,
)
from gsd_core.pipeline.capture_plan import (
    DEFAULT_SKETCH_WIDTH,
    CaptureOptions,
    check_resumable,
    make_manifest,
    resolve_tier,
)
from gsd_core.pipeline.datasets import resolve_dataset
from gsd_core.pipeline.progress import Progress
from gsd_core.store import Run, Workspace
from gsd_core.types import Sample, SampleRecords, Skipped, TokenizedSample, name_is_valid

if TYPE_CHECKING:
    from gsd_core.training.overhead import Overhead

BATCHES_A_STEP = 1_000  # numbers set apart for one step's micro-batches in a checkpoint of several steps
_SUMMED = ("seconds", "cpu_seconds", "capture_seconds", "capture_cpu_seconds")


class TrackedRun:
    """A run that a training writes, step by step; a ``gsd_core.training.GradientSink``. Made by ``open_probe``,
    ``open_ride``.

    Attributes
    ----------
    name, samples, skipped, config
        The run's name; its tokenized samples, in order; those left out, with the reason; tier, window and sketch.
    """

    def __init__(
        self,
        workspace: Workspace,
        options: CaptureOptions,
        config: CaptureConfig,
        data: tuple[list[Sample], list[TokenizedSample], list[Skipped]],
        progress: Progress,
        group: int | None,
        replace: bool,
    ) -> None:
        assert options.run is not None
        self.name, self.config = options.run, config
        self._samples, self._tokenized, self.skipped = data
        self._workspace, self._options, self._progress = workspace, options, progress
        self._group, self._replace = group, replace
        self._run: Run | None = None
        self._earlier: dict[str, float] = {}
        self._open_checkpoint = ""
        self._seen: set[str] = set()
        self._n_repeated = 0

    @property
    def samples(self) -> Sequence[TokenizedSample]:
        """Tokenized samples in the data set's order, without those left out."""
        return self._tokenized

    @property
    def is_ride(self) -> bool:
        """Whether it takes what is read off the training, not a probe set."""
        return self._group is not None

    # -- what the callback calls ----------------------------------------------------------------------------------

    def start(self, capturer: Capturer, step: int) -> None:
        """Make the run, or open it where the training goes on.

        Raises
        ------
        UserError
            Where a run of that name has steps that this training has not come to, or other settings.
        """
        encoder = load_sentence_encoder(self._options.encoder, device=str(capturer.device))
        manifest = self._make_manifest(capturer, encoder)
        is_known = self._run is not None  # the trainer starts over in this process, with a smaller batch
        exists = any(info.name == self.name for info in self._workspace.list_runs())
        if exists and self._replace and step == 0 and not is_known:
            self._workspace.remove_run(self.name)
            exists = False
        if exists:
            run = self._workspace.open_run(self.name)
            if not run.manifest.get("has_tables"):
                self._workspace.remove_run(self.name)  # killed before it was whole
                exists = False
            else:
                self._check_goes_on(run, manifest, step, is_known)
        if not exists:
            run = create_run(
                self._workspace,
                self.name,
                manifest,
                capturer.width,
                encoder,
                self._tokenized,
                self._samples,
                self._progress,
                self.skipped,
            )
        run.repair()
        self._run, self._open_checkpoint = run, ""
        earlier = run.manifest.get("tracking_overhead") or {}
        self._earlier = {key: float(earlier.get(key) or 0.0) for key in _SUMMED}
        run.update_manifest(status="capturing")
        if self.is_ride:
            self._forget_from(run, step)

    def begin_step(self, step: int, fingerprint: str) -> set[int]:
        """Enter the step among the checkpoints; the batches of it that are stored under the same weights."""
        run, base = self._opened(), self._base_of(step)
        name = name_step(base)
        if self.is_ride:
            self._switch_to(run, name, base)
            return set()
        described = [dict(c) for c in run.manifest.get("checkpoints", [])]
        known = next((c for c in described if c["name"] == name), None)
        if known is not None and known.get("fingerprint") != fingerprint:
            # The training went on from before this step and came to other weights: the run follows it.
            run.forget_batches(name)
            known["fingerprint"] = fingerprint
            run.update_manifest(checkpoints=described)
        elif known is None:
            self._describe_checkpoint(run, name, base, fingerprint)
        return run.finished_batches(name)

    def write(self, step: int, batch: int, results: Sequence[SampleRecords | Skipped]) -> None:
        """Take in one whole batch."""
        run, base = self._opened(), self._base_of(step)
        if self.is_ride:
            batch += (step - base) * BATCHES_A_STEP
            fresh = [each for each in results if _id_of(each) not in self._seen]
            self._n_repeated += len(results) - len(fresh)
            self._seen.update(_id_of(each) for each in fresh)
            results = fresh
        run.append_batch(name_step(base), base, batch, results)

    def end_step(self, step: int, overhead: Overhead) -> None:
        """Store a probe's step, so that it survives a kill. A ride is stored in larger pieces: it comes again."""
        if not self.is_ride:
            self.flush()
            self._opened().update_manifest(tracking_overhead=self._account(overhead))

    def flush(self) -> None:
        """Store what was taken in so far."""
        self._opened().flush()

    def finish(self, overhead: Overhead) -> None:
        """Complete the manifest and let others write the run."""
        run = self._opened()
        run.flush()
        fields: dict[str, Any] = {"tracking_overhead": self._account(overhead), "status": "captured"}
        if run.checkpoints:
            fields["window_cosine"] = measure_window_cosine(run, self.config)[0]
        if self.is_ride:
            fields["tracking"] = {**run.manifest["tracking"], "n_repeated": self._n_repeated}
            run.compact()
        run.update_manifest(**fields)
        run.close()

    # -- inside ---------------------------------------------------------------------------------------------------

    def _opened(self) -> Run:
        if self._run is None:
            raise RuntimeError("start() comes first")
        return self._run

    def _base_of(self, step: int) -> int:
        return step if self._group is None else step // self._group * self._group

    def _make_manifest(self, capturer: Capturer, encoder: Any) -> dict[str, Any]:
        info = self._workspace.open_dataset(self._options.dataset)
        manifest = make_manifest(
            self._options,
            dataset={
                "name": info.name,
                "source": info.source,
                "data_hash": info.data_hash,
                "n_samples": len(self._samples),
            },
            model=describe_model(self._options, capturer.model),
            tier=self.config.tier,
            window=self.config.window,
            sketch=describe_sketch(capturer),
            encoder={"name": encoder.name, "source": encoder.source, "weights_hash": encoder.weights_hash},
        )
        manifest["tracking"] = {"kind": "ride" if self.is_ride else "probe", "group": self._group}
        return manifest

    def _check_goes_on(self, run: Run, manifest: dict[str, Any], step: int, is_known: bool) -> None:
        where = f"run {self.name}"
        stored = run.manifest.get("tracking") or {}
        if any(stored.get(key) != value for key, value in manifest["tracking"].items()):
            raise UserError(
                "the run exists already, and was made in another way", where, "choose another run= name"
            )
        check_resumable(run.manifest, manifest, self.name, with_weights=step == 0 and not is_known)
        ahead = [c["step"] for c in run.manifest.get("checkpoints", []) if c["step"] > 0]
        if step == 0 and ahead and not is_known:
            raise UserError(
                f"the run has steps up to {max(ahead)} already, and this training begins at step 0",
                where,
                "go on with train(resume_from_checkpoint=True), choose another run= name, or replace=True",
            )

    def _describe_checkpoint(self, run: Run, name: str, step: int, fingerprint: str) -> None:
        entry = {"name": name, "step": step, "hash": "", "fingerprint": fingerprint}
        run.update_manifest(checkpoints=[*run.manifest.get("checkpoints", []), entry])

    def _switch_to(self, run: Run, name: str, base: int) -> None:
        """Open a ride's checkpoint: store the former one, and learn which samples this one has."""
        if name == self._open_checkpoint:
            return
        run.flush()
        self._open_checkpoint, self._seen = name, set()
        if all(c["name"] != name for c in run.manifest.get("checkpoints", [])):
            self._describe_checkpoint(run, name, base, "")
        if run.finished_batches(name):
            self._seen = set(run.read_spans(name, ["sample"])["sample"])

    def _forget_from(self, run: Run, step: int) -> None:
        """Drop what was ridden on from `step` on: the training comes there again."""
        for each in run.manifest.get("checkpoints", []):
            if each["step"] + (self._group or 1) > step:
                run.forget_batches(each["name"], max(0, step - each["step"]) * BATCHES_A_STEP)

    def _account(self, overhead: Overhead) -> dict[str, Any]:
        """This training's cost and that of the sessions before it."""
        described = overhead.describe()
        sums = {key: described[key] + self._earlier.get(key, 0.0) for key in _SUMMED}
        return {
            **described,
            **sums,
            "share": sums["capture_seconds"] / sums["seconds"] if sums["seconds"] else 0.0,
            "cpu_share": sums["capture_cpu_seconds"] / sums["cpu_seconds"] if sums["cpu_seconds"] else 0.0,
        }


def name_step(step: int) -> str:
    """Name of the checkpoint of a step: ``step-00050``."""
    return f"step-{step:05d}"


def _id_of(result: SampleRecords | Skipped) -> str:
    return result.sample if isinstance(result, Skipped) else result.tokenized.id


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
        lora="adapters", with_head=True, map=None``: as the flags of ``gsd capture``. ``sketch_rank=32``: numbers that
        each side of a module's gradient is projected to; less is quicker and coarser. ``replace=False``: whether a
        run of that name is removed when a training begins at step 0. ``quiet=True``: no progress bars.

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
    within a group is counted (``tracking.n_repeated``) and left out. Other parameters and errors as in ``open_probe``.
    """
    if group < 1:
        raise UserError(f"{group} is no number of steps", "group=", "give 1 or more")
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
    known = (
        "segmenter",
        "sketch_width",
        "batch_tokens",
        "limit",
        "truncate",
        "seed",
        "encoder",
        "lora",
        "map",
    )
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
    chosen, spans_back = resolve_tier(options.tier, options.window, tokenized)
    config = CaptureConfig(
        tier=chosen,
        window=spans_back,
        sketch_width=options.sketch_width or DEFAULT_SKETCH_WIDTH,
        sketch_rank=rank,
        seed=options.seed,
        batch_tokens=options.batch_tokens,
        lora=options.lora,
        with_head=with_head,
    )
    return TrackedRun(store, options, config, (samples, tokenized, skipped), progress, group, replace)
