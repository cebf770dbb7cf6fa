"""Pages run on every state of a workspace, and never load what only the command line may load."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from gsd_core.comparison.nearest import Directions
from gsd_core.comparison.nulls import Null
from gsd_core.comparison.wording import make_wording
from gsd_core.dashboard.frame.page_text import escape
from gsd_core.dashboard.frame.run_choice import pick_run
from gsd_core.dashboard.frame.snippets import MEASURES
from gsd_core.dashboard.help import help_view
from gsd_core.dashboard.jobs.job_steps import make_argv
from gsd_core.dashboard.map import common_directions
from gsd_core.dashboard.map.map_figures import pick_color
from gsd_core.dashboard.reading.cosine_queries import choose_opening
from gsd_core.dashboard.reading.families import Families
from gsd_core.dashboard.reading.labels import LabelColumn
from gsd_core.methods.analyze_method import LEVELS, MAP
from gsd_core.methods.demo_method import DEMO_SOURCE
from gsd_core.store import Workspace
from tests.cli_support import run_gsd_json, write_run
from tests.page_support import check, list_loaded, open_page, words
from tests.synthetic import build_workspace

WORDS = ["barn", "candle", "drum", "elbow", "ferry", "glove", "harp", "island", "jacket", "kettle", "lemon", "mirror"]
NO_FAMILIES = Families(pd.DataFrame(columns=["strength"]), pd.DataFrame())
PAGES = (
    *("overview", "map", "trace", "alignment", "stresses"),
    *("twins", "timeline", "segments", "evidence", "trainings", "data", "help"),
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    return build_workspace(tmp_path_factory.mktemp("workspace"), n_samples=40)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_runs(workspace, page, monkeypatch):
    assert check(open_page(workspace, page, monkeypatch, run="planted")).title


@pytest.mark.parametrize("page", PAGES)
def test_every_page_runs_on_an_empty_workspace(tmp_path, page, monkeypatch):
    at = check(open_page(tmp_path / "new", page, monkeypatch))
    assert at.title
    if page not in ("trainings", "data", "help"):
        assert any("own data" in button.label for button in at.button), "an empty page must say what to do next"


@pytest.mark.parametrize("page", ["overview", "map", "trace"])
def test_a_run_without_analysis_offers_it(workspace, page, monkeypatch):
    at = check(open_page(workspace, page, monkeypatch, run="raw"))
    if page == "map":
        assert "not analysed yet" in words(at)
        assert any(button.label == "Analyse this run" for button in at.button)


def test_a_run_that_is_still_captured_shows_what_is_there(tmp_path, monkeypatch):
    run = Workspace.open(tmp_path).create_run("young", {"tier": "span"}, sketch_width=8, embedding_width=4)
    run.close()
    for page in PAGES:
        check(open_page(tmp_path, page, monkeypatch, run="young"))


def test_a_broken_run_does_not_take_the_overview_down(tmp_path, monkeypatch):
    folder = build_workspace(tmp_path, n_samples=14)
    (folder / "runs" / "raw" / "run.json").write_text("{")
    at = check(open_page(folder, "overview", monkeypatch))
    assert "unreadable" in words(at)
    check(open_page(folder, "map", monkeypatch))


def test_a_workspace_from_a_newer_version_is_refused_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "workspace.json").write_text('{"version": 999}')
    at = check(open_page(tmp_path, "overview", monkeypatch))
    assert len(at.error) == 1


def test_a_link_opens_its_span(workspace, monkeypatch):
    at = check(open_page(workspace, "trace", monkeypatch, run="planted", span="sum-3#1"))
    assert "**sum\\-3**  ·  span 2 of" in words(at)
    at = check(open_page(workspace, "map", monkeypatch, run="planted", span="sum-3#1"))
    assert "Aligned spans of other samples" in words(at)
    assert "random pairs" in words(at), "a cosine without its null beside it says nothing"


def test_a_map_without_a_choice_opens_with_a_span_and_its_neighbours(workspace, monkeypatch):
    at = check(open_page(workspace, "map", monkeypatch, run="planted"))
    assert "A place to begin" in words(at)
    assert "Aligned spans of other samples" in words(at)
    assert "span" not in at.query_params, "a span that the page chose must not travel in a copied link"
    at = check(open_page(workspace, "map", monkeypatch, run="planted", span="sum-3#1"))
    assert "A place to begin" not in words(at)


def test_the_opening_span_is_the_clearest_in_other_words():
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((60, 16)).astype(np.float32)
    # Spans 0 to 5 are close and say the same words; spans 10 to 15 are less close and say it differently.
    rows[:6] = rows[0] + 0.05 * rng.standard_normal((6, 16))
    rows[10:16] = rows[10] + 0.3 * rng.standard_normal((6, 16))
    texts = [" ".join(rng.permutation(WORDS)[:6]) for _ in range(60)]
    texts[:6] = ["six apples lie beside seven pears"] * 6
    spans = pd.DataFrame(
        {"span": [f"s{i}#0" for i in range(60)], "sample": [f"s{i}" for i in range(60)], "text": texts}
    )
    view = SimpleNamespace(spans=spans, row_of=SimpleNamespace(codes=np.arange(60)), families=NO_FAMILIES)
    directions = Directions(rows / np.linalg.norm(rows, axis=1, keepdims=True), Null.of(np.linspace(-0.2, 0.2, 99)))
    wording = make_wording(texts, spans["sample"].to_numpy(dtype=object))
    assert choose_opening(view, directions, None) in [f"s{i}#0" for i in range(6)]  # type: ignore[arg-type]
    assert choose_opening(view, directions, wording) in [f"s{i}#0" for i in range(10, 16)]  # type: ignore[arg-type]
    view.row_of.codes = np.array([0] * 6 + list(range(1, 55)))
    found = choose_opening(view, directions, None)  # type: ignore[arg-type]
    assert found in [f"s{i}#0" for i in range(10, 16)], "spans of one sample count"
    view.families = make_families()
    assert choose_opening(view, directions, wording) == "s1#0", "a family in other words shows more"  # type: ignore[arg-type]


def make_families() -> Families:
    """Three families of spans s0#0 … s11#0; the second is confirmed and in other words, the third tentative."""
    table = pd.DataFrame(
        {
            "family": [0, 1, 2],
            "strength": ["confirmed", "confirmed", "tentative"],
            "prototype": ["s0#0", "s1#0", "s2#0"],
            "label": ["# - # = #", "so in total", "let x"],
            "n_samples": [9, 5, 9],
            "wording": [0.3, 0.1, 0.0],
        }
    )
    members = pd.DataFrame(
        {
            "family": [0, 0, 1, 1, 2],
            "span": ["s3#0", "s4#0", "s4#0", "s5#0", "s6#0"],
            "cosine": [0.5, 0.4, 0.6, 0.5, 0.3],
        }
    )
    return Families(table, members)


