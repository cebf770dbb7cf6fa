"""Every page of the dashboard on one run, in a browser: how long it takes to be at rest, and what the server holds.

    python -m tests.benchmarks.pages --workspace DIR --run NAME [--rounds 3]

The run is one that ``gsd analyze`` has been through, so that no page is empty; ``tests.benchmarks.dashboard --folder``
leaves runs of up to a million spans to begin with. *first*: the first visit to a fresh server, in the order of the
table, so that what one page has read the next one finds; *again*: the median of later visits, each a browser session
of its own. Prints what it finds with the load of the machine, and asserts nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from gsd_core.dashboard.map.big_map import LARGEST_CHART
from tests.benchmarks.dashboard import QUIET, memory_mib, serving

PAGES = ("map", "trace", "alignment", "stresses", "twins", "timeline", "evidence", "data", "help", "")
# No chart, component or list may still be on its way: the page has been at rest for so long.
REST_MS = 700
AT_REST = f"""() => {{
    if (!({QUIET})() || !document.querySelector('h1')) {{ window.restSince = null; return false; }}
    window.restSince ??= performance.now();
    return performance.now() - window.restSince > {REST_MS};
}}"""


def _visit(browser: Any, address: str) -> float:
    """Seconds from the address to the beginning of rest."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(300_000)
    started = time.perf_counter()
    page.goto(address)
    page.wait_for_function(AT_REST)
    elapsed = time.perf_counter() - started - REST_MS / 1000
    page.context.close()
    return elapsed


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    path = os.environ.get("BROWSER_PATH") or shutil.which("chromium") or shutil.which("google-chrome")
    row = "{:<10}" + "{:>12}" * 4
    print(row.format("page", "first s", "again s", "memory MiB", "load"), flush=True)  # noqa: T201
    with sync_playwright() as api, serving(options.workspace, LARGEST_CHART) as (url, process):
        browser = api.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        first = {page: _visit(browser, f"{url}/{page}?run={options.run}") for page in PAGES}
        for page in PAGES:
            again = [_visit(browser, f"{url}/{page}?run={options.run}") for _ in range(options.rounds)]
            cells = [f"{first[page]:.2f}", f"{statistics.median(again):.2f}", f"{memory_mib(process):,.0f}"]
            print(row.format(page or "overview", *cells, f"{os.getloadavg()[0]:.1f}"), flush=True)  # noqa: T201
        browser.close()


if __name__ == "__main__":
    main()
