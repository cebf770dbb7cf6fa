"""Controls: gradients of random stretches of text, with which the alignment of spans is compared.

CONTROL_KINDS         "windows" and "tokens"
Control               one captured control
choose_controls       the seeded share of samples that get controls
cut_windows           a sample cut into windows of its spans' lengths at random positions (the "shuffled spans")
cut_tokens            a sample with a few single tokens as spans
iter_controls         captured controls of all chosen samples, a batch at a time

The whole sample is cut again, so that every tier captures controls with the code that captures spans. Stretches that
only fill gaps are dropped afterwards. Controls are the null of methods §1.4 and the first two bars of claim figure A.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from gsd_core.capture.batches import count_padded, plan_batches
from gsd_core.capture.capture import Capturer, capture_batch
from gsd_core.console.report import Report, ignore, report_part
from gsd_core.types import SampleRecords, TokenizedSample, TokenSpan

CONTROL_KINDS = ("windows", "tokens")
MOST_SAMPLES, FEWEST_SAMPLES, SHARE = 32, 8, 0.1
MOST_A_SAMPLE = 8
FILLER = -1  # index of a stretch that is captured only because spans partition a sample


class Control(NamedTuple):
    """One control: its kind, its sample, its target tokens, its direction (P,) float16."""

    kind: str
    sample: str
    start: int
    end: int
    direction: np.ndarray


def choose_controls(ranked: Sequence[str]) -> list[str]:
    """The first tenth of the sample ids (`capture.rank_by_hash`), at least 8 and at most 32."""
    return list(ranked[: min(MOST_SAMPLES, max(FEWEST_SAMPLES, math.ceil(SHARE * len(ranked))))])


def cut_windows(sample: TokenizedSample, seed: int) -> TokenizedSample | None:
    """At most eight windows of the spans' lengths, in another order, from a random place; None where none fits.

    The first window begins at a random token of the reasoning, so that windows of equal spans differ from the spans
    themselves. The text before it and after the last whole window is filler.
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


def iter_controls(capturer: Capturer, samples: Sequence[TokenizedSample], report: Report = ignore) -> Iterator[Control]:
    """Capture the controls of `samples`; a sample whose controls cannot be captured gives none.

    Yields them kind by kind. `report` gets the share of all that is done.
    """
    cutters = {"windows": cut_windows, "tokens": cut_tokens}
    batches: list[tuple[str, list[TokenizedSample]]] = []
    for kind in CONTROL_KINDS:
        cut = [each for s in samples if (each := cutters[kind](s, capturer.config.seed)) is not None]
        plan = plan_batches(cut, capturer.config.batch_tokens)
        batches += [(kind, [cut[i] for i in members]) for members in plan]
    total, done = sum(count_padded(batch) for _, batch in batches), 0
    light = capturer.only_directions()
    for kind, batch in batches:
        start, done = done, done + count_padded(batch)
        for result in capture_batch(light, batch, (), report_part(report, start / total, done / total)):
            if isinstance(result, SampleRecords):
                for record in result.records:
                    if record.span.index != FILLER:
                        span = record.span
                        yield Control(kind, result.tokenized.id, span.start, span.end, record.direction)


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
