"""What a cosine looks like by chance.

Null                    cosines of random pairs, and of pairs with windows at random positions
compute_null_cosines    cosines of random pairs of spans from different samples
compute_window_null     cosines of spans with windows at random positions of other samples ("shuffled spans")
compute_pair_cosines    cosines of given pairs of rows
compute_q_values        p against such a null, and Benjamini-Hochberg q
compute_joint_q_values  q against whichever of several nulls is the stricter
adjust_p_values         p → Benjamini-Hochberg q
describe_null           mean, spread and percentiles of a null

Methods §1.4 asks for two nulls. Permuted sample labels are the random cross-sample pair. It contains whatever alignment
the corpus truly has, so its percentiles are careful rather than sharp; p-values of cosines can take its upper tail from
the lower one. Shuffled spans are windows of the spans' lengths, captured at random positions: they tell whether cutting
at steps matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from gsd_core.comparison.centring import Rows, find_alive

N_PAIRS = 200_000
BATCH = 8192


@dataclass(frozen=True)
class Null:
    """``values`` (N,) float32, sorted: cosines of random pairs of spans from different samples. ``windows`` (W,)
    float32, sorted: cosines of spans with windows at random positions of other samples; empty without controls."""

    values: np.ndarray
    windows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))

    @classmethod
    def of(cls, values: np.ndarray, windows: np.ndarray | None = None) -> Null:
        """A null from cosines in any order."""
        return cls(*(np.sort(np.asarray(each, np.float32)) for each in (values, () if windows is None else windows)))

    @property
    def n(self) -> int:
        """How many random pairs were drawn."""
        return len(self.values)

    @cached_property
    def p95(self) -> float:
        """95th percentile of ``values``; NaN where there are none."""
        return float(np.quantile(self.values, 0.95)) if self.n else float("nan")

    @cached_property
    def windows_p95(self) -> float:
        """95th percentile of ``windows``; NaN where there are none."""
        return float(np.quantile(self.windows, 0.95)) if len(self.windows) else float("nan")

    def compute_q_values(self, cosines: np.ndarray, n_tests: int | None = None) -> np.ndarray:
        """`compute_joint_q_values` against random pairs and windows."""
        return compute_joint_q_values(cosines, [self.values, self.windows], n_tests)


def compute_null_cosines(directions: Rows, samples: np.ndarray, n_pairs: int = N_PAIRS, seed: int = 0) -> np.ndarray:
    """Cosines of ``n_pairs`` random pairs of spans of different samples, drawn with replacement. Methods
    §1.4, "ours".

    Parameters
    ----------
    directions
        (n, P) centred, unit norm or zero; zero rows are left out.
    samples
        (n,) sample id of each row.

    Returns
    -------
    (n_pairs,) float32 of half precision, sorted ascending; empty where no two spans of different samples exist.
    Every cross-sample pair is equally likely.
    """
    samples = np.asarray(samples)
    if len(samples) != len(directions):
        raise ValueError(f"{len(directions)} directions but {len(samples)} sample ids; give one id per row")
    alive = np.flatnonzero(find_alive(directions))
    _, codes = np.unique(samples[alive], return_inverse=True)
    sizes = np.bincount(codes) if len(codes) else np.zeros(0, np.int64)
    if len(sizes) < 2 or n_pairs <= 0:
        return np.zeros(0, dtype=np.float32)
    # Rows in order of their sample: a partner from elsewhere is then one draw over the rows outside one
    # stretch, never a retry.
    order = np.argsort(codes, kind="stable")
    rows, owner = alive[order], codes[order]
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    random = np.random.default_rng(seed)
    others = len(rows) - sizes[owner]
    left = random.choice(len(rows), size=n_pairs, p=others / others.sum())
    partner = (random.random(n_pairs) * others[left]).astype(np.int64)
    partner += np.where(partner >= first[owner[left]], sizes[owner[left]], 0)
    return _sort_and_round(compute_pair_cosines(directions, rows[left], directions, rows[partner]))


def compute_window_null(
    directions: Rows,
    samples: np.ndarray,
    windows: np.ndarray,
    window_samples: np.ndarray,
    n_pairs: int = N_PAIRS,
    seed: int = 0,
) -> np.ndarray:
    """Cosines of random pairs (span, window of another sample), drawn with replacement. Methods §1.4, "ours".

    Parameters
    ----------
    directions, windows
        (n, P) and (m, P), centred alike, unit norm or zero; zero rows are left out.
    samples, window_samples
        (n,) and (m,) sample id of each row.

    Returns
    -------
    At most ``n_pairs`` float32 of half precision, sorted ascending; empty where there is no such pair.
    """
    alive = np.flatnonzero(find_alive(directions))
    held = np.flatnonzero(find_alive(windows))
    if not len(alive) or not len(held):
        return np.zeros(0, dtype=np.float32)
    random = np.random.default_rng(seed)
    left, right = random.choice(alive, n_pairs), random.choice(held, n_pairs)
    other = np.asarray(samples, dtype=object)[left] != np.asarray(window_samples, dtype=object)[right]
    return _sort_and_round(compute_pair_cosines(directions, left[other], windows, right[other]))


def _sort_and_round(cosines: np.ndarray) -> np.ndarray:
    """Sorted float32 of half precision: 0.0002 at a cosine of 0.3, far less than a sample of pairs resolves. Stored,
    they take a tenth of the space."""
    return np.sort(cosines).astype(np.float16).astype(np.float32)


def compute_pair_cosines(a: Rows, left: np.ndarray, b: Rows, right: np.ndarray) -> np.ndarray:
    """(m,) float32 cosines of the rows ``left`` (m,) of ``a`` with the rows ``right`` (m,) of ``b``, unit or zero."""
    cosines = np.empty(len(left), dtype=np.float32)
    for start in range(0, len(left), BATCH):
        pair = slice(start, start + BATCH)
        one, other = np.asarray(a[left[pair]], np.float32), np.asarray(b[right[pair]], np.float32)
        cosines[pair] = np.einsum("np,np->n", one, other)
    return cosines


def compute_joint_q_values(cosines: np.ndarray, nulls: Sequence[np.ndarray], n_tests: int | None = None) -> np.ndarray:
    """(r,) q of cosines against the strictest of several mirrored nulls, cosine by cosine.

    An empty null does not count; without any null nothing is known and q is 1. `n_tests` as in `compute_q_values`.
    """
    known = [null for null in nulls if len(null)]
    if not known:
        return np.ones(len(cosines))
    return np.max([compute_q_values(cosines, null, n_tests, is_mirrored=True)[1] for null in known], axis=0)


def compute_q_values(
    cosines: np.ndarray, null: np.ndarray, n_tests: int | None = None, *, is_mirrored: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """p and q of cosines that are large against a null.

    p is (1 + number of null cosines at least as large) / (1 + size of the null) (Phipson and Smyth 2010), so
    never below 1 / (1 + size). q is that of `adjust_p_values`.

    Parameters
    ----------
    cosines
        (r,) cosines to judge.
    null
        (N,) cosines of `compute_null_cosines`, any order. Empty: nothing is known and p = q = 1.
    is_mirrored
        Whether the null's upper tail counts no more than its lower one, mirrored at the median (the empirical null
        of Efron 2004): random pairs hold true alignments, which would be their own yardstick. Only for nulls that
        are symmetric without them, as cosines of unrelated directions are.
    n_tests
        How many spans ``cosines`` was chosen from, when it holds only the best: the r best of 3,000
        candidates were 3,000 tests. None: r.

    Returns
    -------
    p (r,) and q (r,) float64 in (0, 1], never NaN, in the order of ``cosines``.
    """
    cosines, null = np.asarray(cosines, dtype=np.float64), np.asarray(null, dtype=np.float64)
    r = len(cosines)
    if not np.isfinite(cosines).all() or not np.isfinite(null).all():
        raise ValueError("a cosine or its null holds NaN or infinity")
    if n_tests is not None and n_tests < r:
        raise ValueError(f"n_tests is {n_tests}, but {r} cosines are judged")
    if not r or not len(null):
        return np.ones(r), np.ones(r)
    if np.any(null[1:] < null[:-1]):
        null = np.sort(null)
    order = np.argsort(-cosines, kind="stable")
    ranked = cosines[order]  # among sorted numbers a search is several times as fast
    as_large = len(null) - np.searchsorted(null, ranked, side="left")
    if is_mirrored:
        as_large = np.minimum(as_large, np.searchsorted(null, 2 * np.median(null) - ranked, side="right"))
    p = np.empty(r)
    p[order] = (1.0 + as_large) / (1.0 + len(null))
    return p, adjust_p_values(p, n_tests)


def adjust_p_values(p_values: np.ndarray, n_tests: float | None = None) -> np.ndarray:
    """(r,) q of Benjamini and Hochberg (1995).

    ``n_tests`` is the number of tests of which these are the best, None: r. The others count as p = 1: they make q
    larger, never smaller. Our own because ``scipy.stats``, whose ``false_discovery_control`` gives the same, takes a
    second to load.
    """
    order = np.argsort(p_values, kind="stable")
    r = len(order)
    scaled = p_values[order] * ((r if n_tests is None else n_tests) / np.arange(1, r + 1))
    q_values = np.empty(r)
    q_values[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q_values


def describe_null(null: np.ndarray) -> dict[str, float | int | None]:
    """``n``, ``mean``, ``sd``, ``p05``, ``p50``, ``p95``, ``p99`` of a null; the numbers are None where it is empty."""
    names = ("p05", "p50", "p95", "p99")
    if not len(null):
        return {"n": 0, "mean": None, "sd": None, **dict.fromkeys(names)}
    found = np.quantile(null, (0.05, 0.5, 0.95, 0.99))
    moments = {"mean": float(np.mean(null, dtype=np.float64)), "sd": float(np.std(null, dtype=np.float64))}
    return {
        "n": len(null),
        **moments,
        **{name: float(value) for name, value in zip(names, found, strict=True)},
    }
