"""Labels that samples bring with them: fields of their ``meta``, spread over their spans.

compute_meta_columns   a column for every field, a row for every span
to_text                the text that stands for a value in labels, conditions and filters
find_text              which values a condition names

* A field of ``meta`` is a column ``meta.NAME``. The fields of an object are columns too, under dotted names:
  ``meta.info.kind``. Objects are opened three levels deep; the object itself stays a column as it is. One whose samples
  have more than 100 different fields together is keyed by something and is not opened. A name that a field
  bears already is not taken from it.
* A field labels steps where most of the samples whose value is a list have one entry for each of their spans, those
  that were cut off or hold no token among them: then span K gets entry K. Deciding for the field as a whole keeps a
  chance match (three numbers, three steps) from changing its meaning in one row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd

MAX_DEPTH, MAX_OPENED = 3, 100


def to_text(value: Any) -> str:
    """``value`` as a label; empty for a missing one.

    Whole numbers have no decimal point, yes and no are ``true`` and ``false``, a list of plain values is joined by
    " + ", anything else is JSON.
    """
    if value is None or value is pd.NA:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Real):
        number = float(value)
        if number != number:
            return ""
        return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)
    if isinstance(value, list | tuple) and not any(isinstance(each, list | tuple | Mapping) for each in value):
        return " + ".join(map(to_text, value))
    return json.dumps(value, sort_keys=True, default=str)


def find_text(values: Iterable[Any], text: str) -> np.ndarray:
    """(n,) bool: which values are ``text``, as `to_text` or as Python writes them (``3.0``, ``True``)."""
    wanted = text.strip()
    texts = ((each, to_text(each)) for each in values)
    return np.array([found == wanted or (bool(found) and str(each) == wanted) for each, found in texts], dtype=bool)


def compute_meta_columns(
    spans: pd.DataFrame, samples: pd.DataFrame, convert: Callable[[Any], Any] | None = None
) -> tuple[pd.DataFrame, dict[str, int]]:
    """``meta.*`` columns beside ``spans``.

    Parameters
    ----------
    spans
        Columns ``sample`` and ``index`` (K in ``SAMPLE#K``).
    samples
        Columns ``sample`` (each once), ``meta``, ``skipped_spans`` and ``n_spans_cut``.
    convert
        Applied to every value before it is spread; None: values stay as the file gave them.

    Returns
    -------
    The columns, of type object, and for each field that labels steps the number of samples that it leaves without
    label.
    """
    metas = [dict(meta or {}) for meta in samples["meta"]]
    owners = pd.Index(samples["sample"]).get_indexer(spans["sample"])  # −1: a span of no known sample
    indices = spans["index"].to_numpy(np.int64)
    n_spans = np.bincount(owners[owners >= 0], minlength=len(metas))
    last = np.full(len(metas) + 1, -1, dtype=np.int64)
    np.maximum.at(last, owners, indices)
    n_steps = n_spans + samples["skipped_spans"].map(len).to_numpy() + samples["n_spans_cut"].to_numpy()
    columns: dict[str, np.ndarray] = {}
    unmatched: dict[str, int] = {}
    for name, values in _open_fields(metas).items():
        listed = [at for at, value in enumerate(values) if n_spans[at] and isinstance(value, list | tuple)]
        matching = [at for at in listed if len(values[at]) == n_steps[at] > last[at]]
        if 2 * len(matching) > len(listed):
            unmatched[name] = len(listed) - len(matching)
        else:
            listed, matching = [], []
        # One value a sample, one for spans of no known sample at −1, then the entries of the lists that are dealt.
        first = np.full(len(metas) + 1, -1, dtype=np.int64)
        dealt = set(listed)
        flat: list[Any] = [*(None if at in dealt else value for at, value in enumerate(values)), None]
        for at in matching:
            first[at] = len(flat)
            flat += values[at]
        # Of type object: numbers stay as the file gave them (no 3 → 3.0 because another row lacks the field).
        table = np.fromiter(flat if convert is None else map(convert, flat), dtype=object, count=len(flat))
        rows = np.where(owners < 0, len(metas), owners)
        columns[name] = table[np.where(first[rows] < 0, rows, first[rows] + indices)]
    return pd.DataFrame(columns, index=spans.index, dtype=object), unmatched


def _open_fields(metas: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Column name → its value in each sample, None where the sample has none; fields first, then those of objects."""
    names = list(dict.fromkeys(key for meta in metas for key in meta))
    columns = {f"meta.{key}": [meta.get(key) for meta in metas] for key in names}
    for key in names:
        opened: dict[str, list[Any]] = {}
        for at, meta in enumerate(metas):
            for name, value in _list_inner(f"meta.{key}", meta.get(key), MAX_DEPTH):
                if name not in opened:
                    opened[name] = [None] * len(metas)
                opened[name][at] = value
            if len(opened) > MAX_OPENED:
                break
        else:
            columns |= {name: values for name, values in opened.items() if name not in columns}
    return columns


def _list_inner(name: str, value: Any, depth: int) -> list[tuple[str, Any]]:
    """Dotted name and value of every field inside an object; none for another value."""
    if not isinstance(value, Mapping):
        return []
    found: list[tuple[str, Any]] = []
    for key, inner in value.items():
        is_opened = isinstance(inner, Mapping) and depth > 1
        found += _list_inner(f"{name}.{key}", inner, depth - 1) if is_opened else [(f"{name}.{key}", inner)]
    return found
