"""Of very many samples a page lists few, and any can be opened by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from gsd_core.dashboard.frame import sample_choice
from tests.page_support import open_page
from tests.synthetic import build_workspace


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return build_workspace(tmp_path_factory.mktemp("workspace"), n_samples=40)


@pytest.fixture
def few(monkeypatch):
    """Forty samples are many here."""
    monkeypatch.setattr(sample_choice, "MANY", 30)
    monkeypatch.setattr(sample_choice, "NEAR", 3)


def names_in(box) -> list[str]:
    return [option.split("  ·  ")[0] for option in box.options]


def test_all_samples_are_listed_where_they_are_few(folder, monkeypatch):
    at = open_page(folder, "trace", monkeypatch, run="planted")
    box = at.selectbox(key="address_sample")
    assert len(set(names_in(box))) == 40
    assert box.label == "Sample (40)"


def test_of_many_samples_those_around_the_chosen_are_listed(folder, monkeypatch, few):
    everyone = names_in(open_page(folder, "trace", monkeypatch, run="planted").selectbox(key="address_sample"))
    assert len(everyone) == 4, "the first and the three after it"
    at = open_page(folder, "trace", monkeypatch, run="planted", sample=everyone[3])
    box = at.selectbox(key="address_sample")
    assert names_in(box)[:4] == everyone
    assert len(names_in(box)) == 7
    assert box.value == everyone[3]
