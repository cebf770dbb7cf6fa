"""Spans that are aligned with one span, as a page lists them.

load_exact         cosines without a sketch, where they were computed
load_wording       what counts as other words
compute_neighbors  spans of other samples best aligned with one span
"""

from __future__ import annotations

import pandas as pd

from gsd_core.comparison.nearest import Directions, find_neighbors
from gsd_core.comparison.wording import MOST_WORDED, Wording, make_wording
from gsd_core.dashboard.reading.run_view import RunView
from gsd_core.methods.neighbors_method import EXACT
from gsd_core.store import Run


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

    Columns ``span, sample, index, n_in_trace, text, cluster, cosine, q_value``; empty where the span has no direction.
    """
    row, n = view.row_of[span], len(directions.rows)
    columns = ["span", "sample", "index", "n_in_trace", "text", "cluster"]
    if row >= n:  # captured since the directions were read
        return view.spans.iloc[:0][columns].assign(cosine=[], q_value=[])
    found = find_neighbors(directions, row, view.row_of.codes[:n], top, wording)
    return view.spans.iloc[found.rows][columns].assign(cosine=found.cosines, q_value=found.q_values)
