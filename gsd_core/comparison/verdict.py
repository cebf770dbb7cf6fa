"""Do gradients beat the baselines? One rule and one sentence for the command line, the pages and the report.

Verdict           what was found, a headline, the numbers behind it
compute_verdict   best gradient beside best baseline of one checkpoint
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd

STATE = "mean hidden state"


class Verdict(NamedTuple):
    """``outcome`` is "above", "below" or "even" (intervals overlap); ``gradient`` and ``baseline`` are the best rows,
    each with ``representation, value, ci_low, ci_high``."""

    outcome: str
    headline: str
    detail: str
    metric: str
    gradient: dict[str, Any]
    baseline: dict[str, Any]


def compute_verdict(rows: pd.DataFrame, begins: str = "P@") -> Verdict | None:
    """Best gradient beside best baseline in the strictest metric that `begins` so, of one question and checkpoint.

    The strictest is the one that was asked last. None where either kind is missing. Controls do not count. Where the
    mean hidden state is not among the baselines, the headline says so: it is the one that most often wins.
    """
    precise = rows[rows["metric"].str.startswith(begins) & rows["value"].notna()]
    if not len(precise):
        return None
    metric = str(precise["metric"].iloc[-1])
    precise = precise[precise["metric"] == metric]
    best: dict[str, dict[str, Any]] = {}
    for kind in ("gradient", "baseline"):
        part = precise[precise["kind"] == kind]
        if not len(part):
            return None
        row = part.iloc[int(part["value"].argmax())]
        best[kind] = {key: row[key] for key in ("representation", "value", "ci_low", "ci_high")}
    gradient, baseline = best["gradient"], best["baseline"]
    if gradient["ci_low"] > baseline["ci_high"]:
        outcome, headline = "above", "Gradients stand above every baseline."
        if not precise.loc[precise["kind"] == "baseline", "representation"].str.startswith(STATE).any():
            headline = (
                f"Gradients stand above every baseline asked. The {STATE} was not asked: compare with a run of "
                "--tier state."
            )
    elif gradient["ci_high"] < baseline["ci_low"]:
        outcome, headline = "below", "Gradients do not beat the best baseline."
    else:
        outcome, headline = "even", "Gradients and the best baseline cannot be told apart."
    parts = [
        f"{each['representation']} {each['value']:.2f} ({each['ci_low']:.2f} to {each['ci_high']:.2f})"
        for each in (gradient, baseline)
    ]
    detail = f"Best gradient: {parts[0]}; best baseline: {parts[1]}."
    return Verdict(outcome, headline, detail, metric, gradient, baseline)
