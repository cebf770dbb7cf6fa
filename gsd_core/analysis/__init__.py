"""From gradient directions to a map: arrays in, arrays out, nothing stored, no torch.

directions   centring: corpus mean and top principal directions removed
manifold     nearest-neighbour graph and seeded UMAP coordinates of any dimension
layout       2-D coordinates for the map
clusters     HDBSCAN in the directions; -1 is noise
labels       names (class-based TF-IDF) and exemplar spans of clusters
neighbors    aligned spans of other samples by cosine
nulls        what cosines look like by chance, p and q values
analyze      all of the above for one checkpoint

Shapes: n spans, P sketch width, m removed principal directions, k neighbours.

umap-learn compiles with numba at its first import (about 20 s, then under 2 s from numba's cache). Nothing
here sets a global: a program that wants the cache somewhere it survives sets ``NUMBA_CACHE_DIR`` *before* it
imports ``layout``, ``clusters`` or ``analyze``. The other modules import no numba.
"""
