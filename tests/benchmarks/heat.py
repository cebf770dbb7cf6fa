"""The alignment page's heat map at 20², 500² and 1,000² cells, in a browser, beside a page that draws nothing.

    python -m tests.benchmarks.heat [--spans 20 500 1000] [--rounds 5]

Synthetic runs (``tests/large_run.py``) of four traces with so many spans each, 512 numbers a direction. *drawn*: a
fresh browser session on a server that has read the run, from the address to the drawn map; *rest*: to a page with all
its charts; *alone*: to the same map drawn on a page that holds nothing else; *help*: to the whole of the page Help.
*click*: from a click on a cell to the panel with its two spans;
*down*: bytes of the cells. Prints what it finds with the load of the machine, and asserts nothing.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from playwright.sync_api import Page, sync_playwright

from gsd_core.dashboard.reading.structure_queries import TABLES
from gsd_core.methods.analyze_method import STRUCTURE
from gsd_core.store import Workspace
from tests.benchmarks.dashboard import QUIET, WIDTH, WITHIN, serving
from tests.large_run import write_large_run

N_TRACES = 4
TWIN = {
    "rank": 1,
    "structural": 0.5,
    "semantic": 0.1,
    "q_value": 0.01,
    "z_structural": 3.0,
    "z_semantic": -1.0,
}
HEAT_DRAWN = f"() => {WITHIN % '.gsd-heat[data-drawn]'}"
HELP_DRAWN = "() => document.body.textContent.includes('What is not claimed')"
WHOLE = f"""() => ({QUIET})() && document.querySelectorAll('.js-plotly-plot .main-svg').length > 0"""
ANSWERED = """([i, j, n]) => new URLSearchParams(location.search).get('cell') === `${i}-${j}`
    && [i, j].every((k) => [...document.querySelectorAll('p')].some(
        (p) => p.offsetParent && p.textContent.includes(`span ${k} of ${n}`)))
    && document.querySelector('[data-testid="stApp"]').dataset.testScriptState === 'notRunning'"""


ALONE = """
import numpy as np
from gsd_core.dashboard.components.heat import HeatMap, plot_heat
cosines = np.load(%r)
names = [str(number) for number in range(1, len(cosines) + 1)]
heat = HeatMap(cosines, (names, names), ("a", "b"), [], pair_kind="", threshold=0.1)
plot_heat(heat, key="alone", chosen=(0, 0), turn=0, on_choose=lambda i, j: None)
"""


def write_traces(folder: Path, n: int) -> None:
    """A run of long traces; the first two are a stored twin with every fifth span aligned."""
    workspace = Workspace.open(folder)
    write_large_run(workspace, "large", N_TRACES * n, width=WIDTH, n_clusters=20, spans_a_sample=n)
    aligned = [[k, k, 0.5] for k in range(0, n, 5)]
    twins = pd.DataFrame(
        [{**TWIN, "a": "s0", "b": "s1", "n_aligned": len(range(0, n, 5)), "aligned": aligned}]
    ).reindex(columns=STRUCTURE.names("twins"))
    tables = {name: pd.DataFrame(columns=STRUCTURE.names(name)) for name in TABLES}
    cosines = pd.DataFrame({"kind": ["spans"] * 50, "cosine": np.linspace(-0.2, 0.2, 50)})
    info = {"n_twins": 1, "n_stresses": 0, "twins": {}}
    run = workspace.open_run("large")
    run.results.write(STRUCTURE, {**tables, "twins": twins, "cosines": cosines}, info, "final")


def _open(browser: Any, address: str, drawn: str, rest: str) -> tuple[Page, float, float]:
    """A fresh browser session: page, seconds until ``drawn`` is there, and until ``rest`` holds."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(120_000)
    started = time.perf_counter()
    page.goto(address)
    page.wait_for_function(drawn)
    drawn_s = time.perf_counter() - started
    page.wait_for_function(rest)
    return page, drawn_s, time.perf_counter() - started


def _click(page: Page, n: int, share: float) -> float:
    """Milliseconds from a click that lies ``share`` of the way along the diagonal to the panel with its spans."""
    box = page.locator(".gsd-heat canvas.cells").bounding_box()
    page.mouse.move(box["x"] + 70 + share * (box["width"] - 230), box["y"] + 12 + share * (box["height"] - 80))
    page.wait_for_selector(".gsd-heat .tip:not([hidden])")
    started = time.perf_counter()
    page.mouse.down()
    page.mouse.up()
    cell = [int(number) for number in re.findall(r"\d+", page.locator(".gsd-heat .line").inner_text())[:2]]
    page.wait_for_function(ANSWERED, arg=[*cell, n])
    return 1000 * (time.perf_counter() - started)


def measure(browser: Any, folder: Path, n: int, rounds: int) -> list[str]:
    """One row of the table."""
    cosines, script = folder / "cosines.npy", folder / "alone.py"
    np.save(cosines, np.random.default_rng(0).uniform(-1, 1, (n, n)).astype(np.float32))
    script.write_text(ALONE % str(cosines), encoding="utf-8")
    with serving(folder) as (url, _), serving(folder, app=str(script)) as (alone, _):
        address = f"{url}/alignment?run=large&a=s0&b=s1"
        _open(browser, address, HEAT_DRAWN, WHOLE)[0].context.close()  # reads the run
        seconds: dict[str, list[float]] = {"drawn": [], "rest": [], "alone": [], "help": []}
        clicks = []
        for number in range(rounds):
            page, _, rest_s = _open(browser, f"{url}/help", HELP_DRAWN, QUIET)
            seconds["help"].append(rest_s)
            page.context.close()
            page, drawn_s, _ = _open(browser, alone, HEAT_DRAWN, QUIET)
            seconds["alone"].append(drawn_s)
            page.context.close()
            page, drawn_s, rest_s = _open(browser, address, HEAT_DRAWN, WHOLE)
            seconds["drawn"].append(drawn_s)
            seconds["rest"].append(rest_s)
            clicks += [_click(page, n, (number + k / 4 + 0.1) / (rounds + 1)) for k in range(3)]
            page.context.close()
        median = {name: statistics.median(took) for name, took in seconds.items()}
        return [
            f"{n:,} × {n:,}",
            f"{median['drawn']:.2f}",
            f"{median['rest']:.2f}",
            f"{median['alone']:.2f}",
            f"{median['help']:.2f}",
            f"{statistics.median(clicks):.0f}",
            f"{min(clicks):.0f}",
            f"{n * n / 1e6:.2f}",
            f"{os.getloadavg()[0]:.1f}",
        ]


def _tell(cells: list[str]) -> None:
    print(("{:>15}" + "{:>12}" * 8).format(*cells), flush=True)  # noqa: T201 - a benchmark prints


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, nargs="+", default=[20, 500, 1_000])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    path = os.environ.get("BROWSER_PATH") or shutil.which("chromium") or shutil.which("google-chrome")
    _tell(["cells", "drawn s", "rest s", "alone s", "help s", "click ms", "fastest ms", "MB down", "load"])
    for n in options.spans:
        with tempfile.TemporaryDirectory(prefix="gsd-heat-") as name, sync_playwright() as api:
            write_traces(Path(name), n)
            browser = api.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
            _tell(measure(browser, Path(name), n, options.rounds))
            browser.close()


if __name__ == "__main__":
    main()
