"""Controls: what is captured beside the spans, to know what their alignment is worth.

CONTROL_KINDS         "windows" and "tokens"
choose_controls       the seeded share of samples that get controls
cut_windows           a sample cut into windows of its spans' lengths at random places (the "shuffled spans")
cut_tokens            a sample with a few single tokens as spans
iter_controls         captured controls of all chosen samples, a batch at a time

A sample is cut anew, whole, so that every tier captures controls by the very code that captures spans; stretches that
only fill the gaps are dropped afterwards. The null of methods §1.4 and the first two bars of claim figure A.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from gsd_core.capture.batches import plan_batches
from gsd_core.capture.capture import Capturer, capture_batch
from gsd_core.types import SampleRecords, TokenizedSample, TokenSpan

CONTROL_KINDS = ("windows", "tokens")
MOST_SAMPLES, FEWEST_SAMPLES, SHARE = 32, 8, 0.1
MOST_A_SAMPLE = 8
FILLER = -1  # index of a stretch that is captured only because spans partition a sample


class Control(NamedTuple):
    """One control: its kind, whose, which target tokens, direction (P,) float16."""

    kind: str
    sample: str
    start: int
    end: int
    direction: np.ndarray


def choose_controls(ranked: Sequence[str]) -> list[str]:
    """The first tenth of the sample ids (`capture.rank_by_hash`), at least 8 and at most 32."""
    return list(ranked[: min(MOST_SAMPLES, max(FEWEST_SAMPLES, math.ceil(SHARE * len(ranked))))])


def cut_windows(sample: TokenizedSample, seed: int) -> TokenizedSample | None:
    """Windows of the spans' own lengths in another order, from a random place; at most eight; None where none fits.

    The first window begins at a random token of the reasoning, so that windows of equal spans do not fall on the spans
    themselves; what lies before it and behind the last whole window is filler.
    """
    random = _random(sample.id, seed, "windows")
    start, stop = sample.spans[0].start, sample.spans[-1].end
    lengths = random.permutation([span.end - span.start for span in sample.spans])
    at = start + int(random.integers(0, max(1, lengths[0])))
    windows = []
    for length in lengths:
        if at + length > stop:
            break
        windows.append((at, at + int(length)))
        at += int(length)
    kept = random.permutation(len(windows))[:MOST_A_SAMPLE]
    return _cut(sample, [windows[i] for i in sorted(kept)])


def cut_tokens(sample: TokenizedSample, seed: int) -> TokenizedSample | None:
    """Up to eight random target tokens of the reasoning, each a span of one token."""
    random = _random(sample.id, seed, "tokens")
    tokens = np.concatenate([np.arange(span.start, span.end) for span in sample.spans])
    kept = np.sort(random.choice(tokens, size=min(MOST_A_SAMPLE, len(tokens)), replace=False))
    return _cut(sample, [(int(at), int(at) + 1) for at in kept])


def iter_controls(
    capturer: Capturer, samples: Sequence[TokenizedSample], on_sample: Callable[[int], None] = lambda n: None
) -> Iterator[Control]:
    """Capture the controls of `samples`; a sample whose controls cannot be captured gives none.

    Yields them kind by kind. `on_sample` hears of every batch how many samples it held.
    """
    cutters = {"windows": cut_windows, "tokens": cut_tokens}
    for kind in CONTROL_KINDS:
        cut = [each for s in samples if (each := cutters[kind](s, capturer.config.seed)) is not None]
        for members in plan_batches(cut, capturer.config.batch_tokens):
            batch = [cut[i] for i in members]
            for result in capture_batch(capturer, batch):
                if isinstance(result, SampleRecords):
                    for record in result.records:
                        if record.span.index != FILLER:
                            span = record.span
                            yield Control(kind, result.tokenized.id, span.start, span.end, record.direction)
            on_sample(len(batch))


def _random(sample: str, seed: int, kind: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}\x00{kind}\x00{sample}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def _cut(sample: TokenizedSample, wanted: Sequence[tuple[int, int]]) -> TokenizedSample | None:
    """`sample` with `wanted` token ranges as its spans, and fillers wherever its own spans would leave a gap."""
    if not wanted:
        return None
    spans: list[TokenSpan] = []
    at = sample.spans[0].start
    for number, (start, end) in enumerate(wanted):
        if start > at:
            spans.append(TokenSpan(FILLER, at, start, 0, 0, ""))
        spans.append(TokenSpan(number, start, end, 0, 0, ""))
        at = end
    return replace(sample, spans=tuple(spans))
