"""The heat map: a byte says the number that the page says, and the browser is told no more than it needs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import streamlit as st
from hypothesis import given, settings, strategies
from streamlit.dataframe_util import convert_anything_to_arrow_bytes

from gsd_core.dashboard.alignment import alignment_heat
from gsd_core.dashboard.components import heat
from gsd_core.dashboard.look import colors
from tests.page_support import mount


@settings(deadline=None, max_examples=60)
@given(strategies.lists(strategies.floats(-1, 1, width=32), min_size=1, max_size=30))
def test_a_cell_says_the_number_that_stands_elsewhere_on_the_page(values):
    cosines = np.array([values], np.float32)
    for hundredths, cosine in zip(heat.encode_cosines(cosines), cosines.ravel(), strict=True):
        apart = abs(hundredths / 100 - float(f"{cosine:.2f}"))
        is_tie = abs(abs(100 * float(cosine)) % 1 - 0.5) < 1e-6
        assert apart < 1e-9 or (is_tie and apart < 0.011), "heat map and panel show two numbers for one cosine"


def test_cells_travel_row_by_row_in_one_byte_each():
    cosines = np.array([[0.1, -0.2, 0.3], [1.0, np.nan, -1.0]], np.float32)
    cells = heat.encode_cosines(cosines)
    assert cells.dtype == np.int8
    assert cells.tolist() == [10, -20, 30, 100, heat.UNKNOWN, -100]


def test_rounding_beyond_one_is_no_other_colour():
    assert heat.encode_cosines(np.array([[1.0000002, -1.0000002]], np.float32)).tolist() == [100, -100]


def test_what_is_no_matrix_is_refused():
    with pytest.raises(ValueError, match="must be"):
        heat.encode_cosines(np.zeros(3))


def test_a_million_cells_are_a_megabyte_on_the_wire():
    """An array of bytes stays one: neither a list nor text is made of it."""
    cells = heat.encode_cosines(np.random.default_rng(0).uniform(-1, 1, (1000, 1000)))
    content = convert_anything_to_arrow_bytes(cells)
    assert len(content) < 1_010_000
    (column,) = pa.ipc.open_stream(content).read_all().columns
    assert column.type == pa.int8()
    assert column.to_numpy().tobytes() == cells.tobytes()


def test_the_scale_is_the_charts_own_and_white_at_zero():
    shades = np.array([[int(color[at : at + 2], 16) for at in (1, 3, 5)] for color in colors.COSINES])
    middle = len(shades) // 2
    assert len(shades) % 2 == 1
    assert shades[middle].min() > 240
    assert (shades[:middle, 2] > shades[:middle, 0]).all(), "below zero is blue"
    assert (shades[middle + 1 :, 0] > shades[middle + 1 :, 2]).all(), "above zero is red"


@pytest.fixture
def mounted(monkeypatch):
    """What the component was given; its answer lies in ``session_state["heat"]``."""
    return mount(monkeypatch, heat, "_heat_map")


@pytest.mark.parametrize(
    ("sent", "heard"),
    [
        ([1, 2], [(1, 2)]),
        ([2, 0], []),
        ([0, 3], []),
        ([-1, 0], []),
        ([True, 0], []),
        ([0.0, 1], []),
        ("01", []),
        (None, []),
    ],
)
def test_only_cells_of_the_map_can_be_chosen(mounted, sent, heard):
    calls: list[tuple[int, int]] = []
    heat.plot_heat(
        heat.HeatMap(
            np.zeros((2, 3), np.float32),
            (["x", "y"], ["u", "v", "w"]),
            ("a", "b"),
            [heat.HeatPair(0, 0, "A", "#000000")],
            pair_kind="aligned pair",
            threshold=float("nan"),
        ),
        key="heat",
        chosen=(0, 0),
        turn=0,
        on_choose=lambda i, j: calls.append((i, j)),
    )
    st.session_state["heat"] = {"picked": sent}
    mounted["on_picked_change"]()
    assert calls == heard
    assert mounted["data"]["threshold"] is None, "a null that is unknown is marked on the scale"


def test_the_browser_is_told_a_cell_only_where_it_shows_another(mounted, monkeypatch):
    monkeypatch.setattr(alignment_heat, "write_address", lambda *_: None)
    pair = SimpleNamespace(cosines=np.zeros((5, 6)))
    assert alignment_heat._hold((0, 0)) == 0
    alignment_heat._take_cell(pair, [3, 4])  # by a click: the browser shows it by itself
    assert alignment_heat._hold((3, 4)) == 0
    alignment_heat._take_cell(pair, [5, 0])  # no cell of this map
    assert alignment_heat._hold((3, 4)) == 0
    assert alignment_heat._hold((0, 0)) == 1, "the way back in the address leaves the old cell marked"
    assert alignment_heat._hold((0, 0)) == 1
