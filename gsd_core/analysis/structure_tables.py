"""The tables of a checkpoint's structure: what was found, as frames that a store takes and pages draw.

make_frame             rows as a table that ``STRUCTURE`` declares
tabulate_twins         twins by rank
tabulate_pairs         twins, other candidates and random pairs, for the picture of both similarities
tabulate_stresses      stresses by rank
tabulate_occurrences   where each stress occurs
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from gsd_core.analysis.align import Traces
from gsd_core.analysis.stresses import Stress
from gsd_core.analysis.twins import Twin, TwinSearch
from gsd_core.methods.analyze_method import STRUCTURE

SHOWN_PAIRS = 2_000
_SCORES = ("structural", "semantic", "z_structural", "z_semantic", "score", "p_value", "q_value")


def make_frame(name: str, rows: list[dict[str, Any]]) -> pd.DataFrame:
    """A table with its declared columns, also where it is empty."""
    return pd.DataFrame(rows, columns=STRUCTURE.names(name))


def tabulate_twins(twins: list[Twin], traces: Traces, numbers: np.ndarray) -> pd.DataFrame:
    """Twins in the order of their rank; ``numbers`` (n,) the index of each span in its trace, in the traces' order."""
    rows = []
    for rank, twin in enumerate(twins, start=1):
        start_a, start_b = traces.offsets[twin.a], traces.offsets[twin.b]
        aligned = [
            [int(numbers[start_a + i]), int(numbers[start_b + j]), round(cosine, 4)] for i, j, cosine in twin.aligned
        ]
        rows.append(
            {
                "rank": rank,
                "a": traces.ids[twin.a],
                "b": traces.ids[twin.b],
                **{key: getattr(twin, key) for key in _SCORES},
                "n_aligned": len(aligned),
                "aligned": aligned,
                "pattern": twin.pattern,
                "wording": twin.wording,
            }
        )
    return make_frame("twins", rows)


def tabulate_pairs(search: TwinSearch, traces: Traces, seed: int) -> pd.DataFrame:
    """Twins, a random part of the other candidates, and random pairs."""
    twins = {(twin.a, twin.b) for twin in search.twins[: SHOWN_PAIRS // 2]}
    is_twin = np.array([(int(a), int(b)) in twins for a, b in search.tested.pairs], dtype=bool)
    others = np.random.default_rng(seed).permutation(np.flatnonzero(~is_twin))
    shown = np.concatenate([np.flatnonzero(is_twin), others])[:SHOWN_PAIRS].astype(np.int64)
    n_random = len(search.random.pairs)
    random = np.arange(n_random)
    if n_random > SHOWN_PAIRS:  # they are sorted by trace: the first would be of a few traces
        random = np.random.default_rng(seed + 1).permutation(n_random)[:SHOWN_PAIRS]
    frames = [
        pd.DataFrame(
            {
                "a": traces.ids[scored.pairs[rows, 0]] if len(rows) else [],
                "b": traces.ids[scored.pairs[rows, 1]] if len(rows) else [],
                "structural": scored.structural[rows].astype(np.float64),
                "semantic": scored.semantic[rows].astype(np.float64),
                "is_candidate": np.full(len(rows), is_candidate),
            }
        ).astype({"a": object, "b": object})
        for scored, rows, is_candidate in ((search.tested, shown, True), (search.random, random, False))
    ]
    return pd.concat(frames, ignore_index=True)


def tabulate_stresses(stresses: list[Stress], names: dict[int, str]) -> pd.DataFrame:
    """Stresses, best first; ``names`` cluster → its name."""
    rows = [
        {
            "stress": number,
            "pattern": list(each.pattern),
            "labels": [names.get(cluster, f"cluster {cluster}") for cluster in each.pattern],
            "length": len(each.pattern),
            "support": each.support,
            "n_occurrences": len(each.traces),
            "lift": each.lift,
            "p_value": each.p_value,
            "q_value": each.q_value,
        }
        for number, each in enumerate(stresses)
    ]
    return make_frame("stresses", rows)


def tabulate_occurrences(stresses: list[Stress], traces: Traces, numbers: np.ndarray) -> pd.DataFrame:
    """Every place of every stress; ``numbers`` (n,) as in `tabulate_twins`."""
    stress, sample, indices = [], [], []
    for number, each in enumerate(stresses):
        found = numbers[traces.offsets[each.traces][:, None] + each.places]
        stress += [number] * len(found)
        sample += traces.ids[each.traces].tolist()
        indices += found.tolist()
    return pd.DataFrame({"stress": stress, "sample": sample, "indices": pd.Series(indices, dtype=object)})
