"""Pages of stresses, twins and alignment say what is stored, on every state of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gsd_core.comparison.nearest import Directions
from gsd_core.dashboard.alignment import alignment_figures
from gsd_core.dashboard.frame.page_text import escape
from gsd_core.dashboard.look.figure_frame import name_pair
from gsd_core.dashboard.reading import run_view
from gsd_core.dashboard.reading import structure_queries as sq
from gsd_core.dashboard.reading.row_index import RowIndex
from gsd_core.dashboard.stresses import stresses_figures
from gsd_core.dashboard.twins import twins_figures
from gsd_core.methods.analyze_method import STRUCTURE
from gsd_core.store import Workspace, load_directions
from tests.page_support import list_loaded, open_page, words
from tests.synthetic import ORDERS, PLANTED, WIDTH, build_workspace

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("alignment", "stresses", "twins")
KINDS = list(PLANTED)
LAYERS = [["block 0", 0, WIDTH // 2], ["block 1", WIDTH // 2, WIDTH]]
N_TWINS = 20


def plant_structure(folder: Path, run: str = "planted", checkpoint: str = "step-20") -> None:
    """Stress and twin tables that follow from what was planted: same procedure aligns, same topic is near."""
    store = Workspace.open(folder).open_run(run)
    store.update_manifest(sketch={"layers": LAYERS})
    meta = store.read_samples().set_index("sample")["meta"]
    generator = np.random.default_rng(0)
    samples = list(meta.index)
    pairs = [(a, b) for at, a in enumerate(samples) for b in samples[at + 1 :]]
    rows = []
    for a, b in pairs:
        n = len(meta[a]["step_kind"]) if meta[a]["procedure"] == meta[b]["procedure"] else 0
        near = 0.8 if meta[a]["topic"] == meta[b]["topic"] else 0.1
        rows.append({"a": a, "b": b, "structural": 0.2 * n, "semantic": near + generator.normal(0, 0.05), "n": n})
    tested = pd.DataFrame(rows)
    aligned = tested[(tested["n"] > 1) & (tested["semantic"] < 0.5)].sort_values("structural", ascending=False)
    twins = aligned.head(N_TWINS).reset_index(drop=True)
    twins["rank"] = twins.index + 1
    for column, value in {"z_structural": 3.0, "z_semantic": -1.0, "score": 4.0, "p_value": 1e-4}.items():
        twins[column] = value
    twins["q_value"] = np.where(twins.index < 5, 0.01, 0.2)
    twins["n_aligned"] = twins["n"]
    twins["aligned"] = [[[k, k, 0.9] for k in range(n)] for n in twins["n"]]
    twins["pattern"] = "4-0-1"
    twins["wording"] = np.where(twins.index % 2, 0.7, -0.1)
    rewordings = twins[twins["wording"] < 0].drop(columns="n").reset_index(drop=True)
    shown = tested.sample(min(120, len(tested)), random_state=0).drop(columns="n")
    patterns = [[KINDS.index(kind) for kind in order] for order in ORDERS] + [
        [KINDS.index("recall"), KINDS.index("total")]
    ]
    stresses, occurrences = [], []
    for number, pattern in enumerate(patterns):
        found = 0
        for sample in samples:
            sequence = [KINDS.index(kind) for kind in meta[sample]["step_kind"]]
            if [each for each in sequence if each in pattern] == pattern:
                places = [sequence.index(each) for each in pattern]
                occurrences.append({"stress": number, "sample": sample, "indices": places})
                found += 1
        stresses.append(
            {
                "stress": number,
                "pattern": pattern,
                "labels": [KINDS[each] for each in pattern],
                "length": len(pattern),
                "support": found,
                "n_occurrences": found,
                "lift": 0.5 + 2.0 * number,
                "p_value": 0.001,
                "q_value": 0.2 if number == 0 else 0.003,
            }
        )
    clusters = range(len(KINDS))
    tables = {
        "twins": twins.drop(columns="n"),
        "rewordings": rewordings.assign(rank=rewordings.index + 1),
        "pairs": shown.assign(is_candidate=np.arange(len(shown)) % 2 == 0),
        "stresses": pd.DataFrame(stresses),
        "occurrences": pd.DataFrame(occurrences),
        "edges": pd.DataFrame(
            [
                {"cluster_a": a, "cluster_b": b, "cosine": 0.7 if a == b else -0.1, "n": 9}
                for a in clusters
                for b in clusters
                if a <= b
            ]
        ),
        "layers": pd.DataFrame(
            [
                {
                    "layer": name,
                    "set": kind,
                    "mean": mean,
                    "ci_low": mean - 0.05,
                    "ci_high": mean + 0.05,
                    "n": 50,
                }
                for name, _, _ in LAYERS
                for kind, mean in (("same cluster", 0.6), ("random", 0.0))
            ]
        ),
        "cosines": pd.DataFrame(
            [
                {"kind": kind, "cosine": float(generator.normal(mean, 0.1))}
                for kind, mean in (("spans", 0.0), ("same cluster", 0.6), ("shuffled", 0.0))
                for _ in range(100)
            ]
        ),
    }
    info = {"n_twins": 5, "n_stresses": 4, "twins": {"n_pairs_tested": 500, "semantic_median": 0.3}}
    store.results.write(STRUCTURE, tables, info, checkpoint)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = build_workspace(tmp_path_factory.mktemp("workspace"), n_samples=40)
    plant_structure(made)
    return made


@pytest.fixture(scope="module")
def run(folder):
    return Workspace.open(folder).open_run("planted")


@pytest.fixture(scope="module")
def view(run) -> run_view.RunView:
    return run_view.load_run_view(run, "step-20")


@pytest.fixture(scope="module")
def directions(run, view) -> Directions:
    return load_directions(run.snapshot(), "step-20", view.spans["sample"].to_numpy(dtype=object))


@pytest.fixture(scope="module")
def structure(run) -> sq.Structure:
    return sq.load_structure(run, "step-20")


# -- what is computed ---------------------------------------------------------------------------------------------


def test_cells_equal_the_plain_formula(run, view, directions, structure):
    """Centre, normalise, multiply: nothing else may happen on the way to a displayed cosine."""
    twin = structure.twins.iloc[0]
    pair = sq.compute_pair(view, directions, structure, twin["a"], twin["b"])
    raw = run.read_vectors("step-20").astype(np.float64)
    centred = raw - run.read_arrays("step-20")["mean"]
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(pair.cosines, centred[pair.rows_a] @ centred[pair.rows_b].T, atol=1e-4)
    assert pair.is_run
    for i, j, cosine in pair.aligned:
        assert cosine == pytest.approx(pair.cosines[i, j]), "a line says another cosine than its cell"


def test_turning_a_pair_turns_everything(view, directions, structure):
    twin = structure.twins.iloc[0]
    one = sq.compute_pair(view, directions, structure, twin["a"], twin["b"])
    other = sq.compute_pair(view, directions, structure, twin["b"], twin["a"])
    np.testing.assert_allclose(one.cosines, other.cosines.T)
    assert [(j, i) for i, j, _ in one.aligned] == [each[:2] for each in other.aligned]


def test_aligned_spans_are_found_by_number_not_by_place(view, directions, structure):
    """Where a trace lacks its first span, stored span numbers are no longer places in the trace."""
    twin = structure.twins.iloc[0]
    kept = (view.spans["span"] != f"{twin['a']}#0").to_numpy()
    spans = view.spans[kept].reset_index(drop=True)
    less = run_view.RunView(**{**view.__dict__, "spans": spans, "row_of": RowIndex(spans)})
    pair = sq.compute_pair(
        less,
        Directions(directions.rows[kept], directions.null),
        structure,
        twin["a"],
        twin["b"],
    )
    numbers = [(spans["index"].iloc[pair.rows_a[i]], spans["index"].iloc[pair.rows_b[j]]) for i, j, _ in pair.aligned]
    assert numbers == [(i, j) for i, j, _ in twin["aligned"] if i != 0]


def test_spans_stored_after_the_directions_were_read_are_left_out(view, directions, structure):
    last = str(view.spans["sample"].iloc[-1])
    early = Directions(directions.rows[:-1], directions.null)
    whole = sq.compute_pair(view, directions, structure, last, "sum-0")
    part = sq.compute_pair(view, early, structure, last, "sum-0")
    assert len(part.rows_a) == len(whole.rows_a) - 1


def test_best_cells_are_mutual_and_above_the_null(view, directions):
    found = 0
    for b in view.samples.index[1:12]:
        pair = sq.compute_pair(view, directions, None, "sum-0", str(b))
        assert not pair.is_run
        for i, j, cosine in pair.aligned:
            assert cosine > directions.null.p95
            assert pair.cosines[i].argmax() == j
            assert pair.cosines[:, j].argmax() == i
            found += 1
    assert found, "nothing was above the null, so nothing was tested"


def test_a_trace_is_not_aligned_with_itself(view, directions, structure):
    pair = sq.compute_pair(view, directions, structure, "sum-0", "sum-0")
    assert pair.aligned == []
    np.testing.assert_allclose(np.diag(pair.cosines), 1, atol=1e-5)


def test_layer_cosines(directions):
    """One layer as wide as the sketch is the plain cosine; a block of zeros has none."""
    matrix = directions.rows.copy()
    matrix[3, : WIDTH // 2] = 0
    changed = Directions(matrix, directions.null)
    layers = [("all", 0, WIDTH), ("left", 0, WIDTH // 2)]
    values = sq.compute_layer_cosines(changed, [(0, 1), (0, 3)], layers)
    assert values[0, 0] == pytest.approx(float(matrix[0] @ matrix[1]), abs=1e-5)
    left = matrix[:2, : WIDTH // 2].astype(float)
    assert values[1, 0] == pytest.approx(left[0] @ left[1] / np.prod(np.linalg.norm(left, axis=1)), abs=1e-5)
    assert np.isnan(values[1, 1])
    assert sq.compute_layer_cosines(changed, [], layers).shape == (2, 0)


def test_reference_is_of_random_pairs_only(structure):
    pairs = structure.pairs.copy()
    pairs.loc[pairs["is_candidate"], "structural"] = 99.0
    changed = sq.Structure(**{**structure.__dict__, "pairs": pairs})
    assert sq.compute_reference(changed, "structural").values.max() < 99
    none = sq.Structure(**{**structure.__dict__, "pairs": pairs.iloc[:0]})
    assert np.isnan(sq.compute_reference(none, "semantic").median)


def test_occurrences_follow_the_pattern(view, structure):
    """A column holds the spans of its own step kind and no other."""
    for row, pattern in enumerate(structure.stresses["pattern"]):
        found = sq.list_occurrences(view, structure, int(structure.stresses["stress"].iloc[row]))
        assert len(found) == structure.stresses["support"].iloc[row]
        assert found["sample"].is_unique
        for each in found.itertuples():
            own = view.spans.iloc[each.rows]
            assert set(own["sample"]) == {each.sample}
            assert own["meta.step_kind"].tolist() == [KINDS[cluster] for cluster in pattern]


def test_a_second_occurrence_is_counted_not_listed(view, structure):
    twice = pd.concat([structure.occurrences, structure.occurrences.head(1)], ignore_index=True)
    changed = sq.Structure(**{**structure.__dict__, "occurrences": twice})
    stress, sample = int(twice["stress"].iloc[0]), twice["sample"].iloc[0]
    found = sq.list_occurrences(view, changed, stress).set_index("sample")["n"]
    assert found[sample] == 2
    assert set(found.drop(sample)) == {1}


def test_a_stress_is_found_by_its_pattern(structure):
    for row, pattern in enumerate(structure.stresses["pattern"]):
        assert sq.find_stress(structure, sq.name_pattern(pattern)) == row
    assert sq.find_stress(structure, "9-9") == 0


# -- what is drawn ------------------------------------------------------------------------------------------------


def test_only_twins_can_be_opened_and_their_rows_are_right(view, structure):
    figure = twins_figures.plot_quadrants(view, structure, sq.compute_reference(structure, "semantic"))
    opened = {}
    for trace in figure.data:
        for row, x, y in zip(trace.customdata if trace.customdata is not None else [], trace.x, trace.y, strict=False):
            opened[int(row)] = (x, y)
    assert set(opened) == set(structure.twins.index)
    for row, (x, y) in opened.items():
        assert (x, y) == pytest.approx(tuple(structure.twins.loc[row, ["semantic", "structural"]]), abs=1e-5)


def test_clusters_are_symmetric_and_in_their_own_order(view, structure):
    heat = alignment_figures.plot_clusters(view, structure.edges).data[0]
    np.testing.assert_allclose(heat.z, np.asarray(heat.z).T)
    np.testing.assert_allclose(np.diag(heat.z), 0.7)


def test_a_lift_that_has_no_logarithm_is_left_out(structure):
    stresses = structure.stresses.copy()
    stresses.loc[0, "lift"] = 0.0
    stresses.loc[1, "lift"] = np.inf
    drawn = [int(row) for trace in stresses_figures.plot_stresses(stresses).data for row in trace.customdata]
    assert sorted(drawn) == [2, 3, 4]


def test_hover_texts_hold_no_tags_from_data(view, structure):
    """Plotly reads a few HTML tags, among them links."""
    samples = view.samples.assign(question="<b>q</b>")
    hostile = run_view.RunView(**{**view.__dict__, "samples": samples})
    twins = twins_figures.plot_quadrants(hostile, structure, sq.compute_reference(structure, "semantic")).data[-1]
    assert not any("<b>q" in text for text in twins.hovertext)


def test_every_aligned_pair_has_a_name_of_its_own():
    names = [name_pair(place) for place in range(200)]
    assert len(set(names)) == 200


# -- pages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_every_page_runs(folder, page, monkeypatch):
    at = open_page(folder, page, monkeypatch, run="planted", checkpoint="step-20")
    assert at.title[0].value == page.capitalize()


@pytest.mark.parametrize("page", PAGES)
def test_every_page_says_what_to_do_where_there_is_nothing(folder, tmp_path, page, monkeypatch):
    empty = open_page(tmp_path / "new", page, monkeypatch)
    assert any("own data" in button.label for button in empty.button)
    raw = open_page(folder, page, monkeypatch, run="raw")
    assert any(button.label == "Analyse this run" for button in raw.button)
    # This checkpoint was analysed before there were stresses and twins.
    older = open_page(folder, page, monkeypatch, run="planted", checkpoint="step-10")
    assert any(button.label == "Find stresses and twins" for button in older.button)
    assert "gsd analyze planted" in words(older)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    "query",
    [
        {"a": "nobody", "b": "<b>"},
        {"a": "sum-1", "b": "sum-1"},
        {"cell": "99-99"},
        {"cell": "x"},
        {"stress": "7-7-7"},
        {"pair": "nobody#3"},
    ],
)
def test_an_address_that_names_nothing_is_no_crash(folder, page, query, monkeypatch):
    open_page(folder, page, monkeypatch, run="planted", checkpoint="step-20", **query)


def test_a_link_opens_its_pair_on_both_pages(folder, structure, monkeypatch):
    twin = structure.twins.iloc[3]
    query = {"run": "planted", "checkpoint": "step-20", "a": twin["a"], "b": twin["b"]}
    assert "Twin 4:" in words(open_page(folder, "twins", monkeypatch, **query))
    at = open_page(folder, "alignment", monkeypatch, **query)
    assert (at.selectbox(key="address_a").value, at.selectbox(key="address_b").value) == (
        twin["a"],
        twin["b"],
    )
    assert "twin 4" in words(at)


def test_the_top_twin_is_opened_first(folder, structure, monkeypatch):
    at = open_page(folder, "alignment", monkeypatch, run="planted", checkpoint="step-20")
    top = structure.twins.iloc[0]
    assert (at.selectbox(key="address_a").value, at.selectbox(key="address_b").value) == (top["a"], top["b"])


def test_two_samples_that_are_no_twin_are_shown_as_such(folder, structure, monkeypatch):
    twins = {frozenset(pair) for pair in structure.twins[["a", "b"]].itertuples(index=False, name=None)}
    a, b = next(
        (a, b) for a in ("sum-0", "sum-1") for b in (f"sum-{n}" for n in range(2, 40)) if frozenset((a, b)) not in twins
    )
    at = open_page(folder, "twins", monkeypatch, run="planted", checkpoint="step-20", a=a, b=b)
    assert "no stored twin" in words(at)
    assert "letter are aligned" not in words(at), "what may be chance is called aligned"
    at = open_page(folder, "alignment", monkeypatch, run="planted", checkpoint="step-20", a=a, b=b)
    assert f"gsd compare planted {escape(a)} {escape(b)}" in words(at)


def test_a_cell_in_the_address_is_opened_and_forgotten_with_its_traces(folder, structure, monkeypatch):
    twin = structure.twins.iloc[0]
    at = open_page(folder, "alignment", monkeypatch, run="planted", checkpoint="step-20", cell="2-1")
    assert (at.number_input(key="alignment_i").value, at.number_input(key="alignment_j").value) == (2, 1)
    assert f"span 2 of {len(structure.twins['aligned'].iloc[0])}" in words(at)
    other = next(name for name in ("sum-0", "sum-1", "sum-2") if name not in (twin["a"], twin["b"]))
    at.selectbox(key="address_b").select(other).run()
    assert not at.exception
    assert "cell" not in at.query_params, "a cell of two other traces was kept"


def test_a_pattern_in_the_address_is_opened(folder, structure, monkeypatch):
    pattern = structure.stresses["pattern"].iloc[2]
    name = sq.name_pattern(pattern)
    at = open_page(folder, "stresses", monkeypatch, run="planted", checkpoint="step-20", stress=name)
    assert " → ".join(map(str, pattern)) in words(at)
    assert f"of {structure.stresses['support'].iloc[2]} samples" in words(at)


def test_a_new_analysis_is_seen(tmp_path, monkeypatch):
    """The listing's stamp does not know of the structure: what was cached must not outlive it."""
    folder = build_workspace(tmp_path, n_samples=20)
    plant_structure(folder)
    run = Workspace.open(folder).open_run("planted")
    at = open_page(folder, "twins", monkeypatch, run="planted", checkpoint="step-20")
    assert "**5 of" in words(at)
    tables = {name: run.results.read(STRUCTURE, name, "step-20") for name in sq.TABLES}
    tables["twins"] = tables["twins"].assign(q_value=0.5)
    run.results.write(STRUCTURE, tables, {"n_twins": 0, "n_stresses": 4}, "step-20")
    at.run()
    assert not at.exception
    assert "**0 of" in words(at)
    assert "candidates, not findings" in words(at), "chance alone must be called by its name"


