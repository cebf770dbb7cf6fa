"""The file of ``gsd select``, written whole or not at all.

write_selection   spans with their choice → JSON Lines
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from gsd_core.comparison.selection_lines import TokenChoice, list_wanted, make_lines
from gsd_core.console.files import whole_file
from gsd_core.console.output import format_json

if TYPE_CHECKING:
    from gsd_core.store import Run


def write_selection(
    run: Run,
    table: pd.DataFrame,
    out: Path,
    *,
    tokens: Mapping[str, TokenChoice] | None = None,
    has_empty: bool = False,
) -> int:
    """One JSON line a sample, in the order of ``table``, as `comparison.selection_lines` has it; returns how many."""
    wanted = list_wanted(table, has_empty)
    samples = run.read_samples(wanted)
    with whole_file(out) as partial, partial.open("w", encoding="utf-8") as file:
        for line in make_lines(table, samples, tokens, has_empty):
            file.write(format_json(line, is_ascii=False) + "\n")
    return len(wanted)
