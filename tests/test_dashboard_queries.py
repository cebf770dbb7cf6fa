"""What the pages say is what is stored: views, neighbours, nulls, labels, filters, downloads."""

from __future__ import annotations

import csv
import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gsd_core.comparison import centring
from gsd_core.comparison.centring import CentredRows
from gsd_core.comparison.meta_labels import compute_meta_columns
from gsd_core.comparison.nearest import Directions
from gsd_core.comparison.nulls import Null, compute_null_cosines
from gsd_core.dashboard.data import uploads
from gsd_core.dashboard.frame.charts import selected_rows
from gsd_core.dashboard.frame.downloads import FORMULA_STARTS, compute_csv
from gsd_core.dashboard.look.colors import PALETTE, compute_marks
from gsd_core.dashboard.map import map_figures
from gsd_core.dashboard.map.span_filters import Filter, compute_mask
from gsd_core.dashboard.reading import cosine_queries, run_view
from gsd_core.dashboard.reading.labels import compute_label_columns, to_label
from gsd_core.dashboard.reading.row_index import RowIndex
from gsd_core.dashboard.spans.trace_segments import trace_segments
from gsd_core.errors import UserError
from gsd_core.store import RunReader, Workspace, load_directions
from tests.synthetic import build_workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    return Workspace.open(build_workspace(tmp_path_factory.mktemp("workspace")))


@pytest.fixture(scope="module")
def run(workspace):
    return workspace.open_run("planted")


@pytest.fixture(scope="module")
def view(run) -> run_view.RunView:
    return run_view.load_run_view(run, "step-20")


@pytest.fixture(scope="module")
def directions(run, view) -> Directions:
    return load_directions(run.snapshot(), "step-20", view.spans["sample"].to_numpy(dtype=object))


def test_neighbors_are_of_other_samples_and_sorted(view, directions):
    span = view.spans["span"].iloc[7]
    found = cosine_queries.compute_neighbors(view, directions, span, 12)
    assert len(found) == 12
    assert view.spans["sample"].iloc[7] not in set(found["sample"]), "a span's own sample is no evidence"
    assert found["cosine"].is_monotonic_decreasing
    assert found["q_value"].is_monotonic_increasing, "a better cosine must not have a worse q"


def test_neighbors_in_other_words_are_those_that_do_not_sound_alike(view, directions):
    samples = view.spans["sample"].to_numpy(dtype=object)
    span = view.spans["span"].iloc[7]
    wording = cosine_queries.load_wording(view)
    every = cosine_queries.compute_neighbors(view, directions, span, len(samples))
    other = cosine_queries.compute_neighbors(view, directions, span, len(samples), wording)
    alike = wording.compute_cosines([7])[0][every["span"].map(view.row_of)]
    assert other["span"].tolist() == every["span"][alike <= wording.limit].tolist()
    assert 0 < len(other) < len(every)


def test_neighbors_equal_the_plain_formula(run, view, directions):
    """Centre, normalise, multiply: nothing else may happen on the way to a displayed cosine."""
    raw = run.read_vectors("step-20").astype(np.float64)
    centred = raw - run.read_arrays("step-20")["mean"]
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    found = cosine_queries.compute_neighbors(view, directions, view.spans["span"].iloc[0], 5)
    expected = centred[found.index] @ centred[0]
    np.testing.assert_allclose(found["cosine"], expected, atol=1e-4)


def test_planted_kinds_align(view, directions):
    """Directions were planted by step kind; the best aligned spans must be of the same kind."""
    rows = range(0, len(view.spans), 9)
    hits = []
    for row in rows:
        found = cosine_queries.compute_neighbors(view, directions, view.spans["span"].iloc[row], 3)
        kind = view.spans["meta.step_kind"].iloc[row]
        hits += (view.spans.loc[found.index, "meta.step_kind"] == kind).tolist()
    assert np.mean(hits) > 0.95, "rows of vectors and rows of spans have come apart"


def test_null_is_of_different_samples_only():
    """Two samples, each with identical directions: within-sample cosines are 1, across they are 0."""
    matrix = np.repeat(np.eye(2, 4, dtype=np.float32), 5, axis=0)
    null = compute_null_cosines(matrix, np.repeat(["a", "b"], 5))
    assert len(null) > 1000
    assert np.all(null == 0), "pairs of one sample got into the null"


