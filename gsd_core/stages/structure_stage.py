"""Stresses and twins: the structure step of ``gsd analyze``, and the commands ``gsd stresses`` and ``gsd twins``.

store_structure       compute and store the structure of an analysed checkpoint, unless it is stored already
run_twins             structurally similar, semantically different samples
run_stresses          sequences of clusters that recur
compute_twin_table, compute_reworded_table, compute_stress_table   the same as tables for export
describe_twins, describe_stresses   the results as text
read_level_clusters   each span's cluster at the level that stresses are sequences of where dense clusters are few
read_semantics        embeddings of the questions, or of the spans of a sample without a question

The mathematics is in ``gsd_core.analysis.structure``.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gsd_core import __version__
from gsd_core.console.output import format_table, format_text
from gsd_core.console.progress import Progress
from gsd_core.driver.run_sentences import read_question_embeddings_of
from gsd_core.errors import UserError
from gsd_core.methods.analyze_method import LEVELS, STRUCTURE
from gsd_core.methods.structure_method import STRESS_LEVEL, StressesOptions, TwinsOptions
from gsd_core.stages.run_reading import (
    CONTROL_NAMES,
    find_kept,
    get_checkpoint,
    get_layers,
    read_controls,
    read_directions,
    report_step,
)
from gsd_core.store import load_centring
from gsd_core.types import join_span, split_span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gsd_core.store import Run, RunReader, Workspace

COUNTS = ("n_stresses", "n_twins", "n_rewordings")
LEAST_CLUSTERED = 0.1
"""Share of spans in dense clusters below which stresses are sequences of clusters of a level."""
MOST_COMPARED = 20_000  # spans of which clusters of words are sought too


def store_structure(
    run: Run, reader: RunReader, checkpoint: str, *, seed: int, again: bool, progress: Progress, title: str
) -> dict[str, Any]:
    """Compute and store the structure of ``checkpoint``, which is analysed; ``reader`` is the moment that was.

    Kept where seed, spans and version are the same, unless ``again``. Returns ``n_stresses``, ``n_twins``,
    ``n_rewordings`` (twins in other words; all with q < 0.05) and ``seconds`` (0.0 where it was kept).
    """
    started = time.monotonic()
    spans = reader.read_spans(checkpoint, columns=["span", "sample", "index", "text"])
    same = {"seed": seed, "n_spans": len(spans), "gsd_version": __version__}
    kept = find_kept(run, STRUCTURE, same, again, checkpoint)
    if all(key in kept for key in COUNTS):
        return {**{key: kept[key] for key in COUNTS}, "seconds": 0.0}

    stage = progress.stage(f"structure {title}", unit="steps")
    # Only here: its compiled kernels cost seconds that a kept structure need not pay.
    from gsd_core.analysis.structure import STAGES, Corpus, analyze_structure

    centring = load_centring(run, checkpoint)
    clusters, groups = run.read_clusters(checkpoint), None
    own_clusters = run.read_points(checkpoint)["cluster"].to_numpy()
    names = dict(zip(clusters["cluster"].tolist(), clusters["label"].tolist(), strict=True))
    of_level = read_level_clusters(run, checkpoint, spans["span"])
    if of_level and (own_clusters >= 0).mean() < LEAST_CLUSTERED:
        groups, names = of_level
    samples = spans["sample"].to_numpy(dtype=object)
    embeddings, source = read_semantics(run, list(pd.unique(samples)))
    corpus = Corpus(
        centring.center(read_directions(reader, checkpoint)),
        samples,
        spans["index"].to_numpy(),
        own_clusters,
        embeddings,
        spans["text"].tolist(),
        groups,
    )
    found = analyze_structure(
        corpus,
        seed,
        partial(report_step, stage, STAGES),
        layer_slices=get_layers(run),
        names=names,
        null=run.read_arrays(checkpoint)["null"],
        controls={
            CONTROL_NAMES.get(kind, kind): (centring.apply(vectors), owners)
            for kind, (vectors, owners) in read_controls(reader, checkpoint).items()
        },
    )
    seconds = time.monotonic() - started
    info = {
        **found.info,
        **same,
        "stresses_of": "cluster" if groups is None else STRESS_LEVEL,
        "stresses_of_words": _count_stresses_of_words(run, spans, seed),
        "semantic_source": source,
        "seconds": seconds,
    }
    run.results.write(STRUCTURE, found.tables, info, checkpoint)
    return {**{key: found.info[key] for key in COUNTS}, "seconds": seconds}


def read_level_clusters(run: Run, checkpoint: str, spans: pd.Series) -> tuple[np.ndarray, dict[int, str]] | None:
    """(n,) each of ``spans``' cluster at ``STRESS_LEVEL``, -1 for none, and cluster → name; None without any."""
    if not run.results.has(LEVELS, checkpoint):
        return None
    table, members = (run.results.read(LEVELS, name, checkpoint) for name in ("clusters", "members"))
    table = table[table["level"] == STRESS_LEVEL]
    if not len(table):
        return None
    own = spans.map(members.set_index("span")[STRESS_LEVEL]).fillna(-1).to_numpy(np.int64)
    return own, dict(zip(table["cluster"].astype(int), table["label"], strict=True))


