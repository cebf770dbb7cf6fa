"""``gsd neighbors --exact``: the best neighbours once more, with gradients that were never sketched.

check_exact    whether a run can be ranked so
rank_exactly   neighbours by sketch → exact cosines → a new order, kept in the run for the pages

The sketch finds candidates; the exact product of the query's gradient with each of them comes from one forward-mode
pass a sample (``gsd_core.capture.exact``), and their norms from one backward pass each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gsd_core.capture.capture import Capturer
from gsd_core.capture.exact import DenseGradient, compute_dense, compute_products
from gsd_core.console.progress import Progress
from gsd_core.errors import UserError
from gsd_core.methods.neighbors_method import EXACT
from gsd_core.stages.run_model import load_run_model, make_capturer, read_tokenized
from gsd_core.store import load_centring
from gsd_core.tiers import TIERS, find_tier, join_tiers
from gsd_core.types import TokenizedSample, TokenSpan, split_span

if TYPE_CHECKING:
    from gsd_core.store import Run

POOL = 2  # candidates re-ranked for each neighbour shown


def check_exact(run: Run) -> None:
    """Raise ``UserError`` where the run's directions are no gradients of the spans' own losses."""
    tier = find_tier(run.manifest.get("tier"))
    if tier is None or not tier.has_exact:
        raise UserError(
            f"tier {run.manifest.get('tier')} is not the gradient of a span's own loss in all captured weights",
            "--exact",
            f"capture with --tier {join_tiers(each for each in TIERS.values() if each.has_exact)} for exact cosines",
        )


def rank_exactly(run: Run, result: dict[str, Any], top: int, progress: Progress) -> dict[str, Any]:
    """``result`` of `neighbors_stage.list_neighbors`, with the ``top`` of its neighbours by their exact cosines.

    Every neighbour also has ``cosine_exact`` (the centred cosine whose product of the two gradients is exact; the
    mean is still the sketch's) and ``raw_exact``, ``raw`` (not centred, exact and by sketch). The result also has
    ``sketch_error``: root mean square of ``raw - raw_exact``. Raises ``UserError`` where the model's weights are
    not those of the run.
    """
    span, checkpoint = result["span"], result["checkpoint"]
    capturer = make_capturer(run, load_run_model(run, checkpoint, progress).model)
    candidates = pd.DataFrame(result["neighbors"])
    if not len(candidates):
        return {**result, "sketch_error": None}
    samples = list(dict.fromkeys([str(result["sample"]), *candidates["sample"].astype(str)]))
    tokenized_of = {each.id: each for each in read_tokenized(run, checkpoint, samples)}
    query = _compute_dense(capturer, tokenized_of[str(result["sample"])], span)
    products: dict[str, tuple[float, float]] = {}
    with progress.stage("exact cosines", len(candidates), "spans") as stage:
        for sample, rows in candidates.groupby("sample", sort=False):
            tokenized = tokenized_of[str(sample)]
            assert capturer.selection is not None
            (tokens,) = compute_products(capturer.model, capturer.selection, [tokenized], query, capturer.pad_id)
            for each in rows["span"]:
                at = _find(tokenized, each)
                product = float(tokens[at.start : at.end].mean())
                products[each] = (product, _compute_dense(capturer, tokenized, each).norm)
                stage.advance()
    others = candidates["span"].tolist()
    raw_exact = np.array([products[o][0] / max(products[o][1] * query.norm, 1e-30) for o in others])
    raw, exact = _centre(run, checkpoint, span, others, raw_exact)
    order = np.argsort(-exact, kind="stable")
    found = {"cosine_exact": exact, "raw": raw, "raw_exact": raw_exact}
    neighbors = [
        {**result["neighbors"][at], **{key: float(values[at]) for key, values in found.items()}} for at in order[:top]
    ]
    _store(run, checkpoint, span, others, exact, raw_exact)
    error = float(np.sqrt(np.mean((raw - raw_exact) ** 2)))
    return {**result, "neighbors": neighbors, "n_reranked": len(others), "sketch_error": error}


def _find(sample: TokenizedSample, span: str) -> TokenSpan:
    _, index = split_span(span)
    return next(each for each in sample.spans if each.index == index)


def _compute_dense(capturer: Capturer, sample: TokenizedSample, span: str) -> DenseGradient:
    assert capturer.selection is not None
    return compute_dense(capturer.model, capturer.selection, sample, _find(sample, span), capturer.pad_id)


def _centre(
    run: Run, checkpoint: str, span: str, others: list[str], raw_exact: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(raw cosines by sketch, centred cosines with the exact product): only the pair's own term is replaced."""
    rows = pd.Index(run.read_spans(checkpoint, ["span"])["span"]).get_indexer([span, *others])
    vectors = run.take_vectors(rows, checkpoint).astype(np.float32)
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
    lengths = load_centring(run, checkpoint).subtract(vectors)
    raw = units[1:] @ units[0]
    products = vectors[1:] @ vectors[0] + raw_exact - raw
    return raw, products / (lengths[1:] * lengths[0])


def _store(run: Run, checkpoint: str, span: str, others: list[str], exact: np.ndarray, raw_exact: np.ndarray) -> None:
    rows = pd.DataFrame(
        {"checkpoint": checkpoint, "a": span, "b": others, "cosine_exact": exact, "raw_exact": raw_exact}
    )
    if run.results.has(EXACT):
        old = run.results.read(EXACT, "pairs")
        rows = pd.concat([old, rows]).drop_duplicates(["checkpoint", "a", "b"], keep="last")
    run.results.write(EXACT, {"pairs": rows.reset_index(drop=True)}, {})
