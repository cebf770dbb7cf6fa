"""A dashboard that is shown to others: read-only, or behind a sign-in."""

from __future__ import annotations

from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from gsd_core.dashboard.frame import workspaces
from tests.page_support import APP, check, open_page, words
from tests.synthetic import build_workspace


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return build_workspace(tmp_path_factory.mktemp("workspace"), n_samples=20)


@pytest.fixture
def read_only(monkeypatch):
    monkeypatch.setenv(workspaces.READ_ONLY, "1")


def list_files(folder: Path) -> set[tuple[str, int]]:
    return {(str(path.relative_to(folder)), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


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


def visit(folder: Path, monkeypatch, user: dict[str, object] | None = None, **secrets: object) -> AppTest:
    """The overview behind a sign-in, as somebody sees it; nobody has signed in without a `user`."""
    monkeypatch.setenv("GSD_WORKSPACE", str(folder))
    monkeypatch.setattr(st, "user", {"is_logged_in": user is not None, **(user or {})})
    at = AppTest.from_file(APP, default_timeout=60)
    at.secrets["auth"] = {"redirect_uri": "http://localhost/oauth2callback", "cookie_secret": "x" * 32}
    for name, value in secrets.items():
        at.secrets[name] = value
    return at.run()


def test_with_sign_in_configured_strangers_see_nothing(folder, monkeypatch):
    at = visit(folder, monkeypatch)
    assert [button.label for button in at.button] == ["Sign in"]
    assert "planted" not in words(at), "a stranger was shown a run"


def test_without_sign_in_configured_nobody_is_asked(folder, monkeypatch):
    at = open_page(folder, "overview", monkeypatch)
    assert "Sign in" not in [button.label for button in at.button]
    assert "planted" in words(at)


ADA = {"email": "Ada@Example.org", "email_verified": True, "name": "Ada"}
GROUPS = {"groups": [{"admit": ["@example.org", "guest@elsewhere.org"]}]}


@pytest.mark.parametrize(
    ("user", "is_in"),
    [
        (ADA, True),
        ({**ADA, "email": "guest@elsewhere.org"}, True),
        ({**ADA, "email": "ada@example.org.evil.org"}, False),
        ({**ADA, "email": "@example.org"}, False),
        ({**ADA, "email": "other@elsewhere.org"}, False),
        ({**ADA, "email_verified": False}, False),
        ({"email": "ada@example.org"}, False),  # the provider does not say that it looked
        ({"name": "Ada"}, False),
    ],
)
def test_only_verified_members_of_a_group_are_let_in(folder, monkeypatch, user, is_in):
    at = visit(folder, monkeypatch, user, gsd=GROUPS)
    assert ("planted" in words(at)) is is_in
    assert [button.label for button in at.button if button.label.startswith("Sign")] == ["Sign out"]


def test_an_unverified_address_counts_where_the_owner_trusts_the_provider(folder, monkeypatch):
    at = visit(folder, monkeypatch, {"email": "ada@example.org"}, gsd={**GROUPS, "trust_email": True})
    assert "planted" in words(at)


def test_every_group_sees_its_own_workspace(folder, monkeypatch, tmp_path):
    own = {"admit": ["@example.org"], "workspace": str(tmp_path / "lab"), "read_only": True}
    gsd = {"groups": [own, {"admit": ["@elsewhere.org"]}]}
    at = visit(folder, monkeypatch, ADA, gsd=gsd)
    assert "planted" not in words(at), "one group was shown another one's run"
    assert "for reading only" in words(at.switch_page("pages/data.py").run())
    at = visit(folder, monkeypatch, {**ADA, "email": "bob@elsewhere.org"}, gsd=gsd)
    assert "planted" in words(at)
    assert "for reading only" not in words(at.switch_page("pages/data.py").run())


@pytest.mark.parametrize(
    "gsd",
    [
        {},
        {"groups": []},
        {"groups": [{"workspace": "w"}]},
        {"groups": [{"admit": "@example.org"}]},
        {"groups": [{"admit": ["example.org"]}]},
        {"groups": [{"admit": ["@example.org"], "readonly": True}]},
    ],
)
def test_a_mistake_in_the_groups_keeps_everybody_out(folder, monkeypatch, gsd):
    at = visit(folder, monkeypatch, ADA, gsd=gsd)
    assert "planted" not in words(at)
    assert "secrets.toml" in at.error[0].value


def test_groups_without_a_provider_keep_everybody_out(folder, monkeypatch):
    monkeypatch.setenv("GSD_WORKSPACE", str(folder))
    at = AppTest.from_file(APP, default_timeout=60)
    at.secrets["gsd"] = GROUPS
    at.run()
    assert "planted" not in words(at)
    assert "need a sign-in" in at.error[0].value
