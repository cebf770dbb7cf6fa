"""The sketch keeps cosines: on the demo model, at the default width, against dense gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gsd_core.capture.capture import CaptureConfig, Capturer
from gsd_core.capture.sketch import Sketch, compute_fold, compute_projection
from gsd_core.dataset.demo import generate_corpus
from gsd_core.dataset.segmenters import make_segmenter
from gsd_core.dataset.tokenization import tokenize_sample
from gsd_core.models.loading import load_model
from tests.tiny_models import dense_gradients, token_losses, untie_head

BOUND = 0.05  # methods §1.3, read as root mean square over pairs: no width that fits a store bounds every single pair


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def gradients() -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Dense cosines (n, n) of spans under the demo model, and their sketch at two seeds (n, P)."""
    model, tokenizer = load_model("demo", device="cpu")
    untie_head(model)
    capturers = {seed: Capturer(model, CaptureConfig(seed=seed)) for seed in (0, 1)}
    segmenter = make_segmenter("steps")
    samples = [tokenize_sample(s, tokenizer, segmenter, max_tokens=1024) for s in generate_corpus(8, seed=5)]
    dense = []
    for sample in samples:
        losses = token_losses(model, sample)
        for span in sample.spans:
            loss = losses[span.start - 1 : span.end - 1].mean()
            parts = [c.module.weight for c in capturers[0].selection.captured]
            found = torch.autograd.grad(loss, parts, retain_graph=True)
            dense.append(torch.cat([g.flatten() for g in found]).numpy())
    rows = _unit(np.stack(dense))
    sketched = {
        seed: np.concatenate(capturer.compute_gradients(samples).gradients) for seed, capturer in capturers.items()
    }
    return rows @ rows.T, sketched


def test_cosines_in_the_sketch_are_those_of_dense_gradients(gradients) -> None:
    dense, sketched = gradients
    pairs = np.triu_indices(len(dense), 1)
    assert dense[pairs].max() - dense[pairs].min() > 0.3, "the pairs are too alike to tell a good sketch from a bad one"
    for seed, vectors in sketched.items():
        error = (_unit(vectors) @ _unit(vectors).T - dense)[pairs]
        assert np.sqrt(np.mean(error**2)) <= BOUND, f"seed {seed}: the sketch is too narrow or not isotropic"
        assert abs(error.mean()) <= BOUND / 4, f"seed {seed}: the sketch is biased"


def test_a_changed_seed_changes_vectors_and_keeps_cosines(gradients) -> None:
    _, sketched = gradients
    first, second = _unit(sketched[0]), _unit(sketched[1])
    assert np.abs((first * second).sum(1)).mean() < 0.2, "two seeds gave related projections"
    pairs = np.triu_indices(len(first), 1)
    difference = (first @ first.T - second @ second.T)[pairs]
    assert np.sqrt(np.mean(difference**2)) <= BOUND * np.sqrt(2)


def test_projection_keeps_inner_products_on_average() -> None:
    a, b = torch.randn(2, 200, generator=torch.Generator().manual_seed(0))
    projected = []
    for seed in range(200):
        matrix = compute_projection(16, 200, seed, "m")
        projected.append(float((matrix @ a) @ (matrix @ b)))
    standard_error = np.std(projected) / np.sqrt(len(projected))
    assert abs(np.mean(projected) - float(a @ b)) < 4 * standard_error
    assert compute_projection(16, 16, 0, "m") is None, "a side no wider than the rank must be kept whole"


def test_fold_keeps_norms_on_average_and_uses_every_number() -> None:
    values = torch.randn(1, 500, generator=torch.Generator().manual_seed(1))
    folded = torch.stack([compute_fold(500, 64, seed, "layer", "cpu").apply(values)[0] for seed in range(200)])
    norms = folded.square().sum(1)
    assert norms.mean().item() == pytest.approx(values.square().sum().item(), rel=0.05)
    for row in range(0, 500, 50):
        one = torch.zeros(1, 500)
        one[0, row] = 1.0
        assert compute_fold(500, 64, 0, "layer", "cpu").apply(one).norm().item() == pytest.approx(1.0, rel=1e-5)


def test_layer_blocks_tile_the_direction_and_hold_their_layer_alone() -> None:
    sketch = Sketch([(f"l{i}.{m}", f"l{i}", 40, 30) for i in range(3) for m in "ab"], 96, 8, 0)
    assert [(b.start, b.stop) for b in sketch.blocks] == [(0, 32), (32, 64), (64, 96)]
    dense = [torch.zeros(40, 30) for _ in range(6)]
    dense[2] = torch.ones(40, 30)
    direction = sketch.project_dense(dense)
    assert direction[32:64].norm() > 0
    assert direction[:32].norm() == 0
    assert direction[64:].norm() == 0


def test_sketched_gradients_are_the_projection_of_dense_ones() -> None:
    model, tokenizer = load_model("demo", device="cpu")
    untie_head(model)
    capturer = Capturer(model, CaptureConfig())
    sample = tokenize_sample(generate_corpus(1, seed=9)[0], tokenizer, make_segmenter("steps"), max_tokens=1024)
    found = capturer.compute_gradients([sample]).gradients[0][1]
    span = sample.spans[1]
    loss = token_losses(model, sample)[span.start - 1 : span.end - 1].mean()
    expected = capturer.sketch.project_dense(dense_gradients(capturer, loss)).detach().numpy()
    assert np.linalg.norm(found - expected) <= 1e-5 * np.linalg.norm(expected)
