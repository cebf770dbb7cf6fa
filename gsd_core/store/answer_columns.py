"""What an attribution says of spans, as columns beside their gradients.

ANSWER_COLUMNS       names of the columns
add_answer_columns   spans with these columns; missing values where nothing is attributed
"""

from __future__ import annotations

import pandas as pd

from gsd_core.methods.attribute_method import ATTRIBUTION
from gsd_core.store.run import Run

ANSWER_COLUMNS = {"answer_strength": "strength", "answer_consistency": "consistency"}
"""Column → what it is in the result ``attribution``: share of the trace, and 1 where all tokens pull the same way."""


def add_answer_columns(run: Run, checkpoint: str, spans: pd.DataFrame) -> pd.DataFrame:
    """``spans`` of a checkpoint with ``ANSWER_COLUMNS``, float32."""
    told = None
    if "segments" in run.results.tables(ATTRIBUTION, checkpoint):
        told = run.results.read(ATTRIBUTION, "segments", checkpoint).drop_duplicates("span").set_index("span")
    nothing = pd.Series(float("nan"), spans.index)
    columns = {
        name: (nothing if told is None else spans["span"].map(told[source])).astype("float32")
        for name, source in ANSWER_COLUMNS.items()
    }
    return spans.assign(**columns)
