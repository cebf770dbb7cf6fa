"""The run that a training writes, through ``gsd_core.training.SpanGradientCallback``.

TrackedRun   a sink that stores the steps of a probe set or a ride as checkpoints of one run
name_step    name of a step's checkpoint
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gsd_core.capture.capture import CaptureConfig, Capturer
from gsd_core.capture.embeddings import load_sentence_encoder
from gsd_core.console.progress import Progress
from gsd_core.driver.capture_plan import CaptureOptions, check_resumable, make_manifest
from gsd_core.driver.capture_run import RunSamples, create_run, measure_window_cosine
from gsd_core.driver.capture_worker import describe_model, describe_sketch
from gsd_core.errors import UserError
from gsd_core.store import Run, Workspace
from gsd_core.types import SampleRecords, Skipped, TokenizedSample

if TYPE_CHECKING:
    from gsd_core.training.overhead import Overhead

BATCHES_A_STEP = 1_000  # batch numbers reserved for one step in a checkpoint of several steps
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
        samples: RunSamples,
        progress: Progress,
        group: int | None,
        replace: bool,
    ) -> None:
        assert options.run is not None
        self.name, self.config = options.run, config
        self._samples, self.skipped = samples, samples.skipped
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
        return self._samples.tokenized

    @property
    def is_ride(self) -> bool:
        """Whether it stores gradients of the training itself, not of a probe set."""
        return self._group is not None

    # -- what the callback calls ----------------------------------------------------------------------------------

    def start(self, capturer: Capturer, step: int) -> None:
        """Make the run, or open it where a training continues.

        Raises ``UserError`` where a run of that name has later steps than this training, or other settings.
        """
        encoder = load_sentence_encoder(self._options.encoder, device=str(capturer.device))
        manifest = self._make_manifest(capturer, encoder)
        is_known = self._run is not None  # the trainer has restarted in this process, with a smaller batch
        exists = any(info.name == self.name for info in self._workspace.list_runs())
        if exists and self._replace and step == 0 and not is_known:
            self._workspace.remove_run(self.name)
            exists = False
        run = self._workspace.open_run(self.name) if exists else None
        if run is not None and not run.manifest.get("has_tables"):
            self._workspace.remove_run(self.name)  # killed before its tables were complete
            run = None
        if run is not None:
            self._check_goes_on(run, manifest, step, is_known)
        else:
            run = create_run(self._workspace, self.name, manifest, encoder, self._samples, self._progress)
        run.repair()
        self._run, self._open_checkpoint = run, ""
        earlier = run.manifest.get("tracking_overhead") or {}
        self._earlier = {key: float(earlier.get(key) or 0.0) for key in _SUMMED}
        run.update_manifest(status="capturing")
        if self.is_ride:
            self._forget_from(run, step)

    def begin_step(self, step: int, fingerprint: str) -> set[int]:
        """Add the step to the checkpoints; returns its batches that are stored for the same weights."""
        run, base = self._opened(), self._base_of(step)
        name = name_step(base)
        if self.is_ride:
            self._switch_to(run, name, base)
            return set()
        described = [dict(c) for c in run.manifest.get("checkpoints", [])]
        known = next((c for c in described if c["name"] == name), None)
        if known is not None and known.get("fingerprint") != fingerprint:
            # The training was repeated from an earlier step and has other weights: the run follows it.
            run.forget_batches(name)
            known["fingerprint"] = fingerprint
            run.update_manifest(checkpoints=described)
        elif known is None:
            self._describe_checkpoint(run, name, base, fingerprint)
        return run.finished_batches(name)

    def write(self, step: int, batch: int, results: Sequence[SampleRecords | Skipped]) -> None:
        """Store one whole batch."""
        run, base = self._opened(), self._base_of(step)
        if self.is_ride:
            batch += (step - base) * BATCHES_A_STEP
            fresh = [each for each in results if _id_of(each) not in self._seen]
            self._n_repeated += len(results) - len(fresh)
            self._seen.update(_id_of(each) for each in fresh)
            results = fresh
        run.append_batch(name_step(base), base, batch, results)

    def end_step(self, step: int, overhead: Overhead) -> None:
        """Write a probe's step to disk, so that it survives a kill. A ride is written in larger parts."""
        if not self.is_ride:
            self.flush()
            self._opened().update_manifest(tracking_overhead=self._account(overhead))

    def flush(self) -> None:
        """Write everything so far to disk."""
        self._opened().flush()

    def finish(self, overhead: Overhead) -> None:
        """Complete the manifest and release the run."""
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
        manifest = make_manifest(
            self._options,
            dataset=self._workspace.open_dataset(self._options.dataset),
            n_samples=len(self._samples.read),
            model={"source": self._options.model, **describe_model(capturer.model)},
            tier=self.config.tier,
            window=self.config.window,
            sketch=describe_sketch(capturer),
            encoder=encoder,
        )
        manifest["tracking"] = {"kind": "ride" if self.is_ride else "probe", "group": self._group}
        return manifest

    def _check_goes_on(self, run: Run, manifest: dict[str, Any], step: int, is_known: bool) -> None:
        where = f"run {self.name}"
        stored = run.manifest.get("tracking") or {}
        if any(stored.get(key) != value for key, value in manifest["tracking"].items()):
            raise UserError("the run exists already, and was made in another way", where, "choose another run= name")
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
        """Open a ride's checkpoint: write the previous one, and read which samples this one has."""
        if name == self._open_checkpoint:
            return
        run.flush()
        self._open_checkpoint, self._seen = name, set()
        if all(c["name"] != name for c in run.manifest.get("checkpoints", [])):
            self._describe_checkpoint(run, name, base, "")
        if run.finished_batches(name):
            self._seen = set(run.read_spans(name, ["sample"])["sample"])

    def _forget_from(self, run: Run, step: int) -> None:
        """Remove the ride's steps from `step` on, because the training repeats them."""
        for each in run.manifest.get("checkpoints", []):
            if each["step"] + (self._group or 1) > step:
                run.forget_batches(each["name"], max(0, step - each["step"]) * BATCHES_A_STEP)

    def _account(self, overhead: Overhead) -> dict[str, Any]:
        """Cost of this training and of its earlier sessions."""
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
