"""``gsd demo``: the whole path on the bundled model and corpus.

run_demo       corpus → data set → capture of every checkpoint → analysis → evidence
is_demo_there  whether a finished demo with these settings is there
describe_demo  the result as text
describe_look  what there is to see while the demo is captured in the background
DEMO_NAME      the name of its data set and run
STATE_NAME     the name of the run that holds the baseline, the mean hidden states

A finished demo is used again, and a stopped one continues. A demo with other settings or of another version is computed
again. The command starts the server; this stage does not.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gsd_core
from gsd_core import __version__
from gsd_core.console.output import format_seconds
from gsd_core.console.progress import Progress
from gsd_core.dataset.demo import generate_corpus
from gsd_core.errors import Interrupted, UserError
from gsd_core.methods.analyze_method import AnalyzeOptions
from gsd_core.methods.capture_method import CaptureOptions
from gsd_core.methods.demo_method import DEMO_SOURCE, DemoOptions
from gsd_core.methods.evaluate_method import EVIDENCE, EvaluateOptions
from gsd_core.stages.analyze_stage import run_analyze
from gsd_core.types import Sample

if TYPE_CHECKING:
    from gsd_core.store import RunInfo, Workspace

DEMO_NAME, STATE_NAME = "demo", "demo-state"
SEED = 0
# Window 1 lets four checkpoints be captured within minutes on two cores; the audit reports what it costs.
TIER, WINDOW = "span", "1"
FIRST = "step-03600"  # the checkpoint with most clusters and twins (docs/structure-benchmark.md)


def run_demo(workspace: Workspace, options: DemoOptions, progress: Progress) -> dict[str, Any]:
    """Capture and analyse the demo.

    Returns ``run, dataset, n_samples, n_spans, n_clusters, n_twins, seconds, checkpoints, was_complete, url``.
    ``n_twins`` counts those with q < 0.05, ``url`` is None until a server is started. Raises ``UserError``
    where somebody's own data set or run has the demo's name; an interruption keeps what was finished.
    """
    # Torch is loaded here, not with the command line.
    from gsd_core.models.sources import resolve_checkpoints

    started = time.monotonic()
    progress.stage("demo corpus", options.samples, "samples")
    samples = generate_corpus(n_samples=options.samples, seed=SEED)
    info = _store_corpus(workspace, samples)
    wanted = [each.name for each in resolve_checkpoints("demo", options.checkpoints)]
    # The checkpoint with most to see comes first, so that its map can be looked at while the others are captured.
    ordered = sorted(wanted, key=lambda name: name != FIRST)
    state = _prepare(workspace, DEMO_NAME, info["data_hash"], wanted, progress)
    if state != "complete":
        _capture(workspace, DEMO_NAME, ordered[:1], options, progress)
        run_analyze(workspace, AnalyzeOptions(DEMO_NAME, checkpoint=ordered[0], seed=SEED), progress)
        _capture(workspace, DEMO_NAME, ordered, options, progress)
    if _prepare(workspace, STATE_NAME, info["data_hash"], wanted, progress) != "complete":
        _capture(workspace, STATE_NAME, ordered, options, progress)
    analysis = run_analyze(workspace, AnalyzeOptions(DEMO_NAME, seed=SEED), progress)
    _add_evidence(workspace, wanted, progress)
    return {
        "run": DEMO_NAME,
        "dataset": DEMO_NAME,
        "n_samples": options.samples,
        **{key: analysis[key] for key in ("n_spans", "n_clusters", "n_twins")},
        "seconds": time.monotonic() - started,
        "checkpoints": wanted,
        "was_complete": state == "complete",
        "url": None,
    }


def is_demo_there(workspace: Workspace, options: DemoOptions) -> bool:
    """Whether both runs of the demo are there with these settings. Raises ``UserError`` as ``run_demo``."""
    known = {run.name: run for run in workspace.list_runs()}
    data_hash = _describe_corpus(generate_corpus(n_samples=options.samples, seed=SEED))["data_hash"]
    wanted = options.checkpoints
    if wanted == ["all"]:  # resolve_checkpoints would load torch
        wanted = sorted(each.name for each in (Path(gsd_core.__file__).parent / "assets/demo_model").glob("step-*"))
    return all(_get_state(known.get(name), data_hash, wanted) == "complete" for name in (DEMO_NAME, STATE_NAME))


def _prepare(workspace: Workspace, name: str, data_hash: str, checkpoints: list[str], progress: Progress) -> str:
    """What is there of a run, as ``_get_state``; one that was made in another way is removed."""
    known = {run.name: run for run in workspace.list_runs()}
    state = _get_state(known.get(name), data_hash, checkpoints)
    if state == "other":
        progress.note(f"run {name} was made with other settings or by another version; making it anew")
        workspace.remove_run(name)
        return "missing"
    return state


def _capture(workspace: Workspace, name: str, checkpoints: list[str], options: DemoOptions, progress: Progress) -> None:
    """Capture what is missing of these checkpoints. An interruption is the demo's, not the capture's own."""
    from gsd_core.stages.capture_stage import run_capture

    tier, window = (TIER, WINDOW) if name == DEMO_NAME else ("state", None)
    asked = CaptureOptions(
        dataset=DEMO_NAME,
        model="demo",
        checkpoints=checkpoints,
        tier=tier,
        window=window,
        run=name,
        resume=any(run.name == name for run in workspace.list_runs()),
        seed=SEED,
        baseline_of=None if name == DEMO_NAME else DEMO_NAME,
    )
    try:
        run_capture(workspace, asked, progress)
    except Interrupted:
        raise KeyboardInterrupt from None


def _add_evidence(workspace: Workspace, checkpoints: list[str], progress: Progress) -> None:
    """The benchmark of the page Evidence against the planted procedures; kept where every checkpoint has it."""
    from gsd_core.stages.evaluate_stage import run_evaluate

    run = workspace.open_run(DEMO_NAME)
    known = set(run.results.read(EVIDENCE, "rows")["checkpoint"]) if run.results.has(EVIDENCE) else set()
    if set(checkpoints) <= known:
        return
    options = EvaluateOptions(
        DEMO_NAME,
        label="meta.procedure",
        checkpoint="all",
        differ=["meta.topic", "meta.wording"],
        wording="meta.wording",
        where=["meta.step_kinds=step"],
        against=[STATE_NAME],
        remove=[0],
        seed=SEED,
    )
    try:
        run_evaluate(workspace, options, progress)
    except UserError as error:  # a handful of samples may be too few for it; the rest of the demo stands
        progress.note(f"no benchmark: {error.one_line()}")


def _get_state(info: RunInfo | None, data_hash: str, checkpoints: list[str]) -> str:
    """``missing``, ``started`` (go on), ``complete`` (use it) or ``other`` (make it anew)."""
    if info is None:
        return "missing"
    manifest = info.manifest
    source = (manifest.get("dataset") or {}).get("source")
    if info.status != "broken" and source not in (None, DEMO_SOURCE):
        raise UserError(f"a run of your own is called {info.name}", f"its data is {source}", "use another --workspace")
    # Checkpoints enter the manifest as their turn comes: an interrupted run has the first of them.
    begun = {each["name"] for each in manifest.get("checkpoints") or []}
    is_started = info.status == "capturing" or begun < set(checkpoints)
    is_same = (
        info.status != "broken"
        and (manifest.get("dataset") or {}).get("data_hash") == data_hash
        and begun <= set(checkpoints)
        and (manifest.get("gsd_version") or __version__) == __version__
    )
    if not is_same:
        return "other"
    return "started" if is_started else "complete"


def _describe_corpus(samples: list[Sample]) -> dict[str, Any]:
    """What the data set's description says."""
    text = "\n".join(json.dumps(asdict(sample), sort_keys=True, ensure_ascii=True) for sample in samples)
    return {
        "format": "generated",
        "fields": {"layout": "generated"},
        "columns": [],
        "data_hash": hashlib.sha256(text.encode()).hexdigest(),
        "source": DEMO_SOURCE,
        "n_rejected": 0,
        "rejected": [],
    }


