"""The tables of a run that others may rely on.

compute_span_table     one row a span, with cluster, coordinates on the map and the sample's ``meta.*`` fields
compute_exported_spans  the same as a file has it
compute_cluster_table  one row a cluster
compute_token_table    one row a token of one sample's input

Columns are those of the interface ("Columns others may rely on"): a change here is a change for scripts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gsd_core.comparison.meta_labels import compute_meta_columns
from gsd_core.errors import UserError
from gsd_core.store.answer_columns import ANSWER_COLUMNS, add_answer_columns

if TYPE_CHECKING:
    from gsd_core.store import Run

SPAN_COLUMNS = (
    *("span", "sample", "index", "text", "char_start", "char_end", "token_start", "token_end"),
    *("checkpoint", "loss", "norm", "coherence", "cluster", "cluster_label", "x", "y"),
    *("spectral", "grace", *ANSWER_COLUMNS),
)
CLUSTER_COLUMNS = ("checkpoint", "cluster", "size", "label", "terms", "exemplars")
TOKEN_COLUMNS = ("token_id", "text", "start", "end", "span", "loss")
NOISE_LABEL = "noise"


def compute_span_table(run: Run, checkpoint: str) -> tuple[pd.DataFrame, dict[str, int]]:
    """Spans of one checkpoint in capture order: ``SPAN_COLUMNS`` and ``meta.*``.

    ``cluster``, ``cluster_label``, ``x`` and ``y`` are missing values where the checkpoint is not analysed.
    Also returns, for each ``meta`` list that labels steps, how many samples it could not label (their list
    has another length).
    """
    spans = run.read_spans(checkpoint).reset_index(drop=True)
    if run.has_analysis(checkpoint):
        points = run.read_points(checkpoint).drop_duplicates("span").set_index("span").reindex(spans["span"])
        labels = run.read_clusters(checkpoint).set_index("cluster")["label"].to_dict()
        spans["cluster"] = points["cluster"].to_numpy()
        spans["x"], spans["y"] = points["x"].to_numpy(), points["y"].to_numpy()
        spans["cluster"] = spans["cluster"].astype("Int64")
        spans["cluster_label"] = [
            None if pd.isna(cluster) else labels.get(int(cluster), NOISE_LABEL if cluster == -1 else str(cluster))
            for cluster in spans["cluster"]
        ]
    else:
        spans["cluster"] = pd.array([pd.NA] * len(spans), dtype="Int64")
        spans["cluster_label"], spans["x"], spans["y"] = None, np.nan, np.nan
    spans = add_answer_columns(run, checkpoint, spans)
    samples = run.read_samples(spans["sample"].drop_duplicates().tolist())
    meta, unmatched = compute_meta_columns(spans[["sample", "index"]], samples)
    return pd.concat([spans[list(SPAN_COLUMNS)], meta], axis=1), unmatched


def compute_exported_spans(run: Run, checkpoint: str) -> pd.DataFrame:
    """`compute_span_table`; ``attrs["unmatched"]`` tells of samples that a list could not label."""
    table, unmatched = compute_span_table(run, checkpoint)
    table.attrs["unmatched"] = {name: n for name, n in unmatched.items() if n}
    return table


def compute_cluster_table(run: Run, checkpoint: str) -> pd.DataFrame:
    """Clusters of one checkpoint: ``CLUSTER_COLUMNS``. Raises ``UserError`` where it is not analysed."""
    if not run.has_analysis(checkpoint):
        raise UserError("no clusters yet", f"run {run.name}, checkpoint {checkpoint}", f"gsd analyze {run.name}")
    clusters = run.read_clusters(checkpoint)
    return clusters.assign(checkpoint=checkpoint)[list(CLUSTER_COLUMNS)]


def compute_token_table(run: Run, checkpoint: str, sample: str) -> pd.DataFrame:
    """Tokens of one sample's input in order: ``TOKEN_COLUMNS``. Raises ``UserError`` for unknown ones."""
    return run.read_tokens(sample, checkpoint)[list(TOKEN_COLUMNS)]
