"""One map a checkpoint, in which the same span keeps its place as long as its direction keeps its neighbours.

compute_aligned_layouts    (t, n, 2) coordinates of the same n spans at t checkpoints

All checkpoints are laid out at once, as in AlignedUMAP (umap-learn): a span's neighbours are those of its own
checkpoint, and itself at the checkpoints beside. There the tie is a term of the loss; here it is an edge of the
neighbour graph, so that one UMAP with the kernels that the map has compiled already does it: 7 s for 1,500 spans at
five checkpoints, against 75 s and another 50 s of compiling in every process.
"""

from __future__ import annotations

import numpy as np

from gsd_core.analysis.manifold import FEW, Knn, compute_knn, compute_principal, fit_umap

N_NEIGHBORS, N_EPOCHS = 15, 200
# Wider apart than on the map of one checkpoint: a sample of a corpus has small clusters, which would shrink to a dot
# each, and then nobody sees who leaves one.
MIN_DIST, SPREAD = 0.8, 1.5


def compute_aligned_layouts(directions: np.ndarray, start: np.ndarray, seed: int = 0) -> np.ndarray:
    """Seeded, aligned UMAP coordinates under cosine. Source: methods §1.7, "ours".

    Parameters
    ----------
    directions
        (t, n, P) centred, unit norm: the same spans at t checkpoints in training order.
    start
        (n, 2) where the spans lie at first in every map: the layout of one checkpoint.

    Returns
    -------
    (t, n, 2) float32, centred on the origin. Below 16 spans: principal coordinates. Same seed, same bytes on one
    machine.
    """
    moments, n, width = directions.shape
    rows = np.ascontiguousarray(directions.reshape(moments * n, width), dtype=np.float32)
    if n < FEW:
        return compute_principal(rows, 2).reshape(moments, n, 2)
    k = min(N_NEIGHBORS, n)
    ties = min(2, moments - 1)
    indices = np.empty((moments, n, k + ties), dtype=np.int32)
    distances = np.empty((moments, n, k + ties), dtype=np.float32)
    for at in range(moments):
        near = compute_knn(rows[at * n : (at + 1) * n], k, seed)
        others = sorted((each for each in range(moments) if each != at), key=lambda each: abs(each - at))
        indices[at, :, :k] = near.indices + at * n
        distances[at, :, :k] = near.distances
        for place, other in enumerate(others[:ties], start=k):
            indices[at, :, place] = np.arange(n) + other * n
        # As weak as the farthest neighbour: a span whose neighbours change can follow them.
        distances[at, :, k:] = near.distances[:, -1:]
    begin = np.tile(np.asarray(start, dtype=np.float32), (moments, 1))
    reach = np.abs(begin).max()
    found = fit_umap(
        rows,
        Knn(indices.reshape(moments * n, -1), distances.reshape(moments * n, -1)),
        seed,
        min_dist=MIN_DIST,
        spread=SPREAD,
        n_epochs=N_EPOCHS,
        init=begin * (10 / reach) if reach > 0 else "random",
    )
    return (found - found.mean(axis=0)).reshape(moments, n, 2)
