"""The map page at 10,000, 100,000 and 1,000,000 spans, in a browser, beside the same map as a Plotly chart; and the
trace page with a trace of 500 spans among 10,000.

    python -m tests.benchmarks.dashboard [--spans 10000 100000 1000000] [--folder DIR] [--no-plotly] [--json FILE]

Synthetic runs (``tests/large_run.py``), 512 numbers a direction; ``--folder`` keeps them for the next time. Each row is
measured on a server of its own, in Chromium without a GPU, so that drawing is slower than on any desk. Prints target
and reached side by side with the load of the machine, and asserts nothing. *first*: what a server's first visitor
waits; *click*: to the aligned spans of the span that was clicked; *box*: a box around every point, to the list of them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
from playwright.sync_api import Page, sync_playwright

from gsd_core.store import Workspace
from tests.browser.flows import big_map_pixels
from tests.large_run import write_large_run

ROOT = Path(__file__).resolve().parents[2]
WIDTH = 512
SESSIONS = 3
TRACE_SPANS, TRACES = 500, 20
# The same program with another limit is the Plotly map.
SERVE = (
    "import sys; from gsd_core.dashboard.map import big_map; big_map.LARGEST_CHART = int(sys.argv.pop(1)); "
    "from streamlit.web import cli; cli.main()"
)
TARGETS = {  # spans → drawn, down, click, box, memory
    TRACE_SPANS: ("", "", "120", "", ""),
    100_000: ("1.5", "1.5", "250", "", ""),
    1_000_000: ("3", "10", "600", "", "1,536"),
}
QUIET = """() => document.querySelector('[data-testid="stApp"]')?.dataset.testScriptState === 'notRunning'"""
# Components live in shadow roots.
WITHIN = "[...document.querySelectorAll('div')].some(element => element.shadowRoot?.querySelector('%s'))"
CHART_DRAWN = "() => !!document.querySelector('.js-plotly-plot')?._fullLayout?.xaxis?.l2p"
MAP_DRAWN = f"() => {WITHIN % '.gsd-scatter[data-drawn]'}"
TRACE_DRAWN = f"() => {WITHIN % '.gsd-trace .span'}"
# A run of the script that only answers the click comes before the panel's, so the page is quiet twice: what tells the
# new panel is the list of what is aligned with the span that the address names.
ANSWERED = """before => {
    const span = new URLSearchParams(location.search).get('span');
    const lists = [...document.querySelectorAll('div')].map(each => each.shadowRoot?.querySelector('.gsd-aligned'));
    return span && span !== before && lists.some(list => list?.dataset.of === span)
        && document.querySelector('[data-testid="stApp"]').dataset.testScriptState === 'notRunning' ? span : null;
}"""
CHART_POINT = """row => {
    const chart = document.querySelector('.js-plotly-plot'), box = chart.getBoundingClientRect();
    const {xaxis, yaxis} = chart._fullLayout;
    const data = chart._fullData.find(trace => trace.customdata?.includes(row)), at = data.customdata.indexOf(row);
    return [box.left + xaxis._offset + xaxis.l2p(data.x[at]), box.top + yaxis._offset + yaxis.l2p(data.y[at])];
}"""


@dataclass
class Row:
    """One map of one size. Seconds, megabytes (10⁶), milliseconds, MiB; None where it was not measured."""

    kind: str
    spans: int
    rounds: int
    first_s: float
    drawn_s: float
    down_mb: float
    click_ms: float
    lasso_ms: float | None
    memory_mib: float
    load: float


@contextmanager
def serving(folder: Path, largest_chart: int = 0, app: str = "app.py") -> Iterator[tuple[str, int]]:
    """A server on a workspace, with maps as charts up to so many spans: its address and process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", SERVE, str(largest_chart), "run", app, "--server.headless", "true"]
    process = subprocess.Popen(
        [*command, "--server.port", str(port), "--server.address", "127.0.0.1"],
        cwd=ROOT,
        env={**os.environ, "GSD_WORKSPACE": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        while process.poll() is None:
            try:
                with urllib.request.urlopen(f"{url}/_stcore/health", timeout=2):
                    break
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait()


def memory_mib(process: int) -> float:
    """What a process holds."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def _count_bytes(page: Page) -> Callable[[], float]:
    """Megabytes of points and messages that ``page`` receives from now on; Streamlit's own front end is left out."""
    counted, is_points = [0], {}
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")

    def answered(event: dict[str, Any]) -> None:
        is_points[event["requestId"]] = urlparse(event["response"]["url"]).path.startswith("/media/")

    def finished(event: dict[str, Any]) -> None:
        if is_points.get(event["requestId"]):
            counted[0] += int(event["encodedDataLength"])

    def message(event: dict[str, Any]) -> None:
        frame = event["response"]
        counted[0] += len(frame["payloadData"]) * 3 // 4 if frame["opcode"] == 2 else len(frame["payloadData"])

    session.on("Network.responseReceived", answered)
    session.on("Network.loadingFinished", finished)
    session.on("Network.webSocketFrameReceived", message)
    return lambda: counted[0] / 1e6


def _open(browser: Any, url: str, drawn: str, page_name: str = "map") -> tuple[Page, float, float]:
    """A fresh browser session on a page: page, seconds until ``drawn`` is on it and it is still, megabytes."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(300_000)
    read = _count_bytes(page)
    started = time.perf_counter()
    page.goto(f"{url}/{page_name}?run=large")
    page.wait_for_function(drawn)
    page.wait_for_function(QUIET)
    return page, time.perf_counter() - started, read()


def _click(page: Page, places: np.ndarray, row: int, is_chart: bool) -> float:
    """Milliseconds from a click on the point of ``row``, or on one above it, to the panel with its aligned spans."""
    if is_chart:
        x, y = page.evaluate(CHART_POINT, row)
    else:
        box = page.locator(".gsd-scatter canvas.points").bounding_box()
        x, y = big_map_pixels(places, box)[row] + (box["x"], box["y"])
    page.mouse.move(x - 3, y - 3)
    page.mouse.move(x, y, steps=4)
    page.wait_for_selector(".hoverlayer .hovertext" if is_chart else ".gsd-scatter .tip:not([hidden])")
    before = page.evaluate("new URLSearchParams(location.search).get('span')")
    started = time.perf_counter()
    page.mouse.click(x, y)
    page.wait_for_function(ANSWERED, arg=before)
    return 1000 * (time.perf_counter() - started)


def _click_trace(page: Page, number: int) -> float:
    """Milliseconds from a click on a span of the trace that is read to its aligned spans."""
    span = page.locator(f'.gsd-trace [data-span$="#{number}"]')
    span.scroll_into_view_if_needed()
    before = page.evaluate("new URLSearchParams(location.search).get('span')")
    span.hover()  # looking for the place is no part of the answer
    started = time.perf_counter()
    page.mouse.down()
    page.mouse.up()
    page.wait_for_function(ANSWERED, arg=before)
    return 1000 * (time.perf_counter() - started)


def _lasso(page: Page, spans: int) -> float:
    """Milliseconds from letting go of a box around every point to the list of what lies inside."""
    page.get_by_role("button", name="Draw a box around points").click()
    box = page.locator(".gsd-scatter canvas.points").bounding_box()
    page.mouse.move(box["x"] + 8, box["y"] + 8)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 8, box["y"] + box["height"] - 8, steps=5)
    started = time.perf_counter()
    page.mouse.up()
    page.wait_for_selector(f"text=/^{spans:,} spans of [\\d,]+ samples$/ >> visible=true")
    page.wait_for_function(QUIET)
    elapsed_ms = 1000 * (time.perf_counter() - started)
    page.locator(".gsd-scatter .field").press("Escape")  # the next box must not find this one's list
    page.wait_for_selector("text=Press lasso or box")
    return elapsed_ms


def measure(browser: Any, folder: Path, spans: int, is_chart: bool) -> Row:
    """One row."""
    rounds = 3 if spans > 300_000 else 5
    drawn = CHART_DRAWN if is_chart else MAP_DRAWN
    with serving(folder, 10**9 if is_chart else 0) as (url, process):
        page, first_s, _ = _open(browser, url, drawn)
        page.context.close()
        opened = []
        for _ in range(rounds):
            page, drawn_s, down_mb = _open(browser, url, drawn)
            opened.append((drawn_s, down_mb))
            page.context.close()
        page = [_open(browser, url, drawn)[0] for _ in range(SESSIONS)][-1]
        run = Workspace.open(folder).open_run("large")
        places = run.read_points("final")[["x", "y"]].to_numpy(np.float64)
        chosen = np.random.default_rng(0).choice(spans, rounds + 1, replace=False).tolist()
        clicks = [_click(page, places, row, is_chart) for row in chosen][1:]  # the first reads the directions
        lasso = None if is_chart else [_lasso(page, spans) for _ in range(rounds)]
        return Row(
            "Plotly" if is_chart else "scatter",
            spans,
            rounds,
            first_s,
            statistics.median(seconds for seconds, _ in opened),
            statistics.median(megabytes for _, megabytes in opened),
            statistics.median(clicks),
            statistics.median(lasso) if lasso else None,
            memory_mib(process),
            os.getloadavg()[0],
        )


def measure_trace(browser: Any, folder: Path) -> Row:
    """The row of the trace page."""
    with serving(folder, 0) as (url, process):
        page, first_s, _ = _open(browser, url, TRACE_DRAWN, "trace")
        page.context.close()
        opened = [_open(browser, url, TRACE_DRAWN, "trace") for _ in range(5)]
        page = opened[-1][0]
        chosen = np.random.default_rng(0).choice(TRACE_SPANS, 6, replace=False).tolist()
        clicks = [_click_trace(page, number) for number in chosen][1:]
        return Row(
            "trace",
            TRACE_SPANS,
            len(clicks),
            first_s,
            statistics.median(seconds for _, seconds, _ in opened),
            statistics.median(megabytes for _, _, megabytes in opened),
            statistics.median(clicks),
            None,
            memory_mib(process),
            os.getloadavg()[0],
        )


def _cells(row: Row) -> list[str]:
    return [
        row.kind,
        f"{row.spans:,}",
        str(row.rounds),
        f"{row.first_s:.1f}",
        f"{row.drawn_s:.2f}",
        f"{row.down_mb:.2f}",
        f"{row.click_ms:.0f}",
        "–" if row.lasso_ms is None else f"{row.lasso_ms:.0f}",
        f"{row.memory_mib:,.0f}",
        f"{row.load:.1f}",
    ]


def _tell(*cells: str) -> None:
    line = ("{:<8}" + "{:>10}{:>4}" + "{:>15}" * 7).format(*cells)
    print(line, flush=True)  # noqa: T201 - a benchmark prints


def _tell_target(spans: int) -> None:
    if spans in TARGETS:
        _tell("target", f"{spans:,}", "", "", *TARGETS[spans], "")


@contextmanager
def _browsing(path: str | None) -> Iterator[Any]:
    with sync_playwright() as api:
        browser = api.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--folder", type=Path, help="where runs are made and kept; default: a temporary folder")
    parser.add_argument("--no-plotly", action="store_true", help="leave the charts out")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    options = parser.parse_args()
    home = options.folder or Path(tempfile.mkdtemp(prefix="gsd-dashboard-"))
    path = os.environ.get("BROWSER_PATH") or shutil.which("chromium") or shutil.which("google-chrome")
    rows: list[Row] = []
    _tell("map", "spans", "n", "first s", "drawn s", "MB down", "click ms", "box ms", "3 sessions MiB", "load")
    try:
        for spans in options.spans:
            folder = home / str(spans)
            if not (folder / "runs").exists():
                write_large_run(Workspace.open(folder), "large", spans, width=WIDTH)
            _tell_target(spans)
            for is_chart in (False, True)[: 1 if options.no_plotly else 2]:
                with _browsing(path) as browser:
                    rows.append(measure(browser, folder, spans, is_chart))
                _tell(*_cells(rows[-1]))
        folder = home / "traces"
        if not (folder / "runs").exists():
            n_spans = TRACES * TRACE_SPANS
            write_large_run(Workspace.open(folder), "large", n_spans, width=WIDTH, spans_a_sample=TRACE_SPANS)
        _tell_target(TRACE_SPANS)
        with _browsing(path) as browser:
            rows.append(measure_trace(browser, folder))
        _tell(*_cells(rows[-1]))
    finally:
        if options.folder is None:
            shutil.rmtree(home, ignore_errors=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
