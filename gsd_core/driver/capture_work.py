"""Gives planned batches to an executor's workers and stores the results.

make_executor        ``--executor`` and ``--workers`` → executor
Crew                 the executor's workers, by checkpoint
Work                 what is captured into which run, and what it has cost so far
capture_checkpoints  every checkpoint's unfinished batches, then its index and its controls
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from gsd_core.capture.batches import plan_batches
from gsd_core.capture.capture import CaptureConfig, choose_audited, rank_by_hash
from gsd_core.capture.controls import CONTROL_KINDS, choose_controls
from gsd_core.console.progress import Progress, Stage
from gsd_core.driver.capture_plan import CaptureOptions
from gsd_core.driver.capture_run import RunSamples
from gsd_core.driver.capture_worker import (
    AnswerT,
    CaptureControls,
    CaptureSamples,
    CaptureWorker,
    DescribeModel,
    Job,
    load_worker,
    peak_memory_bytes,
)
from gsd_core.errors import UserError
from gsd_core.execution import BatchesLost, Executor, LocalExecutor, RayExecutor
from gsd_core.models.sources import Checkpoint
from gsd_core.store import FragmentWriter, Run

SAMPLES_A_JOB = 8  # samples whose controls are one job
COMPACT_FROM = 200  # fragments from which they are joined at a checkpoint's end; fewer hardly slow reads


def make_executor(options: CaptureOptions) -> Executor:
    """The executor of a capture. Raises ``UserError`` for an unknown one, and for several workers of ``local``."""
    if options.executor == "ray":
        return RayExecutor(
            options.workers,
            use_gpus=options.device == "auto" or options.device.startswith("cuda"),
            spread_gpus=options.device_map is not None,
        )
    if options.executor != "local":
        raise UserError(f"unknown executor {options.executor!r}", "--executor", "give local or ray")
    if options.workers != 1:
        raise UserError("the local executor is one process", f"--workers {options.workers}", "add --executor ray")
    return LocalExecutor()


class Crew:
    """The executor's workers. Workers of a checkpoint load its model once, for all jobs."""

    def __init__(self, executor: Executor, options: CaptureOptions) -> None:
        self.executor, self._options = executor, options
        self._makers: dict[str, Callable[[], CaptureWorker]] = {}

    def maker(self, checkpoint: Checkpoint) -> Callable[[], CaptureWorker]:
        """What makes a checkpoint's workers, always the same object: the executor identifies workers by it."""
        if checkpoint.name not in self._makers:
            told = {key: getattr(self._options, key) for key in ("dtype", "device", "device_map", "trust_remote_code")}
            self._makers[checkpoint.name] = partial(load_worker, self._options.model, checkpoint=checkpoint, **told)
        return self._makers[checkpoint.name]

    def ask(self, checkpoint: Checkpoint, job: Job[AnswerT], stage: Stage) -> AnswerT:
        """The answer of one worker to a job; `stage` shows the percentage done.

        Raises ``UserError`` where the workers end during the job.
        """

        def show(in_flight: Mapping[int, float]) -> None:
            stage.show(int(100 * sum(in_flight.values())))

        try:
            [(_, answer)] = self.executor.run_batches(self.maker(checkpoint), [(0, job)], show)
        except BatchesLost as lost:
            raise UserError(
                f"the workers ended while they loaded the model ({lost.reasons[0]})",
                f"--model {self._options.model}",
                "give each more memory, or --device-map auto",
            ) from lost
        stage.update(100)
        return answer


class Work:
    """The parts of a capture; ``seconds`` and ``peak_memory_bytes`` are its cost so far."""

    def __init__(self, run: Run, crew: Crew, config: CaptureConfig, samples: RunSamples, first_hash: str) -> None:
        self.run, self.crew, self.config = run, crew, config
        self.tokenized, self.skipped, self.first_hash = samples.tokenized, samples.skipped, first_hash
        self.plan = plan_batches(self.tokenized, config.batch_tokens)
        self.audited = choose_audited(self.tokenized, config.audit_share, config.seed)
        self.n_tokens, self.seconds, self.peak_memory_bytes = 0, 0.0, 0

    def size(self, batch: int) -> int:
        """Tokens of a planned batch, without padding."""
        return sum(len(self.tokenized[i].token_ids) for i in self.plan[batch])


def capture_checkpoints(
    work: Work, checkpoints: Sequence[Checkpoint], progress: Progress, resume_line: str, with_controls: bool
) -> None:
    """Capture every checkpoint's unfinished batches into the run, then its controls `with_controls`.

    Raises ``UserError`` for batches that ended their workers, with their samples, after all others are stored.
    """
    started = time.monotonic()
    described = [dict(c) for c in work.run.manifest.get("checkpoints", [])]
    lost: dict[int, str] = {}
    for position, checkpoint in enumerate(checkpoints):
        if all(c["name"] != checkpoint.name for c in described):
            model_hash = work.first_hash
            if position:
                with progress.stage(f"loading {checkpoint.name}", 100, "%") as stage:
                    facts = work.crew.ask(checkpoint, DescribeModel(with_tokenizer=False), stage)
                model_hash = facts.description["hash"]
            described.append({"name": checkpoint.name, "step": checkpoint.step, "hash": model_hash})
            work.run.update_manifest(checkpoints=described)
        n_tokens = sum(map(work.size, range(len(work.plan))))
        with progress.stage(f"capturing {checkpoint.name}", n_tokens, "tokens") as stage:
            lost |= _capture_checkpoint(work, checkpoint, stage)
        if built := work.run.build_index(checkpoint.name):  # too big for a full search
            progress.note(
                f"{checkpoint.name}: {built['n_rows']:,} directions indexed in {built['seconds']:.0f} s, "
                f"recall@{built['recall_at']} {built['recall']:.3f}"
            )
        if with_controls and not work.run.has_controls(checkpoint.name):
            _store_controls(work, checkpoint, progress)
        work.seconds = time.monotonic() - started
    work.peak_memory_bytes = max(work.peak_memory_bytes, peak_memory_bytes())
    if lost:
        raise _explain_lost(work, lost, resume_line)


