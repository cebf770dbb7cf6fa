"""Other words: what the rule lets through, and that its weights are the usual TF-IDF."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from gsd_core.comparison.wording import MOST, make_wording

TEXTS = [
    "Split 12 apples in halves.",
    "We halve 7 pears; halve them.",
    "12 + 7 = 19",
    "Split pears, split apples.",
    "",
]
SAMPLES = np.arange(5)


def test_weights_are_those_of_scikit_learn() -> None:
    wording = make_wording(TEXTS, SAMPLES)
    assert wording is not None
    reference = TfidfVectorizer(token_pattern=r"(?u)[^\W\d_]+").fit_transform(TEXTS)
    ours = (wording.rows @ wording.rows.T).toarray()
    assert ours == pytest.approx((reference @ reference.T).toarray(), abs=1e-6)


def test_cosines_by_row_and_by_pair_are_the_same() -> None:
    wording = make_wording(TEXTS, SAMPLES)
    assert wording is not None
    left, right = np.triu_indices(5)
    assert wording.compute_pairs(left, right) == pytest.approx(wording.compute_cosines(range(5))[left, right])
    assert wording.compute_cosines([2]).tolist() == [[0.0] * 5], "numbers and signs are no words"


def test_templates_that_most_texts_share_are_never_other_words() -> None:
    wording = make_wording([f"Step {number} of the tale" for number in range(40)], np.arange(40))
    assert wording is not None
    assert wording.limit == MOST
    assert wording.compute_cosines([0]).min() > wording.limit


@pytest.mark.parametrize(("texts", "samples"), [(["1 + 1", "2"], [0, 1]), (["a b", "b c"], [0, 0]), ([], [])])
def test_nothing_to_compare_is_none(texts: list[str], samples: list[int]) -> None:
    assert make_wording(texts, np.array(samples)) is None
