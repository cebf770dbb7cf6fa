"""How a batch of exact spans is cut at the lowest cost: which samples go together, and where they are cut.

ChunkPlan       samples that are captured together, with their borders
plan_chunks     a batch → its cheapest plans by a small model of cost
cut_at_spans    borders at the ends of spans, as windows need them
CALL_COST       what passing one chunk costs beside its columns

A walk takes one span of every sample back through all chunks from the one where the last of these spans ends. Its cost
is the padded columns that it passes, and for every chunk a constant, that of calling kernels. Borders at span ends
waste nothing within a sample, but need padding where spans differ in length. Borders on a grid of tokens need no
padding, but a walk goes a little further than the span. Fewer samples together need less padding and more calls. The
plan depends only on the samples and the kind of device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gsd_core.capture.batches import chunk_borders
from gsd_core.types import TokenizedSample

CALL_COST = {"cpu": 32, "cuda": 2048}
"""Cost of passing one chunk beside its columns, in columns; the CPU's is measured, see docs/performance.md."""
GRIDS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 2048, 4096)
SPANS_A_CHUNK = (1, 2, 3, 4, 6, 8, 12, 16, 32)


@dataclass(frozen=True, slots=True)
class ChunkPlan:
    """``members`` index the batch; ``borders[i]`` cut the input positions of member i, all lists equally long."""

    members: list[int]
    borders: list[list[int]]


def plan_chunks(samples: Sequence[TokenizedSample], device: str) -> list[ChunkPlan]:
    """The cheapest plans found that hold every sample once, for a kind of device (``cpu``, ``cuda``).

    The whole batch, its halves, quarters … and single samples are tried; samples with similar ends go together.
    """
    price = CALL_COST.get(device, CALL_COST["cuda"])
    order = sorted(range(len(samples)), key=lambda i: (sum(s.end for s in samples[i].spans), samples[i].id))
    best: list[ChunkPlan] = []
    lowest = np.inf
    size = 2 * len(samples)
    while size > 1:
        size = (size + 1) // 2
        groups = [sorted(order[at : at + size]) for at in range(0, len(order), size)]
        priced = [_find_borders([samples[i] for i in members], price) for members in groups]
        total = sum(cost for cost, _ in priced)
        if total < lowest:
            lowest = total
            best = [ChunkPlan(members, cuts) for members, (_, cuts) in zip(groups, priced, strict=True)]
    return best


def _find_borders(samples: Sequence[TokenizedSample], price: float) -> tuple[float, list[list[int]]]:
    """Cost and borders of the cheapest way to cut samples that go together; the first of equals."""
    ways = [(_compute_cost(samples, borders, price), borders) for borders in _iter_borders(samples)]
    return min(ways, key=lambda way: way[0])


def cut_at_spans(samples: Sequence[TokenizedSample], spans_a_chunk: int = 1) -> list[list[int]]:
    """Borders of every sample at its spans, with empty chunks at the end up to equal numbers."""
    borders = [chunk_borders(sample, spans_a_chunk) for sample in samples]
    longest = max(map(len, borders))
    return [each + [each[-1]] * (longest - len(each)) for each in borders]


def _iter_borders(samples: Sequence[TokenizedSample]) -> Iterator[list[list[int]]]:
    """Ways to cut the samples. What all prompts have in common is always one chunk, as every walk passes all of it."""
    most = max(len(sample.spans) for sample in samples)
    for spans_a_chunk in SPANS_A_CHUNK:
        yield cut_at_spans(samples, spans_a_chunk)
        if spans_a_chunk >= most:
            break
    first = min(sample.spans[0].start - 1 for sample in samples)
    ends = [sample.spans[-1].end - 1 for sample in samples]
    for grid in GRIDS:
        cuts = [0, *range(first, max(ends), grid), max(ends)]
        yield [[min(cut, end) for cut in cuts] for end in ends]
        if grid >= max(ends) - first:
            break


def _compute_cost(samples: Sequence[TokenizedSample], borders: list[list[int]], price: float) -> float:
    """Columns of the forward pass and of all walks, and their chunks at `price` columns each."""
    cuts = np.array(borders)
    widths = np.diff(cuts, axis=1).max(0)
    until = np.cumsum(len(samples) * widths + price * (widths > 0))
    last = np.full(max(len(sample.spans) for sample in samples), -1)
    for sample, row in zip(samples, cuts, strict=True):
        # Column of the last target's input; walks are paired from the end, as the capture does.
        ends = np.array([span.end - 2 for span in reversed(sample.spans)])
        last[: len(ends)] = np.maximum(last[: len(ends)], np.searchsorted(row, ends, side="right") - 1)
    return float(until[-1] + until[last].sum())
