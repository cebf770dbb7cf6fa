"""Lines of a file of ``gsd select``: which parts of which samples are kept.

make_lines    spans with their choice → a dict a sample
list_wanted   samples that get one
TokenChoice   single tokens that are kept, in place of spans
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd


class TokenChoice(NamedTuple):
    """``chars`` and ``tokens``: half-open ranges in the reasoning and in the model's input."""

    chars: list[tuple[int, int]]
    tokens: list[tuple[int, int]]


def list_wanted(table: pd.DataFrame, has_empty: bool) -> list[str]:
    """Samples of ``table`` that get a line, in order: those of which something is kept; all with ``has_empty``."""
    kept = table.groupby("sample", sort=False)["kept"].any()
    return [str(sample) for sample, is_kept in kept.items() if has_empty or is_kept]


def make_lines(
    table: pd.DataFrame,
    samples: pd.DataFrame,
    tokens: Mapping[str, TokenChoice] | None = None,
    has_empty: bool = False,
) -> Iterator[dict[str, Any]]:
    """``sample, question, reasoning, answer, score, mask, spans, kept, kept_tokens, meta`` of each sample in order.

    ``table`` has ``sample, char_start, char_end, token_start, token_end, kept, score``, a row a span; ``samples`` has
    ``sample, question, reasoning, answer, meta`` of all that get a line. ``tokens`` take the place of spans.
    """
    groups = dict(iter(table.groupby("sample", sort=False)))
    by_id = samples.set_index("sample")
    for sample in list_wanted(table, has_empty):
        rows, own = groups[sample], by_id.loc[sample]
        held = rows[rows["kept"]]
        scores = held["score"].to_numpy(float)
        chars, places = (held[[f"{unit}_start", f"{unit}_end"]].to_numpy().tolist() for unit in ("char", "token"))
        if tokens is not None:
            chars, places = (list(map(list, each)) for each in tokens[sample])
        yield {
            "sample": sample,
            **{key: own[key] for key in ("question", "reasoning", "answer")},
            "score": None if np.isnan(scores).all() else float(np.nanmean(scores)),
            "mask": [bool(each) for each in rows["kept"]],
            "spans": rows[["char_start", "char_end"]].to_numpy().tolist(),
            "kept": chars,
            "kept_tokens": places,
            "meta": dict(own["meta"] or {}),
        }
