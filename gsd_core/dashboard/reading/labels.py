"""Labels that spans can be coloured and filtered by.

LabelColumn            one of them
to_label               a field's value as a page uses it
compute_label_columns  which fields are worth offering, and whether they are words or numbers
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from gsd_core.comparison.meta_labels import to_text

MAX_CATEGORIES = 200
MAX_LABEL_LENGTH = 60


@dataclass(frozen=True)
class LabelColumn:
    """``name`` such as ``meta.topic``; ``kind`` "category" or "number"; number of distinct values."""

    name: str
    kind: str


def to_label(value: Any) -> str | int | float | None:
    """A number, or the text of ``gsd evaluate``; None for what is missing and for objects, also within lists."""
    if isinstance(value, Mapping):
        return None
    if isinstance(value, list | tuple) and any(isinstance(each, list | tuple | Mapping) for each in value):
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and value == value
    return value if is_number else to_text(value) or None


def compute_label_columns(frame: pd.DataFrame) -> list[LabelColumn]:
    """The labels worth offering: those that neither say one thing for all spans nor another for nearly each, and whose
    texts are mostly short."""
    offered = []
    for name in frame.columns:
        codes, unique = pd.factorize(frame[name])
        n_known, n_values = int((codes >= 0).sum()), len(unique)
        n_long = sum(isinstance(value, str) and len(value) > MAX_LABEL_LENGTH for value in unique)
        if n_values < 2 or 2 * n_long > n_values:
            continue
        if n_values > 12 and all(isinstance(value, int | float) for value in unique):
            offered.append(LabelColumn(str(name), "number"))
        elif n_values <= MAX_CATEGORIES and n_values < 0.8 * max(n_known, 1):
            offered.append(LabelColumn(str(name), "category"))
    return offered
