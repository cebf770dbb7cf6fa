"""How spans are compared: one home for every number that pages and the command line both show.

centring      what all spans share is removed: `Centring`, `compute_centring`, `compute_mean`, `compute_directions`;
              directions that are held or read as they are asked for: `Vectors`, `Rows`, `CentredRows`, `is_small`,
              `find_alive`, `check_finite`
nulls         what a cosine looks like by chance: `Null`, `compute_null_cosines`, `compute_window_null`,
              `describe_null`; p and q: `compute_q_values`, `compute_joint_q_values`, `adjust_p_values`
nearest       aligned spans of other samples: `Directions`, `Neighbors`, `find_neighbors`, `compute_neighbors`,
              `rank_best`
wording       what counts as other words: `Wording`, `make_wording`
meta_labels   labels that samples bring with them: `compute_meta_columns`, `to_text`, `find_text`
verdict       whether gradients beat the baselines: `Verdict`, `compute_verdict`

NumPy, SciPy and pandas only: the web process loads this room. Torch, numba, scikit-learn and ``scipy.stats`` would cost
it seconds.
"""
