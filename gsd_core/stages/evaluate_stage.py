"""``gsd evaluate``: the benchmark of a run against a label, beside every baseline.

run_evaluate         P@10 of gradients, baselines and controls, with intervals over samples; stored for Evidence
find_verdict         the best gradient and the best baseline, and whether their intervals are apart
describe_evaluation  the result as text

Spans or samples are compared by cosine; a neighbour never comes from the query's own sample. The mathematics is in
``gsd_core.analysis.benchmark``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gsd_core.analysis import baselines
from gsd_core.analysis.baselines import Representation
from gsd_core.analysis.benchmark import (
    Pool,
    Precision,
    bootstrap_mean,
    bootstrap_pairs,
    compute_cluster_agreement,
    compute_precision,
    shuffle_labels,
)
from gsd_core.analysis.cluster_levels import LEVELS, find_clusters
from gsd_core.analysis.families import STRENGTHS, find_families, find_levels
from gsd_core.comparison.meta_labels import find_text, to_text
from gsd_core.comparison.verdict import compute_verdict
from gsd_core.comparison.wording import make_wording
from gsd_core.console.output import format_table
from gsd_core.console.progress import Progress
from gsd_core.errors import UserError
from gsd_core.methods.evaluate_method import EVIDENCE, EvaluateOptions
from gsd_core.methods.structure_method import STRESS_LEVEL
from gsd_core.stages.control_queries import ControlQueries, aggregate_controls, make_control_queries
from gsd_core.stages.neighbor_pools import ANY, draw_samples, make_pools
from gsd_core.stages.representations import (
    make_representations,
    match_checkpoint,
    open_others,
)
from gsd_core.stages.run_reading import find_entry, list_checkpoints
from gsd_core.stages.run_tables import compute_span_table
from gsd_core.stages.twin_evidence import measure_twins

if TYPE_CHECKING:
    from gsd_core.store import Run, Workspace

K = 10
MOST_FAMILIAR = 6000  # spans of whose families the purity is measured
MAX_QUERIES = 3000  # rows that ask; all may answer. More hardly narrow the intervals.


def run_evaluate(workspace: Workspace, options: EvaluateOptions, progress: Progress) -> dict[str, Any]:
    """Evaluate a run and store the rows in it, in place of earlier rows of the same question.

    Returns ``run, label, level, checkpoints, rows: [{checkpoint, step, representation, kind, metric, value, ci_low,
    ci_high, chance, ceiling, n, seed_spread}], chance, n, n_left_out, verdicts, seconds``; ``chance`` and ``n`` are
    those of the first row. Raises ``UserError`` for an unknown run, checkpoint or field, a label that does not fit
    the level, a run in ``against`` of another data set, or too few labelled rows.
    """
    started = time.monotonic()
    run = workspace.open_run(options.run)
    others = open_others(workspace, run, options.against)
    wanted = list_checkpoints(run, options.checkpoint)
    rows: list[dict[str, Any]] = []
    n_left_out = 0
    for number, checkpoint in enumerate(wanted, 1):
        title = f"evaluating {checkpoint} ({number}/{len(wanted)})"
        found, n_left_out = _evaluate_checkpoint(run, others, checkpoint, options, progress, title)
        rows += found
    frame = pd.DataFrame(rows)
    _store(run, frame, options)
    verdicts = []
    for checkpoint, part in frame.groupby("checkpoint", sort=False):
        if verdict := compute_verdict(part):
            verdicts.append({"checkpoint": checkpoint, **verdict._asdict()})
    return {
        "run": options.run,
        "label": options.label,
        "level": options.level,
        "checkpoints": wanted,
        "rows": rows,
        "chance": rows[0]["chance"],
        "n": rows[0]["n"],
        "n_left_out": n_left_out,
        "verdicts": verdicts,
        "seconds": time.monotonic() - started,
    }


# -- one checkpoint -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Bench:
    """What is compared at one checkpoint: n rows of spans, or of samples.

    ``owners`` (n,) int number each row's sample; ``pools`` metric → which rows may be neighbours of which.
    """

    owners: np.ndarray
    representations: list[Representation]
    controls: list[ControlQueries]
    pools: dict[str, Pool]


def _evaluate_checkpoint(
    run: Run, others: list[Run], checkpoint: str, options: EvaluateOptions, progress: Progress, title: str
) -> tuple[list[dict[str, Any]], int]:
    stage = progress.stage(title, unit="queries")
    chosen, n_left_out = _choose_spans(run, others, checkpoint, options)
    bench = _make_bench(run, others, checkpoint, chosen, options)
    queries = _choose_queries(bench.owners, options.seed)
    shuffled = shuffle_labels(bench.pools[f"P@{K}"].labels, bench.owners, options.seed)
    rows: list[dict[str, Any]] = []
    for part, (metric, pool) in enumerate(bench.pools.items()):

        def report(done: int, total: int, part: int = part) -> None:
            stage.update(part * total + done, (len(bench.pools) + 1) * total)

        own = bench.representations
        precisions = compute_precision(own, pool, k=K, queries=queries, on_progress=report)
        if metric != f"P@{K}" and not np.nansum(precisions[0].ceiling):
            # Nobody who may be a neighbour carries the query's label: every value would be 0 and mean nothing.
            progress.note(f"{metric} is left out at {checkpoint}: no allowed neighbour has the same label")
            continue
        control = replace(pool, labels=shuffled)
        precisions += compute_precision(own[:1], control, k=K, queries=queries)
        named = [(each.name, each.kind) for each in own]
        named.append((f"random labels ({own[0].name})", "control"))
        for label, kind, precision in _ask_controls(bench.controls, own[0], pool, options.level):
            named.append((label, kind))
            precisions.append(precision)
        rows += [
            {"representation": name, "kind": kind, "metric": metric, **_summarize(each, bench, options.seed)}
            for (name, kind), each in zip(named, precisions, strict=True)
        ]
    step = find_entry(run, checkpoint).get("step")
    common = {
        "checkpoint": checkpoint,
        "step": None if step is None else int(step),
        "label": options.label,
        "level": options.level,
        "where": " ".join(sorted(options.where)),
    }
    of_spans = bench.representations if options.level == "span" else []
    if options.level == "span":
        rows += [*_measure_families(bench, chosen, options.seed), *_measure_level(bench, chosen, options.seed)]
    rows = [
        *_merge_seeds(rows),
        *_describe_clusters(chosen, options),
        *measure_twins(run, checkpoint, chosen, of_spans, options.seed),
    ]
    stage.update(1, 1)
    return [{**common, **row} for row in rows], n_left_out


def _measure_families(bench: _Bench, chosen: pd.DataFrame, seed: int) -> list[dict[str, Any]]:
    """How often a member of a confirmed family carries its prototype's label, for families of every representation.

    Of more than ``MOST_FAMILIAR`` spans, those of a seeded draw of samples.
    """
    rows = np.arange(len(bench.owners))
    if len(rows) > MOST_FAMILIAR:
        rows = draw_samples(bench.owners, MOST_FAMILIAR, seed)
    owners = bench.owners[rows]
    labels = pd.factorize(chosen["label"])[0][rows]
    shares = np.bincount(labels) / max(1, len(labels))
    found = []
    for each in bench.representations:
        part = each.rows[rows]
        directions = np.asarray(part.toarray() if hasattr(part, "toarray") else part, dtype=np.float32)
        families = find_families(directions, owners, find_levels(directions, owners, seed))
        confirmed = [family for family in families if family.strength == STRENGTHS[0]]
        pairs = np.array([(family.prototype, row) for family in confirmed for row in family.members], dtype=np.int64)
        if not len(pairs):
            continue
        left, right = pairs.T
        is_same = (labels[left] == labels[right]).astype(float)
        value, low, high = bootstrap_pairs(is_same, owners[pairs], seed=seed)
        numbers = {"value": value, "ci_low": low, "ci_high": high, "n": len(pairs)}
        about = {"representation": each.name, "kind": each.kind, "metric": "purity of families"}
        chance = {"chance": float(shares[labels[left]].mean()), "ceiling": 1.0}
        found.append(dict[str, Any](**about, **numbers, **chance))
    return found


def _measure_level(bench: _Bench, chosen: pd.DataFrame, seed: int) -> list[dict[str, Any]]:
    """Adjusted mutual information with the label, of every representation's clusters at ``STRESS_LEVEL``.

    It is over the spans that are in a cluster; n says how many those are.
    """
    rows = np.arange(len(bench.owners))
    if len(rows) > MOST_FAMILIAR:
        rows = draw_samples(bench.owners, MOST_FAMILIAR, seed)
    owners = bench.owners[rows]
    labels = pd.factorize(chosen["label"])[0][rows]
    found = []
    for each in bench.representations:
        part = each.rows[rows]
        directions = np.asarray(part.toarray() if hasattr(part, "toarray") else part, dtype=np.float32)
        clusters = find_clusters(directions, owners, LEVELS[STRESS_LEVEL], seed)
        *value, n = compute_cluster_agreement(clusters, labels, owners, seed)
        if n:
            numbers = dict(zip(("value", "ci_low", "ci_high", "n"), (*value, n), strict=True))
            about = {"representation": each.name, "kind": each.kind, "metric": f"AMI of clusters, level {STRESS_LEVEL}"}
            found.append(dict[str, Any](**about, **numbers, chance=0.0, ceiling=1.0))
    return found


def _choose_spans(run: Run, others: list[Run], checkpoint: str, options: EvaluateOptions) -> tuple[pd.DataFrame, int]:
    """Labelled spans that every run has, and how many spans of the run have no label."""
    table, _ = compute_span_table(run, checkpoint)
    chosen, n_left_out = _choose_rows(table, run.name, options)
    for other in others:
        held = set(other.read_spans(match_checkpoint(other, checkpoint))["span"])
        chosen = chosen[chosen["span"].isin(held)]
    if chosen["sample"].nunique() < 3 or chosen["label"].nunique() < 2:
        raise UserError(
            f"too few labelled rows ({len(chosen)} spans, {chosen['label'].nunique()} labels)",
            f"run {run.name}, {options.label}",
            "choose another --label, or drop --where",
        )
    return chosen.reset_index(drop=True), n_left_out


def _make_bench(run: Run, others: list[Run], checkpoint: str, chosen: pd.DataFrame, options: EvaluateOptions) -> _Bench:
    """``chosen`` spans, or their samples where the level says so, with what represents them."""
    representations = make_representations(
        run,
        others,
        checkpoint,
        chosen,
        removed=options.remove,
        with_layers=options.layers,
        wordings=[to_text(each) for each in chosen[options.wording]] if options.wording else None,
    )
    controls = make_control_queries(run, checkpoint, chosen)
    owners, sample_ids = pd.factorize(chosen["sample"])
    units, texts = chosen, chosen["text"].tolist()
    if options.level == "sample":
        if (chosen.groupby("sample")["label"].nunique() > 1).any():
            raise UserError(
                "this field labels steps, not samples",
                f"run {run.name}, {options.label}",
                "use --level span, or a field of the sample",
            )
        representations = [baselines.aggregate(each, owners, len(sample_ids)) for each in representations]
        controls = aggregate_controls(controls, owners, len(sample_ids))
        texts = chosen.groupby("sample", sort=False)["text"].agg(" ".join).tolist()
        units = chosen.drop_duplicates("sample").reset_index(drop=True)
        owners = np.arange(len(units))
    wording = make_wording(texts, owners)
    pools = make_pools(run, units, owners, list(sample_ids), wording, options.differ, options.seed)
    named = {f"P@{K}" if name == ANY else f"P@{K}, {name}": pool for name, pool in pools.items()}
    return _Bench(owners, representations, controls, named)


def _summarize(precision: Precision, bench: _Bench, seed: int) -> dict[str, Any]:
    value, low, high = bootstrap_mean(precision.values, bench.owners[precision.queries], seed=seed)
    return {
        **{"value": value, "ci_low": low, "ci_high": high},
        "n": int((~np.isnan(precision.values)).sum()),
        "chance": _mean(precision.chance),
        "ceiling": _mean(precision.ceiling),
    }


def _ask_controls(
    controls: list[ControlQueries], own: Representation, pool: Pool, level: str
) -> Iterator[tuple[str, str, Precision]]:
    """(name, kind, precision) of each kind of control, and of the spans (or samples) that it replaces."""
    for each in controls:
        (asked,) = compute_precision([own], pool, k=K, queries=each.units, asked=each.rows)
        yield f"{each.name} ({own.name})", "baseline", asked
        (beside,) = compute_precision([own], pool, k=K, queries=each.units)
        yield f"{level}s that hold the {each.name} ({own.name})", "control", beside


def _choose_rows(table: pd.DataFrame, name: str, options: EvaluateOptions) -> tuple[pd.DataFrame, int]:
    conditions = []
    for each in options.where:
        column, sign, value = each.partition("=")
        if not sign:
            raise UserError(f"no value in {each!r}", "--where", "write --where meta.FIELD=VALUE")
        conditions.append((column, value))
    asked = [options.label, *options.differ, *([options.wording] if options.wording else [])]
    for column in [*asked, *(column for column, _ in conditions)]:
        if column not in table.columns:
            known = [each for each in table.columns if each.startswith("meta.")]
            raise UserError(f"no field {column!r}", f"run {name}", f"it has {', '.join(known) or 'no meta fields'}")
    for column, value in conditions:
        table = table[find_text(table[column], value)]
    labels = [to_text(cell) for cell in table[options.label]]
    has_label = np.array([bool(label) for label in labels], dtype=bool)
    chosen = table.assign(label=labels)[has_label]
    return chosen, int((~has_label).sum())


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _choose_queries(owners: np.ndarray, seed: int) -> np.ndarray:
    """All rows, or those of randomly chosen samples up to ``MAX_QUERIES``."""
    return np.arange(len(owners)) if len(owners) <= MAX_QUERIES else draw_samples(owners, MAX_QUERIES, seed)


def _merge_seeds(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the same representation under several sketch seeds → the first, with their spread."""
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    values: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        key = (row["metric"], row["representation"])
        merged.setdefault(key, row)
        values.setdefault(key, []).append(row["value"])
    for key, row in merged.items():
        several = len(values[key]) > 1
        row["seed_spread"] = float(max(values[key]) - min(values[key])) if several else float("nan")
        row["n_seeds"] = len(values[key])
    return list(merged.values())


