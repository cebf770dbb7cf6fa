"""A page that is opened by its address finds its server at once, on what ``gsd serve`` starts.

Streamlit's own start page looks for the server below the page's address first, gets two answers 404 and waits.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from streamlit.web.server.starlette.starlette_app_utils import create_signed_value
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME

from gsd_core.registry.catalog import list_pages
from tests.browser.flows import query_of, wait_until_idle
from tests.cli_support import start_gsd
from tests.synthetic import build_workspace

pytestmark = pytest.mark.browser
TITLES = {
    "": "Gradients of reasoning spans",
    **{page.name: page.title for page in list_pages()},
    "data": "Data",
    "help": "Help",
}
STRANGERS_TITLE = "Span gradients"
COOKIE_SECRET = "a secret of this test"
SECRETS = f"""
[auth]
redirect_uri = "http://127.0.0.1/oauth2callback"
cookie_secret = "{COOKIE_SECRET}"
client_id = "x"
client_secret = "x"
server_metadata_url = "http://127.0.0.1:9/none"
[[gsd.groups]]
admit = ["ada@example.org"]
"""


@pytest.fixture(scope="module", params=["", "lab/gsd"], ids=["root", "path"])
def served(request, tmp_path_factory) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """The address of a server, and the cookies of somebody whom it lets in.

    The server below a path is behind a sign-in too, and lets in nobody but Ada.
    """
    folder = tmp_path_factory.mktemp("served")
    (folder / "secrets.toml").write_text(SECRETS, encoding="utf-8")
    base = {"STREAMLIT_SERVER_BASE_URL_PATH": request.param}
    settings = {**base, "STREAMLIT_SECRETS_FILES": str(folder / "secrets.toml")} if request.param else base
    workspace = build_workspace(folder / "workspace", n_samples=40)
    process = start_gsd("--workspace", workspace, "--json", "serve", **settings)
    assert process.stdout is not None
    line = process.stdout.readline()
    try:
        assert line, process.communicate(timeout=60)[1].decode()
        url = json.loads(line)["url"]
        assert url.endswith(request.param)
        yield url, [_sign_in(url.removesuffix(f"/{request.param}"))] if request.param else []
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def _sign_in(origin: str) -> dict[str, str]:
    """The cookie that Streamlit sets when Ada comes back from her identity provider."""
    ada = {"origin": origin, "is_logged_in": True, "email": "ada@example.org", "email_verified": True}
    value = create_signed_value(COOKIE_SECRET, USER_COOKIE_NAME, json.dumps(ada)).decode()
    return {"name": USER_COOKIE_NAME, "value": value, "url": origin}


@pytest.fixture
def new_page(browser) -> Iterator[Callable[..., Any]]:
    """``new_page(*cookies)`` → a page of a browser session of its own, in which nothing is cached."""
    contexts = []

    def make(*cookies: dict[str, str]) -> Any:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        contexts.append(context)
        context.set_default_timeout(180_000)
        context.add_cookies(list(cookies))
        page = context.new_page()
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        return page

    yield make
    for context in contexts:
        context.close()


def _open_cold(page: Any, url: str, name: str, title: str) -> list[str]:
    """Open a page by its address; what went wrong on the way."""
    answers: list[tuple[int, str]] = []
    page.on("response", lambda answer: answers.append((answer.status, answer.url)))
    page.goto(f"{url}/{name}?run=planted")
    page.get_by_role("heading", level=1, name=title, exact=True).wait_for()
    wait_until_idle(page)
    wrong = [f"{status} {address}" for status, address in answers if status >= 400] + page.problems
    asked = [address for _, address in answers if address.endswith("/_stcore/health")]
    if asked != [f"{url}/_stcore/health"]:
        wrong.append(f"looked for the server at {asked}")
    return [f"{name}: {each}" for each in wrong]


def test_every_page_opens_cold_without_a_404_or_a_second_try(new_page, served):
    url, cookies = served
    wrong = []
    for name, title in TITLES.items():
        wrong += _open_cold(new_page(*cookies), url, name, title)
    if cookies:
        wrong += _open_cold(new_page(), url, "map", STRANGERS_TITLE)
    assert not wrong, "\n".join(wrong)


def test_a_page_opened_cold_can_do_all_that_others_can(new_page, served, tmp_path):
    """Links, reload, the way back, a lost connection, an upload."""
    url, cookies = served
    page, lines = new_page(*cookies), []
    page.route_web_socket(re.compile("_stcore/stream"), lambda line: lines.append((line, line.connect_to_server())))
    assert not _open_cold(page, url, "trace", "Trace")
    page.wait_for_selector(".gsd-trace .span.chosen")
    page.get_by_role("link", name="Help", exact=True).click()
    page.get_by_role("heading", level=1, name="Help", exact=True).wait_for()
    assert page.url.startswith(f"{url}/help")
    page.reload()
    page.get_by_role("heading", level=1, name="Help", exact=True).wait_for()
    page.go_back()
    page.wait_for_selector(".gsd-trace .span.chosen")
    assert page.url.startswith(f"{url}/trace")
    assert query_of(page)["run"] == "planted"

    with page.expect_response(re.compile("_stcore/health")) as found:
        lines[-1][0].close(code=1012)
    assert found.value.url == f"{url}/_stcore/health"
    page.wait_for_selector('[data-testid="stApp"][data-test-connection-state="CONNECTED"]')
    page.get_by_role("link", name="Data", exact=True).click()
    file = tmp_path / "mine.jsonl"
    file.write_text(
        "\n".join(json.dumps({"question": f"q {i}", "reasoning": "A.\nB.", "answer": "1"}) for i in range(3))
    )
    page.set_input_files("input[type=file]", str(file))
    page.wait_for_selector("text=What was understood")
    assert not page.problems, page.problems
