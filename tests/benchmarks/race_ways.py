"""The contestants that need nothing but torch and this package: a plain step, every tier of capture, an autograd loop.

make_samples    the rows as capture takes them
make_capturer   a capturer with nothing switched on that nobody else does
PlainStep       forward and backward with weight gradients on the ordinary loss: what fine-tuning costs without capture
Capture         one tier of ``Capturer``
AutogradLoop    one forward a sample, one backward with weight gradients a span, dense gradients projected
make_own_way    a contestant by name

Every tier leaves out the output head, as Bergson's own collection does, except where the name says ``with head``
(the default of ``gsd capture``). The audit and the losses of tokens outside spans are off: nobody else computes them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from gsd_core.capture.capture import CaptureConfig, Capturer
from gsd_core.types import TokenizedSample, TokenSpan
from tests.benchmarks.race_work import AUTOGRAD, IGNORED, PLAIN, TIERS, Way, Work, load_model
from tests.benchmarks.race_worker import Contestant, serve


def make_samples(work: Work) -> list[TokenizedSample]:
    """The rows as capture takes them."""
    zeros = np.zeros(work.size.tokens, dtype=np.int32)
    samples = []
    for row, (ids, edges) in enumerate(zip(work.ids, work.borders.tolist(), strict=True)):
        spans = tuple(TokenSpan(k, a, b, 0, 0, "") for k, (a, b) in enumerate(pairwise(edges)))
        samples.append(TokenizedSample(str(row), "", ids.astype(np.int32), zeros, zeros, spans, edges[0], 0))
    return samples


def make_capturer(model: Any, way: Way, rank: int, width: int = 2048) -> Capturer:
    """A capturer that does the races' work and nothing else; `width` is the default of ``gsd capture``."""
    return Capturer(
        model,
        CaptureConfig(
            tier=way.tier,
            window=way.window,
            sketch_width=width,
            sketch_rank=rank,
            audit_share=0.0,
            with_head=way.with_head,
            all_token_losses=False,
            gradient_checkpointing=way.checkpointed,
        ),
    )


class PlainStep:
    """The step that every cost is divided by. No optimizer takes part."""

    def __init__(self, work: Work) -> None:
        self.model = load_model(work).train()
        self.batches = []
        for rows in work.iter_batches():
            ids = torch.from_numpy(work.ids[rows])
            labels = ids.clone()
            for row, edges in zip(labels, work.borders[rows], strict=True):
                row[: int(edges[0])] = IGNORED
            self.batches.append((ids, labels))

    def _step(self, ids: torch.Tensor, labels: torch.Tensor) -> None:
        self.model(input_ids=ids, labels=labels, use_cache=False).loss.backward()
        self.model.zero_grad(set_to_none=True)

    def warm_up(self) -> None:
        self._step(*self.batches[0])

    def run_round(self) -> None:
        for batch in self.batches:
            self._step(*batch)

    def get_vectors(self) -> dict[str, np.ndarray]:
        return {}


class Capture:
    """One tier of capture; records are made and thrown away."""

    def __init__(self, work: Work, way: Way) -> None:
        samples = make_samples(work)
        self.batches = [[samples[row] for row in rows] for rows in work.iter_batches()]
        self.capturer = make_capturer(load_model(work), way, work.settings.rank)

    def warm_up(self) -> None:
        self.capturer.capture(self.batches[0])

    def run_round(self) -> None:
        for batch in self.batches:
            self.capturer.capture(batch)

    def get_vectors(self) -> dict[str, np.ndarray]:
        found = self.capturer.compute_gradients(self.batches[0], self.capturer.config.window)
        return {"vectors": np.concatenate(found.gradients)}


class AutogradLoop:
    """What one writes first: the same vectors as ``exact``, a sample at a time."""

    def __init__(self, work: Work) -> None:
        self.model = load_model(work)
        self.samples = make_samples(work)
        self.first = len(work.iter_batches()[0])
        self.capturer = make_capturer(self.model, TIERS["exact"], work.settings.rank)
        assert self.capturer.selection is not None
        self.weights = [captured.module.weight for captured in self.capturer.selection.captured]

    def compute(self, samples: Sequence[TokenizedSample]) -> np.ndarray:
        """(spans, P) float32."""
        sketch = self.capturer.sketch
        assert sketch is not None
        vectors = []
        for sample in samples:
            ids = torch.from_numpy(sample.token_ids.astype("int64"))
            logits = self.model(ids[None], use_cache=False).logits[0]
            losses = torch.nn.functional.cross_entropy(logits[:-1], ids[1:], reduction="none")
            for span in sample.spans:
                loss = losses[span.start - 1 : span.end - 1].mean()
                dense = torch.autograd.grad(loss, self.weights, retain_graph=True)
                vectors.append(sketch.project_dense(dense).numpy())
        return np.stack(vectors)

    def warm_up(self) -> None:
        self.compute(self.samples[:1])

    def run_round(self) -> None:
        self.compute(self.samples)

    def get_vectors(self) -> dict[str, np.ndarray]:
        return {"vectors": self.compute(self.samples[: self.first])}


def make_own_way(way: str, work: Work) -> Contestant:
    """The contestant of that name."""
    if way == PLAIN:
        return PlainStep(work)
    if way == AUTOGRAD:
        return AutogradLoop(work)
    return Capture(work, TIERS[way])


if __name__ == "__main__":
    serve(make_own_way, *sys.argv[1:])
