"""``gsd analyze``: map, clusters, null, stresses and twins of a run.

AnalyzeOptions   the flags
MAP              the result: layout, clusters and nulls
FAMILIES         the result: prototypes with the spans aligned with them
LEVELS           the result: clusters from coarse to fine with their evidence
STRUCTURE        the result: stresses and twins
ANALYZE          the method
"""

from __future__ import annotations

from dataclasses import dataclass

from gsd_core.registry.method import Export, Job, Method, Page
from gsd_core.registry.options import option
from gsd_core.registry.result_kind import ResultKind, make_columns


@dataclass(frozen=True, slots=True)
class AnalyzeOptions:
    """Flags of ``gsd analyze``."""

    run: str = option(metavar="RUN", is_positional=True)
    """The run."""
    checkpoint: str | None = None
    """Only this checkpoint. Default: all."""
    remove: int | None = option(None, metavar="M", check="count")
    """How many common directions to remove besides the mean. Default: the number at which most spans have a partner
    beyond chance, chosen without labels."""
    seed: int = 0
    """Seed of layout, clusters and nulls."""
    again: bool = False
    """Also analyse checkpoints that are analysed already."""


MAP = ResultKind(
    "map",
    "analyze",
    {
        "points": make_columns("""
            span text            span id, in capture order
            x,y float32          coordinates on the map
            cluster int32        cluster number, -1 is noise
            probability float32  confidence that the span belongs to its cluster, in [0, 1]
        """),
        "clusters": make_columns("""
            cluster int32          cluster number
            size int32             number of spans
            label text             cluster name
            terms list<text>       words that set the cluster apart, best first
            exemplars list<text>   ids of the spans nearest to its mean direction
        """),
        "arrays": make_columns("""
            name text        name of the array
            dtype text       numpy dtype: bool, integer or float
            shape list<int>  lengths of the axes
            data bytes       values in C order, little-endian
        """),
    },
)
FAMILIES = ResultKind(
    "families",
    "analyze",
    {
        "families": make_columns("""
            family int            number, from 0; confirmed ones first, each strength by size
            strength text         confirmed or tentative
            prototype text        id of the span that all members are aligned with
            size int              number of members
            n_samples int         number of samples with a member
            cosine float          mean cosine of the members with the prototype
            chance float          share of members expected by chance, from the prototype's own lower tail
            agreement float       share of members that two halves of the directions both bear out
            wording float         mean cosine of the members' words with the prototype's
            n_other_words int     number of members in other words than the prototype
            label text            name
            phrases list<text>    phrases that the members share across samples, numbers and names masked
        """),
        "members": make_columns("""
            family int      number of the family
            span text       id of a member
            cosine float32  its cosine with the prototype
        """),
    },
    needs=("map",),
)
LEVELS = ResultKind(
    "levels",
    "analyze",
    {
        "clusters": make_columns("""
            level text             coarse, middle or fine
            cluster int            number within its level, from 0, by size
            strength text          confirmed, tentative or weak
            size int               number of spans
            n_samples int          number of samples with a span
            cosine float           mean cosine of its spans in different samples
            null_cosine float      that of the strongest comparable cluster found by chance
            chance float           share of comparable clusters found by chance that are as strong
            stability float        share of its pairs of spans that halves of the samples keep together
            label text             name
            phrases list<text>     phrases that its spans share across samples, numbers and names masked
            terms list<text>       words that set it apart, best first
            exemplars list<text>   ids of the spans nearest to its mean direction
        """),
        "members": make_columns("""
            span text                  span id
            coarse,middle,fine int32   its cluster at each level, -1 is none
        """),
    },
    needs=("map",),
)
_TWINS = make_columns("""
    rank int                  rank, from 1
    a,b text                  the two samples
    structural float          score of the best local alignment, in [0, 1]
    semantic float            cosine of the two questions' sentence embeddings
    z_structural,z_semantic float  the same, in standard deviations of random pairs
    score float               z_structural − z_semantic
    p_value float             share of shuffled orders with a score at least as high
    q_value float             Benjamini–Hochberg, over all pairs tested
    n_aligned int             number of aligned spans
    aligned json              [index in a, index in b, cosine] of each aligned pair of spans
    pattern text              clusters of the aligned spans
    wording float             mean cosine of the aligned spans' words
""")

STRUCTURE = ResultKind(
    "structure",
    "analyze",
    {
        "twins": _TWINS,
        "rewordings": _TWINS,  # twins in other words
        "pairs": make_columns("""
            a,b text                    two samples
            structural,semantic float   structural or semantic similarity
            is_candidate bool           whether the pair was tested; random pairs are not
        """),
        "stresses": make_columns("""
            stress int            number, from 0, best first
            pattern list<int>     clusters in order
            labels list<text>     cluster names
            length int            spans in the pattern
            support int           number of samples with the pattern
            n_occurrences int     number of occurrences
            lift float            support divided by support in shuffled orders
            p_value,q_value float  against shuffled orders within each trace
        """),
        "occurrences": make_columns("""
            stress int          number of the stress
            sample text         the sample
            indices list<int>   index of each span in its trace
        """),
        "edges": make_columns("""
            cluster_a,cluster_b int  two clusters, which may be the same
            cosine float             mean cosine between spans of different samples
            n int                    number of pairs of spans
        """),
        "layers": make_columns("""
            layer text                   layer block
            set text                     which pairs of spans
            mean,ci_low,ci_high float    mean cosine and its 95 % interval over samples
            n int                        number of pairs
        """),
        "cosines": make_columns("""
            kind text      what is compared
            cosine float   cosine of one pair
        """),
        "best": make_columns("""
            kind text      what is compared
            cosine float   cosine with the best match in another sample
        """),
    },
    needs=("map",),
)

ANALYZE = Method(
    "analyze",
    "layout, clusters and families with names, nulls, stresses, twins",
    AnalyzeOptions,
    run="gsd_core.stages.analyze_stage:run_analyze",
    describe="gsd_core.stages.analyze_stage:describe_analysis",
    order=30,
    notes="n_stresses, n_twins and n_rewordings (twins in other words) count results with q < 0.05.",
    job=Job("Analyse {run}", "analyse", opens="map"),
    results=(MAP, FAMILIES, LEVELS, STRUCTURE),
    exports=(Export("clusters", compute="gsd_core.stages.run_tables:compute_cluster_table"),),
    page=Page(
        "map",
        "Map",
        "gsd_core.dashboard.map.map_view:show_map",
        (
            "Nothing to map yet",
            "Upload a file with chains of thought, or run make demo, to see its spans here. They lie close together "
            "where their gradients are similar.",
        ),
        order=10,
        needs=("map",),
        needs_layout=True,
        answers="which spans pull the model the same way",
    ),
)