def _describe_clusters(chosen: pd.DataFrame, options: EvaluateOptions) -> list[dict[str, Any]]:
    if chosen["cluster"].isna().any():
        return []
    value, low, high, n = compute_cluster_agreement(
        chosen["cluster"].to_numpy(dtype=np.int64),
        pd.factorize(chosen["label"])[0],
        chosen["sample"].to_numpy(dtype=object),
        seed=options.seed,
    )
    return [_make_row("clusters of the run", "AMI of clusters", (value, low, high), n, chance=0.0)]


def _make_row(name: str, metric: str, found: tuple[float, float, float], n: int, chance: float) -> dict[str, Any]:
    """A row of what the analysis found; ``found`` is the value with its interval."""
    value, low, high = found
    row = {"representation": name, "kind": "gradient", "metric": metric, "value": value, "ci_low": low, "ci_high": high}
    return {**row, "n": n, "chance": chance, "ceiling": 1.0, "seed_spread": float("nan"), "n_seeds": 1}


def _store(run: Run, rows: pd.DataFrame, options: EvaluateOptions) -> None:
    info: dict[str, Any] = {"k": K, "questions": {}}
    if run.results.has(EVIDENCE):
        old = run.results.read(EVIDENCE, "rows")
        info = run.results.info(EVIDENCE)
        # One question is answered by one evaluation: rows of an earlier one must not stand between the new.
        asked = ["checkpoint", "label", "level", "where"]
        new = set(map(tuple, rows[asked].astype(str).to_numpy()))
        keep = [tuple(row) not in new for row in old[asked].astype(str).to_numpy()]
        rows = pd.concat([old[keep], rows], ignore_index=True)
    question = {"differ": options.differ, "wording": options.wording, "against": options.against}
    info["questions"][f"{options.label} {options.level}"] = {**question, "seed": options.seed}
    run.results.write(EVIDENCE, {"rows": rows}, info)


