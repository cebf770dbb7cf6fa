"""Take the screenshots of README and tutorial from a running dashboard.

    python docs/take_screenshots.py http://127.0.0.1:8501 [NAME …]

The workspace must hold the runs of ``gsd demo`` and, for the names that begin so, those of ``docs/tutorial.md``.

SHOTS   what is shown, by the image's name
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import Page, sync_playwright

DOCS = Path(__file__).parent
SAMPLE, SPAN = "demo-train-00628", "demo-train-00628%232"
PROOFS = "run=proofs&checkpoint=step-03600"


class Shot(NamedTuple):
    """A page's address; what stands there once it is whole; what is uploaded or pressed before the shot."""

    path: str
    ready: str
    height: int = 1000
    press: str = ""
    upload: str = ""


SHOTS = {
    "overview": Shot("", "text=Data sets", 800),
    "map": Shot("map?run=gsm8k&checkpoint=step-00000&span=gsm8k-test-79%231", "text=random pairs"),
    "trace": Shot(f"trace?run=demo&sample={SAMPLE}&span={SPAN}", "text=random pairs"),
    "alignment": Shot("alignment?run=demo", "text=Layer by layer"),
    "stresses": Shot("stresses?run=demo", ".js-plotly-plot"),
    "twins": Shot("twins?run=demo&words=other", ".js-plotly-plot", 1420),
    "timeline": Shot("timeline?run=demo", ".js-plotly-plot"),
    "evidence": Shot("evidence?run=gsm8k&checkpoint=step-00000", "text=Cosines across samples"),
    "pins": Shot(
        f"map?run=demo&span={SPAN}&pins={SPAN}%1Fdemo-train-00204%232%1F{SAMPLE}%231",
        "text=random pairs",
        press="Pinned (3)",
    ),
    "data": Shot("data", "input[type=file]", upload="problems.jsonl"),
    "help": Shot("help", "text=What is not claimed"),
    "tutorial-map": Shot(f"map?{PROOFS}&color=meta.step_types&span=ProntoQA_1%232&words=other", "text=random pairs"),
    "tutorial-twins": Shot(f"twins?{PROOFS}&words=other", ".js-plotly-plot", 1420),
    "tutorial-evidence": Shot(f"evidence?{PROOFS}", "text=Cosines across samples", 760),
}
# No script runs, nothing waits for data, and every figure has its axes.
WHOLE = """() => document.querySelector('[data-testid="stApp"]')?.dataset.testScriptState === 'notRunning'
    && !document.querySelector('[data-testid="stSkeleton"], [data-testid="stSpinner"]')
    && [...document.querySelectorAll('.js-plotly-plot')].every(each => each._fullLayout?._size)"""
LOOKS, BETWEEN_MS = 40, 400


def _shoot(page: Page) -> bytes:
    """The page as PNG, once two looks in a row are the same: fonts and figures come after the page's script."""
    before = b""
    for _ in range(LOOKS):
        page.wait_for_function(WHOLE)
        picture = page.screenshot()
        if picture == before:
            return picture
        before = picture
        page.wait_for_timeout(BETWEEN_MS)
    raise SystemExit(f"{page.url} does not come to rest")


def _find_file(name: str) -> str:
    """The text of a file that docs/commands.md shows."""
    found = re.search(rf"```\w+ {re.escape(name)}\n(.*?)```", (DOCS / "commands.md").read_text("utf-8"), re.DOTALL)
    if found is None:
        raise SystemExit(f"docs/commands.md shows no {name}")
    return found[1]


def _take(page: Page, address: str, shot: Shot) -> bytes:
    page.set_viewport_size({"width": 1400, "height": shot.height})
    page.goto(f"{address}/{shot.path}")
    page.wait_for_selector(shot.ready, state="attached")
    if shot.upload:
        text = _find_file(shot.upload).encode()
        page.set_input_files("input[type=file]", {"name": shot.upload, "mimeType": "application/json", "buffer": text})
        page.wait_for_selector("text=What was understood")
    if shot.press:
        page.get_by_role("button", name=shot.press).click()
        page.get_by_role("dialog").locator(".js-plotly-plot").wait_for()
    return _shoot(page)


def main(address: str, names: list[str]) -> None:
    """Write the named screenshots, or all, into ``docs/images``."""
    browser = os.environ.get("BROWSER_PATH") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        for name in names or SHOTS:
            page = chromium.new_page()
            page.set_default_timeout(120_000)
            (DOCS / "images" / f"{name}.png").write_bytes(_take(page, address, SHOTS[name]))
            page.close()
        chromium.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
