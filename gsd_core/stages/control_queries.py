"""Single tokens and random windows as queries of the structure benchmark.

ControlQueries         controls of one kind: rows that ask, and the unit whose label and restrictions each has
make_control_queries   stored controls of a checkpoint → queries against its spans, or against whole samples
aggregate_controls     the same for samples

Every control asks for its nearest *spans*, exactly as a span does; it carries the label of the span that holds its
middle token. The same spans asking themselves stand beside it, since controls are captured of a few samples only.
Source: methods §5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from gsd_core.analysis.baselines import Representation, aggregate
from gsd_core.comparison.centring import compute_centring
from gsd_core.stages.run_reading import CONTROL_NAMES

if TYPE_CHECKING:
    from gsd_core.store import Run


class ControlQueries(NamedTuple):
    """``rows`` (m, W) unit float32, centred as the spans are; ``units`` (m,) rows of the benchmark's pool."""

    name: str
    rows: np.ndarray
    units: np.ndarray


def make_control_queries(run: Run, checkpoint: str, chosen: pd.DataFrame) -> list[ControlQueries]:
    """Controls of ``checkpoint`` whose middle token lies in one of the ``chosen`` spans; none where none are stored.

    ``chosen`` has ``span, sample, token_start, token_end``; ``units`` are its rows.
    """
    controls, vectors = run.read_controls(checkpoint)
    if not len(controls):
        return []
    ids = run.read_spans(checkpoint, columns=["span"])["span"]
    own = np.asarray(run.read_vectors(checkpoint))[ids.isin(set(chosen["span"])).to_numpy()]
    rows = compute_centring(own).apply(vectors)
    homes = _find_homes(controls, chosen)
    found = []
    for kind, name in CONTROL_NAMES.items():
        taken = np.flatnonzero((controls["kind"] == kind).to_numpy() & (homes >= 0))
        if len(taken):
            found.append(ControlQueries(name, rows[taken], homes[taken]))
    return found


def aggregate_controls(queries: list[ControlQueries], owners: np.ndarray, n_samples: int) -> list[ControlQueries]:
    """Controls of a sample → the mean of their unit rows; ``owners`` (n,) the sample of each span."""
    found = []
    for each in queries:
        mean = aggregate(Representation(each.name, "control", each.rows), owners[each.units], n_samples)
        samples = np.unique(owners[each.units])
        found.append(ControlQueries(each.name, np.asarray(mean.rows)[samples], samples))
    return found


def _find_homes(controls: pd.DataFrame, chosen: pd.DataFrame) -> np.ndarray:
    """(n controls,) row of the span that holds each control's middle token, -1 for none."""
    spans: dict[str, list[tuple[int, int, int]]] = {}
    columns = (chosen["sample"], chosen["token_start"], chosen["token_end"])
    for row, (sample, start, end) in enumerate(zip(*columns, strict=True)):
        spans.setdefault(sample, []).append((start, end, row))
    homes = np.full(len(controls), -1, dtype=np.int64)
    middles = zip(controls["sample"], (controls["token_start"] + controls["token_end"] - 1) // 2, strict=True)
    for at, (sample, middle) in enumerate(middles):
        homes[at] = next((row for start, end, row in spans.get(sample, ()) if start <= middle < end), -1)
    return homes
