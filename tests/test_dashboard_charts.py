"""Every figure can be saved, in one way, and its table holds what it draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gsd_core.dashboard.alignment import alignment_figures
from gsd_core.dashboard.evidence.evidence_figures import MAX_CURVES, choose_curves
from gsd_core.dashboard.frame.charts import LONGEST_NAME, name_file
from gsd_core.dashboard.map import map_figures
from gsd_core.dashboard.reading import run_view
from gsd_core.dashboard.reading import structure_queries as sq
from gsd_core.dashboard.spans import span_figures
from gsd_core.dashboard.stresses import stresses_figures
from gsd_core.dashboard.timeline import timeline_figures
from gsd_core.dashboard.twins import twins_figures
from gsd_core.store import Workspace, load_directions
from tests.page_support import ROOT, open_page
from tests.synthetic import build_workspace
from tests.test_dashboard_structure import plant_structure

CHECKPOINT = "step-20"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = build_workspace(tmp_path_factory.mktemp("workspace"), n_samples=30)
    plant_structure(made)
    return made


@pytest.fixture(scope="module")
def run(folder):
    return Workspace.open(folder).open_run("planted")


@pytest.fixture(scope="module")
def view(run) -> run_view.RunView:
    return run_view.load_run_view(run, CHECKPOINT)


@pytest.fixture(scope="module")
def structure(run) -> sq.Structure:
    return sq.load_structure(run, CHECKPOINT)


@pytest.fixture(scope="module")
def pair(run, view, structure) -> sq.PairView:
    directions = load_directions(run.snapshot(), CHECKPOINT, view.spans["sample"].to_numpy(dtype=object))
    first = structure.twins.iloc[0]
    return sq.compute_pair(view, directions, structure, first["a"], first["b"])


def test_figures_go_through_one_door():
    """A chart drawn elsewhere would be one that nobody can save."""
    folder = ROOT / "gsd_core" / "dashboard"
    found = [path.name for path in folder.rglob("*.py") if "st.plotly_chart(" in path.read_text("utf-8")]
    found += [path.name for path in (ROOT / "pages").glob("*.py") if "plotly_chart" in path.read_text("utf-8")]
    assert found == ["charts.py"]


@pytest.mark.parametrize(("page", "n"), [("map", 1), ("alignment", 3), ("stresses", 1), ("twins", 1)])
def test_every_figure_of_a_page_has_its_menu(folder, monkeypatch, page, n):
    at = open_page(folder, page, monkeypatch, run="planted", checkpoint=CHECKPOINT)
    charts = {_key(each) for each in at.get("plotly_chart")}
    menus = {_key(each) for each in at.get("download_button")}
    assert len(charts) == n
    assert {f"csv_{key}" for key in charts} <= menus


def _key(element) -> str:
    """The key that a page gave to an element."""
    return element.proto.id.rpartition("-")[2]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("demo step-20 map cluster", "demo-step-20-map-cluster"),
        ("demo P@10, other topic", "demo-P-10-other-topic"),
        ("../../etc/passwd", "etc-passwd"),
        ("run a/b\\c:d\n", "run-a-b-c-d"),
        ("数学", "figure"),
        (".", "figure"),
    ],
)
def test_a_file_name_is_safe_everywhere(text, name):
    assert name_file(text) == name


def test_a_file_name_is_never_too_long():
    assert len(name_file("a" * 500)) == LONGEST_NAME


def test_the_maps_table_has_a_row_for_every_point_in_colour(view):
    color = map_figures.list_color_choices(view)["norm"]
    mask = (view.spans["sample"] != view.spans["sample"].iloc[0]).to_numpy()
    table = map_figures.make_map_table(view, mask, color.column)
    drawn = [trace for trace in map_figures.plot_map(view, mask, color).data if trace.hoverinfo != "skip"]
    assert len(table) == sum(len(trace.x) for trace in drawn) == mask.sum()
    assert list(table["x"].astype(np.float32)) == list(drawn[0].x)
    assert color.column in table
    assert not table.columns.duplicated().any()


def test_the_cells_table_says_of_every_cell_whose_it_is(view, pair):
    table = alignment_figures.make_cells_table(view, pair)
    assert len(table) == pair.cosines.size
    assert (table["pair"] != "").sum() == len(pair.aligned) > 0
    i, j, _ = pair.aligned[0]
    row = table[table["pair"] == "A"].iloc[0]
    assert (row["span_a"], row["span_b"]) == (
        view.spans["span"].iloc[pair.rows_a[i]],
        view.spans["span"].iloc[pair.rows_b[j]],
    )
    assert row["cosine"] == pytest.approx(pair.cosines[i, j])


def test_the_matrix_table_reads_like_the_matrix():
    table = span_figures.make_matrix_table(np.arange(4.0).reshape(2, 2), ["s#0", "s#1"])
    assert table.to_numpy().tolist() == [
        ["s#0", "s#0", 0.0],
        ["s#0", "s#1", 1.0],
        ["s#1", "s#0", 2.0],
        ["s#1", "s#1", 3.0],
    ]


def test_the_layers_table_holds_pairs_and_sets(pair, structure):
    layers = ["0", "1", "2"]
    values = np.arange(3.0 * len(pair.aligned)).reshape(3, -1)
    table = alignment_figures.make_layers_table(values, pair, layers, structure.layers)
    assert len(table) == values.size + len(structure.layers)
    second = table[(table["set"] == "pair A") & (table["layer"] == "1")]
    assert second["cosine"].tolist() == [values[1, 0]]
    none = alignment_figures.make_layers_table(np.zeros((3, 0)), _without_pairs(pair), layers, structure.layers)
    assert len(none) == len(structure.layers)


def _without_pairs(pair: sq.PairView) -> sq.PairView:
    return sq.PairView(pair.a, pair.b, pair.rows_a, pair.rows_b, pair.cosines, [], False)


def test_the_clusters_table_knows_only_clusters_that_are_drawn(view, structure):
    table = alignment_figures.make_clusters_table(view, structure.edges, 2)
    shown = set(view.clusters["cluster"].tolist()[:2])
    assert set(table["cluster_a"]) | set(table["cluster_b"]) <= shown
    assert len(alignment_figures.make_clusters_table(view, structure.edges, 99)) == len(structure.edges)


def test_the_quadrants_table_has_a_row_for_every_point(view, structure):
    table = twins_figures.make_quadrants_table(structure, 3)
    reference = sq.compute_reference(structure, "semantic")
    drawn = twins_figures.plot_quadrants(view, structure, reference).data
    n_pairs = sum(len(trace.x) for trace in drawn if trace.hoverinfo == "skip")
    assert (table["kind"] != "twin").sum() == n_pairs
    assert table.loc[table["kind"] == "twin", "rank"].tolist() == [1, 2, 3]


def test_the_stresses_table_has_a_row_for_every_point(structure):
    rows = structure.stresses.copy()
    rows.loc[rows.index[0], "lift"] = np.inf
    drawn = sum(len(trace.x) for trace in stresses_figures.plot_stresses(rows).data)
    assert len(stresses_figures.keep_drawn(rows)) == drawn == len(rows) - 1


def test_the_span_table_tells_the_span_from_the_others():
    own = pd.DataFrame({"span": "s#0", "checkpoint": ["a"], "to_previous": [0.5], "to_first": [0.4]})
    everyone = pd.DataFrame({"checkpoint": ["a"], "to_previous": [0.9], "to_first": [0.8]})
    table = timeline_figures.make_span_table(own, everyone)
    assert table["of"].tolist() == ["s#0", "median of all spans"]
    assert table["to_first"].tolist() == [0.4, 0.8]


def test_curves_are_those_picked_else_the_best_of_each_kind():
    rows = pd.DataFrame({"representation": [f"g{n}" for n in range(5)], "kind": "gradient", "value": [1, 5, 2, 4, 3]})
    assert choose_curves(rows, []) == ["g1", "g3", "g4"]
    assert choose_curves(rows, ["g0"]) == ["g0"]
    assert len(choose_curves(rows, [f"g{n}" for n in range(20)])) == MAX_CURVES
