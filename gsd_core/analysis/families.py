"""Families: a span with all spans of other samples that are aligned with it beyond chance. Source: ours.

Levels            how large a cosine must be: beyond chance, and nearly so
Family            a prototype and its members
find_levels       Levels of a corpus, from its own cosines
find_families     a greedy cover of the corpus by families, which may overlap
measure_agreement  whether two halves of the directions' numbers bear members out
choose_n_top      how many common directions to remove, without labels
STRENGTHS         names of the levels

A partition is more than weak data hold: a span may belong to two groups or to none, and density in all directions at
once does not show it. So families need no density, only pairs. What a cosine must be is read off the corpus itself:
cosines of unrelated directions are as often so far below their median as above it, so at each cosine the pairs in the
lower tail say how many of those in the upper one are there by chance (the empirical null of Efron 2004). A pair is
*confirmed* where that share is at most 5 %, *tentative* where it is at most 20 %. On directions without structure no
cosine reaches either. A family must also keep its word by itself: the same count in its prototype's own two tails.

Shapes: n spans, P sketch width, m prototypes tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.stats import poisson

from gsd_core.comparison.centring import Centring, Rows, Vectors, compute_centring, find_alive

STRENGTHS = ("confirmed", "tentative")
CHANCE = (0.05, 0.20)
"""Largest share of chance among the pairs of each level."""
SMALLEST = 5
"""Samples of a family beside the prototype's own."""
MOST = 300
"""Families of a corpus; the largest come first."""
REMOVED = (0, 1, 3, 5, 10)
"""Numbers of common directions that ``choose_n_top`` tries."""
N_ASKING = 4_000  # spans whose cosines with all others make the levels
N_TRIED = 3_000  # spans among which numbers of common directions are tried
FEWEST_PAIRS = 50  # pairs above a level: fewer say nothing of its share of chance
N_BINS = 4_000  # of the histogram over cosines -1 … 1
MOST_PAIRS = 400  # best members of one prototype that are kept
MOST_SPANS = 40_000
"""Spans among which families are sought; of a larger corpus a seeded draw."""
BLOCK = 1024
UNLIKELY = 0.05  # probability below which a family's own lower tail speaks against its level
ENOUGH = 0.95  # of the best: fewer directions are removed where that finds nearly as much


class Levels(NamedTuple):
    """``middle``: median cosine of pairs of different samples; ``confirmed`` ≥ ``tentative``: least cosine of each
    level, infinite where no cosine reaches it."""

    middle: float
    confirmed: float
    tentative: float

    def of(self, strength: str) -> float:
        """The least cosine of a level in ``STRENGTHS``."""
        return self.confirmed if strength == STRENGTHS[0] else self.tentative


@dataclass(frozen=True, slots=True)
class Family:
    """``members`` (k,) rows with their ``cosines`` (k,) to the row ``prototype``, best first; ``strength`` in
    ``STRENGTHS``; ``chance`` the share of such members that the prototype's lower tail says are there by chance."""

    prototype: int
    members: np.ndarray
    cosines: np.ndarray
    strength: str
    chance: float


def find_levels(directions: Rows, samples: np.ndarray, seed: int = 0, n_asking: int = N_ASKING) -> Levels:
    """Levels of centred ``directions`` (n, P), unit norm or zero, of the ``samples`` (n,) numbers.

    ``n_asking`` seeded rows ask all others; fewer where there are fewer.
    """
    alive = np.flatnonzero(find_alive(directions))
    nowhere = Levels(0.0, np.inf, np.inf)
    if len(alive) < 2:
        return nowhere
    asking = alive
    if len(alive) > n_asking:
        asking = np.sort(np.random.default_rng(seed).choice(alive, n_asking, replace=False))
    counts = np.zeros(N_BINS, dtype=np.int64)
    for rows, others, cosines in _iter_cosines(directions, asking, alive):
        apart = samples[rows][:, None] != samples[others][None, :]
        bins = np.clip(((cosines[apart] + 1) * (N_BINS / 2)).astype(np.int64), 0, N_BINS - 1)
        counts += np.bincount(bins, minlength=N_BINS)
    total = int(counts.sum())
    if not total:
        return nowhere
    middle = int(np.searchsorted(np.cumsum(counts), total / 2))
    reach = min(middle, N_BINS - 1 - middle)
    # Distance d from the middle: pairs at least as far above, and at least as far below.
    above = np.cumsum(counts[middle : middle + reach + 1][::-1])[::-1]
    beyond = int(counts[middle + reach + 1 :].sum())
    below = np.cumsum(counts[middle - reach : middle + 1])
    share = (below[::-1] + 1.0) / np.maximum(above + beyond, 1)
    known = (above + beyond >= FEWEST_PAIRS) & (np.arange(reach + 1) > 0)
    edges = (middle + np.arange(reach + 1)) / (N_BINS / 2) - 1
    found = []
    for most in CHANCE:
        holds = np.flatnonzero(known & (share <= most))
        found.append(float(edges[holds[0]]) if len(holds) else np.inf)
    return Levels((middle + 0.5) / (N_BINS / 2) - 1, found[0], min(found))


