"""The numbers behind figures, as tables to save: one row a mark, columns named as elsewhere.

make_map_table        spans of a map with their place and what they are coloured by
make_cells_table      the cells of two traces' heat map, with the pair each belongs to
make_matrix_table     the cells of a symmetric matrix of spans
make_layers_table     cosines of pairs and of whole sets, layer by layer
make_clusters_table   pairs of clusters with their names
make_quadrants_table  pairs of samples, random, tested and twins
make_span_table       one span's way through training, beside that of all

Where a figure draws a stored table as it is, the page hands that over and nothing is needed here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from gsd_core.dashboard.alignment.alignment_figures import name_pair
from gsd_core.dashboard.reading.run_view import RunView
from gsd_core.dashboard.reading.structure_queries import PairView, Structure

_PAIR_COLUMNS = ["kind", "a", "b", "semantic", "structural", "rank", "q_value"]


def make_map_table(view: RunView, mask: np.ndarray, column: str) -> pd.DataFrame:
    """Spans that ``mask`` (n,) keeps and that have a place: ``span, sample, index, text, x, y, cluster,
    cluster_label`` and ``column``, what they are coloured by."""
    columns = ["span", "sample", "index", "text", "x", "y", "cluster", "cluster_label"]
    known = view.spans["x"].notna().to_numpy()
    return view.spans.loc[mask & known, list(dict.fromkeys([*columns, column]))]


def make_cells_table(view: RunView, pair: PairView) -> pd.DataFrame:
    """``span_a, span_b, cosine`` of every cell, row by row; ``pair``: the letter of the aligned pair that it is, ``""``
    for none."""
    n_a, n_b = pair.cosines.shape
    spans = view.spans["span"].to_numpy()
    letters = np.full((n_a, n_b), "", dtype=object)
    for place, (i, j, _) in enumerate(pair.aligned):
        letters[i, j] = name_pair(place)
    return pd.DataFrame(
        {
            "span_a": np.repeat(spans[pair.rows_a], n_b),
            "span_b": np.tile(spans[pair.rows_b], n_a),
            "cosine": pair.cosines.ravel(),
            "pair": letters.ravel(),
        }
    )


def make_matrix_table(cosines: np.ndarray, spans: Sequence[str]) -> pd.DataFrame:
    """``span_a, span_b, cosine`` of every cell of ``cosines`` (k, k), row by row."""
    n = len(spans)
    return pd.DataFrame(
        {"span_a": np.repeat(spans, n), "span_b": np.tile(spans, n), "cosine": cosines.ravel()}
    )


def make_layers_table(
    values: np.ndarray, pair: PairView, layers: Sequence[str], means: pd.DataFrame
) -> pd.DataFrame:
    """``set, layer, cosine, ci_low, ci_high, n``: ``values`` (L, m) of the m aligned pairs by their letter, then the
    stored table ``means`` of whole sets of pairs. One pair has no interval."""
    single = [
        {"set": f"pair {name_pair(place)}", "layer": layer, "cosine": float(values[at, place]), "n": 1}
        for place in range(len(pair.aligned))
        for at, layer in enumerate(layers)
    ]
    whole = means.rename(columns={"mean": "cosine"}).to_dict("records")
    return pd.DataFrame([*single, *whole], columns=["set", "layer", "cosine", "ci_low", "ci_high", "n"])


def make_clusters_table(view: RunView, edges: pd.DataFrame, most: int) -> pd.DataFrame:
    """The stored table ``edges`` among the ``most`` biggest clusters, with their names."""
    shown = view.clusters["cluster"].tolist()[:most]
    inside = edges[edges["cluster_a"].isin(shown) & edges["cluster_b"].isin(shown)]
    names = {side: inside[f"cluster_{side}"].map(view.cluster_name) for side in "ab"}
    return inside.assign(name_a=names["a"], name_b=names["b"])


def make_quadrants_table(structure: Structure, n_twins: int) -> pd.DataFrame:
    """``_PAIR_COLUMNS`` of the stored pairs and of the first ``n_twins`` twins; ``kind`` is random, tested or twin."""
    kinds = np.where(structure.pairs["is_candidate"].to_numpy(bool), "tested", "random")
    pairs, twins = structure.pairs.assign(kind=kinds), structure.twins.head(n_twins).assign(kind="twin")
    return pd.concat([pairs, twins]).reindex(columns=_PAIR_COLUMNS)


def make_span_table(own: pd.DataFrame, everyone: pd.DataFrame) -> pd.DataFrame:
    """``of, checkpoint, to_previous, to_first``: cosines of the span ``own`` with itself, then the median of all."""
    columns = ["of", "checkpoint", "to_previous", "to_first"]
    return pd.concat([own.assign(of=own["span"]), everyone.assign(of="median of all spans")])[columns]