def _store_corpus(workspace: Workspace, samples: list[Sample]) -> dict[str, Any]:
    info = _describe_corpus(samples)
    old = next((each for each in workspace.list_datasets() if each.name == DEMO_NAME), None)
    if old is not None:
        if old.source != DEMO_SOURCE:
            raise UserError("a data set of your own is called demo", f"from {old.source}", "use another --workspace")
        if old.data_hash == info["data_hash"]:
            return info
    workspace.write_dataset(DEMO_NAME, samples, info, replace=True)
    return info


def describe_demo(result: dict[str, Any]) -> str:
    """``gsd demo``: what there is to see, and where."""
    head = "demo is ready" + (" (it was made before)" if result["was_complete"] else "")
    shown = f"open {result['url']}  (Ctrl-C ends the dashboard)" if result["url"] else "gsd serve shows it"
    return (
        f"{head}: {result['n_samples']:,} samples, {result['n_spans']:,} spans, {result['n_clusters']} clusters, "
        f"{result['n_twins']:,} twins, {len(result['checkpoints'])} checkpoints in "
        f"{format_seconds(result['seconds'])}\n{shown}"
    )


def describe_look(result: dict[str, Any]) -> str:
    """``gsd demo``: the run that is there at once, and what is captured meanwhile."""
    lines = [f"open {result['url']}  (Ctrl-C ends the dashboard)"]
    if result["n_spans"]:
        lines.append(
            f"run {result['run']}: {result['n_spans']:,} spans of {result['n_samples']:,} samples at "
            f"{len(result['checkpoints'])} steps of a fine-tune"
        )
    if result["is_capturing"]:
        lines.append("this machine captures the planted corpus: Overview shows how far it is, and can stop it")
    return "\n".join(lines)
