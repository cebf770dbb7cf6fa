"""Stored rows → gradient records, a batch of samples at a time.

Placed              samples with their spans and their index in the store
iter_whole_batches  a record for every sample: its row, or the sum of its token rows
iter_span_batches   a record for every span: the sum of its token rows
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gsd_core.importing.foreign_rows import DirectionLayout, Directions, ForeignStore, iter_rows, sum_rows
from gsd_core.importing.import_tokens import read_losses
from gsd_core.types import Sample, SampleRecords, Skipped, SpanRecord, TokenizedSample

Placed = list[tuple[TokenizedSample, Sample, int]]
SAMPLES_AT_ONCE = 64  # of a store by token
NOT_FINITE = "the stored gradient is not finite"


def iter_whole_batches(
    store: ForeignStore, layout: DirectionLayout, placed: Placed
) -> Iterator[list[SampleRecords | Skipped]]:
    """A record for every sample: its row, or the sum of its token rows."""
    losses = read_losses(store)
    if store.offsets is not None:
        for part in _parts(placed):
            sums = [_sum(store, layout, *store.offsets[item : item + 2]) for _, _, item in part]
            yield [
                _make_records(one, [total], losses[item], store.has_norms)
                for (one, _, item), total in zip(part, sums, strict=True)
            ]
        return
    owners = {item: one for one, _, item in placed}
    for start, rows in iter_rows(store, layout):
        results: list[SampleRecords | Skipped] = []
        for at in range(len(rows.unit)):
            one = owners.get(start + at)
            if one is not None:
                results.append(_make_records(one, [(rows, at, float("nan"))], losses[start + at], store.has_norms))
        if results:
            yield results


def iter_span_batches(
    store: ForeignStore, layout: DirectionLayout, placed: Placed
) -> Iterator[list[SampleRecords | Skipped]]:
    """A record for every span: the sum of the rows at which its tokens are predicted."""
    assert store.offsets is not None
    for part in _parts(placed):
        results = []
        for one, _, item in part:
            first = store.offsets[item] - 1  # token t is predicted at position t − 1
            found = [_sum(store, layout, first + span.start, first + span.end) for span in one.spans]
            results.append(_make_records(one, found, float("nan"), store.has_norms))
        yield results


def _sum(store: ForeignStore, layout: DirectionLayout, start: int, stop: int) -> tuple[Directions, int, float]:
    """The sum of stored rows, as `_make_records` takes it: directions, the row among them, coherence."""
    summed, coherence = sum_rows(store, layout, int(start), int(stop))
    return summed, 0, coherence


def _parts(placed: Placed) -> Iterator[Placed]:
    for start in range(0, len(placed), SAMPLES_AT_ONCE):
        yield placed[start : start + SAMPLES_AT_ONCE]


def _make_records(
    one: TokenizedSample, found: list[tuple[Directions, int, float]], loss: float, has_norms: bool
) -> SampleRecords | Skipped:
    """Records of one sample; unknown values are NaN."""
    if not all(rows.is_finite[at] for rows, at, _ in found):
        return Skipped(one.id, NOT_FINITE)
    records = tuple(
        SpanRecord(
            span,
            rows.unit[at],
            norm=float(rows.norms[at]) if has_norms else float("nan"),
            loss=float(loss),
            coherence=coherence,
        )
        for span, (rows, at, coherence) in zip(one.spans, found, strict=True)
    )
    return SampleRecords(one, records, np.full(len(one.token_ids), np.nan, np.float32))
