"""A dashboard that is shown to others: read-only, or behind a sign-in."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from gsd_core.dashboard import session
from tests.page_support import APP, check, open_page, words
from tests.synthetic import build_workspace


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return build_workspace(tmp_path_factory.mktemp("workspace"), n_samples=20)


@pytest.fixture
def read_only(monkeypatch):
    monkeypatch.setenv(session.READ_ONLY, "1")


def list_files(folder: Path) -> set[tuple[str, int]]:
    return {
        (str(path.relative_to(folder)), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_read_only_pages_show_runs_and_take_no_files(folder, read_only, monkeypatch):
    at = open_page(folder, "data", monkeypatch)
    assert "for reading only" in words(at)
    assert not at.get("file_uploader")
    assert not at.button
    at = open_page(folder, "trace", monkeypatch, run="planted", sample="sum-3")
    assert "Aligned spans of other samples" in words(at)


@pytest.mark.parametrize(
    ("page", "label"),
    [("overview", "Analyse"), ("map", "Analyse this run"), ("evidence", "Evaluate all checkpoints")],
)
def test_read_only_buttons_start_nothing(folder, read_only, monkeypatch, page, label):
    query = {"overview": {}, "map": {"run": "raw"}, "evidence": {"run": "planted"}}[page]
    before = list_files(folder)
    at = open_page(folder, page, monkeypatch, **query)
    for button in [each for each in at.button if each.label == label]:
        check(button.click().run())
    assert list_files(folder) == before, "a read-only page wrote something"


def test_with_sign_in_configured_strangers_see_nothing(folder, monkeypatch):
    monkeypatch.setenv("GSD_WORKSPACE", str(folder))
    at = AppTest.from_file(APP, default_timeout=60)
    at.secrets["auth"] = {"redirect_uri": "http://localhost/oauth2callback", "cookie_secret": "x" * 32}
    at.run()
    assert [button.label for button in at.button] == ["Sign in"]
    assert "planted" not in words(at), "a stranger was shown a run"


def test_without_sign_in_configured_nobody_is_asked(folder, monkeypatch):
    at = open_page(folder, "overview", monkeypatch)
    assert "Sign in" not in [button.label for button in at.button]
    assert "planted" in words(at)
