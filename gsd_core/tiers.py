"""The list of tiers: which vector is taken of a span, what each tier needs, which models it serves.

Tier          one tier
NEEDS         what a tier may need of a model, in words
TIERS         every tier by name, in the order in which they are offered
DEFAULT_TIER  the name of the tier that is taken where none is asked for
RIDE_TIER     the name of the tier that a training's own passes give
ALIASES       other names on the command line: a tier with its window
PREFIX_SHARE  cost of one span's exact gradient, in forward passes
get_tier      a tier by name; refuses an unknown one
find_tier     a tier by name, None where no tier has the name
join_tiers    names of tiers in a sentence

A new tier is an entry here and a module in ``gsd_core.capture`` that its ``implementation`` names. This module imports
no library, so that command line and pages read the list without torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gsd_core.errors import UserError

NEEDS = {
    "cache": "a key-value cache that gradients can pass",
    "modules": "a linear module for every weight matrix",
    "linear head": "an output head that is a linear module",
}
PREFIX_SHARE = 0.58  # mean share of the sequence before a span's end (methods §1.1: 0.55–0.62)


@dataclass(frozen=True, slots=True)
class Tier:
    """One tier: what a direction is, what it needs, what is possible with it."""

    name: str
    """As ``--tier`` and manifests have it."""
    help: str
    """One sentence for command line and pages."""
    implementation: str
    """``MODULE:CLASS`` of the ``gsd_core.capture.tier_capture.TierCapture`` that computes it."""
    needs: tuple[str, ...] = ()
    """Keys of ``NEEDS``. Every tier also needs a causal language model with an output head."""
    is_gradient: bool = True
    """Whether its vectors are gradients; else they are a baseline that gradients are compared with."""
    needs_backward: bool = False
    """Whether it takes a backward pass through the layers, whose graph ``--gradient-checkpointing`` keeps small."""
    has_window: bool = False
    """Whether ``--window`` chooses how far back the gradient goes."""
    has_optional_head: bool = False
    """Whether ``--no-head`` may leave the output head out."""
    has_exact: bool = False
    """Whether it is the gradient of the span's own loss in all captured weights, so that exact cosines exist."""

    @property
    def serves(self) -> str:
        """Which models it serves, as a sentence."""
        needs = " and ".join(NEEDS[need] for need in self.needs) or "an output head"
        return f"It serves causal language models with {needs}."


TIERS: dict[str, Tier] = {
    tier.name: tier
    for tier in (
        Tier(
            "span",
            "Exact gradient of each span's loss, through the window chosen.",
            "gsd_core.capture.span_tier:SpanTier",
            needs=("cache", "modules"),
            needs_backward=True,
            has_window=True,
            has_optional_head=True,
            has_exact=True,
        ),
        Tier(
            "position",
            "Each span's share of the ordinary training gradient, not the gradient of the span's own loss.",
            "gsd_core.capture.position:PositionTier",
            needs=("modules",),
            needs_backward=True,
            has_optional_head=True,
        ),
        Tier(
            "head",
            "Gradient in the output head's weight, forward pass only: which word was expected instead, in which state.",
            "gsd_core.capture.hidden:HeadTier",
            needs=("linear head",),
        ),
        Tier(
            "hidden",
            "Gradient at the final hidden state, forward pass only: the cheapest first look at a big corpus.",
            "gsd_core.capture.hidden:HiddenTier",
        ),
        Tier(
            "state",
            "Mean final hidden state: no gradient, but the baseline that gradients have to beat.",
            "gsd_core.capture.hidden:StateTier",
            is_gradient=False,
        ),
    )
}
DEFAULT_TIER, RIDE_TIER = "span", "position"
ALIASES = {"local": ("span", "0"), "exact": ("span", "all")}


def get_tier(name: str) -> Tier:
    """The tier of that name. Raises ``UserError`` with the names that there are."""
    if name not in TIERS:
        raise UserError(f"unknown tier {name!r}", "--tier", f"choose one of {', '.join(TIERS)}")
    return TIERS[name]


def find_tier(name: object) -> Tier | None:
    """The tier of a manifest; None for what is no tier of a capture (an imported run by sequence)."""
    return TIERS.get(str(name))


def join_tiers(tiers: Iterable[Tier]) -> str:
    """``span, position or hidden``."""
    names = [tier.name for tier in tiers]
    return " or ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
