"""Figures leave the page as files: pixels, vectors, numbers."""

from __future__ import annotations

import base64
import io
import xml.etree.ElementTree as ET
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest

from gsd_core.dashboard.alignment import alignment_figures
from gsd_core.dashboard.look.colors import ACCENT
from gsd_core.dashboard.look.figure_frame import color_pair
from gsd_core.dashboard.reading import run_view
from gsd_core.dashboard.reading import structure_queries as sq
from gsd_core.dashboard.twins.twins_figures import TWIN
from gsd_core.store import Workspace
from tests import synthetic
from tests.browser.flows import look_at, read_color, save_figure, wait_until_settled
from tests.test_dashboard_structure import plant_structure

pytestmark = pytest.mark.browser

CHECKPOINT = "step-20"
CHOSEN_CELL = "#FACC15"  # as in heat.css
DARK = (16, 20, 31)  # the dark theme's ground
SVG = "{http://www.w3.org/2000/svg}"
SIZE = """key => {
    const {width, height} = document.querySelector(`.st-key-${key} .js-plotly-plot`)._fullLayout;
    return [width, height];
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = synthetic.build_workspace(tmp_path_factory.mktemp("workspace"), n_samples=40)
    plant_structure(made)
    return made


@pytest.fixture(scope="module")
def url(dashboard, folder) -> str:
    return dashboard(folder)


def read_svg(text: bytes) -> ET.Element:
    """The root of an SVG file that runs nothing."""
    root = ET.fromstring(text)
    assert root.tag == f"{SVG}svg"
    for element in root.iter():
        assert not element.tag.endswith("script")
        assert not [name for name in element.attrib if name.lower().startswith("on")], element.attrib
    return root


def decode(image: ET.Element) -> bytes:
    """The picture inside an SVG's ``image``."""
    address = next(value for name, value in image.attrib.items() if name.endswith("href"))
    return base64.b64decode(address.removeprefix("data:image/png;base64,"))


def words_of(root: ET.Element) -> str:
    return " ".join("".join(text.itertext()) for text in root.iter(f"{SVG}text"))


def open_page(page, url: str, name: str) -> None:
    page.goto(f"{url}/{name}?run=planted&checkpoint={CHECKPOINT}")
    wait_until_settled(page)


def test_a_figure_of_lines_is_saved_in_three_formats(page, url, folder):
    open_page(page, url, "alignment")
    key = "alignment_cosines"
    page.wait_for_selector(f".st-key-{key} .js-plotly-plot .xtitle")
    name, picture = save_figure(page, key, "PNG")
    assert name == "planted-step-20-cosines.png"
    width, height, corner, n_drawn = look_at(page, picture, read_color(alignment_figures.INK))
    assert (width, height) == pytest.approx([2 * side for side in page.evaluate(SIZE, key)], abs=2)
    assert n_drawn > 50, "the means are not in the picture"
    assert corner == [255, 255, 255, 255], "the picture has no ground to be read on"
    opener = page.locator(f".st-key-save_of_{key} button:focus")
    assert opener.count() == 1, "who saved by keyboard has fallen out of the page"
    name, drawing = save_figure(page, key, "SVG")
    assert name == "planted-step-20-cosines.svg"
    assert "centred cosine" in words_of(read_svg(drawing))
    name, table = save_figure(page, key, "CSV")
    assert name == "planted-step-20-cosines.csv"
    stored = sq.load_structure(Workspace.open(folder).open_run("planted"), CHECKPOINT).cosines
    pd.testing.assert_frame_equal(pd.read_csv(io.BytesIO(table)), stored.reset_index(drop=True), check_dtype=False)
    assert not page.problems, page.problems


def test_the_heat_map_is_saved_as_picture_and_numbers(page, url, folder):
    open_page(page, url, "alignment")
    page.locator(".gsd-heat canvas.cells").wait_for()
    name, picture = save_figure(page, "alignment_heat", "PNG")
    assert name.startswith("planted-step-20-")
    box = page.locator(".gsd-heat canvas.cells").bounding_box()
    width, height, corner, n_drawn = look_at(page, picture, read_color(color_pair(1)))
    assert (width, height) == pytest.approx((2 * box["width"], 2 * box["height"]), abs=4)
    assert corner == [255, 255, 255, 255], "the picture has no ground to be read on"
    assert n_drawn > 100, "the framed cells are not in the picture"
    assert look_at(page, picture, read_color(CHOSEN_CELL))[3] > 100, "the chosen cell is not in the picture"
    _, table = save_figure(page, "alignment_heat", "CSV")
    first = sq.load_structure(Workspace.open(folder).open_run("planted"), CHECKPOINT).twins.iloc[0]
    rows = pd.read_csv(io.BytesIO(table), keep_default_na=False)
    assert len(rows) == rows["span_a"].nunique() * rows["span_b"].nunique()
    assert {span.rpartition("#")[0] for span in rows["span_a"]} == {first["a"]}
    assert (rows["pair"] != "").sum() == first["n_aligned"]
    assert not page.problems, page.problems