def find_families(
    directions: Rows,
    samples: np.ndarray,
    levels: Levels,
    *,
    smallest: int = SMALLEST,
    most: int = MOST,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Family]:
    """Families of centred ``directions`` (n, P) of the ``samples`` (n,) numbers, confirmed ones first, each level by
    falling size.

    The prototype that covers most spans not covered yet comes next, until none covers `smallest` more, from as many
    other samples. Members may be in several families.
    """
    if not np.isfinite(levels.tentative):
        return []
    pairs = _find_pairs(directions, samples, levels, on_progress)
    covered = np.zeros(len(samples), dtype=bool)
    found: list[Family] = []
    for strength in STRENGTHS:
        level = levels.of(strength)
        if not np.isfinite(level):
            continue
        near = pairs.copy()
        near.data = np.where(near.data >= level, near.data, 0).astype(np.float32)
        near.eliminate_zeros()
        taken = [each.prototype for each in found]
        own = _cover(near, samples, covered, taken, smallest, most - len(found))
        rows = [prototype for prototype, _, _ in own]
        chances = _count_below(directions, samples, rows, levels.middle, level)
        for (prototype, members, cosines), by_chance in zip(own, chances, strict=True):
            own_strength = _find_strength(strength, by_chance, len(members))
            if own_strength:
                share = min(1.0, by_chance / len(members))
                found.append(Family(prototype, members, cosines, own_strength, share))
    found.sort(key=lambda each: (STRENGTHS.index(each.strength), -len(each.members), each.prototype))
    return found


def measure_agreement(directions: Rows, families: list[Family], samples: np.ndarray, seed: int = 0) -> np.ndarray:
    """(families,) share of members that two halves of the directions' numbers both bear out; by chance 0.0025.

    A half bears a member out where its cosine to the prototype, in that half alone, is above the 95th percentile of
    random pairs of spans of different samples. The halves are a seeded draw of columns, so they share no noise of the
    sketch.
    """
    random = np.random.default_rng(seed)
    columns = random.permutation(directions.shape[1])
    left, right = random.integers(0, len(samples), (2, 20_000)) if len(samples) else np.zeros((2, 0), np.int64)
    apart = samples[left] != samples[right]
    left, right = left[apart], right[apart]
    borne_out = [np.ones(len(each.members), dtype=bool) for each in families]
    for part in np.array_split(columns, 2):

        def compare(one: np.ndarray, other: np.ndarray, part: np.ndarray = part) -> np.ndarray:
            a, b = (np.asarray(directions[rows], dtype=np.float32)[:, part] for rows in (one, other))
            norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
            return np.asarray(np.einsum("np,np->n", a, b) / np.maximum(norms, 1e-12))

        drawn = [compare(left[at : at + BLOCK], right[at : at + BLOCK]) for at in range(0, len(left), BLOCK)]
        level = float(np.quantile(np.concatenate(drawn), 0.95)) if drawn else 1.0
        for each, has in zip(families, borne_out, strict=True):
            has &= compare(np.full(len(each.members), each.prototype), each.members) > level
    return np.array([has.mean() for has in borne_out])


def choose_n_top(vectors: Vectors, samples: np.ndarray, seed: int = 0) -> tuple[int, dict[int, float]]:
    """How many common directions to remove, and for each number tried the share of spans that have a partner.

    Common directions skew the cosines, so that fewer stand out from their lower tail; with each that is removed some of
    what spans share goes too. So the number is taken at which most spans have a partner beyond chance (the mean of both
    levels), or the smallest that comes within 5 % of it. No label is used. ``vectors`` (n, P) as captured; tried among
    3,000 of them.
    """
    n = len(vectors)
    rows = np.arange(n)
    if n > N_TRIED:
        rows = np.sort(np.random.default_rng(seed).choice(n, N_TRIED, replace=False))
    part, owners = np.asarray(vectors[rows], dtype=np.float32), samples[rows]
    shares: dict[int, float] = {}
    largest = compute_centring(part, min(max(REMOVED), max(0, min(part.shape) - 1)))
    for n_top in REMOVED:
        if n_top > len(largest.top):
            break
        directions = Centring(largest.mean, largest.top[:n_top]).apply(part)
        levels = find_levels(directions, owners, seed)
        counts = [_count_partnered(directions, owners, levels.of(strength)) for strength in STRENGTHS]
        shares[n_top] = sum(counts) / (len(counts) * max(1, len(rows)))
    best = max(shares.values(), default=0.0)
    return next((n_top for n_top, share in shares.items() if share >= ENOUGH * best), 0), shares


# -- inside ---------------------------------------------------------------------------------------------------------


