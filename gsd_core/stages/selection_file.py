"""The file of ``gsd select``: which parts of which samples are kept, a line a sample.

write_selection   spans with their choice → JSON Lines
TokenChoice       single tokens that are kept, in place of spans
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from gsd_core.console.files import whole_file
from gsd_core.console.output import format_json

if TYPE_CHECKING:
    from gsd_core.store import Run


class TokenChoice(NamedTuple):
    """``chars`` and ``tokens``: half-open ranges in the reasoning and in the model's input."""

    chars: list[tuple[int, int]]
    tokens: list[tuple[int, int]]


def write_selection(
    run: Run,
    table: pd.DataFrame,
    out: Path,
    *,
    tokens: Mapping[str, TokenChoice] | None = None,
    has_empty: bool = False,
) -> int:
    """One JSON line a sample, in the order of ``table``; returns how many.

    ``table`` has ``sample, char_start, char_end, token_start, token_end, kept, score``. A sample of which nothing is
    kept is left out unless ``has_empty``. ``tokens`` take the place of the spans that are kept.
    """
    groups = dict(iter(table.groupby("sample", sort=False)))
    wanted = [str(sample) for sample, rows in groups.items() if has_empty or rows["kept"].any()]
    samples = run.read_samples(wanted).set_index("sample")
    with whole_file(out) as partial, partial.open("w", encoding="utf-8") as file:
        for sample in wanted:
            rows, own = groups[sample], samples.loc[sample]
            held = rows[rows["kept"]]
            scores = held["score"].to_numpy(float)
            chars, places = (held[[f"{unit}_start", f"{unit}_end"]].to_numpy().tolist() for unit in ("char", "token"))
            if tokens is not None:
                chars, places = (list(map(list, each)) for each in tokens[sample])
            line = {
                "sample": sample,
                **{key: own[key] for key in ("question", "reasoning", "answer")},
                "score": None if np.isnan(scores).all() else float(np.nanmean(scores)),
                "mask": [bool(each) for each in rows["kept"]],
                "spans": rows[["char_start", "char_end"]].to_numpy().tolist(),
                "kept": chars,
                "kept_tokens": places,
                "meta": dict(own["meta"] or {}),
            }
            file.write(format_json(line, is_ascii=False) + "\n")
    return len(wanted)
