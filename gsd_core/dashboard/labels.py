"""Labels that samples bring with them, spread over their spans.

LabelColumn          a label that spans can be coloured or filtered by
compute_label_frame  one row a span, one column a ``meta.*`` field
compute_label_columns  which of them are worth offering, and whether they are words or numbers

A ``meta`` list with as many entries as its sample has spans (or steps) labels them one by one: span K gets entry K.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

MAX_CATEGORIES = 200
MAX_LABEL_LENGTH = 60
MAX_DEPTH = 3


@dataclass(frozen=True)
class LabelColumn:
    """``name`` such as ``meta.topic``; ``kind`` "category" or "number"; ``n_values`` distinct values."""

    name: str
    kind: str
    n_values: int


def _flatten(meta: Mapping[str, Any], prefix: str = "meta", depth: int = 0) -> dict[str, Any]:
    """Nested fields under dotted names. A record's own ``meta`` object does not say its name twice."""
    flat: dict[str, Any] = {}
    for key, value in meta.items():
        name = prefix if (key == "meta" and prefix == "meta") else f"{prefix}.{key}"
        if isinstance(value, Mapping) and depth < MAX_DEPTH:
            flat |= _flatten(value, name, depth + 1)
        else:
            flat[name] = value
    return flat


def _as_label(value: Any) -> Any:
    """A value that can be counted: short text, number or yes/no; None for the rest."""
    if value is None or isinstance(value, bool):
        return None if value is None else ("yes" if value else "no")
    if isinstance(value, int | float):
        return value if value == value else None
    if isinstance(value, str):
        text = value.strip()
        return text if text and len(text) <= MAX_LABEL_LENGTH else None
    if isinstance(value, Sequence) and all(isinstance(entry, str | int | float) for entry in value):
        joined = " + ".join(map(str, value))
        return joined if joined and len(joined) <= MAX_LABEL_LENGTH else None
    return None


def compute_label_frame(
    spans: pd.DataFrame, samples: pd.DataFrame, n_spans: Mapping[str, int]
) -> pd.DataFrame:
    """Labels of each span.

    Parameters
    ----------
    spans
        Columns ``sample`` and ``index`` (K in ``SAMPLE#K``), one row a span.
    samples
        Columns ``sample`` and ``meta`` (a dict).
    n_spans
        How many spans each sample was cut into.

    Returns
    -------
    One row a span in the order of ``spans``, one column a flattened ``meta.*`` field.
    """
    fields_of = {
        sample: _flatten(meta) if isinstance(meta, Mapping) else {}
        for sample, meta in zip(samples["sample"], samples["meta"], strict=True)
    }
    names: dict[str, None] = {}
    for fields in fields_of.values():
        names.update(dict.fromkeys(fields))
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for sample, index in zip(spans["sample"], spans["index"], strict=True):
        fields = fields_of.get(sample, {})
        steps = n_spans.get(sample, 0)
        for name, column in columns.items():
            value = fields.get(name)
            if isinstance(value, list | tuple) and len(value) == steps and steps > 1:
                value = value[index] if index < steps else None
            column.append(_as_label(value))
    return pd.DataFrame(columns, index=spans.index)


def compute_label_columns(frame: pd.DataFrame) -> list[LabelColumn]:
    """The labels worth offering: those that neither say one thing for all spans nor another for nearly each."""
    offered = []
    for name in frame.columns:
        known = frame[name].dropna()
        n_values = int(known.nunique())
        if n_values < 2:
            continue
        is_number = known.map(lambda value: isinstance(value, int | float)).all()
        if is_number and n_values > 12:
            offered.append(LabelColumn(str(name), "number", n_values))
        elif n_values <= MAX_CATEGORIES and n_values < 0.8 * max(len(known), 1):
            offered.append(LabelColumn(str(name), "category", n_values))
    return offered
