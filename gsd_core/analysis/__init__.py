"""From gradient directions to a map: arrays in, arrays out, nothing stored, no torch.

analyze          the map of one checkpoint: layout, clusters, their names, null
manifold         nearest-neighbour graph and seeded UMAP coordinates of any dimension
placing          a corpus too big to be fitted: a sample, and the others beside it
clusters         HDBSCAN in the directions; -1 is noise
families         prototypes with all spans aligned with them beyond chance
phrases          what the steps of a group share, numbers and names masked
lesson_scores    how well similarity foretells what a step teaches
cluster_names    names (class-based TF-IDF) and exemplar spans of clusters
structure        stresses, twins and the tables beside them
align            local alignment of two traces
stresses         cluster sequences that recur across traces
twins            samples that reason alike about different things
structure_tables what was found as tables
timeline         the same spans at several checkpoints
aligned_layouts  one map a checkpoint, aligned
benchmark        P@k against labels, with intervals
baselines        what gradients are compared with
selection        which samples or spans to train on

Centring, nulls, q-values and neighbours are in ``comparison``, which the pages share.

Shapes: n spans, P sketch width, m removed principal directions, k neighbours.

umap-learn compiles with numba at its first import (about 20 s, then under 2 s from numba's cache). Nothing
here sets a global: a program that wants the cache somewhere it survives sets ``NUMBA_CACHE_DIR`` *before* it
imports ``manifold``, ``clusters`` or ``analyze``. The other modules import no numba.
"""