def _count_stresses_of_words(run: Run, spans: pd.DataFrame, seed: int) -> dict[str, Any] | None:
    """What the same search finds in sequences of clusters of the spans' *sentence embeddings*: ``n_clusters``,
    ``n_stresses`` with q < 0.05, and the lowest ``q``. None where there are too many spans, or no embeddings."""
    from gsd_core.analysis.align import group_traces
    from gsd_core.analysis.cluster_levels import LEVELS as RESOLUTIONS
    from gsd_core.analysis.cluster_levels import find_clusters
    from gsd_core.analysis.stresses import find_stresses, make_sequences
    from gsd_core.analysis.structure import SIGNIFICANT

    if not 0 < len(spans) <= MOST_COMPARED:
        return None  # before the embeddings are read: those of a million spans are gigabytes
    ids, vectors = run.read_embeddings()
    row_of = {span: row for row, span in enumerate(ids)}
    rows = np.array([row_of.get(span, -1) for span in spans["span"]], dtype=np.int64)
    if (rows < 0).any():
        return None
    own = np.asarray(vectors[rows], dtype=np.float32)
    own = own - own.mean(axis=0)
    own /= np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-12)
    clusters = find_clusters(own, pd.factorize(spans["sample"])[0], RESOLUTIONS[STRESS_LEVEL], seed)
    traces = group_traces(spans["sample"].to_numpy(dtype=object), spans["index"].to_numpy())
    found, _ = find_stresses(make_sequences(clusters, traces), seed)
    q_values = [each.q_value for each in found]
    return {
        "n_clusters": int(clusters.max(initial=-1)) + 1,
        "n_stresses": sum(q < SIGNIFICANT for q in q_values),
        "q": min(q_values, default=1.0),
    }


def run_twins(workspace: Workspace, options: TwinsOptions, progress: Progress) -> dict[str, Any]:
    """The ``top`` twins of a run; with ``other_words`` those whose reasonings are in other words, by structural
    score.

    Returns ``run, checkpoint, n_twins`` (q < 0.05), ``n_pairs_tested, semantic_median`` and ``twins: [{rank, a, b,
    structural, semantic, z_structural, z_semantic, score, p_value, q_value, pattern, wording, aligned: [{a, b,
    cosine}]}]``, where ``wording`` is the mean cosine of the aligned spans' words and the ends of an aligned pair
    are span ids. Raises ``UserError`` for an unknown run or checkpoint and for one that is not analysed.
    """
    other_words = options.other_words
    run = workspace.open_run(options.run)
    at = get_checkpoint(run, options.checkpoint)
    info = run.results.info(STRUCTURE, at)
    table = _read_twins(run, at, other_words)
    count, tested = ("n_rewordings", "n_pairs_other_words") if other_words else ("n_twins", "n_pairs_tested")
    twins = []
    for row in table.head(options.top).to_dict("records"):
        aligned = [
            {"a": join_span(row["a"], i), "b": join_span(row["b"], j), "cosine": cosine}
            for i, j, cosine in row.pop("aligned")
        ]
        if pd.isna(row.get("wording")):
            row["wording"] = None
        twins.append({**row, "aligned": aligned})
    return {
        "run": options.run,
        "checkpoint": at,
        "n_twins": info[count],
        "n_pairs_tested": info["twins"][tested],
        "semantic_median": info["twins"]["semantic_median"],
        "twins": twins,
    }


def run_stresses(workspace: Workspace, options: StressesOptions, progress: Progress) -> dict[str, Any]:
    """The ``top`` stresses of a run.

    Returns ``run, checkpoint, n_stresses`` (q < 0.05), ``min_support``, ``stresses_of`` and ``stresses: [{stress,
    pattern, labels, length, support, lift, p_value, q_value, n_occurrences, occurrences: [{sample, indices}]}]``;
    ``pattern`` are dense clusters, or those of the level that ``stresses_of`` names; ``stresses_of_words`` is what the
    same search finds in clusters of sentence embeddings (``n_clusters, n_stresses, q``), or None. Raises ``UserError``
    for an unknown run or checkpoint and for one that is not analysed.
    """
    run = workspace.open_run(options.run)
    at = get_checkpoint(run, options.checkpoint)
    table, info = compute_stress_table(run, at, options.top), run.results.info(STRUCTURE, at)
    return {
        "run": options.run,
        "checkpoint": at,
        "n_stresses": info["n_stresses"],
        "min_support": info["stresses"]["min_support"],
        "stresses_of": info.get("stresses_of", "cluster"),
        "stresses_of_words": info.get("stresses_of_words"),
        "stresses": table.drop(columns="checkpoint").to_dict("records"),
    }


