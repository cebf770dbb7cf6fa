"""Maps of very many spans: bytes mean what their layout says, corners select what lies inside, rows are found by id."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gsd_core.dashboard.components.scatter import encoding
from gsd_core.dashboard.components.scatter.polygons import MOST_CORNERS, find_inside, read_polygon
from gsd_core.dashboard.map import big_map, map_figures
from gsd_core.dashboard.reading import run_view
from gsd_core.dashboard.reading.row_index import RowIndex
from gsd_core.store import Workspace
from tests.page_support import open_page, words
from tests.synthetic import build_workspace


def _open(block: encoding.Block) -> tuple[tuple, bytes]:
    """Header fields and body, read as the documented layout says."""
    content = gzip.decompress(block.content)
    return struct.unpack("<4sBBHII4d", content[:48]), content[48:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_workspace(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="module")
def view(folder) -> run_view.RunView:
    return run_view.load_run_view(Workspace.open(folder).open_run("planted"), "step-20")


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(*[st.one_of(st.floats(-1e6, 1e6, width=32), st.just(np.nan))] * 2), min_size=1, max_size=30))
def test_places_come_back_within_half_a_step_and_the_unplaced_stay_unplaced(rows):
    x, y = np.array(rows, np.float32).T
    (magic, version, kind, item_bytes, n, zero, *bounds), body = _open(encoding.encode_coordinates(x, y))
    assert (magic, version, kind, item_bytes, n, zero) == (b"GSDM", 1, 1, 2, len(x), 0)
    stored = np.frombuffer(body, "<u2").reshape(2, n)
    known = np.isfinite(x) & np.isfinite(y)
    assert ((stored == encoding.NO_COORDINATE) == ~known).all(), "a place and no place are mixed up"
    for axis, steps, low, high in ((x, stored[0], *bounds[:2]), (y, stored[1], *bounds[2:])):
        back = low + steps[known] / 65_534 * (high - low)
        assert np.abs(back - axis[known]).max(initial=0) <= (high - low) / 65_534 * 0.51


@pytest.mark.parametrize(("top", "item_bytes"), [(255, 1), (256, 2), (65_535, 2)])
def test_indices_take_as_few_bytes_as_they_need(top, item_bytes):
    values = np.array([0, top, 3])
    (*_, kind, size, n, _, _, _, _, _), body = _open(encoding.encode_values(values))
    assert (kind, size, n) == (2, item_bytes, 3)
    assert np.frombuffer(body, f"<u{item_bytes}").tolist() == [0, top, 3]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.booleans(), max_size=40))
def test_span_i_of_a_mask_is_bit_i(bits):
    (*_, kind, size, n, _, _, _, _, _), body = _open(encoding.encode_mask(np.array(bits, dtype=bool)))
    assert (kind, size, n, len(body)) == (3, 0, len(bits), -(-len(bits) // 8))
    assert [bool(body[i >> 3] >> (i & 7) & 1) for i in range(n)] == bits


def test_what_cannot_be_sent_is_refused():
    for values in (np.array([70_000]), np.array([-1]), np.array([0.5]), np.zeros((2, 2), int)):
        with pytest.raises(ValueError, match="values"):
            encoding.encode_values(values)
    with pytest.raises(ValueError, match="mask"):
        encoding.encode_mask(np.array([1, 0]))
    with pytest.raises(ValueError, match="both must be"):
        encoding.encode_coordinates(np.zeros(2), np.zeros(3))


def test_the_same_content_has_the_same_address_and_another_content_another():
    values = np.arange(2_000_000) % 7  # longer than Streamlit hashes whole
    other = values.copy()
    other[1_234_567] = 8
    digest = encoding.encode_values(values).digest
    assert encoding.encode_values(values.copy()).digest == digest
    assert encoding.encode_values(other).digest != digest


def _is_inside(x: float, y: float, corners: list[tuple[float, float]]) -> bool:
    """One point, edge by edge: the even-odd rule as a textbook has it."""
    is_odd = False
    for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) / (y1 - y0) * (x1 - x0):
            is_odd = not is_odd
    return is_odd


# On a grid, as pixels are: nearer to an edge than rounding reaches, both answers are right.
COORDINATES = st.integers(-(10 * 2**10), 10 * 2**10).map(lambda n: n / 2**10)
PLACES = st.tuples(COORDINATES, COORDINATES)


@settings(deadline=None, max_examples=150)
@given(st.lists(PLACES, min_size=3, max_size=12), st.lists(PLACES, max_size=25))
def test_points_inside_are_those_of_the_even_odd_rule(corners, points):
    points = [*points, *corners]  # corners themselves and points level with them are the hard ones
    x, y = np.array(points).T
    found = find_inside(x, y, np.array(corners))
    assert found.tolist() == [_is_inside(*point, corners) for point in points]


def test_spans_without_a_place_are_in_no_polygon():
    x, y = np.array([0.5, np.nan, 0.5]), np.array([0.5, 0.5, np.inf])
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
    assert find_inside(x, y, square).tolist() == [True, False, False]


@pytest.mark.parametrize(
    "junk",
    [None, "x", {}, [], [[0, 0], [1, 1]], [[0, 0], [1, 1], [2]], [[0, 0], [1, 1], ["a", 2]],
     [[0, 0], [1, 1], [float("nan"), 2]], [[0, 0, 0]] * 3, [[0, 0]] * (MOST_CORNERS + 1), 5],
)  # fmt: skip
def test_corners_that_are_none_are_refused(junk):
    assert read_polygon(junk) is None


def test_rows_are_found_by_id_whatever_the_ids_are_made_of():
    samples = ["a#1", "a", "a#1", "", "é #", "a", "7"]
    spans = pd.DataFrame({"sample": samples, "index": [0, 1, 3, 2, 0, 10, 0]})
    rows = RowIndex(spans)
    ids = [f"{sample}#{k}" for sample, k in zip(samples, spans["index"], strict=True)]
    assert dict(rows) == {span: row for row, span in enumerate(ids)}
    assert rows.n_samples == len(set(samples))
    assert rows.rows_of("a").tolist() == [1, 5]
    assert rows.count_samples(np.array([0, 2, 4])) == 2
    for unknown in ("a#2", "a#01", "a#+1", "b#0", "a", "", "a#", "a#1#", "a#٣"):
        assert unknown not in rows


def _values_of(look) -> np.ndarray:
    (*_, size, _, _, _, _, _, _), body = _open(look.values)
    return np.frombuffer(body, f"<u{size}")


def test_colours_mean_what_their_names_say(view):
    choices = map_figures.list_color_choices(view)
    look = big_map.make_look(view, choices["cluster"])
    names = [look.names[index] for index in _values_of(look)]
    assert names == [view.cluster_name(cluster) for cluster in view.spans["cluster"]]
    assert {look.colors[i] for i in set(_values_of(look))} == {view.mark(c).color for c in set(view.spans["cluster"])}
    assert [look.names[index].split(" · ", 1)[1] for *_, index, _ in look.labels] == [t for *_, t in look.labels]
    topics = big_map.make_look(view, choices["meta.topic"])
    assert [topics.names[index] for index in _values_of(topics)] == view.spans["meta.topic"].tolist()


def test_rare_categories_share_a_colour(view):
    by_sample = big_map.make_look(view, map_figures.list_color_choices(view)["sample"])
    values = _values_of(by_sample)
    assert len(by_sample.names) == map_figures.MAX_NAMED + 1
    assert by_sample.names[-1] == map_figures.OTHER
    named = view.spans["sample"][values < map_figures.MAX_NAMED]
    assert named.value_counts().min() >= view.spans["sample"][values == map_figures.MAX_NAMED].value_counts().max()


def test_bigger_numbers_stand_further_right_on_the_scale(view):
    spans = view.spans.assign(norm=np.where(np.arange(len(view.spans)) == 3, np.nan, view.spans["norm"]))
    seen = run_view.RunView(**{**view.__dict__, "spans": spans})
    look = big_map.make_look(seen, map_figures.list_color_choices(seen)["norm"])
    values = _values_of(look).astype(int)
    assert look.names[values[3]] == "unknown"
    known = spans["norm"].notna().to_numpy()
    order = np.argsort(spans["norm"].to_numpy()[known])
    assert (np.diff(values[known][order]) >= 0).all()
    assert {0, big_map.STEPS - 1} <= set(values)


def test_a_sample_keeps_the_numbers_of_its_rows(view, monkeypatch):
    monkeypatch.setattr(big_map, "SAMPLED", 20)
    mask = (view.spans["meta.topic"] == "apples").to_numpy()
    sample, own_mask = big_map.make_sample(view, mask)
    assert len(sample.spans) == min(20, mask.sum()) == own_mask.sum()
    assert mask[sample.spans.index].all()
    assert (view.spans["span"].iloc[sample.spans.index] == sample.spans["span"]).all()
    trace = map_figures.plot_map(sample, own_mask, map_figures.list_color_choices(view)["sample"]).data[0]
    assert set(trace.customdata) <= set(sample.spans.index), "a click would open another span"


def test_a_big_map_reaches_the_page_as_addresses_of_blocks(folder, monkeypatch):
    monkeypatch.setattr(big_map, "LARGEST_CHART", 100)
    at = open_page(folder, "map", monkeypatch, run="planted", q="apples")
    assert not at.get("plotly_chart"), "a chart was drawn beside the map"
    assert "of 204 spans of 60 samples" in words(at)
    [scatter] = [each for each in at.get("bidi_component") if each.proto.component_name.endswith("gsd_scatter")]
    data = scatter.proto.json
    assert data.count("/media/") == 3, "places, values and mask"
    assert len(data) < 20_000
