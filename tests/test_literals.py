"""Lists that a table holds as text: Python's, numpy's and pandas' spellings give the list, anything else a reason."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gsd_core.dataset.literals import MAX_CHARS, looks_literal, parse_literal
from gsd_core.dataset.values import BadValue

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)


@settings(deadline=None, max_examples=150)
@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_what_programs_write_is_read_again(steps: list[str]) -> None:
    array = np.array([*steps, None], dtype=object)[:-1]
    with np.printoptions(threshold=10**6, linewidth=40):
        for text in (repr(steps), str(steps), str(array), repr(array), repr((*steps, 1))):
            expected = [*steps, 1] if text.startswith("(") else steps
            assert looks_literal(text)
            assert parse_literal(text) == expected, text


def test_messages_of_a_table_are_read_again() -> None:
    messages = [{"role": "user", "content": 'It\'s "so"\nhere'}, {"role": "assistant", "content": None}]
    frame = pd.DataFrame({"m": [np.array(messages, dtype=object)]})
    assert parse_literal(frame.astype(str)["m"].iloc[0]) == messages
    assert parse_literal("[{'a': nan}\n {'a': array([1, 2])}]") == [{"a": None}, {"a": [1, 2]}]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("['a', ..., 'z']", "left entries out"),
        ("[__import__('os').system('x')]", "cannot be read"),
        ("[1] * 10**9", "cannot be read"),
        ("[open('x')]", "cannot be read"),
        ("[" * 100 + "]" * 100, "nested"),
        ("['a'", "cannot be read"),
        ("[" + " " * MAX_CHARS + "]", "characters"),
    ],
)
def test_what_is_no_literal_is_refused_with_the_cause(text: str, reason: str) -> None:
    with pytest.raises(BadValue, match=reason):
        parse_literal(text)
