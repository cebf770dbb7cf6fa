"""Tables as files.

compute_csv      a frame as CSV text that a spreadsheet does not run as formulas
FORMULA_STARTS   characters that begin a formula
"""

from __future__ import annotations

import csv
from typing import Any

import pandas as pd

# Common spreadsheets run a cell that begins with one of these as a formula (OWASP, "CSV injection").
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def _as_cell(value: Any) -> Any:
    """Text that could be a formula gets a leading apostrophe; numbers stay as they are."""
    if isinstance(value, list | tuple | dict):
        value = str(value)
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    return value


def compute_csv(frame: pd.DataFrame) -> str:
    """``frame`` without its index as CSV text, harmless in a spreadsheet (ours)."""
    safe = frame.copy()
    for name in safe.columns:
        if not pd.api.types.is_numeric_dtype(safe[name]):
            safe[name] = safe[name].map(_as_cell)
    return safe.rename(columns=_as_cell).to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC)
