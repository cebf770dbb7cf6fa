"""What an attribution says of spans, as columns beside their gradients.

ANSWER_COLUMNS       names of the columns
add_answer_columns   spans with these columns; missing values where nothing is attributed
"""

from __future__ import annotations

import pandas as pd

ANSWER_COLUMNS = {"answer_strength": "strength", "answer_consistency": "consistency"}
"""Column → what it is in the result ``attribution``: share of the trace, and 1 where all tokens pull the same way."""


def add_answer_columns(spans: pd.DataFrame, segments: pd.DataFrame | None) -> pd.DataFrame:
    """``spans`` with ``ANSWER_COLUMNS``, float32; ``segments`` of ``gsd attribute``, None where there are none."""
    told = None if segments is None else segments.drop_duplicates("span").set_index("span")
    return spans.assign(
        **{
            name: (
                spans["span"].map(told[source]) if told is not None else pd.Series(float("nan"), spans.index)
            ).astype("float32")
            for name, source in ANSWER_COLUMNS.items()
        }
    )