def test_a_run_that_is_not_held_gives_the_same_rows_neighbours_and_pairs(run, view, directions, monkeypatch):
    monkeypatch.setattr(centring, "HELD_BYTES", 0)
    samples = view.spans["sample"].to_numpy(dtype=object)
    stored = load_directions(run.snapshot(), "step-20", samples)
    assert isinstance(stored.rows, CentredRows)
    assert len(stored.rows) == len(directions.rows)
    for places in (5, [3, 4, 5, 9, 1], np.array([], dtype=int)):
        np.testing.assert_allclose(stored.rows[places], directions.rows[places], atol=1e-6)
    span = view.spans["span"].iloc[7]
    near, same = (cosine_queries.compute_neighbors(view, each, span, 12) for each in (stored, directions))
    assert near["span"].tolist() == same["span"].tolist()
    np.testing.assert_allclose(near["cosine"], same["cosine"], atol=1e-5)
    assert (near["q_value"] >= same["q_value"] - 1e-9).all(), "what was not read may not help"
    # Without an analysis mean and null are estimated, and still there.
    monkeypatch.setattr(RunReader, "has_analysis", lambda self, checkpoint=None: False)
    assert load_directions(run.snapshot(), "step-20", samples).null.n > 1_000


def test_one_sample_has_no_null_and_no_neighbors(view):
    own = view.spans[view.spans["sample"] == view.spans["sample"].iloc[0]].reset_index(drop=True)
    single = run_view.RunView(**{**view.__dict__, "spans": own, "row_of": RowIndex(own)})
    matrix = np.eye(len(own), 8, dtype=np.float32)
    null = Null.of(compute_null_cosines(matrix, own["sample"].to_numpy()))
    assert null.n == 0
    found = cosine_queries.compute_neighbors(single, Directions(matrix, null), own["span"].iloc[0])
    assert found.empty


def test_zero_gradient_has_no_neighbors(view, directions):
    rows = directions.rows.copy()
    rows[0] = 0
    found = cosine_queries.compute_neighbors(view, Directions(rows, directions.null), view.spans["span"].iloc[0])
    assert found.empty
    assert list(found.columns)[-2:] == ["cosine", "q_value"]


def test_trace_pieces_join_to_the_reasoning(view):
    for sample, row in view.samples.iterrows():
        pieces = run_view.compute_trace(view, str(sample))
        assert "".join(piece.text for piece in pieces) == row["reasoning"], "text was lost or doubled"
        for piece in pieces:
            if piece.row is not None:
                assert piece.text == view.spans["text"].iloc[piece.row]


def test_loss_tint_never_changes_the_text(run, view):
    """Tokens may straddle the borders of spans; what is read must stay what was written."""
    tokens = run.read_tokens("sum-3", "step-20")
    tokens.loc[3:20, "end"] += 2
    segments = trace_segments(view, "sum-3", tokens)
    assert "".join(segment.text for segment in segments) == view.samples.loc["sum-3", "reasoning"]
    for segment in segments:
        if segment.span is not None:
            assert "".join(text for text, _ in segment.tokens) == segment.text
            assert max(share for _, share in segment.tokens) > 0, "a span got no tint at all"


def test_a_run_without_analysis_can_be_read(workspace):
    view = run_view.load_run_view(workspace.open_run("raw"), "final")
    assert not view.is_analyzed
    assert len(view.spans) > 0
    assert (view.spans["cluster"] == -2).all()
    assert "cluster" not in map_figures.list_color_choices(view)


def test_an_empty_run_can_be_read(tmp_path):
    run = Workspace.open(tmp_path).create_run("empty", {}, sketch_width=8, embedding_width=4)
    view = run_view.load_run_view(run, "")
    assert view.spans.empty
    assert view.samples.empty


def test_step_labels_follow_the_span(view):
    names = [label.name for label in view.labels]
    assert {"meta.procedure", "meta.topic", "meta.step_kind"} <= set(names)
    meta = view.samples["meta"]
    for row in view.spans.head(40).itertuples():
        expected = meta[row.sample]["step_kind"][row.index]
        assert view.spans["meta.step_kind"].iloc[row.Index] == expected


def test_only_lists_of_the_right_length_label_steps():
    spans = pd.DataFrame({"sample": ["a", "a", "b"], "index": [0, 1, 0]})
    meta = [{"ops": ["x", "y"], "tags": ["p", "q", "r"], "deep": {"level": 3}}, {"ops": ["z"]}]
    samples = pd.DataFrame({"sample": ["a", "b"], "meta": meta, "skipped_spans": [[], []], "n_spans_cut": 0})
    frame, _ = compute_meta_columns(spans, samples, to_label)
    assert frame["meta.ops"].tolist() == ["x", "y", "z"]
    assert frame["meta.tags"].tolist()[:2] == ["p + q + r", "p + q + r"]
    assert pd.isna(frame["meta.tags"][2])
    assert frame["meta.deep.level"].tolist()[:2] == [3, 3]


def test_ids_and_constants_are_no_labels():
    frame = pd.DataFrame(
        {"id": [f"x{i}" for i in range(50)], "same": ["a"] * 50, "kind": ["a", "b"] * 25, "n": range(50)}
    )
    assert [(c.name, c.kind) for c in compute_label_columns(frame)] == [("kind", "category"), ("n", "number")]


