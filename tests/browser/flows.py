"""What several browser tests do with the map.

query_of             the address' query as a dict
wait_until_idle      no script runs, nothing fades
wait_until_settled   the same, and the first chart has its axes
click_point          click where an expression says a point of the chart lies
open_map             go to the map and wait until it is drawn
open_clusters        go to the list of clusters beside it
click_lonely_point   click the span farthest from all others, so that the click hits it
big_map_pixels       where the points of a big map lie in its field
save_figure          a file that a figure's menu makes
look_at              what is on a picture
read_color           "#rrggbb" as numbers
follow_aligned_span  click a span, see aligned spans of other samples, and follow the first into its trace
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import numpy as np
import pytest

AIMS, HOVER_MS = 12, 15_000
BIG_MAP_HOME = 0.95  # the whole map's scale, as in points.js
IDLE = "document.querySelector('[data-testid=\"stApp\"]')?.dataset.testScriptState === 'notRunning'"
# The page framework fades what a script has not drawn again yet, and fades it back in after the script's end.
OPAQUE = """!document.querySelector('[data-stale="true"]')
    && !document.getAnimations().some(each => each instanceof CSSTransition)"""
# A component that has just loaded may ask for another run, so one idle frame is not enough.
IDLE_LONG = f"""() => {{
    window.idleFrames = ({IDLE} && {OPAQUE}) ? (window.idleFrames ?? 0) + 1 : 0;
    return window.idleFrames >= 15;
}}"""
SETTLED = f"""() => {IDLE}
    && !!document.querySelector('.js-plotly-plot')?._fullLayout?.xaxis?.l2p"""
# A place counts once two looks in a row agree: pages still grow above the chart while they load.
STEADY = """argument => {
    const place = (%s)(argument), before = window.placeBefore;
    window.placeBefore = place;
    return place && before && place.every((x, i) => Math.abs(x - before[i]) < 0.5) ? place : null;
}"""
# Where a span lies on the screen, asked from the chart itself.
PLACE_OF = """([trace, point]) => {
    const chart = document.querySelector('.js-plotly-plot');
    const box = chart.getBoundingClientRect();
    const {xaxis, yaxis} = chart._fullLayout;
    const data = chart._fullData[trace];
    return [box.left + xaxis._offset + xaxis.l2p(data.x[point]),
            box.top + yaxis._offset + yaxis.l2p(data.y[point])];
}"""
LONELY_POINT = """() => {
    const data = document.querySelector('.js-plotly-plot')._fullData;
    const all = data.flatMap((t, i) => Array.from(t.x, (x, j) => [x, t.y[j], i, j]));
    let best = [0, null];
    for (const p of all) {
        if (data[p[2]].name === 'noise' && data.length > 1) continue;
        let near = Infinity;
        for (const q of all) if (q !== p) near = Math.min(near, Math.hypot(p[0] - q[0], p[1] - q[1]));
        if (near > best[0]) best = [near, p];
    }
    return [best[1][2], best[1][3]];
}"""


# How big the picture is, its first pixel, and how many pixels have nearly the wanted colour.
LOOK = """async ([bytes, wanted]) => {
    const image = await createImageBitmap(new Blob([new Uint8Array(bytes)], {type: 'image/png'}));
    const canvas = new OffscreenCanvas(image.width, image.height).getContext('2d');
    canvas.drawImage(image, 0, 0);
    const {data} = canvas.getImageData(0, 0, image.width, image.height);
    let n = 0;
    for (let at = 0; at < data.length; at += 4) {
        if (wanted.every((value, channel) => Math.abs(data[at + channel] - value) < 8)) n += 1;
    }
    return [image.width, image.height, Array.from(data.slice(0, 4)), n];
}"""


def query_of(page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlparse(page.url).query).items()}


def wait_until_idle(page) -> None:
    page.wait_for_selector("h1")
    page.evaluate("window.idleFrames = 0")
    page.wait_for_function(IDLE_LONG)


def wait_until_settled(page) -> None:
    page.wait_for_function(SETTLED)


def click_point(page, place_of: str, argument: object) -> None:
    """Click the chart's point whose place on the screen ``place_of(argument)`` (JavaScript) returns.

    A chart that is drawn anew just when the mouse arrives shows nothing: then aim again.
    """
    playwright = pytest.importorskip("playwright.sync_api")
    for attempt in range(AIMS):
        wait_until_settled(page)
        x, y = page.wait_for_function(STEADY % place_of, arg=argument, polling=100).json_value()
        page.mouse.move(x - 3, y - 3)
        page.mouse.move(x, y, steps=4)
        try:
            page.wait_for_selector(".js-plotly-plot .hoverlayer .hovertext", timeout=HOVER_MS)
        except playwright.TimeoutError:
            if attempt == AIMS - 1:
                raise
            page.mouse.move(1, 1)
            continue
        page.mouse.click(x, y)
        return


def big_map_pixels(places: np.ndarray, box: dict[str, float], zoom: float = 1.0) -> np.ndarray:
    """(n, 2) pixels from the top left corner of the field ``box``, for ``places`` (n, 2) in layout coordinates."""
    low, high = places.min(axis=0), places.max(axis=0)
    planes = 2 * (places - low) / (high - low) - 1
    return (BIG_MAP_HOME * zoom * planes * (1, -1) + 1) / 2 * (box["width"], box["height"])


def open_map(page, url: str, query: str = "run=planted") -> None:
    page.goto(f"{url}/map?{query}")
    page.wait_for_selector("text=random pairs" if "span=" in query else "text=Clusters")
    wait_until_settled(page)


def open_clusters(page) -> None:
    """Go to the list of clusters beside the map."""
    page.get_by_text("Clusters", exact=True).first.click()
    page.wait_for_selector(".gsd-clusters tbody button")
    wait_until_settled(page)


def click_lonely_point(page) -> None:
    """Choose a point of the map; the panel then shows it."""
    click_point(page, PLACE_OF, page.evaluate(LONELY_POINT))
    page.wait_for_url(re.compile("span="))


def follow_aligned_span(page, url: str, query: str) -> None:
    open_map(page, url, query)
    click_lonely_point(page)
    page.wait_for_selector("text=Aligned spans of other samples")
    page.wait_for_selector("text=null 95 %")
    chosen = query_of(page)["span"]
    page.wait_for_selector(f'.gsd-trace [data-span="{chosen}"].chosen')
    page.wait_for_selector(".gsd-rings-overlay circle")
    wait_until_settled(page)  # the list below the trace is drawn last
    linked = page.locator(".gsd-aligned a").first
    target = parse_qs(urlparse(linked.get_attribute("href")).query)["span"][0]
    assert target.split("#")[0] != chosen.split("#")[0], "the first aligned span belongs to the same sample"
    linked.click()
    page.wait_for_url(re.compile("/trace"))
    page.wait_for_selector(f'.gsd-trace [data-span="{target}"].chosen')
    assert not page.problems, page.problems


def save_figure(page, key: str, kind: str) -> tuple[str, bytes]:
    """Name and bytes of a file that the menu of the chart ``key`` makes."""
    page.locator(f".st-key-save_of_{key} button").first.press("Enter")
    entry = page.get_by_role("button", name=kind, exact=True)
    entry.wait_for()
    with page.expect_download() as caught:
        entry.press("Enter")
    page.keyboard.press("Escape")
    page.wait_for_function("!document.querySelector('.gsd-save')")
    return caught.value.suggested_filename, Path(caught.value.path()).read_bytes()


def look_at(page, picture: bytes, color: tuple[float, ...]) -> tuple[int, int, list[int], int]:
    """Width, height, first pixel, and how many pixels have ``color``."""
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    return page.evaluate(LOOK, [list(picture), list(color)])


def read_color(text: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(text.removeprefix("#")))
