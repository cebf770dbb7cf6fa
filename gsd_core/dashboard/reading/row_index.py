"""Finds the rows of spans.

RowIndex   span id → row, sample → rows

A dictionary of a million ids would need as much memory as everything else that a page keeps of a run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from gsd_core.types import join_span, split_span


class RowIndex(Mapping[str, int]):
    """Rows of a frame of n spans by id ``SAMPLE#K``, from its columns ``sample`` and ``index``.

    ``samples`` are in the order of their first row; ``codes`` (n,) int32 is the number of each row's sample there.
    """

    def __init__(self, spans: pd.DataFrame) -> None:
        codes, names = pd.factorize(spans["sample"])
        self.codes = codes.astype(np.int32)
        self._names = names
        self._indices = spans["index"].to_numpy(np.int32)
        self._code_of = {str(name): code for code, name in enumerate(names)}
        self.samples = list(self._code_of)
        self._rows = np.argsort(self.codes, kind="stable").astype(np.int32)
        self._starts = np.searchsorted(self.codes[self._rows], np.arange(len(names) + 1))

    @property
    def n_samples(self) -> int:
        """How many samples have spans."""
        return len(self._names)

    def rows_of(self, sample: str) -> np.ndarray:
        """(S,) rows of a sample's spans, ascending; empty for an unknown sample."""
        code = self._code_of.get(sample)
        return self._rows[:0] if code is None else self._rows[self._starts[code] : self._starts[code + 1]]

    def trace_of(self, sample: str) -> np.ndarray:
        """(S,) the same rows in reading order."""
        rows = self.rows_of(sample)
        return rows[np.argsort(self._indices[rows], kind="stable")]

    def count_samples(self, rows: np.ndarray) -> int:
        """How many samples these rows belong to."""
        return int(np.count_nonzero(np.bincount(self.codes[rows], minlength=1)))

    def __getitem__(self, span: str) -> int:
        sample, index = split_span(str(span))
        rows = self.rows_of(sample)
        found = rows[self._indices[rows] == index] if index is not None else rows[:0]
        if not len(found):
            raise KeyError(span)
        return int(found[0])

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[str]:
        return (join_span(self._names[c], k) for c, k in zip(self.codes, self._indices, strict=True))