def test_a_span_has_its_first_family_and_tentative_ones_are_drawn_hollow():
    families = make_families()
    spans = pd.Series(["s0#0", "s3#0", "s4#0", "s5#0", "s6#0", "s9#0"])
    assert families.find_families(spans).tolist() == [0, 0, 0, 1, 2, -1]
    marks = [families.mark(family) for family in range(3)]
    assert [mark.symbol.endswith("-open") for mark in marks] == [False, False, True]
    assert len({mark.color for mark in marks}) == 3
    assert all(mark.glyph for mark in marks)
    assert families.name(2) == "2 · let x"
    assert families.name(3) == families.name(-1) == ""
    assert families.n_confirmed == 2


def test_a_map_almost_without_clusters_begins_with_a_label_of_steps_else_with_the_position():
    choices = {name: None for name in ("cluster", "meta.author", "meta.op", "position")}
    spans = pd.DataFrame(
        {
            "sample": ["a", "a", "b"] * 10,
            "meta.author": ["x", "x", "y"] * 10,
            "meta.op": ["add", "mul", "add"] * 10,
            "cluster": [0, 0] + [-1] * 28,
        }
    )
    labels = [LabelColumn("meta.author", "category"), LabelColumn("meta.op", "category")]
    view = SimpleNamespace(labels=labels, spans=spans)
    assert pick_color(view, choices) == "meta.op"  # type: ignore[arg-type]
    spans["family"] = [0, 1, 2, 2] + [-1] * 26
    assert pick_color(view, choices | {"family": None}) == "family"  # type: ignore[arg-type]
    spans["family"] = [0, 1] + [-1] * 28
    assert pick_color(view, choices | {"family": None}) == "meta.op"  # type: ignore[arg-type]
    view.labels = labels[:1]
    assert pick_color(view, choices) == "position"  # type: ignore[arg-type]
    spans["cluster"] = [0, 0, 0] + [-1] * 27
    assert pick_color(view, choices) == "cluster"  # type: ignore[arg-type]


def test_pages_begin_with_real_data_before_the_planted_corpus(tmp_path):
    write_run(tmp_path, "mine")
    write_run(tmp_path, "planted")
    run = Workspace.open(tmp_path).open_run("planted")
    run.update_manifest(created="2026-02-01T00:00:00+00:00", dataset={"name": "demo", "source": DEMO_SOURCE})
    infos = Workspace.open(tmp_path).list_runs()
    assert [info.name for info in infos] == ["planted", "mine"]
    assert pick_run(infos) == "mine"
    assert pick_run(infos[:1]) == "planted"


