"""Which parts of a sample's reasoning are trained on: files that ``gsd select`` writes, read back.

SampleMask      what is kept of one sample
read_masks      a file → sample id → its mask
prune_sample    a sample of which only the kept parts are left
ALWAYS          segments that are kept whatever the mask says

A mask says characters of the reasoning, not tokens, so one file serves every tokenizer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from gsd_core.errors import UserError
from gsd_core.types import Sample

ALWAYS = (0, -2, -1)
"""The first segment and the last two (arXiv 2602.00425)."""
MOST_BYTES = 2**32
Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class SampleMask:
    """``kept`` and ``spans``: half-open character ranges in the ``reasoning``, in order and apart; ``spans`` are all
    segments that were chosen from, empty where the file does not tell them. ``reasoning`` is the text that they are of,
    None where the file does not hold it."""

    kept: Ranges
    spans: Ranges = ()
    reasoning: str | None = None

    def find_kept(self, has_always: bool) -> Ranges:
        """What is kept, joined; with the segments ``ALWAYS`` where ``has_always``."""
        ranges = list(self.kept)
        if has_always and self.spans:
            ranges += [self.spans[at] for at in ALWAYS if -len(self.spans) <= at < len(self.spans)]
        joined: list[tuple[int, int]] = []
        for start, end in sorted(ranges):
            if joined and start <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(joined[-1][1], end))
            else:
                joined.append((start, end))
        return tuple(joined)


def read_masks(file: Path) -> dict[str, SampleMask]:
    """The masks of a file of ``gsd select``, by sample.

    Raises
    ------
    UserError
        The file is missing, too large, or not what ``gsd select`` writes; it names the line.
    """
    try:
        size = file.stat().st_size
        if size > MOST_BYTES:
            raise UserError(f"a mask of {size:,} bytes is too large", str(file), "select from fewer samples")
        with file.open(encoding="utf-8") as opened:
            lines = [(number, line) for number, line in enumerate(opened, 1) if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the mask cannot be read ({error})", str(file), "write it with gsd select") from None
    masks: dict[str, SampleMask] = {}
    for number, line in lines:
        where = f"{file}, line {number}"
        try:
            sample, mask = _read_line(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise UserError(f"not a line of gsd select: {error}", where, "write the file with gsd select") from None
        if sample in masks:
            raise UserError(f"sample {sample!r} occurs twice", where, "write the file with gsd select")
        masks[sample] = mask
    if not masks:
        raise UserError("the mask is empty", str(file), "write it with gsd select")
    return masks


def _read_line(row: Any) -> tuple[str, SampleMask]:
    """Raises ``ValueError`` with what is wrong."""
    if not isinstance(row, dict) or not isinstance(row.get("sample"), str):
        raise ValueError("it has no sample")
    reasoning = row.get("reasoning")
    if reasoning is not None and not isinstance(reasoning, str):
        raise ValueError("its reasoning is not text")
    length = None if reasoning is None else len(reasoning)
    kept, spans = _read_ranges(row.get("kept"), "kept", length), _read_ranges(row.get("spans", []), "spans", length)
    return row["sample"], SampleMask(kept, spans, reasoning)


def _read_ranges(value: Any, name: str, length: int | None) -> Ranges:
    if not isinstance(value, list):
        raise ValueError(f"it has no list {name!r}")
    for each in value:
        if not (isinstance(each, list) and len(each) == 2 and all(type(place) is int for place in each)):
            raise ValueError(f"{name}: {str(each)[:40]} is not a pair of whole numbers")
    ranges = [(int(start), int(end)) for start, end in value]
    if any(not 0 <= start <= end for start, end in ranges):
        raise ValueError(f"{name}: a range ends before it begins")
    if any(first[1] > second[0] for first, second in pairwise(ranges)):
        raise ValueError(f"{name}: ranges overlap, or are out of order")
    if length is not None and ranges and ranges[-1][1] > length:
        raise ValueError(f"{name}: a range ends after the reasoning, which has {length} characters")
    return tuple(ranges)


def prune_sample(sample: Sample, kept: Ranges) -> Sample:
    """The sample with only the ``kept`` ranges of its reasoning, each one step; its step labels go."""
    pieces = [sample.reasoning[start:end] for start, end in kept]
    steps, at = [], 0
    for piece in pieces:
        steps.append((at, at + len(piece)))
        at += len(piece)
    return replace(sample, reasoning="".join(pieces), steps=tuple(steps))
