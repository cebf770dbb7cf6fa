"""The map of more spans than a chart carries, in a real browser."""

from __future__ import annotations

import io
import re
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
from scipy.spatial import cKDTree

from gsd_core.dashboard.components.scatter.polygons import find_inside
from gsd_core.dashboard.look.colors import ACCENT
from gsd_core.dashboard.map.span_filters import Filter, compute_mask
from gsd_core.dashboard.reading import run_view
from gsd_core.store import Workspace
from tests.browser.flows import BIG_MAP_HOME, big_map_pixels, look_at, query_of, read_color, save_figure
from tests.large_run import write_large_run

pytestmark = pytest.mark.browser

N_SPANS = 60_000
ZOOM = 1.4  # one press, as in scatter.js
DRAWN = """() => document.querySelector('[data-testid="stApp"]')?.dataset.testScriptState === 'notRunning'"""
# Components live in shadow roots, which only locators look into.
INK = """canvas => {
    const copy = Object.assign(document.createElement("canvas"), {width: canvas.width, height: canvas.height});
    const context = copy.getContext("2d");
    context.drawImage(canvas, 0, 0);
    return context.getImageData(0, 0, copy.width, copy.height).data.some(byte => byte > 0);
}"""
NO_WEBGL = """
const before = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...more) {
  return String(kind).startsWith("webgl") ? null : before.call(this, kind, ...more);
};
"""


@pytest.fixture(scope="module")
def large(dashboard, tmp_path_factory) -> tuple[str, run_view.RunView]:
    """Address of a server with the run ``large``, and its view."""
    folder = tmp_path_factory.mktemp("large")
    workspace = Workspace.open(folder)
    write_large_run(workspace, "large", N_SPANS, width=16)
    return dashboard(folder), run_view.load_run_view(workspace.open_run("large"), "final")


def _open(page, url: str, more: str = "") -> dict[str, float]:
    """Go to the map; the place of its field on the screen."""
    page.goto(f"{url}/map?run=large{more}")
    page.wait_for_selector(".gsd-scatter[data-drawn]")
    page.wait_for_function(DRAWN)
    return page.locator(".gsd-scatter canvas.points").bounding_box()


def _pixels(view: run_view.RunView, box: dict[str, float], zoom: float = 1.0) -> np.ndarray:
    return big_map_pixels(view.spans[["x", "y"]].to_numpy(np.float64), box, zoom)


def _find_lonely(pixels: np.ndarray, box: dict[str, float]) -> int:
    """The row farthest from all others, well inside the field."""
    near = cKDTree(pixels).query(pixels, k=2)[0][:, 1]
    size = np.array([box["width"], box["height"]])
    near[((pixels < 20) | (pixels > size - 20)).any(axis=1)] = 0
    return int(near.argmax())


def _draw(page, box: dict[str, float], corners: list[tuple[int, int]]) -> np.ndarray:
    """Draw from corner to corner; where they lay in the field. The mouse moves by whole pixels of the screen."""
    origin = np.array([box["x"], box["y"]])
    places = [np.round(origin + corner) for corner in corners]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place)
    page.mouse.up()
    return np.array(places) - origin


def _count_selected(page) -> int:
    shown = page.wait_for_selector("text=/^[\\d,]+ spans of [\\d,]+ samples$/ >> visible=true").inner_text()
    return int(re.match(r"[\d,]+", shown)[0].replace(",", ""))


def test_points_are_drawn_and_a_click_shows_its_span_and_keeps_the_zoom(page, large):
    url, view = large
    box = _open(page, url)
    assert page.locator(".gsd-scatter canvas.points").evaluate(INK), "the canvas is empty"
    page.get_by_role("button", name="Zoom in").click()
    pixels = _pixels(view, box, ZOOM)
    row = _find_lonely(pixels, box)
    x, y = pixels[row]
    page.mouse.click(box["x"] + x, box["y"] + y)
    page.wait_for_selector("text=Aligned spans of other samples")
    page.wait_for_selector("text=null 95 %")
    assert query_of(page)["span"] == view.spans["span"].iloc[row]
    page.wait_for_selector(f'.gsd-trace [data-span="{view.spans["span"].iloc[row]}"].chosen')
    ring = page.locator('.gsd-scatter .rings circle[r="10"]')
    ring.wait_for()
    at = [float(ring.get_attribute(name)) for name in ("cx", "cy")]
    assert at == pytest.approx([x, y], abs=0.5), "the click threw the map back to where it was"
    assert page.locator('.gsd-scatter .rings circle[r="7"]').count() > 0
    assert page.get_by_role("radio", name="Span").or_(page.get_by_role("button", name="Span")).first.is_visible()
    assert not page.problems, page.problems


