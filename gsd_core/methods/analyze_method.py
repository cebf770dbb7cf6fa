"""``gsd analyze``: map, clusters, null, stresses and twins of a run.

STRUCTURE   the result that stresses and twins are
"""

from __future__ import annotations

from gsd_core.registry.result_kind import ResultKind, make_columns

_TWINS = make_columns("""
    rank int                  rank, from 1
    a,b text                  the two samples
    structural float          score of the best local alignment, in [0, 1]
    semantic float            cosine of the two questions' sentence embeddings
    z_structural,z_semantic float  the same in standard deviations of random pairs
    score float               z_structural − z_semantic
    p_value float             share of shuffled orders with a score as high
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
        "rewordings": _TWINS,  # twins whose reasonings are in other words
        "pairs": make_columns("""
            a,b text                    two samples
            structural,semantic float   their similarities
            is_candidate bool           whether the pair was tested; random pairs are not
        """),
        "stresses": make_columns("""
            stress int            number, from 0, best first
            pattern list<int>     clusters in order
            labels list<text>     their names
            length int            spans in the pattern
            support int           samples that hold it
            n_occurrences int     places where it occurs
            lift float            support over that in shuffled orders
            p_value,q_value float  against shuffled orders within each trace
        """),
        "occurrences": make_columns("""
            stress int          number of the stress
            sample text         the sample
            indices list<int>   index of each span in its trace
        """),
        "edges": make_columns("""
            cluster_a,cluster_b int  two clusters, or one twice
            cosine float             mean cosine between them, samples apart
            n int                    pairs of spans
        """),
        "layers": make_columns("""
            layer text                   layer block
            set text                     which pairs of spans
            mean,ci_low,ci_high float    mean cosine and its 95 % interval over samples
            n int                        pairs
        """),
        "cosines": make_columns("""
            kind text      what is compared
            cosine float   one pair's cosine
        """),
        "best": make_columns("""
            kind text      what is compared
            cosine float   one unit's cosine with its best partner of another sample
        """),
    },
    needs=("map",),
)
