"""What people do with the dashboard, done in a real browser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import parse_qs, quote, urlparse

import pytest

from tests.browser.flows import (
    LONELY_POINT,
    PLACE_OF,
    click_lonely_point,
    follow_aligned_span,
    open_clusters,
    open_map,
    query_of,
)
from tests.synthetic import build_workspace

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def url(dashboard, tmp_path_factory) -> str:
    return dashboard(build_workspace(tmp_path_factory.mktemp("workspace"), n_samples=60))


def test_click_on_the_map_shows_aligned_spans_and_their_traces(page, url):
    follow_aligned_span(page, url, "run=planted")


def test_an_aligned_span_becomes_the_chosen_one_by_keyboard(page, url):
    open_map(page, url, f"run=planted&span={quote('sum-3#1')}")
    page.wait_for_selector('.gsd-aligned[data-of="sum-3#1"]')
    linked = page.locator(".gsd-aligned a").first
    target = parse_qs(urlparse(linked.get_attribute("href")).query)["span"][0]
    linked.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector(f'.gsd-aligned[data-of="{target}"]')
    page.wait_for_selector(f'.gsd-trace [data-span="{target}"].chosen')
    assert query_of(page)["span"] == target
    assert page.locator(".gsd-aligned li").count() == 5
    assert not page.problems, page.problems


def test_click_keeps_the_zoom(page, url):
    """A figure that is drawn anew on every click would throw people back to the whole map."""
    open_map(page, url)
    trace, point = page.evaluate(LONELY_POINT)
    x, y = page.evaluate(PLACE_OF, [trace, point])
    page.mouse.move(x, y)
    page.mouse.wheel(0, -240)
    page.wait_for_function(
        "before => document.querySelector('.js-plotly-plot')._fullLayout.xaxis.range[0] !== before",
        arg=page.evaluate("document.querySelector('.js-plotly-plot')._fullLayout.xaxis._rangeInitial0"),
    )
    zoomed = page.evaluate("document.querySelector('.js-plotly-plot')._fullLayout.xaxis.range.slice()")
    click_lonely_point(page)
    page.wait_for_selector("text=Aligned spans of other samples")
    after = page.evaluate("document.querySelector('.js-plotly-plot')._fullLayout.xaxis.range.slice()")
    assert after == pytest.approx(zoomed)


def test_lasso_lists_spans_and_downloads_them(page, url, tmp_path):
    open_map(page, url)
    box = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.locator('.js-plotly-plot .modebar-btn[data-val="select"]').click()
    page.mouse.move(box["x"] + 4, box["y"] + 4)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 4, box["y"] + box["height"] - 4, steps=6)
    page.mouse.up()
    page.wait_for_selector("text=/\\d+ spans of 60 samples/ >> visible=true")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    file = tmp_path / "selection.csv"
    download.value.save_as(file)
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith('"span","sample","index","text"')
    assert len(lines) > 150


def test_trace_by_keyboard_only(page, url):
    page.goto(f"{url}/trace?run=planted&sample=sum-3")
    page.wait_for_selector(".gsd-trace .span.chosen")
    page.wait_for_selector("text=null 95 %")
    first = page.locator(".gsd-trace .span").first
    first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(quote("sum-3#1", safe="")))
    page.wait_for_selector('.gsd-trace [data-span="sum-3#1"].chosen[aria-pressed="true"]')
    page.wait_for_selector("text=/span 2 of/")
    page.keyboard.press("End")
    focused = page.evaluate(
        "(() => { let e = document.activeElement; while (e?.shadowRoot) e = e.shadowRoot.activeElement;"
        " return e?.dataset?.span })()"
    )
    last = page.locator(".gsd-trace .span").last.get_attribute("data-span")
    assert focused == last


def test_a_trace_is_searched_and_copied(page, url):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{url}/trace?run=planted&sample=sum-3")
    text = page.locator(".gsd-trace .text")
    text.locator(".span.chosen").wait_for()
    reasoning = text.evaluate("element => element.textContent")
    word = "the"
    n = reasoning.lower().count(word)
    assert n > 1, "the fixture must hold the word several times"
    search, count = page.locator(".gsd-trace .tools input"), page.locator(".gsd-trace .tools output")
    search.fill(word.upper())
    page.wait_for_function("n => CSS.highlights.get('gsd-found')?.size === n", arg=n)
    assert count.inner_text() == f"1 of {n}"
    search.press("Enter")
    assert count.inner_text() == f"2 of {n}"
    search.press("Shift+Enter")
    search.press("Shift+Enter")
    assert count.inner_text() == f"{n} of {n}"
    found = page.evaluate("[...CSS.highlights.get('gsd-found-now')].map(range => range.toString())")
    assert [each.lower() for each in found] == [word]
    assert text.evaluate("element => element.textContent") == reasoning, "the search changed the text"
    search.press("Escape")
    assert not page.evaluate("CSS.highlights.has('gsd-found')")
    search.fill("no such words")
    assert count.inner_text() == "not found"
    page.locator(".gsd-trace .tools button").click()
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == reasoning
    assert not page.problems, page.problems


def test_a_copied_link_opens_the_same_view(page, url):
    open_map(page, url, f"run=planted&checkpoint=step-10&color=meta.topic&span={quote('sum-5#1')}")
    page.wait_for_selector('.gsd-trace [data-span="sum-5#1"].chosen')
    query = query_of(page)
    assert query == {"run": "planted", "checkpoint": "step-10", "color": "meta.topic", "span": "sum-5#1"}


def test_pinned_spans_go_along_and_are_compared(page, url):
    page.goto(f"{url}/trace?run=planted&sample=sum-3&span={quote('sum-3#1')}")
    page.get_by_role("button", name="Pin", exact=True).click()
    page.get_by_role("button", name="Pinned (1)").wait_for()
    page.locator('.gsd-trace [data-span="sum-3#0"]').click()
    page.wait_for_selector('.gsd-trace [data-span="sum-3#0"].chosen')
    page.get_by_role("button", name="Pin", exact=True).click()
    page.get_by_role("button", name="Pinned (2)").wait_for()
    page.get_by_role("link", name="Map", exact=True).first.click()
    page.wait_for_url(re.compile("/map"))
    page.get_by_role("button", name="Pinned (2)").click()
    dialog = page.get_by_role("dialog")
    dialog.locator(".js-plotly-plot").wait_for()
    with page.expect_download() as download:
        dialog.get_by_role("button", name="Download CSV").click()
    assert download.value.suggested_filename == "planted-pins.csv"
    dialog.get_by_role("button", name="Unpin").first.click()
    dialog.locator(".js-plotly-plot").wait_for(state="detached")
    assert not page.problems, page.problems


def test_the_first_page_of_a_fresh_server_may_be_a_deep_link(page, dashboard, tmp_path):
    """Streamlit takes pages/ for its own until app.py has run once; our navigation must win even then."""
    fresh = dashboard(build_workspace(tmp_path, n_samples=14))
    page.goto(f"{fresh}/trace?run=planted&sample=sum-3")
    page.wait_for_selector(".gsd-trace .span.chosen")
    assert query_of(page)["sample"] == "sum-3", "the address was lost on the way"
    assert page.get_by_role("link", name="Overview").count() >= 1


def test_hostile_text_stays_text(page, dashboard, tmp_path):
    """Uploaded text is shown, never run."""
    row = {
        "question": "<img src=x onerror='window.hit=1'> $x$ [a](javascript:window.hit=1)",
        "reasoning": "<script>window.hit=1</script> **bold**\n<b onmouseover=window.hit=1>y</b>",
        "answer": "<svg onload=window.hit=1>",
    }
    file = tmp_path / "<img src=x onerror=window.hit=1>.jsonl"
    file.write_text("\n".join([json.dumps(row)] * 3))
    page.goto(f"{dashboard(tmp_path / 'workspace')}/data")
    page.set_input_files("input[type=file]", str(file))
    page.wait_for_selector("text=What was understood")
    page.wait_for_selector("text=<script>window.hit=1</script>")
    assert page.evaluate("window.hit") is None, "text from a file ran as code"


def test_upload_is_understood_corrected_and_survives_a_reload(page, dashboard, tmp_path):
    rows = [{"problem": f"q {i}", "chain": f"First {i}.\nThen {i}.", "note": "n", "gold": i} for i in range(5)]
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    workspace = tmp_path / "workspace"
    page.goto(f"{dashboard(workspace)}/data")
    page.set_input_files("input[type=file]", str(file))
    page.wait_for_selector("text=Which column is which")
    page.get_by_role("combobox", name="Reasoning").click()
    page.get_by_role("option", name="chain", exact=True).click()
    page.wait_for_selector("text=First 0.")
    page.reload()
    page.wait_for_selector("text=Which column is which")
    assert [entry.name for entry in (workspace / "uploads").iterdir()] == ["mine.jsonl"]


def test_a_failed_job_says_why_and_outlives_a_reload(page, dashboard, tmp_path):
    file = tmp_path / "ok.jsonl"
    file.write_text("\n".join(json.dumps({"question": "q", "reasoning": f"A {i}. B."}) for i in range(3)))
    page.goto(f"{dashboard(tmp_path / 'workspace')}/data")
    page.set_input_files("input[type=file]", str(file))
    page.wait_for_selector("text=My own model")
    page.get_by_text("My own model").click()
    model = page.get_by_role("textbox", name="Folder, GGUF file or hub id")
    page.wait_for_function("!document.querySelector('input[aria-label=\"Folder, GGUF file or hub id\"]').disabled")
    model.fill(str(tmp_path / "no-model-here"))
    model.press("Enter")
    page.get_by_role("button", name="Capture and analyse").click()
    page.wait_for_selector("text=Failed", timeout=400_000)
    shown = page.locator('[data-testid="stAlert"]').first.inner_text()
    assert "no-model-here" in shown
    page.reload()
    page.wait_for_selector("text=Failed")
    page.get_by_role("button", name="Delete").first.click()
    page.wait_for_selector("text=Failed", state="detached")
    assert not list((Path(tmp_path) / "workspace" / "jobs").iterdir())


def test_clusters_open_from_their_list_by_mouse_and_keyboard_in_any_order(page, url):
    open_map(page, url)
    open_clusters(page)
    names = page.locator(".gsd-clusters tbody button")
    first, second = names.nth(0).inner_text(), names.nth(1).inner_text()
    page.wait_for_selector(f'[data-testid="stHtml"]:has-text("{first}")')
    names.nth(1).click()
    page.wait_for_selector(f'[data-testid="stHtml"]:has-text("{second}")')
    names.nth(1).press("ArrowUp")
    page.keyboard.press("Enter")
    page.wait_for_selector(f'[data-testid="stHtml"]:has-text("{first}")')
    by_spans = page.locator(".gsd-clusters thead button").nth(1)
    by_spans.click()
    counts = page.locator(".gsd-clusters tbody .count:nth-child(3)").all_inner_texts()
    assert [int(count) for count in counts] == sorted(map(int, counts), reverse=True)
    by_spans.click()
    assert page.locator(".gsd-clusters tbody .count:nth-child(3)").all_inner_texts() == sorted(counts, key=int)
    assert page.locator('.gsd-clusters tbody button[aria-pressed="true"]').inner_text() == first


def test_filters_narrow_the_map_and_live_in_the_address(page, url):
    open_map(page, url)
    open_clusters(page)
    page.get_by_role("button", name="Show only this cluster").click()
    page.wait_for_function("location.search.includes('cluster=')")
    link = page.url
    page.goto("about:blank")
    page.goto(link)
    page.wait_for_selector("text=/^\\d+ of 204 spans/")
    shown = page.locator("text=/^\\d+ of 204 spans/").first.inner_text()
    assert not shown.startswith("204 "), "the filter in the address was not applied"