def _placed(page, before: np.ndarray | None = None) -> np.ndarray:
    """Where the map's raster of 256² lies in its field, once not ``before``: left, top in pixels, pixels a cell."""
    style = """([element, before]) => {
        const place = (element.style.transform.match(/-?[\\d.]+(e-?\\d+)?/g) ?? []).map(Number);
        return place.length && String(place) !== String(before) ? place : null;
    }"""
    element = page.locator(".gsd-scatter .density").element_handle()
    found = page.wait_for_function(style, arg=[element, None if before is None else before.tolist()])
    return np.array(found.json_value(), float)


def test_dragging_moves_the_map_and_the_wheel_zooms_where_the_mouse_is(page, large):
    url, _ = large
    box = _open(page, url)
    home = _placed(page)
    start = np.round([box["x"] + 300, box["y"] + 200])
    page.mouse.move(*start)
    page.mouse.down()
    end = start + np.array([60, 30])
    page.mouse.move(*end)
    page.mouse.up()
    moved = _placed(page, home)
    assert moved - home == pytest.approx([60, 30, 0, 0], abs=0.1), "left and top follow the mouse, the size stays"
    assert "span=" not in page.url, "a drag chose a span"
    page.mouse.wheel(0, -200)
    zoomed = _placed(page, moved)
    assert zoomed[2] > 1.1 * moved[2]
    mouse = end - (box["x"], box["y"])
    under_mouse = [(mouse - place[:2]) / place[2:] for place in (moved, zoomed)]
    assert under_mouse[1] == pytest.approx(under_mouse[0], abs=0.05), "in cells of the raster"


def test_a_map_whose_graphics_card_was_lost_is_drawn_again(page, large):
    url, _ = large
    _open(page, url)
    canvas = page.locator(".gsd-scatter canvas.points")
    canvas.evaluate(
        """canvas => new Promise(done => {
            const card = canvas.getContext("webgl2").getExtension("WEBGL_lose_context");
            canvas.addEventListener("webglcontextlost", () => setTimeout(() => card.restoreContext()), {once: true});
            canvas.addEventListener("webglcontextrestored", () => requestAnimationFrame(done), {once: true});
            card.loseContext();
        })"""
    )
    assert canvas.evaluate(INK), "the canvas stayed empty"
    assert not page.problems, page.problems


def test_a_lasso_selects_exactly_the_points_inside(page, large):
    url, view = large
    box = _open(page, url)
    page.get_by_role("button", name="Draw around points").click()
    corners = _draw(page, box, [(120, 90), (520, 130), (430, 480), (300, 260), (90, 500)])
    # Coordinates travel with 16 bits, corners with seven digits: a hundredth of a pixel may go either way.
    middle, pixels = corners.mean(axis=0), _pixels(view, box)
    fewest, most = (
        int(find_inside(*pixels.T, middle + (corners - middle) * scale).sum()) for scale in (0.9999, 1.0001)
    )
    assert most - fewest <= 10
    assert fewest <= _count_selected(page) <= most
    page.locator(".gsd-scatter .field").press("Escape")
    page.wait_for_selector("text=Press lasso or box")


def test_a_box_around_everything_selects_what_the_filter_keeps(page, large):
    url, view = large
    n_kept = int(compute_mask(view.spans, Filter(text="divide apples")).sum())
    assert 0 < n_kept < N_SPANS
    box = _open(page, url, "&q=divide+apples")
    page.get_by_role("button", name="Draw a box around points").click()
    _draw(page, box, [(8, 8), (400, 300), (int(box["width"]) - 8, int(box["height"]) - 8)])
    assert _count_selected(page) == n_kept


