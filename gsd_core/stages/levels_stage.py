"""Clusters from coarse to fine: a step of ``gsd analyze``, and ``gsd clusters``.

store_levels     find and store the levels of an analysed checkpoint, unless they are stored already
run_clusters     the largest clusters of a level with their evidence and exemplars
compute_level_table, compute_level_member_table   the same as tables for export
describe_clusters   the result as text

The mathematics is in ``gsd_core.analysis.cluster_levels``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gsd_core import __version__
from gsd_core.analysis.cluster_levels import MOST_SEARCHED, STRENGTHS, ClusterLevel, find_cluster_levels, find_places
from gsd_core.analysis.cluster_names import compute_cluster_names, compute_exemplars
from gsd_core.analysis.phrases import compute_phrases
from gsd_core.console.output import format_table, format_text
from gsd_core.console.progress import Progress
from gsd_core.methods.analyze_method import LEVELS
from gsd_core.methods.structure_method import ClustersOptions
from gsd_core.stages.run_reading import find_kept, get_checkpoint, read_analysed, read_directions
from gsd_core.store import load_centring

if TYPE_CHECKING:
    from gsd_core.store import Run, RunReader, Workspace

N_EXEMPLARS = 3
BATCH = 8_192
LABEL_CHARS = 48


def store_levels(
    run: Run, reader: RunReader, checkpoint: str, *, seed: int, again: bool, progress: Progress, title: str
) -> dict[str, Any]:
    """Find and store the levels of ``checkpoint``, which is analysed; ``reader`` is the moment that was.

    Kept where seed, spans and version are the same, unless ``again``. Returns ``seconds`` (0.0 where they were kept).
    """
    started = time.monotonic()
    spans = reader.read_spans(checkpoint, columns=["span", "sample", "text"])
    same = {"seed": seed, "n_spans": len(spans), "gsd_version": __version__}
    if find_kept(run, LEVELS, same, again, checkpoint):
        return {"seconds": 0.0}
    stage = progress.stage(f"levels {title}", unit="steps")
    rows = np.arange(len(spans))
    if len(spans) > MOST_SEARCHED:
        rows = np.sort(np.random.default_rng(seed).choice(len(spans), MOST_SEARCHED, replace=False))
    samples = pd.factorize(spans["sample"])[0].astype(np.int64)
    centring, vectors = load_centring(run, checkpoint), read_directions(reader, checkpoint)
    directions = centring.apply(np.asarray(vectors[rows]))
    levels = find_cluster_levels(directions, samples[rows], seed, stage.update)
    members = {each.name: np.full(len(spans), -1, np.int32) for each in levels}
    if len(rows) < len(spans):
        places = {each.name: find_places(directions, each.clusters, seed) for each in levels}
        for start in range(0, len(spans), BATCH):
            batch = centring.apply(np.asarray(vectors[start : start + BATCH]))
            for name, place in places.items():
                members[name][start : start + BATCH] = place.place(batch)
    for each in levels:
        members[each.name][rows] = each.clusters
    searched = spans.iloc[rows].reset_index(drop=True)
    clusters = [_tabulate(each, directions, searched, samples[rows], (members[each.name], samples)) for each in levels]
    columns = [each.name for each in LEVELS.tables["clusters"]]
    tables = {
        "clusters": pd.concat(clusters, ignore_index=True)[columns],
        "members": pd.DataFrame({"span": spans["span"], **members}),
    }
    seconds = time.monotonic() - started
    run.results.write(LEVELS, tables, {**same, "n_searched": len(rows), "seconds": seconds}, checkpoint)
    return {"seconds": seconds}


def _tabulate(
    level: ClusterLevel,
    directions: np.ndarray,
    spans: pd.DataFrame,
    samples: np.ndarray,
    held: tuple[np.ndarray, np.ndarray],
) -> pd.DataFrame:
    """A row a cluster. ``held`` are clusters and samples of all spans, which sizes count; all else is of the spans
    that were searched."""
    texts = spans["text"].tolist()
    m = len(level.strength)
    members = {number: np.flatnonzero(level.clusters == number) for number in range(m)}
    phrases = compute_phrases(texts, samples, members)
    names = compute_cluster_names(texts, level.clusters)
    exemplars = compute_exemplars(directions, level.clusters, N_EXEMPLARS, samples)
    ids = spans["span"].to_numpy(dtype=object)
    pairs = pd.DataFrame({"cluster": held[0], "sample": held[1]})
    pairs = pairs[pairs["cluster"] >= 0]
    sizes = pairs["cluster"].value_counts().reindex(range(m), fill_value=0)
    n_samples = pairs.drop_duplicates()["cluster"].value_counts().reindex(range(m), fill_value=0)
    return pd.DataFrame(
        {
            "level": level.name,
            "cluster": np.arange(m),
            "strength": level.strength,
            "size": sizes.to_numpy(np.int64),
            "n_samples": n_samples.to_numpy(np.int64),
            "cosine": level.cosine,
            "null_cosine": level.null,
            "chance": level.chance,
            "stability": level.stability,
            "label": [
                " · ".join(phrases[number][:2]) or format_text(texts[exemplars[number][0]], LABEL_CHARS)
                for number in range(m)
            ],
            "phrases": [phrases[number] for number in range(m)],
            "terms": [names[number].terms for number in range(m)],
            "exemplars": [ids[exemplars[number]].tolist() for number in range(m)],
        }
    )


def run_clusters(workspace: Workspace, options: ClustersOptions, progress: Progress) -> dict[str, Any]:
    """The ``top`` clusters of a level, confirmed ones first.

    Returns ``run, checkpoint, level, covered_share, n_confirmed, n_tentative, n_weak`` and ``clusters: [{cluster,
    strength, label, size, n_samples, cosine, null_cosine, chance, stability, phrases, terms, exemplars: [{span,
    text}]}]``. Raises ``UserError`` for an unknown run or checkpoint and for one that is not analysed.
    """
    run = workspace.open_run(options.run)
    at = get_checkpoint(run, options.checkpoint)
    table = compute_level_table(run, at)
    table = table[table["level"] == options.level].drop(columns=["checkpoint", "level"])
    held = compute_level_member_table(run, at)[options.level] >= 0
    counts = {f"n_{name}": int((table["strength"] == name).sum()) for name in STRENGTHS}
    ranks = table["strength"].map(STRENGTHS.index)
    table = table.assign(rank=ranks).sort_values(["rank", "cluster"]).drop(columns="rank").head(options.top)
    texts = run.read_spans(at, columns=["span", "text"]).set_index("span")["text"]
    shown = [
        {**row, "exemplars": [{"span": span, "text": str(texts[span])} for span in row["exemplars"]]}
        for row in table.to_dict("records")
    ]
    covered = float(held.mean()) if len(held) else 0.0
    return {
        "run": options.run,
        "checkpoint": at,
        "level": options.level,
        "covered_share": covered,
        **counts,
        "clusters": shown,
    }


def compute_level_table(run: Run, checkpoint: str) -> pd.DataFrame:
    """One row a cluster of each level. Raises ``UserError`` where the checkpoint is not analysed."""
    return read_analysed(run, LEVELS, "clusters", checkpoint, "clusters")


def compute_level_member_table(run: Run, checkpoint: str) -> pd.DataFrame:
    """One row a span with its cluster at each level. Raises ``UserError`` where the checkpoint is not analysed."""
    return read_analysed(run, LEVELS, "members", checkpoint, "clusters")


def describe_clusters(result: dict[str, Any]) -> str:
    """``gsd clusters``: each cluster with its evidence and its exemplars."""
    if not result["clusters"]:
        return f"no clusters at checkpoint {result['checkpoint']}, level {result['level']}"
    lines = []
    for each in result["clusters"]:
        null = "" if not np.isfinite(each["null_cosine"]) else f", by chance at most {each['null_cosine']:.2f}"
        lines.append(
            f"{each['cluster']} · {each['label']} ({each['strength']}: {each['size']} spans of {each['n_samples']} "
            f"samples, cosine {each['cosine']:.2f}{null}, {each['stability']:.0%} kept together)"
        )
        rows = [[one["span"], format_text(one["text"], 100)] for one in each["exemplars"]]
        lines.append(format_table(("exemplar", "text"), rows, wide="text"))
    lines.append(
        f"level {result['level']}: {result['n_confirmed']:,} confirmed, {result['n_tentative']:,} tentative and "
        f"{result['n_weak']:,} weak clusters hold {result['covered_share']:.0%} of the spans"
    )
    return "\n".join(lines)
