"""Fields of a sample's meta become labels of its spans, by one rule for exports, commands and pages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gsd_core.comparison.meta_labels import MAX_OPENED, compute_meta_columns, find_text, to_text
from gsd_core.types import join_span, split_span


def spread(metas: list[Any], n_spans: int = 2, **columns: Any) -> tuple[pd.DataFrame, dict[str, int]]:
    """Labels of samples with ``n_spans`` spans each."""
    ids = [f"s{number}" for number in range(len(metas))]
    spans = pd.DataFrame({"sample": np.repeat(ids, n_spans), "index": np.tile(np.arange(n_spans), len(ids))})
    samples = pd.DataFrame({"sample": ids, "meta": metas, "skipped_spans": [[] for _ in ids], "n_spans_cut": 0})
    return compute_meta_columns(spans, samples.assign(**columns))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (float("nan"), ""),
        (pd.NA, ""),
        ("  ", ""),
        ([], ""),
        (" a ", "a"),
        (True, "true"),
        (3, "3"),
        (3.0, "3"),
        (np.float32(0.5), "0.5"),
        (1e300, "1e+300"),
        (["a", 2], "a + 2"),
        ({"b": 1, "a": None}, '{"a": null, "b": 1}'),
        ([{"a": 1}], '[{"a": 1}]'),
    ],
)
def test_a_value_has_one_text(value: object, text: str) -> None:
    assert to_text(value) == text


def test_a_condition_finds_values_as_they_are_written_anywhere() -> None:
    assert find_text([3.0, 3, "3", 4, None], "3").tolist() == [True, True, True, False, False]
    assert find_text([3.0, True, None], "3.0").tolist() == [True, False, False]
    assert find_text([True, False, None], "True").tolist() == [True, False, False]
    assert find_text([None, float("nan"), "a"], "None").tolist() == [False] * 3


def test_objects_are_opened_three_levels_deep_and_stay() -> None:
    deep = {"a": {"b": {"c": {"d": 1}}}, "plain": 2}
    frame, _ = spread([{"info": deep}, {}])
    assert list(frame) == ["meta.info", "meta.info.a.b.c", "meta.info.plain"]
    assert frame["meta.info"].tolist() == [deep, deep, None, None]
    assert frame["meta.info.a.b.c"].tolist() == [{"d": 1}, {"d": 1}, None, None]
    assert frame["meta.info.plain"].tolist()[0] == 2


def test_a_field_keeps_its_name_against_a_nested_one() -> None:
    frame, _ = spread([{"info": {"kind": "inner"}, "info.kind": "outer"}])
    assert frame["meta.info.kind"].tolist() == ["outer", "outer"]


def test_an_object_that_is_keyed_by_something_is_not_opened() -> None:
    frame, _ = spread([{"scores": {f"id {number}": 1}} for number in range(MAX_OPENED + 1)])
    assert list(frame) == ["meta.scores"]


def test_a_nested_list_labels_steps_and_lost_spans_count() -> None:
    metas = [{"info": {"ops": ["x", "y", "z"]}}] * 3 + [{"info": {"ops": ["x", "y"]}}]
    frame, unmatched = spread(metas, skipped_spans=[[(2, "no token")], [], [], []], n_spans_cut=[0, 1, 1, 0])
    assert unmatched == {"meta.info.ops": 0}
    assert frame["meta.info.ops"].tolist() == ["x", "y"] * 4
    _, unmatched = spread(metas, n_spans_cut=[1, 1, 1, 5])
    assert unmatched == {"meta.info.ops": 1}


def test_spans_of_an_unknown_sample_and_samples_without_meta_have_no_label() -> None:
    spans = pd.DataFrame({"sample": ["a", "gone", "b"], "index": [0, 5, 0]})
    samples = pd.DataFrame(
        {"sample": ["a", "b"], "meta": [{"k": [[1], [2]]}, None], "skipped_spans": [[], []], "n_spans_cut": 0}
    )
    frame, unmatched = compute_meta_columns(spans, samples)
    assert frame["meta.k"].tolist() == [[[1], [2]], None, None]
    assert unmatched == {}


@given(st.text(max_size=12), st.integers(0, 10**6))
def test_a_span_id_comes_apart_as_it_was_joined(sample: str, index: int) -> None:
    assert split_span(join_span(sample, index)) == (sample, index)


@pytest.mark.parametrize("text", ["s", "s#", "s#x", "s#01", "s#-1", "s#1.0"])
def test_what_is_no_span_id_has_no_index(text: str) -> None:
    assert split_span(text) == ("s", None)