@settings(deadline=None, max_examples=40)
@given(st.text(max_size=12))
def test_search_text_is_never_a_pattern(text):
    spans = pd.DataFrame({"text": ["a (b) [c", "plain"], "sample": ["s1", "s2"], "cluster": [0, 1]})
    mask = compute_mask(spans, Filter(text=text, sample=text))
    assert mask.shape == (2,)


def test_filters_narrow_together(view):
    both = Filter(clusters=(1,), label="meta.topic", label_values=("apples",), text="APPLES")
    kept = view.spans[compute_mask(view.spans, both)]
    assert len(kept) > 0
    assert set(kept["cluster"]) == {1}
    assert kept["text"].str.contains("apples").all()


@settings(deadline=None, max_examples=60)
@given(st.text(alphabet=st.sampled_from("=+-@\t\r\n,\"';ab\uff1d"), max_size=8))
def test_csv_is_harmless_and_lossless(text):
    """A spreadsheet runs a cell that begins like a formula; a parser must still get the text back."""
    written = compute_csv(pd.DataFrame({"text": [text], "n": [-1]}))
    (head, (cell, number)) = csv.reader(io.StringIO(written, newline=""))
    assert head == ["text", "n"]
    assert cell in (text, f"'{text}")
    assert not cell.startswith(FORMULA_STARTS), "a formula would run in a spreadsheet"
    assert number == "-1", "numbers must stay numbers"


def test_map_carries_row_numbers_and_no_texts_on_big_maps(view, monkeypatch):
    monkeypatch.setattr(map_figures, "MAX_HOVER_TEXTS", 0)
    color = map_figures.list_color_choices(view)["cluster"]
    figure = map_figures.plot_map(view, np.ones(len(view.spans), bool), color)
    rows = np.concatenate([trace.customdata for trace in figure.data])
    assert sorted(rows) == list(range(len(view.spans)))
    assert view.spans["text"].iloc[0] not in figure.to_json()


def test_map_draws_every_choice_of_colour(view):
    mask = compute_mask(view.spans, Filter(text="marbles"))
    for name, color in map_figures.list_color_choices(view).items():
        figure = map_figures.plot_map(view, mask, color, is_dark=True)
        drawn = sum(len(trace.x) for trace in figure.data)
        assert drawn == len(view.spans), f"colour by {name} lost points"


def test_plotly_is_given_no_markup_from_data(view):
    spans = view.spans.copy()
    spans["text"] = "<a href='javascript:alert(1)'>x</a><br>y"
    hostile = run_view.RunView(**{**view.__dict__, "spans": spans})
    color = map_figures.list_color_choices(view)["cluster"]
    figure = map_figures.plot_map(hostile, np.ones(len(spans), bool), color)
    assert "<a href" not in str(figure.data[0].hovertext[0])


@pytest.mark.parametrize(
    ("event", "rows"),
    [
        (None, []),
        ({"selection": {"points": [{"customdata": 3}, {"customdata": [3]}, {"customdata": 1}]}}, [3, 1]),
        ({"selection": {"points": [{"x": 1}, {"customdata": "7"}, {"customdata": -1}]}}, []),
    ],
)
def test_selection_from_a_browser_is_not_trusted(event, rows):
    assert selected_rows(event) == rows


def test_marks_are_distinct_before_they_repeat():
    marks = compute_marks(list(range(len(PALETTE) * 6)))
    assert len(set(marks.values())) == len(marks)


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=200))
def test_upload_names_stay_inside_their_folder(name):
    safe = uploads.safe_file_name(name)
    assert safe
    assert "/" not in safe
    assert "\\" not in safe
    assert not safe.startswith(".")
    assert len(safe) <= uploads.MAX_NAME
    assert uploads.suggest_name(name)


def test_upload_keeps_its_endings():
    assert uploads.safe_file_name("../my data.jsonl.gz") == "my-data.jsonl.gz"
    assert uploads.suggest_name("../my data.jsonl.gz") == "my-data"


def test_upload_is_stored_whole_and_found_again(tmp_path):
    saved = uploads.save_upload(tmp_path, "a b.jsonl", io.BytesIO(b'{"q": 1}\n'))
    assert saved.read_bytes() == b'{"q": 1}\n'
    assert uploads.list_uploads(tmp_path) == ["a-b.jsonl"]
    with pytest.raises(UserError):
        uploads.find_upload(tmp_path, "../workspace.json")


def test_mapping_flag_refuses_what_it_cannot_say():
    assert uploads.make_map({"question": "Q", "answer": ""}) == "question=Q"
    with pytest.raises(UserError):
        uploads.make_map({"question": "a,b"})