def _read_twins(run: Run, checkpoint: str, other_words: bool) -> pd.DataFrame:
    stored = run.results.tables(STRUCTURE, checkpoint)
    if other_words and stored and "rewordings" not in stored:
        raise UserError(
            "it was analysed before other words were sought",
            f"run {run.name}, checkpoint {checkpoint}",
            f"gsd analyze {run.name} --again",
        )
    return run.results.read(STRUCTURE, "rewordings" if other_words else "twins", checkpoint)


def compute_twin_table(run: Run, checkpoint: str, other_words: bool = False) -> pd.DataFrame:
    """Twins of one checkpoint by rank, or those in other words, with ``aligned`` as lists ``[k_a, k_b, cosine]``.
    ``UserError`` where not analysed."""
    table = _read_twins(run, checkpoint, other_words)
    table.insert(0, "checkpoint", checkpoint)
    return table


def compute_reworded_table(run: Run, checkpoint: str) -> pd.DataFrame:
    """`compute_twin_table` of twins in other words."""
    return compute_twin_table(run, checkpoint, other_words=True)


def compute_stress_table(run: Run, checkpoint: str, top: int | None = None) -> pd.DataFrame:
    """Stresses of one checkpoint, best first, each with its ``occurrences``. ``UserError`` where not analysed."""
    table = run.results.read(STRUCTURE, "stresses", checkpoint).head(top)
    found = run.results.read(STRUCTURE, "occurrences", checkpoint)
    found = found[found["stress"].isin(table["stress"])]
    held: dict[int, list[dict[str, Any]]] = {number: [] for number in table["stress"].tolist()}
    for stress, sample, indices in found.itertuples(index=False, name=None):
        held[stress].append({"sample": sample, "indices": indices})
    table["occurrences"] = pd.Series(list(held.values()), dtype=object, index=table.index)
    table.insert(0, "checkpoint", checkpoint)
    return table


def read_semantics(run: Run, samples: Sequence[str]) -> tuple[np.ndarray, str]:
    """(N, E) float32 embeddings of ``samples``, and where from.

    A question without an embedding takes the mean of its spans' embeddings, which are of the same encoder; a
    sample that has neither stays zero. ``"questions"``, ``"questions and spans"``, ``"spans"`` or ``"none"``.
    """
    out = read_question_embeddings_of(run, samples)
    is_missing: np.ndarray = ~np.any(out, axis=1)
    n_questions = int((~is_missing).sum())
    if is_missing.any():
        row_of = {sample: at for at, sample in enumerate(samples)}
        spans, vectors = run.read_embeddings()
        owners = np.array([row_of.get(split_span(span)[0], -1) for span in spans], dtype=np.int64)
        wanted = np.flatnonzero(owners >= 0)
        wanted = wanted[is_missing[owners[wanted]]]
        # The direction is all that counts: a sum is as good as a mean.
        np.add.at(out, owners[wanted], vectors[wanted])
    n_spans = int(out.any(axis=1).sum()) - n_questions
    used = [word for word, n in (("questions", n_questions), ("spans", n_spans)) if n]
    return out, " and ".join(used) or "none"


def describe_twins(result: dict[str, Any]) -> str:
    """``gsd twins``: a row a pair."""
    if not result["twins"]:
        return f"no twins at checkpoint {result['checkpoint']} ({result['n_pairs_tested']:,} pairs tested)"
    keys = ("rank", "a", "b", "structural", "semantic", "q_value", "n_aligned", "pattern")
    rows = [[each[key] for key in keys] for each in result["twins"]]
    names = ("rank", "a", "b", "structural", "semantic", "q", "aligned", "clusters")
    first = result["twins"][0]
    lines = [
        format_table(names, rows, wide="clusters"),
        f"{result['n_twins']:,} with q < 0.05 among {result['n_pairs_tested']:,} pairs tested; "
        f"half of random pairs of questions lie above {result['semantic_median']:.3f}",
        f"next: gsd compare {result['run']} {first['a']} {first['b']}",
    ]
    return "\n".join(lines)


def describe_stresses(result: dict[str, Any]) -> str:
    """``gsd stresses``: a row a pattern."""
    if not result["stresses"]:
        return f"no pattern in {result['min_support']} samples or more at checkpoint {result['checkpoint']}"
    keys = ("stress", "support", "lift", "q_value", "n_occurrences")
    rows = [
        [*(each[key] for key in keys), " → ".join(format_text(label, 40) for label in each["labels"])]
        for each in result["stresses"]
    ]
    table = format_table(("", "samples", "lift", "q", "occurrences", "pattern"), rows, wide="pattern")
    end = "with q < 0.05 (lift and q: against shuffled orders within each trace)"
    return f"{table}\n{result['n_stresses']:,} {end}"