@pytest.mark.parametrize(
    "query",
    [{"run": "nowhere"}, {"span": "../../x#9"}, {"sample": "nobody"}, {"color": "x"}, {"checkpoint": "y"}],
)
@pytest.mark.parametrize("page", ["map", "trace"])
def test_an_address_that_names_nothing_is_no_crash(workspace, page, query, monkeypatch):
    check(open_page(workspace, page, monkeypatch, **query))


def test_the_address_follows_the_choices(workspace, monkeypatch):
    at = check(open_page(workspace, "map", monkeypatch, run="planted"))
    at.selectbox(key="address_color").select("meta.topic").run()
    assert at.query_params["color"] == "meta.topic"
    at.selectbox(key="address_checkpoint").select("step-10").run()
    assert check(at).query_params["checkpoint"] == "step-10"
    assert at.query_params["run"] == "planted", "a copied link must name its run"


def test_filters_in_the_address_are_applied(workspace, monkeypatch):
    query = {
        "run": "planted",
        "cluster": "1\x1f2",
        "q": "apples",
        "label": "meta.topic",
        "values": "apples\x1fx",
    }
    at = check(open_page(workspace, "map", monkeypatch, **query))
    shown, total = at.caption[0].value.split(" spans")[0].split(" of ")
    assert 0 < int(shown) < int(total), "the filters of a copied link were not applied"
    assert at.multiselect(key="address_values").value == ["apples"]
    at.text_input(key="address_q").set_value("").run()
    assert "q" not in check(at).query_params
    assert at.query_params["cluster"] == "1\x1f2"


@pytest.mark.parametrize("color", ["cluster", "meta.procedure", "meta.step_kind", "norm", "sample", "position"])
def test_the_map_takes_every_kind_of_colour(workspace, color, monkeypatch):
    at = check(open_page(workspace, "map", monkeypatch, run="planted", color=color))
    assert at.selectbox(key="address_color").value == color


def test_stepping_through_samples_changes_the_address(workspace, monkeypatch):
    at = check(open_page(workspace, "trace", monkeypatch, run="planted", sample="sum-3"))
    at.button(key="next_sample").click().run()
    assert check(at).query_params["sample"] == "sum-4"


def test_stepping_through_checkpoints_goes_there_and_back_and_ends_at_both_ends(workspace, monkeypatch):
    at = open_page(workspace, "map", monkeypatch, run="planted", checkpoint="step-20")
    assert at.button(key="checkpoint_next").disabled
    check(at.button(key="checkpoint_previous").click().run())
    assert at.selectbox(key="address_checkpoint").value == "step-10"
    assert at.button(key="checkpoint_previous").disabled
    check(at.button(key="checkpoint_next").click().run())
    assert at.selectbox(key="address_checkpoint").value == "step-20"


def test_loss_tint_keeps_the_text(workspace, monkeypatch):
    at = check(open_page(workspace, "trace", monkeypatch, run="planted", sample="sum-3"))
    check(at.toggle(key="trace_tint").set_value(True).run())


@pytest.mark.parametrize("text", ["**b** [x](javascript:y) $a$ :red[z]", "`c` <b> # h\n* l", "a_b ~s~ | t"])
def test_escaped_text_has_no_active_markdown(text):
    bare = escape(text)
    for sign in "*[]()$:`<>#_~|":
        for at, letter in enumerate(bare):
            if letter == sign:
                assert bare[at - 1] == "\\", f"{sign} is live in {bare}"


def test_the_web_process_never_loads_what_belongs_to_the_command_line(workspace):
    """Torch would cost every page a gigabyte and seconds; it belongs to the jobs."""
    names = ("torch", "transformers", "umap", "numba", "sentence_transformers", "ray", "datasets", "peft")
    assert list_loaded(workspace, PAGES, {"run": "planted"}, names) == []


def test_every_measure_is_explained_where_people_look_for_it():
    assert set(help_view.MEASURE_NAMES) == set(MEASURES) - {"words"}, "other words is a term, not a measure"
    assert "other words" in help_view.WORDS


def test_families_are_listed_beside_the_map_and_one_can_be_shown_alone(tmp_path, monkeypatch):
    write_run(tmp_path, n_samples=24, n_steps=6)
    run_gsd_json("analyze", "planted", workspace=tmp_path)
    at = open_page(tmp_path, "map", monkeypatch, run="planted", color="family")
    at.session_state["map_tab"] = "Families"
    said = words(check(at.run()))
    assert "confirmed" in said
    assert "by chance" in said
    assert "Show only this family" in [button.label for button in at.button]
    whole = open_page(tmp_path, "map", monkeypatch, run="planted", color="family")
    alone = open_page(tmp_path, "map", monkeypatch, run="planted", color="family", family="0")
    counts = [
        next(str(each.value) for each in page.caption if "spans of" in str(each.value)) for page in (whole, alone)
    ]
    assert counts[0] != counts[1], "the map is not filtered"


