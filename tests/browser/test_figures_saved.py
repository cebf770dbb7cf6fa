"""Figures leave the page as files: pixels, vectors, numbers."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gsd_core.dashboard import queries
from gsd_core.dashboard import structure_queries as sq
from gsd_core.store import Workspace
from tests import synthetic
from tests.browser.flows import wait_until_settled
from tests.test_dashboard_structure import plant_structure

pytestmark = pytest.mark.browser

CHECKPOINT = "step-20"
SVG = "{http://www.w3.org/2000/svg}"
# How many colours the picture has, how big it is, and how light its first pixel.
LOOK = """async bytes => {
    const image = await createImageBitmap(new Blob([new Uint8Array(bytes)], {type: 'image/png'}));
    const canvas = new OffscreenCanvas(image.width, image.height).getContext('2d');
    canvas.drawImage(image, 0, 0);
    const {data} = canvas.getImageData(0, 0, image.width, image.height);
    const colors = new Set(new Uint32Array(data.buffer));
    return [image.width, image.height, colors.size, Array.from(data.slice(0, 4))];
}"""
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


def save(page, key: str, kind: str) -> tuple[str, bytes]:
    """Name and bytes of a file that the menu of the chart ``key`` makes."""
    entry = page.get_by_role("button", name=kind, exact=True)
    if not entry.count():
        page.locator(f".st-key-save_of_{key} button").first.press("Enter")
    entry.wait_for()
    with page.expect_download() as caught:
        entry.press("Enter")
    page.keyboard.press("Escape")
    page.wait_for_function("!document.querySelector('.gsd-save')")
    return caught.value.suggested_filename, Path(caught.value.path()).read_bytes()


def look_at(page, picture: bytes) -> tuple[int, int, int, list[int]]:
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    return page.evaluate(LOOK, list(picture))


def read_svg(text: bytes) -> ET.Element:
    """The root of an SVG file that runs nothing."""
    root = ET.fromstring(text)
    assert root.tag == f"{SVG}svg"
    for element in root.iter():
        assert not element.tag.endswith("script")
        assert not [name for name in element.attrib if name.lower().startswith("on")], element.attrib
    return root


def words_of(root: ET.Element) -> str:
    return " ".join("".join(text.itertext()) for text in root.iter(f"{SVG}text"))


def open_page(page, url: str, name: str) -> None:
    page.goto(f"{url}/{name}?run=planted&checkpoint={CHECKPOINT}")
    wait_until_settled(page)


def test_a_figure_of_lines_is_saved_in_three_formats(page, url, folder):
    open_page(page, url, "alignment")
    key = "alignment_cosines"
    page.wait_for_selector(f".st-key-{key} .js-plotly-plot .xtitle")
    name, picture = save(page, key, "PNG")
    assert name == "planted-step-20-cosines.png"
    width, height, n_colors, corner = look_at(page, picture)
    assert (width, height) == pytest.approx([2 * side for side in page.evaluate(SIZE, key)], abs=2)
    assert n_colors > 10
    assert corner == [255, 255, 255, 255], "the picture has no ground to be read on"
    name, drawing = save(page, key, "SVG")
    assert name == "planted-step-20-cosines.svg"
    assert "centred cosine" in words_of(read_svg(drawing))
    name, table = save(page, key, "CSV")
    assert name == "planted-step-20-cosines.csv"
    stored = sq.load_structure(Workspace.open(folder).open_run("planted"), CHECKPOINT).cosines
    pd.testing.assert_frame_equal(
        pd.read_csv(io.BytesIO(table)), stored.reset_index(drop=True), check_dtype=False
    )
    assert not page.problems, page.problems


def test_a_figure_of_webgl_points_is_saved_in_three_formats(page, url, folder):
    open_page(page, url, "twins")
    key = "twins_quadrants"
    _, picture = save(page, key, "PNG")
    colors = look_at(page, picture)[2]
    assert colors > 10
    _, drawing = save(page, key, "SVG")
    root = read_svg(drawing)
    assert "structural: aligned run" in words_of(root)
    images = list(root.iter(f"{SVG}image"))
    assert images, "the points are not in the drawing"
    _, table = save(page, key, "CSV")
    structure = sq.load_structure(Workspace.open(folder).open_run("planted"), CHECKPOINT)
    assert len(pd.read_csv(io.BytesIO(table))) == len(structure.pairs) + len(structure.twins)
    assert not page.problems, page.problems


def test_a_figure_in_the_dark_is_saved_on_dark_ground(browser, url, folder):
    context = browser.new_context(color_scheme="dark", viewport={"width": 1280, "height": 900})
    context.set_default_timeout(180_000)
    page = context.new_page()
    open_page(page, url, "map")
    _, picture = save(page, "map_chart_planted", "PNG")
    *_, n_colors, corner = look_at(page, picture)
    assert corner == [16, 20, 31, 255], "pale letters on a transparent or white ground cannot be read"
    assert n_colors > 10
    name, table = save(page, "map_chart_planted", "CSV")
    assert name == "planted-step-20-map-cluster.csv"
    view = queries.load_run_view(Workspace.open(folder).open_run("planted"), CHECKPOINT)
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
