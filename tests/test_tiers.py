"""The list of tiers tells the truth: each captures on the models it serves, and refuses the others with its sentence.

Also: whatever offers tiers offers those of the list, and a new one needs an entry and a class, nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest

from gsd_core.capture.capture import CaptureConfig, Capturer
from gsd_core.capture.hidden import HiddenTier
from gsd_core.capture.tier_capture import SpanBatch
from gsd_core.cli.command_parser import make_parser, parse_arguments
from gsd_core.errors import UserError
from gsd_core.tiers import ALIASES, DEFAULT_TIER, NEEDS, RIDE_TIER, TIERS, Tier, get_tier, join_tiers
from gsd_core.types import SampleRecords, TokenizedSample
from tests.tiny_models import LACKS, make_model, make_samples

ORDINARY = ("llama-gqa", "qwen2-sliding", "gpt2")


@pytest.mark.parametrize("kind", [*ORDINARY, *LACKS])
@pytest.mark.parametrize("tier", TIERS.values(), ids=TIERS)
def test_a_tier_serves_what_it_says_and_refuses_the_rest(tier: Tier, kind: str) -> None:
    model, lacking = make_model(kind), LACKS.get(kind, set()) & set(tier.needs)
    config = CaptureConfig(tier=tier.name, sketch_width=64)
    if not lacking:
        results = Capturer(model, config).capture(make_samples())
        for result in results:
            assert isinstance(result, SampleRecords), result
            assert all(np.isfinite(each.norm) and each.norm > 0 for each in result.records)
        return
    (need,) = lacking
    with pytest.raises(UserError) as caught:
        Capturer(model, config)
    assert f"tier {tier.name} needs {NEEDS[need]}" in caught.value.what
    named = re.findall(r"\w+", caught.value.fix.removeprefix("use --tier").replace(" or ", " "))
    assert named, "no way out is named"
    for other in named:
        assert not LACKS[kind] & set(get_tier(other).needs), f"tier {other} would refuse this model too"


@pytest.mark.parametrize("tier", TIERS.values(), ids=TIERS)
def test_every_tier_is_told_in_one_sentence(tier: Tier) -> None:
    for sentence in (tier.help, tier.serves):
        assert re.fullmatch(r"[A-Z][^.]*\.", sentence), sentence


@pytest.mark.parametrize("tier", [tier for tier in TIERS.values() if not tier.needs_backward], ids=lambda t: t.name)
def test_tiers_without_a_backward_pass_leave_no_graph(tier: Tier) -> None:
    # "Forward pass only" is what makes them cheap; a graph of the layers would double their memory.
    model, reached = make_model("llama"), []
    hook = lambda module, args, output: reached.append(output)  # noqa: E731
    model.model.layers[0].mlp.register_forward_hook(hook)
    model.model.layers[0].mlp.register_full_backward_hook(lambda *_: reached.append("backward"))
    Capturer(model, CaptureConfig(tier=tier.name)).capture(make_samples()[:1])
    assert "backward" not in reached, f"tier {tier.name} goes back through the layers"


def test_the_command_line_offers_the_list() -> None:
    words = ["capture", "--dataset", "d", "--model", "m", "--tier"]
    for name in (*TIERS, *ALIASES):
        assert parse_arguments(make_parser(), [*words, name]).options.tier == name
    with pytest.raises(UserError, match="invalid choice"):
        make_parser().parse_args([*words, "other"])


def test_names_that_others_count_on_are_in_the_list() -> None:
    assert get_tier(DEFAULT_TIER).has_exact
    assert get_tier(RIDE_TIER).needs == ("modules",)
    assert all(TIERS[tier].has_window for tier, _ in ALIASES.values())
    assert {need for tier in TIERS.values() for need in tier.needs} == set(NEEDS)
    assert join_tiers(TIERS.values()) == "span, position, head, hidden or state"
    assert join_tiers([TIERS["span"]]) == "span"
    assert join_tiers([]) == ""


class DoubledTier(HiddenTier):
    """A tier of a test: hidden gradients, twice."""

    def __call__(self, samples: Sequence[TokenizedSample], window: int | None = None) -> SpanBatch:
        batch = super().__call__(samples, window)
        return SpanBatch([2 * each for each in batch.gradients], batch.coherence, batch.token_losses)


def test_a_new_tier_is_an_entry_and_a_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TIERS, "doubled", Tier("doubled", "Twice.", f"{__name__}:DoubledTier"))
    norms = {
        name: Capturer(make_model("llama"), CaptureConfig(tier=name)).capture(make_samples()[:1])[0].records[0].norm
        for name in ("hidden", "doubled")
    }
    assert norms["doubled"] == pytest.approx(2 * norms["hidden"])
    assert make_parser().parse_args(["capture", "--dataset", "d", "--model", "m", "--tier", "doubled"])
