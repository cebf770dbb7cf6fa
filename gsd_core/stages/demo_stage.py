"""``gsd demo``: the whole path on the bundled model and corpus.

run_demo       corpus → data set → capture of every checkpoint → analysis → evidence
describe_demo  the result as text
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
from typing import TYPE_CHECKING, Any

from gsd_core import __version__
from gsd_core.console.output import format_seconds
from gsd_core.console.progress import Progress
from gsd_core.dataset.demo import generate_corpus
from gsd_core.errors import Interrupted, UserError
from gsd_core.methods.analyze_method import AnalyzeOptions
from gsd_core.methods.capture_method import CaptureOptions
from gsd_core.methods.demo_method import DemoOptions
from gsd_core.methods.evaluate_method import EVIDENCE, EvaluateOptions
from gsd_core.stages.analyze_stage import run_analyze
from gsd_core.types import Sample

if TYPE_CHECKING:
    from gsd_core.store import RunInfo, Workspace

DEMO_NAME, STATE_NAME = "demo", "demo-state"
DEMO_SOURCE = "generated: gsd_core.dataset.demo"
SEED = 0
# Window 1 lets five checkpoints be captured within minutes on two cores; the audit reports what it costs.
TIER, WINDOW = "span", "1"


def run_demo(workspace: Workspace, options: DemoOptions, progress: Progress) -> dict[str, Any]:
    """Capture and analyse the demo.

    Returns ``run, dataset, n_samples, n_spans, n_clusters, n_twins, seconds, checkpoints, was_complete, url``.
    ``n_twins`` counts those with q < 0.05, ``url`` is None until a server is started. Raises ``UserError``
    where somebody's own data set or run has the demo's name; an interruption keeps what was finished.
    """
    # Torch is loaded here, not with the command line.
    from gsd_core.models.sources import resolve_checkpoints
    from gsd_core.stages.capture_stage import run_capture

    started = time.monotonic()
    progress.stage("demo corpus", options.samples, "samples")
    samples = generate_corpus(n_samples=options.samples, seed=SEED)
    info = _store_corpus(workspace, samples)
    wanted = [each.name for each in resolve_checkpoints("demo", options.checkpoints)]
    known = {run.name: run for run in workspace.list_runs()}
    states = {}
    for name, tier, window in ((DEMO_NAME, TIER, WINDOW), (STATE_NAME, "state", None)):
        states[name] = state = _get_state(known.get(name), info["data_hash"], wanted)
        if state == "other":
            progress.note(f"run {name} was made with other settings or by another version; making it anew")
            workspace.remove_run(name)
        if state == "complete":
            continue
        asked = CaptureOptions(
            dataset=DEMO_NAME,
            model="demo",
            checkpoints=options.checkpoints,
            tier=tier,
            window=window,
            run=name,
            resume=state == "started",
            seed=SEED,
            baseline_of=None if name == DEMO_NAME else DEMO_NAME,
        )
        try:
            run_capture(workspace, asked, progress)
        except Interrupted:
            # The demo itself is what goes on from here, not the capture's own line.
            raise KeyboardInterrupt from None
    analysis = run_analyze(workspace, AnalyzeOptions(DEMO_NAME, seed=SEED), progress)
    _add_evidence(workspace, wanted, progress)
    return {
        "run": DEMO_NAME,
        "dataset": DEMO_NAME,
        "n_samples": options.samples,
        **{key: analysis[key] for key in ("n_spans", "n_clusters", "n_twins")},
        "seconds": time.monotonic() - started,
        "checkpoints": wanted,
        "was_complete": states[DEMO_NAME] == "complete",
        "url": None,
    }


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
    begun = [each["name"] for each in manifest.get("checkpoints") or []]
    is_started = info.status == "capturing"
    is_same = (
        info.status != "broken"
        and (manifest.get("dataset") or {}).get("data_hash") == data_hash
        and begun == (checkpoints[: len(begun)] if is_started else checkpoints)
        and (manifest.get("gsd_version") or __version__) == __version__
    )
    if not is_same:
        return "other"
    return "started" if is_started else "complete"


def _store_corpus(workspace: Workspace, samples: list[Sample]) -> dict[str, Any]:
    text = "\n".join(json.dumps(asdict(sample), sort_keys=True, ensure_ascii=True) for sample in samples)
    info = {
        "format": "generated",
        "fields": {"layout": "generated"},
        "columns": [],
        "data_hash": hashlib.sha256(text.encode()).hexdigest(),
        "source": DEMO_SOURCE,
        "n_rejected": 0,
        "rejected": [],
    }
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
