"""The same spans at several checkpoints of one training: how aligned directions are, and how far they turn.

Moment               the spans at one checkpoint
Mean                 a mean with its interval
Alignment            mean cosine inside groups and between them, each with its interval
compute_alignment    Alignment of centred directions under given groups of spans
compute_purity       share of spans whose label is the commonest of their cluster, with interval and chance
compute_timeline     moments in training order → the curves and every span's drift
MEASURES             the measures in the order in which pages show them

Source: methods §1.7, "ours". Intervals are of the mean over samples: whole samples are drawn again, never single
spans, because spans of one trace are alike. Shapes: n spans (the same in every moment), P sketch width, R resamples.
Clusters of one checkpoint favour the alignment at that checkpoint; groups of a label do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gsd_core.analysis.benchmark import bootstrap_mean, compute_cluster_agreement

N_RESAMPLES = 200
N_SHUFFLES = 20
MEASURES = (
    *("alignment within clusters", "alignment across", "cluster agreement"),
    *("cosine to previous", "cosine to first", "coherence", "norm", "loss"),
)
CURVE_COLUMNS = ("checkpoint", "step", "measure", "value", "ci_low", "ci_high", "n", "chance")
_NAN = float("nan")


@dataclass(frozen=True)
class Moment:
    """One checkpoint: ``directions`` (n, P) centred, unit norm or zero; ``coherence``, ``norm``, ``loss`` (n,) float;
    ``clusters`` (n,) int of this checkpoint's own analysis, −1 noise, or None where it was not analysed."""

    checkpoint: str
    step: int
    directions: np.ndarray
    coherence: np.ndarray
    norm: np.ndarray
    loss: np.ndarray
    clusters: np.ndarray | None = None


class Mean(NamedTuple):
    """A mean with its 95 % interval over samples; ``n`` spans behind it; ``chance`` NaN where none is known."""

    value: float
    ci_low: float
    ci_high: float
    n: int
    chance: float = _NAN


class Alignment(NamedTuple):
    """``within`` the groups and ``across`` them: mean cosine of pairs of spans from different samples."""

    within: Mean
    across: Mean