def describe_evaluation(result: dict[str, Any]) -> str:
    """``gsd evaluate``: a table for every checkpoint and metric, best first, and what it means."""
    lines = [f"{result['label']}, by {result['level']}; {result['n_left_out']:,} spans have no label"]
    verdicts = {verdict["checkpoint"]: verdict for verdict in result["verdicts"]}
    for checkpoint in result["checkpoints"]:
        own = [row for row in result["rows"] if row["checkpoint"] == checkpoint]
        for metric in dict.fromkeys(row["metric"] for row in own):
            part = sorted((r for r in own if r["metric"] == metric), key=lambda r: -r["value"])
            table = [[r["representation"], r["kind"], r["value"], r["ci_low"], r["ci_high"]] for r in part]
            real = next((row for row in part if row["kind"] != "control"), part[0])
            bounds = f"chance {real['chance']:.3f}, at best {real['ceiling']:.3f}, n {real['n']:,}"
            lines.append(f"\n{checkpoint}: {metric} ({bounds})")
            lines.append(format_table(("representation", "kind", "value", "low", "high"), table))
        if checkpoint in verdicts:
            verdict = verdicts[checkpoint]
            lines.append(f"{verdict['metric']}: {verdict['headline']} {verdict['detail']}")
    return "\n".join(lines)
