"""``gsd attribute``: scores of tokens and segments of a run's traces, and which segments are chosen.

run_attribute        the stage; a command that was stopped continues after its last stored trace
compute_segment_table, compute_trace_table   the result as tables for export
describe_attribution the result as text

Scores are stored trace by trace; everything about segments follows from sums, so thresholds need no new gradient. The
mathematics is in ``gsd_core.attribution.integrated`` and ``gsd_core.comparison.segment_choice``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gsd_core import __version__
from gsd_core.analysis.answer_link import compute_answer_link
from gsd_core.attribution.answer_traces import choose_bridge, make_answer_trace
from gsd_core.attribution.answer_values import AnswerValues
from gsd_core.attribution.integrated import AnswerGradients, AnswerTrace, PathSettings
from gsd_core.capture.memory import FREE_SHARE
from gsd_core.capture.tier_capture import get_pad_id
from gsd_core.comparison.segment_choice import choose_segments
from gsd_core.console.output import format_bytes, format_seconds
from gsd_core.console.progress import Progress
from gsd_core.dataset.answers import find_answer
from gsd_core.driver.capture_plan import make_run_name
from gsd_core.driver.capture_run import describe_skipped
from gsd_core.driver.stored_data import resolve_dataset
from gsd_core.errors import UserError
from gsd_core.methods.attribute_method import ATTRIBUTION, AttributeOptions
from gsd_core.methods.capture_method import CaptureOptions
from gsd_core.models.devices import input_device
from gsd_core.models.loading import LoadedModel, max_positions
from gsd_core.models.memory import find_free_bytes
from gsd_core.stages.attribute_tables import Work, tabulate, tabulate_checks
from gsd_core.stages.capture_stage import run_capture
from gsd_core.stages.run_model import load_run_model, read_tokenized
from gsd_core.stages.run_reading import get_checkpoint, read_analysed
from gsd_core.store import load_directions
from gsd_core.types import Skipped, TokenizedSample, join_span

if TYPE_CHECKING:
    from gsd_core.store import Run, Workspace
    from gsd_core.store.results import ResultWriter

MOST_BATCH_TOKENS = 4096
N_PROBES = 8
"""Traces, evenly spread over the lengths, that are attributed first: what they took tells what the others will."""
NEW_TIER = "hidden"  # one forward pass a sample
LINKED = 2**31 - 1  # the batch that comes after those of all traces
MOST_NAME = 64  # characters of a run's name


def run_attribute(workspace: Workspace, options: AttributeOptions, progress: Progress) -> dict[str, Any]:
    """Attribute the answers of a run's traces to their tokens and segments; stored in the run, trace by trace.

    Returns ``run, checkpoint, n_traces, n_segments, kept_share, kept_token_share, completeness, n_points, n_skipped,
    skipped, estimated_seconds, estimated_memory_bytes, seconds, notes``. ``completeness`` is the median residual as a
    share of what the answer gains over the baseline. Raises ``UserError`` for an unknown run, a new run without data
    set or model, a model that is not at hand, and where no trace has an answer.
    """
    started = time.monotonic()
    run = _open_run(workspace, options, progress)
    checkpoint = get_checkpoint(run, options.checkpoint)
    if options.again:
        run.results.drop(ATTRIBUTION, checkpoint)
    told: dict[str, Any] = {"estimated_seconds": None, "estimated_memory_bytes": None, "notes": []}
    settings = _make_settings(run, checkpoint, options)
    kept = run.results.info(ATTRIBUTION, checkpoint) if run.results.has(ATTRIBUTION, checkpoint) else {}
    if any(kept.get(key) != value for key, value in settings.items()):
        told = _attribute(run, checkpoint, options, settings, progress)
    return _summarise(run, checkpoint, options, told, time.monotonic() - started)


def _open_run(workspace: Workspace, options: AttributeOptions, progress: Progress) -> Run:
    """The run of this name; else a new one, captured with a tier that costs one forward pass.

    Without a name the same data set and model mean the same run, so the same command goes on with it.
    """
    known = {info.name: info for info in workspace.list_runs()}
    name = options.run
    if name in known and known[name].manifest.get("status") != "capturing":
        return workspace.open_run(name)
    if not options.dataset or not options.model:
        if name and name not in known:
            workspace.open_run(name)  # an unknown name is told with names like it
        raise UserError(
            "neither a captured run nor a data set and a model is given",
            "gsd attribute",
            "give --run NAME, or --dataset and --model for a new run",
        )
    dataset = resolve_dataset(workspace, options.dataset, map_flag=options.map, progress=progress)
    asked = CaptureOptions(
        dataset,
        options.model,
        tier=NEW_TIER,
        segmenter=options.segmenter,
        limit=options.limit,
        no_measures=True,
        no_controls=True,
        trust_remote_code=options.trust_remote_code,
    )
    part = re.sub(r"[^A-Za-z0-9]+", "-", f"{options.segmenter} {options.limit or ''}").strip("-")[: MOST_NAME // 2]
    name = name or f"{make_run_name(asked, dataset)[: MOST_NAME - len(part) - 1]}-{part}"
    if name in known and known[name].manifest.get("status") != "capturing":
        return workspace.open_run(name)
    run_capture(workspace, replace(asked, run=name, resume=name in known), progress)
    return workspace.open_run(name)


def _make_settings(run: Run, checkpoint: str, options: AttributeOptions) -> dict[str, Any]:
    """Everything that changes the scores."""
    is_fixed = options.nodes != "adaptive"
    entry: dict[str, Any] = next(
        (each for each in run.manifest.get("checkpoints") or [] if each.get("name") == checkpoint), {}
    )
    return {
        "baseline": options.baseline,
        "nodes": options.nodes,
        "steps": options.steps if is_fixed else None,
        "residual": None if is_fixed else options.residual,
        "most_steps": None if is_fixed else options.most_steps,
        "bridge": options.bridge,
        "check": options.check,
        "seed": options.seed,
        "limit": options.limit,
        "model": entry.get("hash"),
        "gsd_version": __version__,
    }


# -- attributing ----------------------------------------------------------------------------------------------------


def _attribute(
    run: Run, checkpoint: str, options: AttributeOptions, settings: dict[str, Any], progress: Progress
) -> dict[str, Any]:
    """Compute and store what is missing. Returns estimates and notes."""
    loaded = load_run_model(run, checkpoint, progress, options.model)
    bridge = options.bridge if options.bridge is not None else choose_bridge(loaded.tokenizer)
    samples, answers, traces, skipped = _make_traces(run, checkpoint, options, loaded, bridge)
    if not traces:
        reason = f"; the first: {skipped[0].sample}: {skipped[0].reason}" if skipped else ""
        raise UserError(
            f"no trace has an answer to attribute to{reason}", f"run {run.name}", "give answers in the data set"
        )
    path = PathSettings(
        options.baseline,
        options.nodes,
        options.steps,
        options.residual,
        options.most_steps,
        gradient_checkpointing=options.gradient_checkpointing,
        seed=options.seed,
    )
    gradients = AnswerGradients(loaded.model, get_pad_id(loaded.model), path)
    by_token, batch_tokens = _fit_batch(gradients, traces, options.batch_tokens)
    gradients.settings = replace(path, batch_tokens=batch_tokens)
    lengths = np.array([len(each.token_ids) for each in traces])
    memory = float(by_token * max(batch_tokens, int(lengths.max())))
    notes = [f"words between reasoning and answer: {bridge!r}"]
    if len(skipped):
        notes.append(f"{len(skipped):,} samples are left out; the first: {skipped[0].sample}: {skipped[0].reason}")
    n_single = sum(len(each.spans) == 1 for each in samples)
    if 2 * n_single > len(samples):
        notes.append(
            f"{n_single:,} of {len(samples):,} traces are one segment, so there is nothing to choose: "
            "cut them otherwise, for example with --segmenter sentences"
        )
    for note in notes:
        progress.note(note)
    with run.results.open_writer(ATTRIBUTION, settings, checkpoint) as writer:
        if 0 not in writer.finished:
            rows = pd.DataFrame([(each.sample, each.reason) for each in skipped], columns=["sample", "reason"])
            writer.append(0, {"skipped": rows})
        seconds = _iter_traces(
            writer, gradients, _make_work(run, checkpoint, samples, answers, traces), memory, options, progress
        )
        writer.flush()
        links, link = _link_directions(run, checkpoint, run.results.read(ATTRIBUTION, "segments", checkpoint))
        if links is not None and LINKED not in writer.finished:
            writer.append(LINKED, {"links": links})
        info = {"tau": options.tau, "beta": options.beta, "words": bridge, "link": link}
        info |= {"attention": gradients.attention, "number_format": str(loaded.model.dtype).removeprefix("torch.")}
        writer.finish({**settings, **info})
    return {"estimated_seconds": seconds, "estimated_memory_bytes": memory, "notes": notes}


def _make_traces(
    run: Run, checkpoint: str, options: AttributeOptions, loaded: LoadedModel, bridge: str
) -> tuple[list[TokenizedSample], list[str], list[AnswerTrace], list[Skipped]]:
    """Samples with their answers and traces, and those without an answer."""
    captured = set(run.read_spans(checkpoint, ["sample"])["sample"])
    stored = run.read_samples(columns=["sample", "answer", "reasoning"])
    stored = stored[stored["sample"].isin(captured)].head(options.limit or len(stored))
    tokenized = read_tokenized(run, checkpoint, stored["sample"].tolist())
    longest = max_positions(loaded.model)
    samples, answers, traces, skipped = [], [], [], []
    for sample, answer, reasoning in zip(tokenized, stored["answer"], stored["reasoning"], strict=True):
        wanted = str(answer or "").strip()
        if not wanted:
            found = find_answer(str(reasoning))
            wanted = found[0] if found else ""
        trace = make_answer_trace(sample, wanted, loaded.tokenizer, bridge, longest)
        if isinstance(trace, Skipped):
            skipped.append(trace)
        else:
            samples.append(sample)
            answers.append(wanted)
            traces.append(trace)
    return samples, answers, traces, skipped


def _fit_batch(gradients: AnswerGradients, traces: Sequence[AnswerTrace], asked: int | None) -> tuple[float, int]:
    """Bytes for each token of a batch of points, and its tokens. Raises ``UserError`` where not one point fits."""
    lengths = np.array([len(each.token_ids) for each in traces])
    middle = traces[int(np.argsort(lengths)[len(lengths) // 2])]
    by_token = gradients.count_bytes(middle) / len(middle.token_ids)
    room = FREE_SHARE * find_free_bytes(input_device(gradients.model))
    if asked is not None:
        return by_token, asked
    if by_token * lengths.max() > room:
        raise UserError(
            f"the longest trace has {int(lengths.max()):,} tokens and needs about "
            f"{format_bytes(by_token * lengths.max())}, and {format_bytes(room)} of memory are free",
            "gsd attribute",
            "free memory, add --gradient-checkpointing, or try anyway with --batch-tokens",
        )
    return by_token, int(min(MOST_BATCH_TOKENS, room / by_token))


def _link_directions(
    run: Run, checkpoint: str, segments: pd.DataFrame
) -> tuple[pd.DataFrame | None, dict[str, Any] | None]:
    """Strengths beside those of the best aligned segments, and the correlation; None where there are too few."""
    spans = run.read_spans(checkpoint, ["span", "sample", "index"])
    own = segments.set_index("span").reindex(spans["span"])
    rows = np.flatnonzero(own["strength"].notna().to_numpy())
    directions = load_directions(run.snapshot(), checkpoint, spans["sample"].to_numpy(dtype=object))
    counts = own["sample"].map(own["sample"].value_counts()).to_numpy(float)[rows]
    relative = own["strength"].to_numpy(float)[rows] * counts
    traces = pd.factorize(spans["sample"].iloc[rows])[0]
    lasts = spans["index"].groupby(spans["sample"]).transform("max").clip(lower=1)
    positions = (spans["index"] / lasts).to_numpy(float)[rows]
    found = compute_answer_link(np.asarray(directions.rows[rows]), traces, positions, relative)
    if found is None:
        return None, None
    names = spans["span"].iloc[rows[found.rows]].to_numpy()
    return pd.DataFrame({"span": names, "relative": relative[found.rows], "near": found.near}), found.describe()


def _make_work(
    run: Run, checkpoint: str, samples: Sequence[TokenizedSample], answers: Sequence[str], traces: Sequence[AnswerTrace]
) -> list[Work]:
    """Traces with the texts of their segments."""
    texts = run.read_spans(checkpoint, ["span", "text"]).set_index("span")["text"]
    made = []
    for sample, answer, trace in zip(samples, answers, traces, strict=True):
        own = [str(texts[join_span(sample.id, span.index)]) for span in sample.spans]
        made.append(Work(sample, answer, trace, own))
    return made


def _iter_traces(
    writer: ResultWriter,
    gradients: AnswerGradients,
    work: Sequence[Work],
    memory: float,
    options: AttributeOptions,
    progress: Progress,
) -> float | None:
    """Attribute and store each trace. Returns the seconds that all were estimated to take; None where few are left."""
    lengths = np.array([len(each.trace.token_ids) for each in work])
    missing = [at for at in range(len(work)) if at + 1 not in writer.finished]
    ranked = sorted(missing, key=lambda at: (int(lengths[at]), at))
    probes = [ranked[at] for at in np.unique(np.linspace(0, len(ranked) - 1, N_PROBES).round().astype(int))]
    if len(ranked) < 4 * N_PROBES:
        probes = []
    order = [*probes, *(at for at in missing if at not in set(probes))]
    checked = set(np.linspace(0, len(work) - 1, min(options.check, len(work))).round().astype(int).tolist())
    values = AnswerValues(gradients.model)
    took: list[tuple[int, float, int]] = []
    estimate = None
    with progress.stage("attributing", len(work), "traces") as stage:
        stage.skip(len(work) - len(missing))
        for done, at in enumerate(order, 1):
            began = time.monotonic()
            found = gradients.attribute(work[at].trace, lambda share: stage.show(0, trace=f"{share:.0%}"))
            stage.show(0, trace="without segments")
            tables = tabulate(work[at], found, values, options.seed)
            took.append((int(lengths[at]), time.monotonic() - began, found.n_points))
            if at in checked:
                tables |= tabulate_checks(work[at], gradients, lambda what: stage.show(0, trace=what))
            writer.append(at + 1, tables)
            stage.advance()
            if done == len(probes):
                estimate = _estimate_seconds(took, lengths[missing])
                points = np.mean([each[2] for each in took])
                progress.note(
                    f"{len(missing):,} traces, about {points:.0f} gradients each: {format_seconds(estimate)} in all, "
                    f"{format_bytes(memory)} beside the model"
                )
    return estimate


def _estimate_seconds(took: Sequence[tuple[int, float, int]], lengths: np.ndarray) -> float:
    """Seconds of traces of these lengths, from (length, seconds, points) of a few: seconds a token by length."""
    known = sorted(took)
    rates = [seconds / length for length, seconds, _ in known]
    return float((np.interp(lengths, [length for length, *_ in known], rates) * lengths).sum())


# -- the result -----------------------------------------------------------------------------------------------------


def _summarise(
    run: Run, checkpoint: str, options: AttributeOptions, told: dict[str, Any], seconds: float
) -> dict[str, Any]:
    segments = run.results.read(ATTRIBUTION, "segments", checkpoint)
    traces = run.results.read(ATTRIBUTION, "traces", checkpoint)
    skipped = run.results.read(ATTRIBUTION, "skipped", checkpoint)
    chosen = choose_segments(segments["mass"].to_numpy(), segments["consistency"].to_numpy(), options.tau, options.beta)
    n_tokens = segments["n_tokens"].to_numpy()
    gains = (traces["value"] - traces["baseline_value"]).abs().clip(lower=1e-12)
    return {
        "run": run.name,
        "checkpoint": checkpoint,
        "n_traces": len(traces),
        "n_segments": len(segments),
        "tau": options.tau,
        "beta": options.beta,
        "kept_share": float(chosen.mean()) if len(chosen) else 0.0,
        "kept_token_share": float(n_tokens[chosen].sum() / max(1, n_tokens.sum())),
        "completeness": float((traces["residual"] / gains).median()),
        "n_points": int(traces["n_points"].sum()),
        "n_skipped": len(skipped),
        "skipped": skipped.to_dict("records"),
        **told,
        "seconds": seconds,
    }


def compute_segment_table(run: Run, checkpoint: str) -> pd.DataFrame:
    """One row a segment. Raises ``UserError`` where the checkpoint is not attributed."""
    return _read(run, "segments", checkpoint)


def compute_trace_table(run: Run, checkpoint: str) -> pd.DataFrame:
    """One row a trace. Raises ``UserError`` where the checkpoint is not attributed."""
    return _read(run, "traces", checkpoint)


def _read(run: Run, table: str, checkpoint: str) -> pd.DataFrame:
    if not run.results.has(ATTRIBUTION, checkpoint):
        raise UserError(
            "no attribution yet", f"run {run.name}, checkpoint {checkpoint}", f"gsd attribute --run {run.name}"
        )
    return read_analysed(run, ATTRIBUTION, table, checkpoint, "attribution")


def describe_attribution(result: dict[str, Any]) -> str:
    """``gsd attribute``: what was attributed, how completely, and what the thresholds choose."""
    lines = [
        f"run {result['run']}, checkpoint {result['checkpoint']}: {result['n_segments']:,} segments of "
        f"{result['n_traces']:,} traces",
        f"completeness: the median trace leaves {result['completeness']:.2%} of the answer's gain unexplained",
        f"chosen at tau {result['tau']:g}, beta {result['beta']:g}: {result['kept_share']:.0%} of the segments, "
        f"{result['kept_token_share']:.0%} of their tokens",
        f"{format_seconds(result['seconds'])}, {result['n_points']:,} gradients",
        *describe_skipped(result),
    ]
    return "\n".join(lines)
