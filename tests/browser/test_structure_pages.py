"""What people do with stresses, twins and alignment, done in a real browser."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from gsd_core.dashboard.reading import structure_queries as sq
from gsd_core.store import Workspace
from tests import synthetic
from tests.browser.flows import IDLE, click_point, query_of, wait_until_settled
from tests.test_dashboard_structure import plant_structure

pytestmark = pytest.mark.browser

OF_RUN = "run=planted&checkpoint=step-20"
# Where the point that carries a row lies on the screen; d2p also knows logarithmic axes.
PLACE_OF_ROW = """row => {
    const chart = document.querySelector('.js-plotly-plot');
    const box = chart.getBoundingClientRect();
    const {xaxis, yaxis} = chart._fullLayout;
    for (const data of chart._fullData) {
        const point = Array.from(data.customdata ?? []).indexOf(row);
        if (point < 0) continue;
        return [box.left + xaxis._offset + xaxis.d2p(data.x[point]),
                box.top + yaxis._offset + yaxis.d2p(data.y[point])];
    }
    return null;
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = synthetic.build_workspace(tmp_path_factory.mktemp("workspace"), n_samples=40)
    plant_structure(made)
    return made


@pytest.fixture(scope="module")
def structure(folder) -> sq.Structure:
    return sq.load_structure(Workspace.open(folder).open_run("planted"), "step-20")


@pytest.fixture(scope="module")
def url(dashboard, folder) -> str:
    return dashboard(folder)


def open_page(page, url: str, name: str, query: str = OF_RUN) -> None:
    page.goto(f"{url}/{name}?{query}")
    wait_until_settled(page)


def click_row(page, row: int) -> None:
    """Click the figure's point that carries ``row``."""
    click_point(page, PLACE_OF_ROW, row)


def open_heat(page, url: str) -> None:
    open_page(page, url, "alignment")
    page.wait_for_selector(".gsd-heat[data-drawn]")


def frame_of(page, name: str) -> list[float]:
    box = page.locator(f".gsd-heat .frame.{name}").bounding_box()
    return [box[side] for side in ("x", "y", "width", "height")]


def cell_of(page, i: int, j: int) -> list[float]:
    """Left, top, width and height of a cell; told by the cursor, which the keys move."""
    page.locator(".gsd-heat .map").focus()
    page.keyboard.press("Control+Home")
    for _ in range(i):
        page.keyboard.press("ArrowDown")
    for _ in range(j):
        page.keyboard.press("ArrowRight")
    return frame_of(page, "cursor")


def click_cell(page, i: int, j: int) -> None:
    x, y, width, height = cell_of(page, i, j)
    page.mouse.click(x + width / 2, y + height / 2)


def lonely_twin(structure: sq.Structure) -> int:
    """A twin apart from all others, so that the click hits it."""
    twins = structure.twins
    places = twins[["semantic", "structural"]].to_numpy() / twins[["semantic", "structural"]].to_numpy().std(axis=0)
    nearest = [sorted(((places - place) ** 2).sum(axis=1))[1] for place in places]
    nearest[0] = 0  # the one that is open already
    return int(max(range(len(nearest)), key=nearest.__getitem__))


def test_a_click_on_a_twin_opens_two_traces_with_linked_spans(page, url, structure):
    open_page(page, url, "twins")
    row = lonely_twin(structure)
    twin = structure.twins.iloc[row]
    click_row(page, row)
    page.wait_for_selector(f"text=Twin {row + 1}: {twin['a']} ↔ {twin['b']}")
    assert (query_of(page)["a"], query_of(page)["b"]) == (twin["a"], twin["b"]), "a copied link would open another pair"
    page.wait_for_selector(f".gsd-pair path[data-link='{twin['n_aligned'] - 1}']", state="attached")
    assert page.locator(".gsd-pair path").count() == twin["n_aligned"]
    for side in ("left", "right"):
        assert page.locator(f".gsd-pair .{side} .span.aligned").count() == twin["n_aligned"]
    page.wait_for_selector(".gsd-rings-overlay circle")
    assert not page.problems, page.problems


def test_lines_join_the_spans_they_belong_to(page, url, structure):
    open_page(page, url, "twins")
    page.wait_for_selector(".gsd-pair path", state="attached")
    apart = page.locator(".gsd-pair").evaluate("""pair => {
        const frame = pair.getBoundingClientRect();
        return Array.from(pair.querySelectorAll('path'), path => {
            const ends = [path.getPointAtLength(0), path.getPointAtLength(path.getTotalLength())];
            return ['left', 'right'].map((side, at) => {
                const span = pair.querySelector(`.${side} [data-link="${path.dataset.link}"]`);
                const box = span.getBoundingClientRect();
                return Math.abs(box.top + box.height / 2 - frame.top - ends[at].y);
            });
        }).flat();
    }""")
    assert len(apart) == 2 * structure.twins["n_aligned"].iloc[0]
    assert max(apart) < 2, "a line ends beside another span"


def test_other_words_are_a_switch_that_a_link_carries(page, url, structure):
    open_page(page, url, "twins")
    page.wait_for_selector(f"text=of {len(structure.twins)} twins")
    page.get_by_text("In other words").click()
    page.wait_for_selector(f"text=of {len(structure.rewordings)} twins")
    assert query_of(page)["words"] == "other"
    page.reload()
    page.wait_for_selector(f"text=of {len(structure.rewordings)} twins")
    assert not page.problems, page.problems


def test_two_traces_can_be_read_by_keyboard(page, url, structure):
    open_page(page, url, "twins")
    page.wait_for_selector(".gsd-pair path", state="attached")
    twin = structure.twins.iloc[0]
    page.locator(".gsd-pair .left .span").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    focused = page.locator(".gsd-pair .span:focus").get_attribute("data-span")
    assert focused == f"{twin['b']}#1", "right does not go to the aligned span"
    page.keyboard.press("Enter")
    page.wait_for_function("location.search.includes('pair=')")
    for span in (f"{twin['a']}#1", f"{twin['b']}#1"):
        page.wait_for_selector(f'.gsd-pair [data-span="{span}"].chosen')
    page.wait_for_selector("text=aligned pair B")


def test_a_span_of_two_traces_opens_in_its_own(page, url, structure):
    open_page(page, url, "twins")
    span = f"{structure.twins['b'].iloc[0]}#1"
    page.locator(".gsd-pair .right .number").nth(1).click()
    page.wait_for_url(re.compile("/trace"))
    page.wait_for_selector(f'.gsd-trace [data-span="{span}"].chosen')


def test_the_address_of_a_span_is_a_link(page, url, structure):
    """It can be opened in a new tab, and it leads to the same place."""
    open_page(page, url, "twins")
    link = page.locator(".gsd-pair .left .number").nth(0).evaluate("link => link.href")
    assert f"span={quote(structure.twins['a'].iloc[0] + '#0', safe='')}" in link
    page.goto(link)
    page.wait_for_selector(f'.gsd-trace [data-span="{structure.twins["a"].iloc[0]}#0"].chosen')


def test_a_click_on_a_cell_shows_its_two_spans(page, url, structure):
    open_heat(page, url)
    twin = structure.twins.iloc[0]
    n_b = int(twin["n_aligned"])
    click_cell(page, 1, 0)
    page.wait_for_function("location.search.includes('cell=2-1')")
    page.wait_for_selector(f"text=/span 2 of {n_b}/")
    page.wait_for_selector(f"text=/span 1 of {n_b}/")
    assert frame_of(page, "chosen") == pytest.approx(cell_of(page, 1, 0), abs=1)
    page.get_by_role("link", name="Open in its trace").nth(1).click()
    page.wait_for_url(re.compile("/trace"))
    page.wait_for_selector(f'.gsd-trace [data-span="{twin["b"]}#0"].chosen')
    assert not page.problems, page.problems


def test_cells_are_reached_and_chosen_by_keyboard_alone(page, url, structure):
    open_heat(page, url)
    twin = structure.twins.iloc[0]
    n_b = int(twin["n_aligned"])
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.locator(".gsd-heat .map:focus").count():
            break
    assert page.locator(".gsd-heat .map:focus").count(), "Tab does not reach the heat map"
    for key in ("Control+End", "Home", "ArrowUp", "ArrowRight"):
        page.keyboard.press(key)
    line = page.locator(".gsd-heat .line")
    said = re.fullmatch(
        rf"span {n_b - 1} of a, span 2 of b, cosine (−?[01]\.\d\d)(, aligned pair [A-Z])?",
        line.inner_text(),
    )
    assert said, f"the cell under the cursor is announced as {line.inner_text()!r}"
    assert page.locator(".gsd-heat .tip .words div").first.inner_text().startswith(said[1])
    assert "cell=" not in page.url, "moving about chooses cells"
    page.keyboard.press("Enter")
    page.wait_for_function(f"location.search.includes('cell={n_b - 1}-2')")
    page.wait_for_selector(f"text=/{re.escape(twin['a'])}.*span {n_b - 1} of {n_b}/")
    page.wait_for_selector(f"text=/{re.escape(twin['b'])}.*span 2 of {n_b}/")
    page.keyboard.press("ArrowUp")
    assert page.locator(".gsd-heat .map:focus").count(), "choosing a cell takes the focus away"
    assert not page.problems, page.problems


def listen_for_runs(page) -> list[str]:
    """One entry for every run of the script, from the next navigation on."""
    runs: list[str] = []

    def received(payload: str | bytes) -> None:
        message = ForwardMsg()
        message.ParseFromString(payload if isinstance(payload, bytes) else payload.encode())
        if message.WhichOneof("type") == "new_session":
            runs.append(message.new_session.name)

    page.on("websocket", lambda socket: socket.on("framereceived", received))
    return runs


def test_a_click_runs_the_page_once(page, url, structure):
    """Not the part with the picture first, and the part that answers after it."""
    twin = structure.twins.iloc[0]
    runs = listen_for_runs(page)
    open_heat(page, url)
    wait_until_settled(page)
    x, y, width, height = cell_of(page, 1, 0)
    runs.clear()
    page.mouse.click(x + width / 2, y + height / 2)
    page.wait_for_selector(f"text=/{re.escape(twin['a'])}.*span 2 of/")
    page.wait_for_function(IDLE)
    assert len(runs) == 1, runs
    page.goto(f"{url}/trace?run=planted&checkpoint=step-20")
    page.wait_for_selector(".gsd-aligned[data-of]")
    page.wait_for_function(IDLE)
    runs.clear()
    other = page.locator(".gsd-trace .span:not(.chosen)").first
    span = other.get_attribute("data-span")
    other.click()
    page.wait_for_selector(f'.gsd-aligned[data-of="{span}"]')
    page.wait_for_function(IDLE)
    assert len(runs) == 1, runs
    assert not page.problems, page.problems


def test_a_span_chosen_by_its_number_is_framed_on_the_map(page, url, structure):
    """Also one that the browser was told before."""
    twin = structure.twins.iloc[0]
    open_heat(page, url)
    for _ in range(2):
        click_cell(page, 1, 1)
        # Not the address, which changes before the number does.
        page.wait_for_selector(f"text=/{re.escape(twin['b'])}.*span 2 of/")
        wait_until_settled(page)
        number = page.get_by_role("spinbutton", name=re.compile("Span of b"))
        number.fill("1")
        number.press("Enter")
        page.wait_for_function("location.search.includes('cell=2-1')")
        page.wait_for_selector(".gsd-heat .line >> text=span 2 of a, span 1 of b")
        assert frame_of(page, "chosen") == pytest.approx(cell_of(page, 1, 0), abs=1)


def test_a_map_keeps_its_cells_inside_the_page_at_any_width(page, url):
    for width in (800, 1280, 3840):
        page.set_viewport_size({"width": width, "height": 900})
        open_heat(page, url)
        x, _, cell_width, _ = cell_of(page, 0, 0)
        box = page.locator(".gsd-heat").bounding_box()
        assert x >= box["x"]
        assert page.locator(".gsd-heat canvas.cells").bounding_box()["width"] <= box["width"] + 1
        assert cell_width >= 20, "three cells are narrower than they must be"


def test_a_click_on_a_pattern_shows_where_it_occurs(page, url, structure):
    open_page(page, url, "stresses")
    row = 2
    click_row(page, row)
    name = sq.name_pattern(structure.stresses["pattern"].iloc[row])
    page.wait_for_function("name => location.search.includes(`stress=${name}`)", arg=name)
    page.wait_for_selector(f"text=Pattern {name.replace('-', ' → ')}")
    first = structure.occurrences[structure.occurrences["stress"] == row].iloc[0]
    page.get_by_role("link", name=re.compile(rf"^{first['sample']}\b")).first.click()
    page.wait_for_url(re.compile("/trace"))
    page.wait_for_selector(f'.gsd-trace [data-span="{first["sample"]}#{first["indices"][0]}"].chosen')
    assert not page.problems, page.problems


def test_hostile_text_stays_text(page, dashboard, tmp_path, monkeypatch):
    """Text from files is shown, never run."""
    hostile = "<img src=x onerror='window.hit=1'> [a](javascript:window.hit=1) {n} <b onmouseover=window.hit=1>y</b>"
    monkeypatch.setitem(synthetic.PLANTED, "recall", [hostile])
    folder = synthetic.build_workspace(tmp_path / "workspace", n_samples=24)
    plant_structure(folder)
    address = dashboard(folder)
    for name in ("twins", "stresses", "alignment"):
        open_page(page, address, name)
        page.wait_for_selector("text=onerror")
        if name == "alignment":
            page.locator(".gsd-heat .map").focus()
            page.keyboard.press("Control+Home")
            page.wait_for_selector(".gsd-heat .tip >> text=onerror")
        page.wait_for_load_state("networkidle")
        assert page.evaluate("window.hit") is None, f"text from a file ran as code on the page {name}"


@pytest.mark.parametrize("name", ["twins", "stresses"])
def test_a_row_of_the_list_opens_what_it_names(page, url, structure, name):
    open_page(page, url, name)
    table = page.get_by_test_id("stDataFrame")
    table.locator("canvas").first.wait_for()
    table.click(position={"x": 18, "y": 35 * 3 + 17})  # the third row's box, below the heading
    if name == "twins":
        page.wait_for_selector("text=Twin 3:")
        assert query_of(page)["a"] == structure.twins["a"].iloc[2]
    else:
        pattern = sq.name_pattern(structure.stresses["pattern"].iloc[2])
        page.wait_for_function("name => location.search.includes(`stress=${name}`)", arg=pattern)
    assert not page.problems, page.problems


# Left's place where the middle of its span of a pair comes to the line that wanders down the box with the text.
LEVEL = """([pair, link]) => {
    const [left, right] = pair.querySelectorAll('.side');
    const middle = (side) => {
        const box = side.querySelector(`[data-link="${link}"]`).getBoundingClientRect();
        return box.top + box.height / 2;
    };
    const range = left.scrollHeight - left.clientHeight;
    const within = middle(left) - left.getBoundingClientRect().top + left.scrollTop;
    left.scrollTop = within * range / left.scrollHeight;
    return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(
        middle(left) - left.getBoundingClientRect().top - (middle(right) - right.getBoundingClientRect().top)))));
}"""


@pytest.fixture
def low_pair(page, url):
    """The first twin in a window so low that its traces must scroll."""
    page.set_viewport_size({"width": 1000, "height": 170})
    open_page(page, url, "twins")
    page.wait_for_selector(".gsd-pair .tools:not([hidden])")
    return page.locator(".gsd-pair")


def test_two_traces_scroll_together_with_aligned_spans_level(page, low_pair, structure):
    n_aligned = int(structure.twins["n_aligned"].iloc[0])
    for link in range(n_aligned):
        apart = page.evaluate(LEVEL, [low_pair.element_handle(), link])
        assert abs(apart) < 3, f"pair {link} is {apart} pixels apart when it passes"
    left, right = (low_pair.locator(f".side.{name}") for name in ("left", "right"))
    left.evaluate("side => { side.scrollTop = side.scrollHeight; }")
    at_end = "side => side.scrollTop + side.clientHeight >= side.scrollHeight - 2"
    page.wait_for_function(at_end, arg=right.element_handle())
    assert left.evaluate(at_end), "the side that followed has moved the one that led"
    low_pair.get_by_role("checkbox").uncheck()
    left.evaluate("side => { side.scrollTop = 0; }")
    page.wait_for_function("side => side.scrollTop === 0", arg=left.element_handle())
    assert right.evaluate(at_end), "sides scroll together though they were let go"


def test_lines_follow_the_text_and_end_with_it(page, low_pair, structure):
    """A pair of which one span is scrolled away keeps a faint line; one that is gone on both sides has none."""
    page.wait_for_function("pair => pair.querySelector('path')", arg=low_pair.element_handle())
    low_pair.locator(".side.left").evaluate("side => { side.scrollTop = side.scrollHeight; }")
    links = "pair => Array.from(pair.querySelectorAll('path'), (line) => line.dataset.link)"
    last = str(int(structure.twins["n_aligned"].iloc[0]) - 1)
    page.wait_for_function(f"pair => !({links})(pair).includes('0')", arg=low_pair.element_handle())
    assert last in low_pair.evaluate(links)


def test_a_trace_is_copied_whole(page, url, folder, structure):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_page(page, url, "twins")
    twin = structure.twins.iloc[0]
    samples = Workspace.open(folder).open_run("planted").read_samples().set_index("sample")
    for side in "ab":
        button = page.get_by_role("button", name=f"Copy the trace of {twin[side]}", exact=True)
        button.click()
        page.wait_for_selector(".gsd-pair >> text=Copied")
        assert page.evaluate("navigator.clipboard.readText()") == samples["reasoning"][twin[side]]
        page.wait_for_selector(".gsd-pair >> text=Copied", state="detached")


def test_a_key_goes_to_the_checkpoint_before_unless_text_is_written(page, url):
    open_page(page, url, "map")
    page.locator("h1").click()
    page.keyboard.press("n")  # there is none after the last
    page.keyboard.press("p")
    page.wait_for_function("location.search.includes('checkpoint=step-10')")
    wait_until_settled(page)
    field = page.get_by_placeholder("words, e.g. divide")
    field.click()
    page.keyboard.type("n")
    assert field.input_value() == "n"
    page.keyboard.press("Tab")
    page.locator("h1").click()
    assert query_of(page)["checkpoint"] == "step-10", "a letter that was written has changed the checkpoint"
    page.keyboard.press("n")
    page.wait_for_function("!location.search.includes('checkpoint=step-10')")
    assert not page.problems, page.problems


def test_keys_of_one_letter_can_be_switched_off(page, url):
    open_page(page, url, "map")
    page.get_by_role("link", name="Help", exact=True).first.click()
    page.get_by_text("Keys of one letter").click()
    page.wait_for_function("location.search.includes('keys=off')")
    page.get_by_role("link", name="Map", exact=True).first.click()
    wait_until_settled(page)
    page.locator("h1").click()
    page.keyboard.press("p")
    before = page.get_by_role("button", name=re.compile("skip_previous")).first
    assert before.is_enabled(), "there is a checkpoint to go to"
    assert "P" not in before.inner_text(), "a key is shown that does nothing"
    assert query_of(page)["keys"] == "off"  # a bookmark of this page keeps it
    before.click()
    page.wait_for_function("location.search.includes('checkpoint=step-10')")
    assert not page.problems, page.problems
