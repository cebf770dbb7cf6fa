"""Which spans (or samples) may be neighbours of which: the restrictions that evaluations share.

make_pools   name → pool: any other sample, distant questions, other words, other values of fields
draw_pairs   random pairs of different samples
draw_samples rows of whole samples, as many as are wanted
ANY          name of the pool that leaves out only the query's own sample
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gsd_core.analysis.benchmark import Bound, Pool
from gsd_core.comparison.meta_labels import to_text
from gsd_core.comparison.wording import Wording
from gsd_core.stages.representations import read_question_rows

if TYPE_CHECKING:
    from gsd_core.store import Run

ANY = "any"
N_PAIRS = 20_000


def make_pools(
    run: Run,
    units: pd.DataFrame,
    owners: np.ndarray,
    sample_ids: Sequence[str],
    wording: Wording | None,
    differ: Sequence[str] = (),
    seed: int = 0,
) -> dict[str, Pool]:
    """Pools of ``units`` (n rows; column ``label`` if there are labels), the strictest last.

    ``owners`` (n,) number each row's sample in ``sample_ids``. A question is distant where it is farther than the
    median of random pairs. ``differ`` are columns in all of which a neighbour must differ.
    """
    labels = pd.factorize(units["label"])[0].astype(np.int64) if "label" in units else np.zeros(len(units), np.int64)
    pools = {ANY: Pool(labels, owners)}
    questions = read_question_rows(run, list(sample_ids))
    if np.any(questions):
        a, b = draw_pairs(len(sample_ids), seed)
        cosines = (questions[a] * questions[b]).sum(1)
        median = float(np.median(cosines)) if len(cosines) else 1.0
        pools["distant questions"] = Pool(labels, owners, (), Bound(questions, owners, median))
    if wording is not None:
        bound = Bound(wording.rows, np.arange(len(labels)), wording.limit)
        pools["other words"] = Pool(labels, owners, (), bound)
    if differ:
        codes = [pd.factorize(pd.Series([to_text(c) for c in units[field]]))[0] for field in differ]
        names = ", ".join(field.removeprefix("meta.") for field in differ)
        pools[f"other {names}"] = Pool(labels, owners, codes)
    return pools


def draw_pairs(n_samples: int, seed: int) -> np.ndarray:
    """(2, m) random pairs of different samples."""
    pairs = np.random.default_rng(seed).integers(0, n_samples, size=(2, N_PAIRS))
    return pairs[:, pairs[0] != pairs[1]]


def draw_samples(owners: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Rows of randomly chosen samples, at most so many; ``owners`` (n,) number each row's sample from 0."""
    counts = np.bincount(owners)
    order = np.random.default_rng(seed).permutation(len(counts))
    return np.flatnonzero(np.isin(owners, order[np.cumsum(counts[order]) <= most]))