def _capture_checkpoint(work: Work, checkpoint: Checkpoint, stage: Stage) -> dict[int, str]:
    """Capture one checkpoint; returns the batches that ended their workers, with the last that was seen."""
    run, executor = work.run, work.crew.executor
    done = run.finished_batches(checkpoint.name)
    writer = None
    if executor.name != "local" and not done.issuperset(range(len(work.plan))):
        writer = run.make_fragment_writer(checkpoint.name, checkpoint.step)

    def show(in_flight: Mapping[int, float]) -> None:
        n_tokens = sum(int(share * work.size(index)) for index, share in in_flight.items())
        stage.show(n_tokens, **_describe_workers(executor, sum(map(work.size, in_flight))))

    lost: dict[int, str] = {}
    try:
        jobs = _iter_jobs(work, done, writer, stage)
        for index, captured in executor.run_batches(work.crew.maker(checkpoint), jobs, show):
            if captured.written is not None:
                run.append_written(checkpoint.name, checkpoint.step, captured.written)
            else:
                run.append_batch(checkpoint.name, checkpoint.step, index, captured.results)
            work.peak_memory_bytes = max(work.peak_memory_bytes, captured.peak_memory_bytes)
            work.n_tokens += work.size(index)
            stage.advance(work.size(index), **_describe_workers(executor))
    except BatchesLost as problem:
        lost = problem.reasons
    if work.skipped and len(work.plan) not in done:
        run.append_batch(checkpoint.name, checkpoint.step, len(work.plan), list(work.skipped))
    run.flush()
    run.compact(COMPACT_FROM)
    return lost


def _store_controls(work: Work, checkpoint: Checkpoint, progress: Progress) -> None:
    """Capture and store the controls of a few samples, kind by kind, in the samples' order."""
    chosen = set(choose_controls(rank_by_hash(work.tokenized, work.config.seed)))
    samples = [s for s in work.tokenized if s.id in chosen]
    groups = [samples[at : at + SAMPLES_A_JOB] for at in range(0, len(samples), SAMPLES_A_JOB)]
    jobs = [(number, CaptureControls(work.config, group)) for number, group in enumerate(groups)]
    sizes = [sum(len(sample.token_ids) for sample in group) for group in groups]
    found = {}
    with progress.stage(f"controls of {checkpoint.name}", sum(sizes), "tokens") as stage:

        def show(in_flight: Mapping[int, float]) -> None:
            stage.show(sum(int(share * sizes[number]) for number, share in in_flight.items()))

        try:
            for number, controls in work.crew.executor.run_batches(work.crew.maker(checkpoint), jobs, show):
                found[number] = controls
                stage.advance(sizes[number])
        except BatchesLost as lost:
            progress.note(
                f"the workers ended during the controls of {sum(len(groups[n]) for n in lost.reasons)} samples"
            )
    rows = [each for number in sorted(found) for each in found[number]]
    rows.sort(key=lambda each: CONTROL_KINDS.index(each.kind))
    if not rows or work.run.count_spans(checkpoint.name) == 0:
        return
    frame = pd.DataFrame([each[:4] for each in rows], columns=["kind", "sample", "token_start", "token_end"])
    work.run.write_controls(checkpoint.name, frame, np.stack([each.direction for each in rows]))


def _iter_jobs(
    work: Work, done: set[int], writer: FragmentWriter | None, stage: Stage
) -> Iterator[tuple[int, CaptureSamples]]:
    stage.skip(sum(work.size(index) for index in range(len(work.plan)) if index in done))
    for index, members in enumerate(work.plan):
        if index in done:
            continue
        samples = [work.tokenized[i] for i in members]
        audited = frozenset(work.audited.intersection(s.id for s in samples))
        yield index, CaptureSamples(work.config, index, samples, audited, writer)


def _describe_workers(executor: Executor, n_tokens: int | None = None) -> dict[str, Any]:
    """Facts beside the bar of a capture with several workers; they work on `n_tokens`."""
    if not isinstance(executor, RayExecutor):
        return {}
    notes: dict[str, Any] = {"workers": len(executor.pids)}
    notes |= {"replaced": executor.n_lost} if executor.n_lost else {}
    return notes if n_tokens is None else {**notes, "tokens in work": f"{n_tokens:,}"}


def _explain_lost(work: Work, lost: dict[int, str], resume_line: str) -> UserError:
    samples = [work.tokenized[i].id for batch in sorted(lost) for i in work.plan[batch]]
    named = ", ".join(samples[:8]) + (f" and {len(samples) - 8} more" if len(samples) > 8 else "")
    return UserError(
        f"{len(lost)} of {len(work.plan)} batches ended two workers each and were left out; all others are stored "
        f"(the first: {lost[min(lost)]})",
        f"samples {named}",
        f"leave them out of the data, or give the workers more memory and try them again: {resume_line}",
    )
