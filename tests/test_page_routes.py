"""The start page that the pages' addresses answer with."""

from __future__ import annotations

import asyncio

import streamlit as st

from gsd_core.dashboard.shell import page_routes
from gsd_core.registry.catalog import list_pages


def test_every_page_has_a_route_below_the_base_path(monkeypatch):
    names = {"overview", "trainings", "data", "help", *(page.name for page in list_pages())}
    assert {route.path for route in page_routes.make_page_routes()} == {f"/{name}" for name in names}
    monkeypatch.setattr(st, "get_option", {"server.baseUrlPath": "/lab/gsd/"}.get)
    routes = page_routes.make_page_routes()
    assert {route.path for route in routes} == {f"/lab/gsd/{name}" for name in names}
    answer = asyncio.run(routes[0].endpoint(None))
    text = answer.body.decode()
    assert text.replace(page_routes._SCRIPT, "") == page_routes._START.read_text(encoding="utf-8")
    assert text.index(page_routes._SCRIPT) < text.index("<script type="), "the server is told after it is looked for"
    assert answer.headers["cache-control"] == "no-cache"


def test_a_start_page_of_another_kind_is_left_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(page_routes, "_START", tmp_path / "index.html")
    assert page_routes.make_page_routes() == []
    (tmp_path / "index.html").write_text("<body></body>", encoding="utf-8")
    assert page_routes.make_page_routes() == []
