"""The map: two coordinates per span.

compute_layout    (n, 2) seeded UMAP coordinates of directions under cosine

A layout is a picture: near points had near directions, far distances and areas mean nothing. Clusters are
found in `clusters` in more dimensions, never in this picture.
"""

from __future__ import annotations

import numpy as np

from gsd_core.analysis.manifold import Knn, compute_manifold


def compute_layout(
    directions: np.ndarray,
    seed: int = 0,
    n_neighbors: int = 15,
    min_dist: float = 0.1,
    knn: Knn | None = None,
) -> np.ndarray:
    """2-D coordinates of ``directions`` (n, P), unit norm or zero. Source: "ours" (UMAP, cosine, seeded).

    Returns (n, 2) float32, never NaN, centred on the origin; n may be 0. Zero directions lie at the origin.
    ``knn`` as in `compute_manifold`. Raises ValueError where a row holds NaN or
    infinity.
    """
    return compute_manifold(directions, 2, seed, n_neighbors, min_dist, knn)
