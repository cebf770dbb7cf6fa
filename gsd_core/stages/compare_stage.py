"""``gsd compare``: two samples, span by span.

run_compare          alignment matrix, best alignment, structural and semantic similarity, with their null
describe_comparison  the result as text

p belongs to this pair alone: the share of shuffled orders within each trace that score at least as high. One pair is
one test, so q equals p. ``gsd twins`` corrects over all pairs that it tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gsd_core.console.output import format_table, format_text
from gsd_core.console.progress import Progress
from gsd_core.errors import UserError
from gsd_core.methods.structure_method import CompareOptions
from gsd_core.stages.numba_threads import use_numba_cache
from gsd_core.stages.run_reading import get_checkpoint
from gsd_core.stages.structure_stage import read_semantics
from gsd_core.store import load_directions

if TYPE_CHECKING:
    import pandas as pd

    from gsd_core.store import Run, Workspace

N_SHUFFLES = 9_999


def run_compare(workspace: Workspace, options: CompareOptions, progress: Progress) -> dict[str, Any]:
    """Compare samples ``a`` and ``b`` of a run. Methods §1.5, "ours".

    Returns ``run, checkpoint, a, b, structural, semantic`` (None where there is no embedding), ``p_value, q_value,
    n_shuffles, threshold, gap, matrix`` (S_a × S_b centred cosines), ``spans_a, spans_b: [{span, text}]`` and
    ``aligned: [{a, b, cosine}]`` with span ids. Raises ``UserError`` for an unknown run, checkpoint or sample, for a
    sample without spans, and for twice the same.
    """
    name, a, b, seed = options.run, options.a, options.b, options.seed
    run = workspace.open_run(name)
    at = get_checkpoint(run, options.checkpoint)
    if a == b:
        raise UserError("these are one sample", f"run {name}, {a}", "name two different samples")
    reader = run.snapshot()
    spans = reader.read_spans(at, columns=["span", "sample", "index", "text"])
    found_rows = [_find_spans(run, spans, each, at) for each in (a, b)]
    found = load_directions(reader, at, spans["sample"].to_numpy(dtype=object), seed=seed, hold=False)
    rows_a, rows_b = (found.rows[rows] for rows in found_rows)
    use_numba_cache()
    # Only here: compiled kernels cost seconds that a mistyped name need not wait for.
    from gsd_core.analysis.align import compute_match_scale, compute_pair_scores, group_traces, make_shuffles
    from gsd_core.analysis.twins import align_pair

    threshold, gap = compute_match_scale(found.null.values)
    directions = np.concatenate([rows_a, rows_b])
    owners = [a] * len(rows_a) + [b] * len(rows_b)
    traces = group_traces(np.array(owners, dtype=object), np.arange(len(owners)))
    shuffles = make_shuffles(traces, N_SHUFFLES, seed)
    observed, shuffled = compute_pair_scores(directions, traces, np.array([[0, 1]]), threshold, gap, shuffles)
    p_value = (1 + int((shuffled[0] >= observed[0]).sum())) / (1 + N_SHUFFLES)
    ids, texts = spans["span"].to_numpy(dtype=object), spans["text"].to_numpy(dtype=object)
    embeddings, _ = read_semantics(run, [a, b])
    lengths = np.linalg.norm(embeddings, axis=1)
    return {
        "run": name,
        "checkpoint": at,
        "a": a,
        "b": b,
        "structural": float(observed[0]),
        "semantic": float(embeddings[0] @ embeddings[1] / lengths.prod()) if lengths.all() else None,
        "p_value": p_value,
        "q_value": p_value,
        "n_shuffles": N_SHUFFLES,
        "threshold": threshold,
        "gap": gap,
        "matrix": (rows_a @ rows_b.T).tolist(),
        "spans_a": [{"span": ids[row], "text": texts[row]} for row in found_rows[0]],
        "spans_b": [{"span": ids[row], "text": texts[row]} for row in found_rows[1]],
        "aligned": [
            {"a": ids[found_rows[0][i]], "b": ids[found_rows[1][j]], "cosine": cosine}
            for i, j, cosine in align_pair(directions, traces, 0, 1, threshold, gap)
        ],
    }


def _find_spans(run: Run, spans: pd.DataFrame, sample: str, checkpoint: str) -> np.ndarray:
    """Rows of a sample's spans in span order."""
    rows = np.flatnonzero(spans["sample"].to_numpy(dtype=object) == sample)
    if not len(rows):
        run.read_samples([sample])  # an unknown one is told with what it might have been
        raise UserError(
            f"no span of sample {sample!r} was captured",
            f"run {run.name}, checkpoint {checkpoint}",
            "see the run's skipped samples",
        )
    return rows[np.argsort(spans["index"].to_numpy()[rows], kind="stable")]


def describe_comparison(result: dict[str, Any]) -> str:
    """``gsd compare``: both scores with their null, a row for each aligned pair of spans."""
    texts = {each["span"]: each["text"] for each in (*result["spans_a"], *result["spans_b"])}
    rows = [
        [each["a"], format_text(texts[each["a"]], 60), each["b"], format_text(texts[each["b"]], 60), each["cosine"]]
        for each in result["aligned"]
    ]
    semantic = "unknown" if result["semantic"] is None else f"{result['semantic']:.3f}"
    head = (
        f"{result['a']} and {result['b']}: structural {result['structural']:.3f} (q {result['q_value']:.4f}, against "
        f"{result['n_shuffles']:,} shuffled orders), semantic {semantic}"
    )
    if not rows:
        return f"{head}\nno run of two aligned spans: no cosine of two in order is above {result['threshold']:.3f}"
    return f"{head}\n" + format_table(("span", "text", "aligned with", "text", "cosine"), rows)
