"""Take the README's screenshots from a running dashboard: ``python docs/take_screenshots.py http://127.0.0.1:8501``."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).parent / "images"
PAGES = {
    "map": "map?run=demo&span=demo-train-00228%232",
    "trace": "trace?run=demo&sample=demo-train-00228&span=demo-train-00228%232",
    "twins": "twins?run=demo",
    "stresses": "stresses?run=demo",
    "alignment": "alignment?run=demo",
    "timeline": "timeline?run=demo",
    "evidence": "evidence?run=demo",
    "overview": "",
    "data": "data",
}


def main(address: str) -> None:
    """Write one PNG a page into ``docs/images``."""
    IMAGES.mkdir(exist_ok=True)
    browser = os.environ.get("BROWSER_PATH") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        page = chromium.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(60_000)
        for name, path in PAGES.items():
            page.set_viewport_size({"width": 1400, "height": 1420 if name == "twins" else 1000})
            page.goto(f"{address}/{path}")
            if "span=" in path:
                page.wait_for_selector("text=random pairs")
            if name not in ("overview", "data", "trace"):
                page.wait_for_function("!!document.querySelector('.js-plotly-plot')?._fullLayout?.xaxis?.l2p")
            page.wait_for_load_state("networkidle")
            page.wait_for_timeout(3000)  # figures below the first one, and their fonts
            page.screenshot(path=str(IMAGES / f"{name}.png"))
        chromium.close()


if __name__ == "__main__":
    main(sys.argv[1])