def test_the_map_by_keyboard_only(page, large):
    url, view = large
    box = _open(page, url)
    field = page.locator(".gsd-scatter .field")
    assert "60,000 spans" in field.get_attribute("aria-label")
    field.focus()
    page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_function("location.search.includes('span=')")
    # The arrow moved the map by a tenth of the field, so that another point is in the middle.
    away = _pixels(view, box, ZOOM) - np.array([0.6 * box["width"], 0.5 * box["height"]])
    nearest = view.spans["span"].iloc[np.argsort(np.hypot(*away.T))[:3]].tolist()
    assert query_of(page)["span"] in nearest


def test_the_map_is_saved_as_picture_and_numbers(page, large):
    url, view = large
    row = 7
    box = _open(page, url, f"&span={quote(view.spans['span'].iloc[row])}")
    page.locator('.gsd-scatter .rings circle[r="10"]').wait_for()
    name, picture = save_figure(page, "map_chart_large", "PNG")
    assert name == "large-final-map-cluster.png"
    width, height, corner, n_ring = look_at(page, picture, read_color(ACCENT))
    assert width == pytest.approx(2 * box["width"], abs=2)
    assert height > 2 * box["height"] + 40, "what the colours mean is not in the picture"
    assert corner == [255, 255, 255, 255], "the picture has no ground to be read on"
    assert n_ring > 200, "the chosen span's ring is not in the picture"
    color = read_color(view.mark(int(view.clusters["cluster"].iloc[0])).color)
    assert look_at(page, picture, color)[3] > 10, "no cluster has its colour in the picture"
    assert page.locator(".gsd-scatter canvas.points").evaluate(INK), "the map on the page is empty afterwards"
    _, table = save_figure(page, "map_chart_large", "CSV")
    assert len(pd.read_csv(io.BytesIO(table))) == view.spans["x"].notna().sum()


def test_another_colour_keeps_the_zoom_and_fetches_no_places(page, large):
    url, _ = large
    _open(page, url)
    page.get_by_role("button", name="Zoom in").click()
    fetched = []
    page.on("request", lambda request: fetched.append(request.url))
    before = page.locator(".gsd-scatter").get_attribute("data-drawn")
    page.get_by_role("combobox", name="Colour by").click()
    page.get_by_role("option", name="Coherence").click()
    page.wait_for_selector(f'.gsd-scatter[data-drawn]:not([data-drawn="{before}"])')
    assert page.locator(".gsd-scatter .bar").is_visible(), "numbers have a scale"
    assert len([url for url in fetched if "/media/" in url]) == 1, fetched
    zoom = page.locator(".gsd-scatter .density").evaluate("element => element.style.transform")
    assert float(re.search(r"scale\(([\d.]+)", zoom)[1]) > BIG_MAP_HOME * ZOOM * 700 / 256


def test_without_webgl_a_sample_is_shown_and_said_to_be_one(page, large):
    page.add_init_script(NO_WEBGL)
    page.goto(f"{large[0]}/map?run=large")
    page.wait_for_selector("text=This browser has no WebGL, which a map of 60,000 spans needs: you see 8,000")
    page.wait_for_selector(".js-plotly-plot .scatterlayer .point")
    shown = page.evaluate(
        "document.querySelector('.js-plotly-plot')._fullData.reduce((n, trace) => n + trace.x.length, 0)"
    )
    assert shown == 8_000


def test_any_of_very_many_samples_is_opened_by_its_name(page, large):
    url, _ = large
    page.goto(f"{url}/trace?run=large")
    page.wait_for_selector('.gsd-trace [data-span="s0#0"]')
    box = page.get_by_role("combobox", name=re.compile("^Sample"))
    box.click()
    assert page.get_by_role("option").count() <= 101, "all six thousand have travelled"
    box.fill("s5000")
    box.press("Enter")
    page.wait_for_selector('.gsd-trace [data-span="s5000#0"]')
    assert query_of(page)["sample"] == "s5000"
    box.click()
    box.fill("no *such* one")
    box.press("Enter")
    page.wait_for_selector("text=This run holds no spans of a sample “no *such* one”.")
    page.wait_for_function(DRAWN)
    assert query_of(page)["sample"] == "s5000", "what is unknown took the place of what was chosen"
    assert box.input_value().startswith("s5000")
    assert page.locator('.gsd-trace [data-span="s5000#0"]').count() == 1
