"""Spans that are aligned with one span, as a page lists them.

load_exact         cosines without a sketch, where they were computed
load_wording       what counts as other words
compute_neighbors  spans of other samples best aligned with one span
choose_opening     the span that a map opens with
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from gsd_core.comparison.nearest import Directions, find_neighbors
from gsd_core.comparison.wording import MOST_WORDED, Wording, make_wording
from gsd_core.dashboard.reading.families import choose_telling
from gsd_core.dashboard.reading.run_view import RunView
from gsd_core.methods.neighbors_method import EXACT
from gsd_core.store import Run

MOST_OPENED = 20_000  # spans; of larger runs no opening span is sought
N_TRIED, N_ALIGNED, FEWEST_WORDS = 400, 5, 5


def load_exact(run: Run, checkpoint: str, span: str) -> dict[str, float]:
    """Other span → exact centred cosine with ``span``, for the pairs that ``gsd neighbors --exact`` computed."""
    if not run.results.has(EXACT):
        return {}
    pairs = run.results.read(EXACT, "pairs")
    own = pairs[(pairs["checkpoint"] == checkpoint) & (pairs["a"] == span)]
    return dict(zip(own["b"], own["cosine_exact"].astype(float), strict=True))


def load_wording(view: RunView) -> Wording | None:
    """How alike the texts of a run's spans are, rows as in ``view.spans``; None for too many or no words."""
    if len(view.spans) > MOST_WORDED:
        return None
    return make_wording(view.spans["text"].tolist(), view.spans["sample"].to_numpy(dtype=object))


def compute_neighbors(
    view: RunView, directions: Directions, span: str, top: int = 10, wording: Wording | None = None
) -> pd.DataFrame:
    """`find_neighbors` of ``span`` as rows of ``view.spans``; with ``wording`` only those that say it in other words.

    Columns ``span, sample, index, n_in_trace, text, cluster, family, cosine, q_value``; empty where the span has no
    direction.
    """
    row, n = view.row_of[span], len(directions.rows)
    columns = ["span", "sample", "index", "n_in_trace", "text", "cluster", "family"]
    if row >= n:  # captured since the directions were read
        return view.spans.iloc[:0][columns].assign(cosine=[], q_value=[])
    found = find_neighbors(directions, row, view.row_of.codes[:n], top, wording)
    return view.spans.iloc[found.rows][columns].assign(cosine=found.cosines, q_value=found.q_values)


def choose_opening(view: RunView, directions: Directions, wording: Wording | None) -> str:
    """Something to look at first: `choose_telling` of the run's families. Where it has none, the span whose best
    aligned spans of other samples, in other words where that is known, have the largest mean cosine, of 400 seeded
    spans with five words or more; ``""`` for large or empty runs.

    Source: ours. It is a clear example of the run, not a typical one, and the page says so.
    """
    if telling := choose_telling(view.families):
        return telling
    n = min(len(view.spans), len(directions.rows))
    if not 0 < n <= MOST_OPENED or len(directions.rows) > MOST_OPENED:
        return ""
    is_long = view.spans["text"].iloc[:n].str.count(r"\b[^\W\d_]+").to_numpy() >= FEWEST_WORDS
    tried = np.flatnonzero(is_long) if is_long.any() else np.arange(n)
    tried = np.sort(np.random.default_rng(0).permutation(tried)[:N_TRIED])
    rows = np.asarray(directions.rows[:n], dtype=np.float32)
    cosines = rows[tried] @ rows.T
    codes = view.row_of.codes[:n]
    cosines[codes[tried][:, None] == codes[None, :]] = -1.0
    if wording is not None:
        cosines[wording.compute_cosines(tried)[:, :n] > wording.limit] = -1.0
    best = np.sort(np.partition(cosines, max(0, n - N_ALIGNED), axis=1)[:, -N_ALIGNED:], axis=1)
    return str(view.spans["span"].iloc[tried[int(np.argmax(best.mean(axis=1)))]])
