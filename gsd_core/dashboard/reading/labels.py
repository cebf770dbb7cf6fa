"""Labels of spans, from the ``meta`` fields of their samples.

LabelColumn            a label that spans can be coloured or filtered by
compute_label_frame    the labels: one row a span, one column a ``meta.*`` field
compute_label_columns  the labels that pages offer

A ``meta`` list with one entry for each span of its sample labels the spans one by one: span K gets entry K.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

MAX_CATEGORIES = 200
MAX_LABEL_LENGTH = 60
MAX_DEPTH = 3


@dataclass(frozen=True)
class LabelColumn:
    """``name`` such as ``meta.topic``; ``kind`` "category" or "number"; number of distinct values."""

    name: str
    kind: str
    n_values: int


def _flatten(meta: Mapping[str, Any], prefix: str = "meta", depth: int = 0) -> dict[str, Any]:
    """Nested fields under dotted names; a field ``meta`` inside ``meta`` adds no second ``meta``."""
    flat: dict[str, Any] = {}
    for key, value in meta.items():
        name = prefix if (key == "meta" and prefix == "meta") else f"{prefix}.{key}"
        if isinstance(value, Mapping) and depth < MAX_DEPTH:
            flat |= _flatten(value, name, depth + 1)
        else:
            flat[name] = value
    return flat


def _as_label(value: Any) -> Any:
    """A value as a label: a short text, a number or yes/no; None for any other value."""
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


def compute_label_frame(spans: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """Labels of each span.

    Parameters
    ----------
    spans
        Columns ``sample`` and ``index`` (K in ``SAMPLE#K``), one row a span.
    samples
        Columns ``sample`` and ``meta`` (a dict).

    Returns
    -------
    One row a span in the order of ``spans``, one column a flattened ``meta.*`` field.
    """
    fields_of = [_flatten(meta) if isinstance(meta, Mapping) else {} for meta in samples["meta"]]
    owner = pd.Index(samples["sample"]).get_indexer(spans["sample"])  # −1: a span of no known sample
    index = spans["index"].to_numpy(np.int64)
    n_steps = np.zeros(len(fields_of) + 1, dtype=np.int64)
    np.maximum.at(n_steps, owner, index + 1)
    names = dict.fromkeys(name for fields in fields_of for name in fields)
    return pd.DataFrame(
        {name: _spread([fields.get(name) for fields in fields_of], owner, index, n_steps) for name in names},
        index=spans.index,
    )


def _spread(values: list[Any], owner: np.ndarray, index: np.ndarray, n_steps: np.ndarray) -> np.ndarray:
    """(n,) labels of spans from the values of their S samples; a list with one entry a span labels them one by one.

    ``owner`` (n,) sample of each span, ``index`` (n,) its K, ``n_steps`` (S + 1,) spans of each sample.
    """
    # The last entry is for spans of no known sample, whose owner is −1.
    flat: list[Any] = [
        None if _is_per_span(value, n) else _as_label(value)
        for value, n in zip(values, n_steps, strict=False)
    ]
    flat.append(None)
    first = np.full(len(flat), -1, dtype=np.int64)
    for sample, value in enumerate(values):
        if _is_per_span(value, n_steps[sample]):
            first[sample] = len(flat)
            flat += map(_as_label, value)
    table = np.empty(len(flat), dtype=object)
    table[:] = flat
    owner = np.where(owner < 0, len(values), owner)
    return table[np.where(first[owner] < 0, owner, first[owner] + index)]


def _is_per_span(value: Any, n_steps: int) -> bool:
    return isinstance(value, list | tuple) and len(value) == n_steps > 1


def compute_label_columns(frame: pd.DataFrame) -> list[LabelColumn]:
    """The labels that pages offer: those with several values, each of several spans, and numbers."""
    offered = []
    for name in frame.columns:
        codes, unique = pd.factorize(frame[name])
        n_known, n_values = int((codes >= 0).sum()), len(unique)
        if n_values < 2:
            continue
        if n_values > 12 and all(isinstance(value, int | float) for value in unique):
            offered.append(LabelColumn(str(name), "number", n_values))
        elif n_values <= MAX_CATEGORIES and n_values < 0.8 * max(n_known, 1):
            offered.append(LabelColumn(str(name), "category", n_values))
    return offered