def test_twins_in_other_words_are_a_list_of_their_own(folder, monkeypatch):
    at = open_page(folder, "twins", monkeypatch, run="planted", checkpoint="step-20")
    assert f"of {N_TWINS} twins" in words(at)
    at.toggle(key="twins_words").set_value(True).run()
    assert not at.exception
    assert f"of {N_TWINS // 2} twins" in words(at)
    assert at.query_params["words"] in ("other", ["other"])
    assert "ranked by structural score" in words(at)
    (table,) = at.dataframe
    assert len(table.value) == N_TWINS // 2
    at.toggle(key="twins_words").set_value(False).run()
    assert f"of {N_TWINS} twins" in words(at)
    assert "words" not in at.query_params


def test_a_run_analysed_before_other_words_were_sought_still_opens(tmp_path, monkeypatch):
    folder = build_workspace(tmp_path, n_samples=20)
    plant_structure(folder)
    run = Workspace.open(folder).open_run("planted")
    tables = {name: run.results.read(STRUCTURE, name, "step-20") for name in sq.TABLES if name != "rewordings"}
    run.results.write(STRUCTURE, tables, run.results.info(STRUCTURE, "step-20"), "step-20")
    assert sq.load_structure(run, "step-20").rewordings.empty
    at = open_page(folder, "twins", monkeypatch, run="planted", checkpoint="step-20", words="other")
    assert not at.exception
    assert "of 20 twins" in words(at)


def test_a_run_without_any_stress_or_twin_says_so(tmp_path, monkeypatch):
    folder = build_workspace(tmp_path, n_samples=12)
    plant_structure(folder)
    run = Workspace.open(folder).open_run("planted")
    tables = {name: run.results.read(STRUCTURE, name, "step-20") for name in sq.TABLES}
    run.results.write(STRUCTURE, {name: table.iloc[:0] for name, table in tables.items()}, {}, "step-20")
    for page, said in {
        "twins": "No two samples",
        "stresses": "no sequence recurs",
        "alignment": "No two clusters",
    }.items():
        at = open_page(folder, page, monkeypatch, run="planted", checkpoint="step-20")
        assert said in words(at)


def test_the_web_process_never_loads_what_belongs_to_the_command_line(folder):
    """Stresses and twins are read, never computed here: no torch, and no compiler either."""
    names = (
        "torch",
        "transformers",
        "umap",
        "numba",
        "sentence_transformers",
        "sklearn",
        "gsd_core.analysis",
    )
    query = {"run": "planted", "checkpoint": "step-20"}
    assert list_loaded(folder, PAGES, query, names) == []
