"""Filters of spans.

Filter         what the user asked to see
compute_mask   the spans that a filter keeps
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Filter:
    """A span must satisfy every field that is set; the empty filter keeps all spans.

    ``clusters`` cluster numbers; ``label``, ``label_values`` a label column and its values; ``sample`` part of a
    sample's id; ``text`` words that must all occur in the span, in any case; ``measure``, ``measure_range`` a measure,
    its lowest and its highest value (spans without the measure are left out).
    """

    clusters: tuple[int, ...] = ()
    label: str = ""
    label_values: tuple[str, ...] = ()
    sample: str = ""
    text: str = ""
    measure: str = ""
    measure_range: tuple[float, float] | None = None


def compute_mask(spans: pd.DataFrame, wanted: Filter) -> np.ndarray:
    """(n,) bool: the spans that ``wanted`` keeps. Text is compared as plain words, not as patterns."""
    mask = np.ones(len(spans), dtype=bool)
    if wanted.clusters:
        mask &= spans["cluster"].isin(wanted.clusters).to_numpy()
    if wanted.label_values and wanted.label in spans.columns:
        mask &= spans[wanted.label].astype(str).isin(wanted.label_values).to_numpy()
    if wanted.sample.strip():
        has = spans["sample"].str.contains(wanted.sample.strip(), case=False, regex=False)
        mask &= has.fillna(False).to_numpy(dtype=bool)
    for word in wanted.text.split():
        has = spans["text"].str.contains(word, case=False, regex=False)
        mask &= has.fillna(False).to_numpy(dtype=bool)
    if wanted.measure_range is not None and wanted.measure in spans.columns:
        low, high = wanted.measure_range
        mask &= spans[wanted.measure].between(low, high).to_numpy(dtype=bool)
    return mask
