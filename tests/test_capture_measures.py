"""Measures of steps against plain linear algebra, and controls: windows and tokens captured as spans are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gsd_core.capture.capture import CaptureConfig, Capturer, rank_by_hash
from gsd_core.capture.controls import choose_controls, cut_tokens, cut_windows, iter_controls
from gsd_core.capture.hidden import compute_token_gradients
from gsd_core.capture.hooks import FrozenModel
from gsd_core.capture.measures import compute_grace, compute_measures, compute_spectral_strength
from gsd_core.types import SampleRecords
from tests.tiny_models import make_model, make_sample, make_samples, relative_error

BOUNDS = [(2, 7), (7, 8), (9, 20)]


@pytest.mark.parametrize("width", [5, 40])
def test_spectral_strength_is_that_of_an_svd(width: int) -> None:
    # Both ways to the left singular vectors: fewer dimensions than tokens, and more.
    gradients = torch.randn(24, width, generator=torch.Generator().manual_seed(width))
    gradients[:, 0] *= 5.0  # a spectrum that 95 % of the energy cuts somewhere inside
    found = compute_spectral_strength(gradients, BOUNDS)
    rows = np.concatenate([gradients[a:b].numpy() for a, b in BOUNDS]).astype(np.float64)
    left, values, _ = np.linalg.svd(rows, full_matrices=False)
    rank = int(np.searchsorted(np.cumsum(values**2), 0.95 * (values**2).sum())) + 1
    leverage = (left[:, :rank] ** 2).sum(1)
    sizes = [b - a for a, b in BOUNDS]
    expected = [part.mean() for part in np.split(leverage, np.cumsum(sizes)[:-1])]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert float(found @ np.array(sizes)) == pytest.approx(rank, abs=1e-4), "the tokens' values sum to the rank"


def test_spectral_strength_does_not_depend_on_the_scale_of_gradients() -> None:
    gradients = torch.randn(24, 7, generator=torch.Generator().manual_seed(1))
    np.testing.assert_allclose(
        compute_spectral_strength(gradients * 1e-4, BOUNDS),
        compute_spectral_strength(gradients, BOUNDS),
        atol=1e-6,
    )
    assert not compute_spectral_strength(torch.zeros(24, 7), BOUNDS).any()


def test_grace_is_one_where_everything_points_one_way_and_knows_what_it_lacks() -> None:
    same = torch.ones(25, 6)
    np.testing.assert_allclose(compute_grace(same, BOUNDS, (20, 25)), 1.0)
    turned = same.clone()
    turned[9:20] = -1.0
    found = compute_grace(turned, BOUNDS, (20, 25))
    np.testing.assert_allclose(found, [1.0, 1.0, -1.0], atol=1e-6)
    alone = compute_grace(same, BOUNDS, (20, 20))  # no answer: the first step has no past either
    assert np.isnan(alone[0])
    np.testing.assert_allclose(alone[1:], 1.0)
    # Alignment and consistency weigh the same: the answer agrees, the past does not.
    mixed = same.clone()
    mixed[2:8] = -1.0
    assert compute_grace(mixed, BOUNDS, (20, 25))[2] == pytest.approx(0.0, abs=1e-6)


def test_measures_are_those_of_each_sample_alone_whatever_the_tier() -> None:
    model, samples = make_model("llama"), make_samples()
    with FrozenModel(model):
        together = []
        for sample in samples:
            _, _, gradients = compute_token_gradients(model, [sample])
            (found,) = compute_measures(list(gradients), [sample])
            together.append(found)
            bounds = [(s.start - 1, s.end - 1) for s in sample.spans]
            answer = (bounds[-1][1], len(sample.token_ids) - 1)
            np.testing.assert_allclose(found.spectral, compute_spectral_strength(gradients[0], bounds), atol=1e-4)
            np.testing.assert_allclose(found.grace, compute_grace(gradients[0], bounds, answer), atol=1e-4)
    for tier, window in (
        ("span", None),
        ("span", 1),
        ("position", None),
        ("hidden", None),
        ("head", None),
        ("state", None),
    ):
        config = CaptureConfig(tier=tier, window=window, sketch_width=64, measures=True, all_token_losses=False)
        captured = Capturer(model, config).capture(samples)
        for result, expected in zip(captured, together, strict=True):
            assert isinstance(result, SampleRecords)
            assert [r.spectral for r in result.records] == pytest.approx(expected.spectral.tolist(), abs=1e-4)
            assert [r.grace for r in result.records] == pytest.approx(expected.grace.tolist(), abs=1e-4, nan_ok=True)


def test_measures_are_left_out_unless_asked_for() -> None:
    (result,) = Capturer(make_model("llama"), CaptureConfig(sketch_width=64)).capture(make_samples()[:1])
    assert isinstance(result, SampleRecords)
    assert all(r.spectral is None and r.grace is None for r in result.records)


def test_windows_have_the_lengths_of_spans_and_lie_inside_the_reasoning() -> None:
    sample = make_sample("w", 60, [(5, 12), (12, 20), (20, 31), (31, 55)])
    lengths = sorted(s.end - s.start for s in sample.spans)
    seen = set()
    for seed in range(20):
        cut = cut_windows(sample, seed)
        assert cut is not None or seed >= 0
        if cut is None:
            continue
        windows = [s for s in cut.spans if s.index >= 0]
        assert all(5 <= s.start < s.end <= 55 for s in cut.spans)
        assert all(a.end == b.start for a, b in zip(cut.spans, cut.spans[1:], strict=False)), "a gap has no filler"
        rest = lengths.copy()
        for window in windows:
            rest.remove(window.end - window.start)  # raises where a length is not one of the spans' own
        seen.add(tuple((s.start, s.end) for s in windows))
    assert len(seen) > 10, "windows should stand elsewhere for other seeds"


def test_tokens_are_single_and_distinct() -> None:
    for sample in make_samples():
        cut = cut_tokens(sample, 0)
        assert cut is not None
        kept = [s for s in cut.spans if s.index >= 0]
        owner = sample.span_of_token()
        assert all(s.end == s.start + 1 and owner[s.start] >= 0 for s in kept)
        assert len({s.start for s in kept}) == len(kept) == min(8, int((owner >= 0).sum()))


@pytest.mark.parametrize("tier", ["span", "position", "hidden"])
def test_a_control_is_the_direction_that_the_same_stretch_would_have_as_a_span(tier: str) -> None:
    model, samples = make_model("llama"), make_samples()
    capturer = Capturer(model, CaptureConfig(tier=tier, sketch_width=64))
    controls = list(iter_controls(capturer, samples))
    assert {c.kind for c in controls} == {"windows", "tokens"}
    by_id = {s.id: s for s in samples}
    for control in controls[:: max(1, len(controls) // 12)]:
        sample = by_id[control.sample]
        alone = make_sample(sample.id, len(sample.token_ids), [(control.start, control.end)])
        # Position shares depend on which tokens are targets, and these on where the reasoning begins.
        alone = type(alone)(**{**{f: getattr(sample, f) for f in alone.__slots__}, "spans": alone.spans})
        (result,) = Capturer(model, CaptureConfig(tier=tier, sketch_width=64)).capture([alone])
        assert isinstance(result, SampleRecords)
        expected = result.records[0].direction.astype(np.float32)
        assert relative_error(control.direction.astype(np.float32), expected) < 5e-3


def test_controls_are_of_a_tenth_within_limits() -> None:
    def count(n: int) -> int:
        samples = [make_sample(f"s{i}", 10, [(2, 8)]) for i in range(n)]
        return len(choose_controls(rank_by_hash(samples, 0)))

    assert [count(n) for n in (3, 20, 200, 1000)] == [3, 8, 20, 32]