def test_stresses_are_sequences_of_a_level_where_dense_clusters_hold_next_to_nothing(tmp_path, monkeypatch):
    write_run(tmp_path, n_samples=24, n_steps=6, checkpoints=["only"])
    run_gsd_json("analyze", "planted", workspace=tmp_path)
    run = Workspace.open(tmp_path).open_run("planted")
    points, clusters = run.read_points("only"), run.read_clusters("only")
    levels = {name: run.results.read(LEVELS, name, "only") for name in ("clusters", "members")}
    infos = {kind.name: run.results.info(kind, "only") for kind in (MAP, LEVELS)}
    run.write_analysis("only", points.assign(cluster=-1), clusters.iloc[:0], run.read_arrays("only"), infos["map"])
    run.results.write(LEVELS, levels, infos["levels"], "only")
    found = run_gsd_json("analyze", "planted", workspace=tmp_path)
    assert found["n_stresses"] >= 1
    listed = run_gsd_json("stresses", "planted", workspace=tmp_path)
    assert listed["stresses_of"] == "middle"
    own = levels["clusters"].query("level == 'middle'")
    assert set(listed["stresses"][0]["labels"]) <= set(own["label"])
    of_words = listed["stresses_of_words"]
    assert of_words is None or of_words["n_stresses"] >= 0
    said = words(open_page(tmp_path, "stresses", monkeypatch, run="planted"))
    assert "sequence of clusters (level middle)" in said


def test_the_map_shows_clusters_at_every_level_with_their_evidence(tmp_path, monkeypatch):
    write_run(tmp_path, n_samples=24, n_steps=6, checkpoints=["only"])
    run_gsd_json("analyze", "planted", workspace=tmp_path)
    table = Workspace.open(tmp_path).open_run("planted").results.read(LEVELS, "clusters", "only")
    for level in ("coarse", "fine"):
        at = open_page(tmp_path, "map", monkeypatch, run="planted", color=level)
        at.session_state["map_tab"] = "Clusters"
        at.run()
        said = words(at)
        assert "kept together" in said or "pairs together" in said
        assert f"{(table['level'].eq(level) & table['strength'].eq('confirmed')).sum():,} confirmed" in said
        assert "by chance at most" in said
    whole, alone, strong = (
        open_page(tmp_path, "map", monkeypatch, run="planted", color="fine", **more)
        for more in ({}, {"fine": "0"}, {"strength": "confirmed"})
    )
    counts = [
        next(str(each.value) for each in page.caption if "spans of" in str(each.value))
        for page in (whole, alone, strong)
    ]
    size = int(table[table["level"] == "fine"]["size"].iloc[0])
    assert counts[1].startswith(f"{size:,} of ")
    held = table[(table["level"] == "fine") & (table["strength"] == "confirmed")]["size"].sum()
    assert counts[2].startswith(f"{held:,} of ")
    assert counts[0] not in counts[1:], "the map is not filtered"


def test_common_directions_can_be_changed_on_the_map(tmp_path, monkeypatch):
    write_run(tmp_path, n_samples=24, n_steps=6, checkpoints=["only"])
    run_gsd_json("analyze", "planted", "--remove", "1", workspace=tmp_path)
    started = []
    monkeypatch.setattr(common_directions.job_view, "start_and_show", lambda *steps, **more: started.append(steps))
    at = open_page(tmp_path, "map", monkeypatch, run="planted", checkpoint="only")
    (number,) = at.number_input
    assert number.value == 1
    (again,) = (button for button in at.button if button.label == "Analyse again")
    assert again.disabled, "the same number would change nothing"
    number.set_value(3)
    check(at.run())
    next(button for button in at.button if button.label == "Analyse again").click()
    at.run()
    ((step,),) = started
    assert make_argv(tmp_path, step)[6:] == [
        *("analyze", "planted", "--checkpoint", "only", "--remove", "3", "--again")
    ]


def test_the_numbers_that_were_tried_are_drawn_with_the_chosen_one_marked():
    tried = pd.DataFrame({"removed": [0, 1, 3], "share": [0.1, 0.25, 0.2]})
    figure = common_directions.plot_tried(tried, 1)
    assert list(figure.data[0].text) == ["10%", "25%", "20%"]
    colours = figure.data[0].marker.color
    assert colours[0] == colours[2] != colours[1]