def test_the_rings_of_a_chart_are_in_its_picture(page, url, folder):
    """They lie over it in a drawing of their own."""
    span = run_view.load_run_view(Workspace.open(folder).open_run("planted"), CHECKPOINT).spans["span"].iloc[3]
    page.goto(f"{url}/map?run=planted&checkpoint={CHECKPOINT}&span={quote(span)}")
    wait_until_settled(page)
    page.wait_for_selector(".gsd-rings-overlay circle", state="attached")
    _, picture = save_figure(page, "map_chart_planted", "PNG")
    assert look_at(page, picture, read_color(ACCENT))[3] > 100, "the chosen span's ring is not in the picture"
    shapes = page.evaluate("(document.querySelector('.js-plotly-plot').layout.shapes ?? []).length")
    assert shapes == 0, "the figure on the page was changed by saving it"
    assert not page.problems, page.problems


def test_a_figure_of_webgl_points_is_saved_in_three_formats(page, url, folder):
    open_page(page, url, "twins")
    key = "twins_quadrants"
    _, picture = save_figure(page, key, "PNG")
    _, drawing = save_figure(page, key, "SVG")
    root = read_svg(drawing)
    assert "structural: aligned run" in words_of(root)
    color = read_color(TWIN)
    layers = [decode(image) for image in root.iter(f"{SVG}image")]
    in_layers = [look_at(page, layer, color)[3] for layer in layers]
    assert max(in_layers, default=0) > 100, "the points are not in the drawing"
    assert look_at(page, picture, color)[3] > max(in_layers), "the points are not in the picture"
    _, table = save_figure(page, key, "CSV")
    structure = sq.load_structure(Workspace.open(folder).open_run("planted"), CHECKPOINT)
    assert len(pd.read_csv(io.BytesIO(table))) == len(structure.pairs) + len(structure.twins)
    assert not page.problems, page.problems


def test_a_figure_in_the_dark_is_saved_on_dark_ground(browser, url, folder):
    context = browser.new_context(color_scheme="dark", viewport={"width": 1280, "height": 900})
    context.set_default_timeout(180_000)
    page = context.new_page()
    open_page(page, url, "map")
    _, picture = save_figure(page, "map_chart_planted", "PNG")
    view = run_view.load_run_view(Workspace.open(folder).open_run("planted"), CHECKPOINT)
    color = read_color(view.mark(int(view.clusters["cluster"].iloc[0])).color)
    # Points cover most of what lies below them.
    mixed = [0.85 * value + 0.15 * below for value, below in zip(color, DARK, strict=True)]
    *_, corner, n_drawn = look_at(page, picture, tuple(mixed))
    assert corner == [*DARK, 255], "pale letters on a transparent or white ground cannot be read"
    assert n_drawn > 100, "the points are not in the picture"
    name, table = save_figure(page, "map_chart_planted", "CSV")
    assert name == "planted-step-20-map-cluster.csv"
    rows = pd.read_csv(io.BytesIO(table))
    assert rows["span"].tolist() == view.spans.loc[view.spans["x"].notna(), "span"].tolist()
    np.testing.assert_allclose(rows["x"], view.spans["x"].dropna(), rtol=1e-6)
    context.close()


def test_plotlys_own_camera_is_not_seen(page, url):
    """Its bar must hold it, for the menu presses it; a second way to save would be one too many."""
    open_page(page, url, "map")
    page.locator(".js-plotly-plot").hover()
    page.locator('.js-plotly-plot .modebar-btn[data-val="pan"]').wait_for()
    cameras = page.locator('.js-plotly-plot .modebar-btn[data-title^="Download plot"]')
    assert cameras.count() == 1
    assert not cameras.first.is_visible()
