"""The rows that ``gsd evaluate`` stored in a run.

load_evidence          every stored row
list_metrics           metrics of one question
find_best_checkpoint   where the best gradient is best
choose_default_rows    the rows to show first
QUESTION               columns that make a question
"""

from __future__ import annotations

import pandas as pd

from gsd_core.methods.evaluate_method import EVIDENCE
from gsd_core.store import Run

QUESTION = ["label", "level", "where"]


def load_evidence(run: Run) -> pd.DataFrame:
    """Every stored row; empty where nothing was evaluated."""
    return run.results.read(EVIDENCE, "rows") if run.results.has(EVIDENCE) else pd.DataFrame()


def list_metrics(rows: pd.DataFrame) -> tuple[list[str], str]:
    """Metrics of one question, and the strictest precision among them."""
    metrics = list(dict.fromkeys(rows["metric"]))
    precise = [metric for metric in metrics if metric.startswith("P@")]
    return metrics, precise[-1] if precise else metrics[0]


def find_best_checkpoint(rows: pd.DataFrame) -> str:
    """The checkpoint of the highest gradient row of one question and metric; the last without gradients."""
    gradients = rows[(rows["kind"] == "gradient") & rows["value"].notna()]
    if not len(gradients):
        return str(rows["checkpoint"].iloc[-1])
    return str(gradients.loc[gradients["value"].idxmax(), "checkpoint"])


def choose_default_rows(evidence: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """(rows, metric): the first question, its strictest metric, its best checkpoint."""
    asked = evidence[(evidence[QUESTION] == evidence[QUESTION].iloc[0]).all(axis=1)]
    metric = list_metrics(asked)[1]
    shown = asked[asked["metric"] == metric]
    return shown[shown["checkpoint"] == find_best_checkpoint(shown)], metric
