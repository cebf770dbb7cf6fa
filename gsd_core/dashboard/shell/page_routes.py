"""How a page that is opened by its address finds its server at once.

make_page_routes   the routes that answer the pages' addresses

Streamlit sends the same start page for every address. It looks for its server below ``/map`` first, gets two answers
404, waits a tenth of a second and then looks at the root. Our copy of the start page says where the server is: in the
folder of the page's address, from which the scripts come too.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from gsd_core.dashboard.frame.address import PAGES
from gsd_core.registry.catalog import list_pages

_START = Path(st.__file__).with_name("static") / "index.html"
_HEAD = "<head>"
_SCRIPT = '<script>window.__streamlit = { BACKEND_BASE_URL: new URL(".", location.href).href };</script>'


def make_page_routes() -> list[Route]:
    """A route for every page, below ``server.baseUrlPath``; none where Streamlit's start page has no head."""
    start = _START.read_text(encoding="utf-8") if _START.is_file() else ""
    if _HEAD not in start:
        return []
    html = start.replace(_HEAD, _HEAD + _SCRIPT, 1)
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    folder = f"/{base}" if base else ""

    async def send_start(_: Request) -> HTMLResponse:
        return HTMLResponse(html, headers={"Cache-Control": "no-cache"})

    return [Route(f"{folder}/{name}", send_start) for name in {*PAGES, *(page.name for page in list_pages())}]
