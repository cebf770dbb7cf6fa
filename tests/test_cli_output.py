"""Output of the command line: always valid JSON, and text without control characters."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gsd_core.console.output import (
    compute_json_value,
    format_count,
    format_seconds,
    format_table,
    format_text,
)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(), inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_any_value_becomes_strict_json(value: object) -> None:
    # NaN is not JSON; only Python's reader accepts it.
    json.dumps(compute_json_value(value), allow_nan=False)


def test_library_values_become_plain_ones() -> None:
    frame = pd.DataFrame({"a": pd.array([1, None], dtype="Int64")})
    value = {
        "array": np.array([[1.5, np.nan]], dtype=np.float32),
        "scalar": np.int64(3),
        "flag": np.bool_(True),
        "path": Path("a"),
        "missing": frame["a"][1],
        "no_time": pd.NaT,
        "time": pd.Timestamp("2026-01-01"),
        3: {1},
    }
    assert compute_json_value(value) == {
        "array": [[1.5, None]],
        "scalar": 3,
        "flag": True,
        "path": "a",
        "missing": None,
        "no_time": None,
        "time": "2026-01-01T00:00:00",
        "3": [1],
    }


@given(st.text(), st.integers(min_value=1, max_value=80))
def test_text_of_data_has_no_control_characters(text: str, width: int) -> None:
    # An escape sequence in a data set could change the screen or its title.
    shown = format_text(text, width)
    assert len(shown) <= width
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in shown)


def test_table_shows_markup_as_text() -> None:
    table = format_table(
        ("name", "n", "text"), [["[bold]x[/bold]", 1200, "a\nb"], ["y", None, "\x1b[31mred"]], wide="text"
    )
    assert "[bold]x[/bold]" in table
    assert "1,200" in table
    assert "\x1b" not in table
    assert len(table.splitlines()) == 4, "a line break in a cell breaks the table"


@pytest.mark.parametrize(("seconds", "text"), [(0.04, "0.0 s"), (12, "12 s"), (61, "1 min 01 s"), (3725, "1 h 02 min")])
def test_durations_have_readable_units(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_counts() -> None:
    assert (format_count(12345), format_count(0.12345), format_count(0.0)) == ("12,345", "0.123", "0")