def _iter_cosines(
    directions: Rows, asking: np.ndarray, others: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(rows, rows of others, their cosines), block by block."""
    for start in range(0, len(asking), BLOCK):
        rows = asking[start : start + BLOCK]
        block = np.asarray(directions[rows], dtype=np.float32)
        for at in range(0, len(others), 8 * BLOCK):
            part = others[at : at + 8 * BLOCK]
            yield rows, part, block @ np.asarray(directions[part], dtype=np.float32).T


def _count_partnered(directions: np.ndarray, samples: np.ndarray, level: float) -> int:
    """How many rows have a row of another sample with at least this cosine."""
    if not np.isfinite(level):
        return 0
    everyone = np.arange(len(samples))
    has = np.zeros(len(samples), dtype=bool)
    for rows, others, cosines in _iter_cosines(directions, everyone, everyone):
        has[rows] |= ((cosines >= level) & (samples[rows][:, None] != samples[others][None, :])).any(axis=1)
    return int(has.sum())


def _find_pairs(
    directions: Rows, samples: np.ndarray, levels: Levels, on_progress: Callable[[int, int], None] | None
) -> sp.csr_matrix:
    """(n, n) cosines of at least the tentative level between spans of different samples, the best of each row."""
    alive = np.flatnonzero(find_alive(directions))
    lines: list[np.ndarray] = []
    columns: list[np.ndarray] = []
    values: list[np.ndarray] = []
    for rows, others, cosines in _iter_cosines(directions, alive, alive):
        cosines[samples[rows][:, None] == samples[others][None, :]] = -1.0
        line, column = np.nonzero(cosines >= levels.tentative)
        value = cosines[line, column]
        counts = np.bincount(line, minlength=len(rows))
        if counts.max(initial=0) > MOST_PAIRS:
            order = np.lexsort((-value, line))
            rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
            best = np.sort(order[rank < MOST_PAIRS])
            line, column, value = line[best], column[best], value[best]
        lines.append(rows[line])
        columns.append(others[column])
        values.append(value)
        if on_progress and others[-1] == alive[-1]:
            on_progress(int(np.searchsorted(alive, rows[-1])) + 1, len(alive))
    n = len(samples)
    if not lines:
        return sp.csr_matrix((n, n), dtype=np.float32)
    data = (np.concatenate(values), (np.concatenate(lines), np.concatenate(columns)))
    return sp.csr_matrix(data, shape=(n, n), dtype=np.float32)


def _cover(
    near: sp.csr_matrix, samples: np.ndarray, covered: np.ndarray, taken: list[int], smallest: int, most: int
) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Greedy: (prototype, members, cosines), each with at least `smallest` spans that no earlier one covers, from as
    many samples; prototypes that are `taken` stay out. Marks what is covered in `covered` (n,)."""
    is_near = near.copy()
    is_near.data = np.ones_like(is_near.data)
    found: list[tuple[int, np.ndarray, np.ndarray]] = []
    gains = is_near @ (~covered).astype(np.float32)
    gains[taken] = -np.inf
    while len(found) < most:
        prototype = int(gains.argmax())
        if gains[prototype] < smallest:
            break
        at = slice(near.indptr[prototype], near.indptr[prototype + 1])
        members, cosines = near.indices[at], near.data[at]
        fresh = members[~covered[members]]
        if len(np.unique(samples[fresh])) < smallest:
            gains[prototype] = -np.inf  # several spans of few samples: no family, now or later
            continue
        order = np.argsort(-cosines, kind="stable")
        found.append((prototype, members[order].astype(np.int64), cosines[order].astype(np.float32)))
        fresh = np.append(fresh, prototype) if not covered[prototype] else fresh
        covered[fresh] = True
        gains -= np.asarray(is_near[:, fresh].sum(axis=1)).ravel()
        gains[prototype] = -np.inf
    return found


def _find_strength(strength: str, by_chance: float, size: int) -> str:
    """The strength that a family of `size` keeps with so many spans in its lower tail: these must not be more than the
    level allows, give or take what counts of this size vary by; ``""`` where it keeps none."""
    for name, most in list(zip(STRENGTHS, CHANCE, strict=True))[STRENGTHS.index(strength) :]:
        if poisson.sf(by_chance - 1, most * size) >= UNLIKELY:
            return name
    return ""


def _count_below(directions: Rows, samples: np.ndarray, rows: list[int], middle: float, level: float) -> np.ndarray:
    """(m,) how many spans of other samples lie as far below the prototype's own median as `level` lies above `middle`.

    The prototype's own median, because a span near the mean direction is a little alike to all.
    """
    counts = np.zeros(len(rows))
    alive = np.flatnonzero(find_alive(directions))
    for start in range(0, len(rows), BLOCK):
        part = np.array(rows[start : start + BLOCK])
        cosines = np.concatenate([block for _, _, block in _iter_cosines(directions, part, alive)], axis=1)
        cosines[samples[part][:, None] == samples[alive][None, :]] = np.nan
        own = np.nanmedian(cosines, axis=1)
        counts[start : start + len(part)] = (cosines <= (2 * np.maximum(own, middle) - level)[:, None]).sum(axis=1)
    return counts
