"""``gsd compare``, ``clusters``, ``families``, ``twins``, ``stresses``: the structure that an analysis found.

CompareOptions, ClustersOptions, FamiliesOptions, TwinsOptions, StressesOptions   the flags
COMPARE, LIST_CLUSTERS, LIST_FAMILIES, TWINS, STRESSES                            the methods
LEVEL_NAMES   levels of clusters, coarse first
STRESS_LEVEL  the one that stresses are sequences of where dense clusters are few
"""

from __future__ import annotations

from dataclasses import dataclass

from gsd_core.registry.method import Export, Method, Page
from gsd_core.registry.options import option

LEVEL_NAMES = ("coarse", "middle", "fine")
STRESS_LEVEL = "middle"
_STAGE = "gsd_core.stages.structure_stage"
_FAMILIES = "gsd_core.stages.families_stage"
_LEVELS = "gsd_core.stages.levels_stage"


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """Flags of ``gsd compare``."""

    run: str = option(metavar="RUN", is_positional=True)
    """The run."""
    a: str = option(metavar="SAMPLE_A", is_positional=True)
    """One sample."""
    b: str = option(metavar="SAMPLE_B", is_positional=True)
    """Another sample."""
    checkpoint: str | None = None
    """The checkpoint. Default: the run's default checkpoint."""
    seed: int = 0
    """Seed of the shuffled orders."""


@dataclass(frozen=True, slots=True)
class ClustersOptions:
    """Flags of ``gsd clusters``."""

    run: str = option(metavar="RUN", is_positional=True)
    """The run."""
    level: str = option("middle", choices=LEVEL_NAMES)
    """How fine."""
    top: int = option(20, metavar="N", check="positive")
    """How many clusters to show."""
    checkpoint: str | None = None
    """The checkpoint. Default: the run's default checkpoint."""


@dataclass(frozen=True, slots=True)
class FamiliesOptions:
    """Flags of ``gsd families``."""

    run: str = option(metavar="RUN", is_positional=True)
    """The run."""
    top: int = option(20, metavar="N", check="positive")
    """How many families to show."""
    checkpoint: str | None = None
    """The checkpoint. Default: the run's default checkpoint."""


@dataclass(frozen=True, slots=True)
class TwinsOptions:
    """Flags of ``gsd twins``."""

    run: str = option(metavar="RUN", is_positional=True)
    """The run."""
    top: int = option(10, metavar="N", check="positive")
    """How many pairs to show."""
    checkpoint: str | None = None
    """The checkpoint. Default: the run's default checkpoint."""
    other_words: bool = False
    """Only pairs in other words."""


@dataclass(frozen=True, slots=True)
class StressesOptions:
    """Flags of ``gsd stresses``."""

    run: str = option(metavar="RUN", is_positional=True)
    """The run."""
    top: int = option(10, metavar="N", check="positive")
    """How many patterns to show."""
    checkpoint: str | None = None
    """The checkpoint. Default: the run's default checkpoint."""


COMPARE = Method(
    "compare",
    "compare two samples span by span: matrix, aligned spans, null",
    CompareOptions,
    run="gsd_core.stages.compare_stage:run_compare",
    describe="gsd_core.stages.compare_stage:describe_comparison",
    order=41,
    page=Page(
        "alignment",
        "Alignment",
        "gsd_core.dashboard.alignment.alignment_view:show_alignment",
        (
            "Nothing to align yet",
            "Capture a data set to compare two of its traces here, span by span.",
        ),
        order=30,
        needs=("map",),
        needs_layout=True,
        answers="two traces span by span; which layers agree; which clusters",
    ),
)
LIST_CLUSTERS = Method(
    "clusters",
    "list clusters, from coarse to fine, with their evidence",
    ClustersOptions,
    run=f"{_LEVELS}:run_clusters",
    describe=f"{_LEVELS}:describe_clusters",
    order=42,
    exports=(
        Export("levels", compute=f"{_LEVELS}:compute_level_table"),
        Export("level-members", compute=f"{_LEVELS}:compute_level_member_table"),
    ),
)
LIST_FAMILIES = Method(
    "families",
    "list spans with all spans of other samples that are aligned with them",
    FamiliesOptions,
    run=f"{_FAMILIES}:run_families",
    describe=f"{_FAMILIES}:describe_families",
    order=42,
    exports=(
        Export("families", compute=f"{_FAMILIES}:compute_family_table"),
        Export("members", compute=f"{_FAMILIES}:compute_member_table"),
    ),
)
TWINS = Method(
    "twins",
    "list structurally similar, semantically different samples",
    TwinsOptions,
    run=f"{_STAGE}:run_twins",
    describe=f"{_STAGE}:describe_twins",
    order=42,
    exports=(
        Export("twins", compute=f"{_STAGE}:compute_twin_table"),
        Export("rewordings", compute=f"{_STAGE}:compute_reworded_table"),
    ),
    page=Page(
        "twins",
        "Twins",
        "gsd_core.dashboard.twins.twins_view:show_twins",
        (
            "No twins yet",
            "Capture and analyse a data set to find samples with similar reasoning and different questions.",
        ),
        order=50,
        needs=("map", "structure"),
        needs_layout=True,
        answers="which samples reason alike but speak of different things",
    ),
)
STRESSES = Method(
    "stresses",
    "list cluster sequences that recur across samples",
    StressesOptions,
    run=f"{_STAGE}:run_stresses",
    describe=f"{_STAGE}:describe_stresses",
    order=43,
    exports=(Export("stresses", compute=f"{_STAGE}:compute_stress_table"),),
    page=Page(
        "stresses",
        "Stresses",
        "gsd_core.dashboard.stresses.stresses_view:show_stresses",
        (
            "No stresses yet",
            "Capture and analyse a data set to see sequences of clusters that recur across its samples.",
        ),
        order=40,
        needs=("map", "structure"),
        needs_layout=True,
        answers="which sequences of reasoning steps recur across samples",
    ),
)