def compute_alignment(
    directions: np.ndarray,
    groups: np.ndarray,
    samples: np.ndarray,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Alignment:
    """Mean cosine over all pairs of spans from different samples, inside a group and between two groups.

    ``directions`` (n, P), ``groups`` (n,) int with −1 for none, ``samples`` (n,) ids. Exact, not drawn: a sum of
    cosines is the squared length of a sum of directions. Inside: mean over the groups, a group weighing as its
    spans. Spans without direction are left out; NaN where no such pair exists.
    """
    used = np.flatnonzero((np.asarray(groups) >= 0) & np.any(directions != 0, axis=1))
    _, owners = np.unique(np.asarray(samples)[used], return_inverse=True)
    found = np.asarray(groups)[used]
    weights = _draw_weights(int(owners.max()) + 1 if len(used) else 0, n_resamples, seed)
    total = np.zeros((4, len(weights)))  # cosines and pairs of all spans; of spans that share a group
    shares = np.zeros((2, len(weights)))
    n_inside = 0
    for group in np.unique(found):
        rows = np.flatnonzero(found == group)
        cosines, pairs, n_spans = _sum_pairs(directions[used[rows]], owners[rows], weights)
        total[2:] += cosines, pairs
        has = pairs > 0
        shares[0, has] += n_spans[has] * cosines[has] / pairs[has]
        shares[1, has] += n_spans[has]
        n_inside += len(rows) if has[0] else 0
    if len(used):
        total[:2] = _sum_pairs(directions[used], owners, weights)[:2]
    within = _summarize(shares[0], shares[1], n_inside)
    across = _summarize(total[0] - total[2], total[1] - total[3], len(used))
    return Alignment(within, across)


def compute_purity(clusters: np.ndarray, labels: np.ndarray, samples: np.ndarray, seed: int = 0) -> Mean:
    """Share of clustered spans that carry the commonest label of their cluster.

    ``clusters`` and ``labels`` (n,) int, −1 for none. Many small clusters are pure by themselves: ``chance`` is the
    same number with labels dealt anew over the spans.
    """
    used = np.flatnonzero((np.asarray(clusters) >= 0) & (np.asarray(labels) >= 0))
    if not len(used):
        return Mean(_NAN, _NAN, _NAN, 0)
    found, true = np.asarray(clusters)[used], np.asarray(labels)[used]
    # The commonest labels are those of the corpus in every resample: chosen anew, they would only fit better.
    is_hit = _mark_commonest(found, true)
    random = np.random.default_rng(seed)
    dealt = [_mark_commonest(found, true[random.permutation(len(true))]).mean() for _ in range(N_SHUFFLES)]
    mean = bootstrap_mean(is_hit.astype(np.float64), np.asarray(samples)[used], N_RESAMPLES, seed)
    return Mean(*mean, len(used), float(np.mean(dealt)))


def compute_timeline(
    moments: Iterable[Moment],
    spans: np.ndarray,
    samples: np.ndarray,
    reference: np.ndarray,
    labels: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
    on_moment: Callable[[Moment], None] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Curves and drift of spans over ``moments``, which come in training order and are read once.

    ``spans`` and ``samples`` (n,) ids; ``reference`` (n,) int: the clusters, of one checkpoint, in which alignment is
    measured; ``labels`` name → (n,) int codes, −1 for none. Three moments' directions are held at a time.

    Returns
    -------
    curves (`CURVE_COLUMNS`, a row a checkpoint and measure) and drift (``span, checkpoint, to_previous, to_first``,
    NaN at the first checkpoint and where a span has no direction).
    """
    rows: list[dict[str, Any]] = []
    drift: list[pd.DataFrame] = []
    first: Moment | None = None
    previous: Moment | None = None
    for moment in moments:
        if not len(spans) == len(samples) == len(reference) == len(moment.directions):
            raise ValueError(f"checkpoint {moment.checkpoint}: every moment must hold the same spans")
        measures = _measure(moment, samples, reference, labels or {}, seed)
        turned = {}
        for name, other in (("previous", previous), ("first", first)):
            cosines = np.full(len(spans), np.nan)
            if other is not None:
                cosines, chance = _compare(moment.directions, other.directions, samples)
                found = bootstrap_mean(cosines, samples, N_RESAMPLES, seed)
                measures[f"cosine to {name}"] = Mean(*found, int((~np.isnan(cosines)).sum()), chance)
            turned[f"to_{name}"] = cosines
        drift.append(pd.DataFrame({"span": spans, "checkpoint": moment.checkpoint, **turned}))
        rows += [
            {"checkpoint": moment.checkpoint, "step": moment.step, "measure": name, **mean._asdict()}
            for name, mean in measures.items()
            if not np.isnan(mean.value)
        ]
        first, previous = first or moment, moment
        if on_moment:
            on_moment(moment)
    return pd.DataFrame(rows, columns=list(CURVE_COLUMNS)), pd.concat(drift, ignore_index=True)


def _measure(
    moment: Moment, samples: np.ndarray, reference: np.ndarray, labels: Mapping[str, np.ndarray], seed: int
) -> dict[str, Mean]:
    within, across = compute_alignment(moment.directions, reference, samples, seed=seed)
    measures = {"alignment within clusters": within, "alignment across": across}
    for name, values in (("coherence", moment.coherence), ("norm", moment.norm), ("loss", moment.loss)):
        numbers = np.asarray(values, dtype=np.float64)
        found = bootstrap_mean(numbers, samples, N_RESAMPLES, seed)
        measures[name] = Mean(*found, int((~np.isnan(numbers)).sum()))
    for name, codes in labels.items():
        measures[f"alignment within {name}"] = compute_alignment(moment.directions, codes, samples, seed=seed).within
    if moment.clusters is not None:
        inside = reference >= 0
        measures["cluster agreement"] = Mean(
            *compute_cluster_agreement(moment.clusters[inside], reference[inside], samples[inside], seed=seed),
            chance=0.0,
        )
        for name, codes in labels.items():
            measures[f"purity: {name}"] = compute_purity(moment.clusters, codes, samples, seed=seed)
    return measures


def _draw_weights(n_samples: int, n_resamples: int, seed: int) -> np.ndarray:
    """(1 + R, n_samples) float32: how often each sample counts; the first row is the corpus as it is."""
    if not n_samples:
        return np.ones((1, 0), dtype=np.float32)
    random = np.random.default_rng(seed)
    drawn = random.multinomial(n_samples, np.full(n_samples, 1 / n_samples), size=n_resamples)
    return np.concatenate([np.ones((1, n_samples)), drawn]).astype(np.float32)


def _sum_pairs(
    directions: np.ndarray, owners: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Under each row of ``weights``: sum of cosines of cross-sample pairs, number of such pairs, number of spans."""
    present, codes = np.unique(owners, return_inverse=True)
    sums = np.zeros((len(present), directions.shape[1]), dtype=np.float32)
    np.add.at(sums, codes, directions)
    counts = np.bincount(codes).astype(np.float64)
    held = weights[:, present]
    added = held @ sums
    # A sample drawn twice is still one sample: pairs inside it, or with its copy, are left out.
    squares, own = held.astype(np.float64) ** 2, np.einsum("sp,sp->s", sums, sums, dtype=np.float64)
    cosines = np.einsum("rp,rp->r", added, added, dtype=np.float64) - squares @ own
    n_spans = held @ counts
    pairs = n_spans**2 - squares @ counts**2
    return cosines, np.where(pairs > 0.5, pairs, 0.0), n_spans


def _compare(a: np.ndarray, b: np.ndarray, samples: np.ndarray) -> tuple[np.ndarray, float]:
    """(n,) cosine of each span with itself elsewhere, NaN without direction; and the mean over different samples."""
    alive = np.any(a != 0, axis=1) & np.any(b != 0, axis=1)
    cosines = np.where(alive, np.einsum("np,np->n", a, b), np.nan).astype(np.float64)
    _, codes = np.unique(np.asarray(samples)[alive], return_inverse=True)
    counts = np.bincount(codes).astype(np.float64)
    n_pairs = counts.sum() ** 2 - (counts**2).sum()
    if not len(codes) or n_pairs <= 0:
        return cosines, _NAN
    sums = np.zeros((2, len(counts), a.shape[1]), dtype=np.float32)
    for total, rows in zip(sums, (a, b), strict=True):
        np.add.at(total, codes, rows[alive])
    own = np.einsum("sp,sp->", sums[0], sums[1], dtype=np.float64)
    everything = np.dot(sums[0].sum(0, dtype=np.float64), sums[1].sum(0, dtype=np.float64))
    return cosines, float((everything - own) / n_pairs)


def _summarize(sums: np.ndarray, counts: np.ndarray, n: int) -> Mean:
    """The first entry is the value, the others its resamples."""
    has = counts > 0
    if not has[0]:
        return Mean(_NAN, _NAN, _NAN, 0)
    means = sums[has] / counts[has]
    low, high = np.quantile(means[1:], [0.025, 0.975]) if len(means) > 1 else (_NAN, _NAN)
    return Mean(float(means[0]), float(low), float(high), n)


def _mark_commonest(clusters: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n,) bool: which spans carry the commonest label of their cluster."""
    _, rows = np.unique(clusters, return_inverse=True)
    _, columns = np.unique(labels, return_inverse=True)
    counts = np.zeros((rows.max() + 1, columns.max() + 1), dtype=np.int64)
    np.add.at(counts, (rows, columns), 1)
    return columns == counts.argmax(axis=1)[rows]
