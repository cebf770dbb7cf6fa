"""The store: what was written is read unchanged and in one order, or an error says what to do."""

from __future__ import annotations

import copy
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gsd_core.errors import UserError
from gsd_core.store import SPAN_COLUMNS, Run, RunSample, Workspace
from gsd_core.store.files import Folder
from gsd_core.store.tables import Table
from gsd_core.types import Rejection, Sample, SampleRecords, Skipped, StepRanges
from tests.store_rows import (
    CHECKPOINTS,
    EMBEDDING_WIDTH,
    INFO,
    WIDTH,
    make_analysis,
    make_batches,
    make_records,
    make_run,
    make_tokenized,
    read_everything,
    write_missing,
)

ROOT = Path(__file__).resolve().parents[1]


# -- data sets ------------------------------------------------------------------------------------------------------

TEXT = st.text(max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
SAMPLES = st.lists(
    st.builds(
        Sample,
        id=TEXT,
        question=TEXT,
        reasoning=TEXT,
        answer=TEXT,
        steps=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=3).map(tuple),
        meta=st.dictionaries(TEXT, JSON, max_size=3),
    ),
    max_size=6,
    unique_by=lambda sample: sample.id,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(samples=SAMPLES)
def test_stored_samples_are_read_unchanged(workspace: Workspace, samples: list[Sample]) -> None:
    # Quotes, newlines, NUL and emoji break stores that build filters from text.
    workspace.write_dataset("any", samples, INFO)
    assert workspace.read_samples("any") == samples
    assert workspace.read_samples("any", head=2) == samples[:2]
    assert workspace.open_dataset("any").n_samples == len(samples)


def test_meta_keeps_values_that_json_lacks(workspace: Workspace) -> None:
    meta = {
        "nan": math.nan,
        "inf": -math.inf,
        "numpy": np.float32(0.5),
        "array": np.arange(2),
        "when": pd.Timestamp(0),
    }
    workspace.write_dataset("odd", [Sample("a", "q", "r", meta=meta)], INFO)
    found = workspace.read_samples("odd")[0].meta
    assert math.isnan(found["nan"])
    assert found["inf"] == -math.inf
    assert (found["numpy"], found["array"]) == (0.5, [0, 1])
    assert found["when"].startswith("1970-01-01")


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(st.text(max_size=9), max_size=6))
def test_ranges_of_steps_behave_as_a_tuple(texts: list[str]) -> None:
    ranges, joined = StepRanges(texts), "\n".join(texts)
    assert [joined[start:end] for start, end in ranges] == texts
    plain = tuple(ranges)
    assert ranges == plain
    assert hash(ranges) == hash(plain)
    assert [ranges[at] for at in range(-len(texts), len(texts))] == [*plain, *plain]
    assert ranges[1:] == plain[1:]
    assert tuple(zip(*(each.tolist() for each in ranges.bounds()), strict=True)) == plain
    assert copy.deepcopy(ranges) == pickle.loads(pickle.dumps(ranges)) == ranges
    with pytest.raises(IndexError):
        ranges[len(texts)]


def test_steps_of_either_kind_are_stored(workspace: Workspace) -> None:
    read = [Sample("a", "q", "one\n\ntwo", steps=StepRanges(["one", "", "two"])), Sample("b", "q", "r")]
    workspace.write_dataset("d", [*read, Sample("c", "q", "one two", steps=((0, 3), (4, 7)))], INFO)
    assert [each.steps for each in workspace.read_samples("d")] == [((0, 3), (4, 4), (5, 8)), (), ((0, 3), (4, 7))]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(samples=SAMPLES)
def test_words_are_counted_between_white_space(workspace: Workspace, samples: list[Sample]) -> None:
    info = workspace.write_dataset("any", samples, INFO)
    assert info.n_words == sum(len(f"{each.question} {each.reasoning} {each.answer}".split()) for each in samples)


def test_data_set_lists_rejected_rows(workspace: Workspace) -> None:
    given_info = {
        **INFO,
        "rejected": [Rejection(3, "no question"), {"row": 5, "reason": "empty"}],
        "columns": ["q"],
    }
    info = workspace.write_dataset("d", [Sample("a", "two words", "and three more", "1")], given_info)
    assert workspace.open_dataset("d") == info == workspace.list_datasets()[0]
    assert info.rejected == [{"row": 3, "reason": "no question"}, {"row": 5, "reason": "empty"}]
    assert (info.n_rejected, info.n_words, info.n_tokens) == (2, 6, None)
    assert info.extra == {"columns": ["q"]}


def test_other_data_replace_a_data_set_only_with_replace(workspace: Workspace) -> None:
    workspace.write_dataset("d", [Sample("a", "q", "r")], INFO)
    workspace.write_dataset("d", [Sample("b", "q", "r")], INFO)  # same file, read with another mapping
    with pytest.raises(UserError, match="holds other data"):
        workspace.write_dataset("d", [Sample("c", "q", "r")], {**INFO, "data_hash": "bb"})
    assert [sample.id for sample in workspace.read_samples("d")] == ["b"]
    workspace.write_dataset("d", [Sample("c", "q", "r")], {**INFO, "data_hash": "bb"}, replace=True)
    assert [sample.id for sample in workspace.read_samples("d")] == ["c"]


def test_cancelled_write_of_a_data_set_changes_nothing(workspace: Workspace) -> None:
    workspace.write_dataset("d", [Sample("a", "q", "r")], INFO)
    told: list[int] = []

    def cancel(n_samples: int) -> None:
        told.append(n_samples)
        if len(told) == 2:
            raise KeyboardInterrupt

    more = [Sample(f"b{k}", "q", "r") for k in range(2000)]
    with pytest.raises(KeyboardInterrupt):
        workspace.write_dataset("d", more, INFO, on_progress=cancel)
    assert [sample.id for sample in workspace.read_samples("d")] == ["a"]
    told.extend([0, 0])
    workspace.write_dataset("d", more, INFO, on_progress=cancel)
    assert told[-1] == 2000 == len(workspace.read_samples("d"))


def test_failed_write_of_a_data_set_changes_nothing(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace.write_dataset("d", [Sample("a", "q", "r")], INFO)

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Folder, "write_json", fail)
    for name in ("d", "new"):
        with pytest.raises(OSError, match="disk full"):
            workspace.write_dataset(name, [Sample("z", "q", "r")], INFO)
    assert [info.name for info in workspace.list_datasets()] == ["d"], "a data set without a document is listed"
    assert [sample.id for sample in workspace.read_samples("d")] == ["a"], "rows of the failed write are read"
    monkeypatch.undo()
    workspace.write_dataset("new", [Sample("z", "q", "r")], INFO)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([Sample("a", "q", "r"), Sample("a", "p", "r")], "two samples have the id 'a'"),
        ([Sample("a", "half \ud800", "r")], "field question"),
    ],
)
def test_error_names_the_sample_that_cannot_be_stored(
    workspace: Workspace, samples: list[Sample], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        workspace.write_dataset("d", samples, INFO)
    assert workspace.list_datasets() == []


def test_unreadable_data_set_is_listed_with_its_problem(workspace: Workspace, tmp_path: Path) -> None:
    workspace.write_dataset("good", [], INFO)
    workspace.write_dataset("bad", [], INFO)
    (tmp_path / "workspace" / "datasets" / "bad" / "dataset.json").write_text("{nonsense")
    good = {info.name: not info.problem for info in workspace.list_datasets()}
    assert good == {"bad": False, "good": True}
    workspace.remove_dataset("bad")
    assert [info.name for info in workspace.list_datasets()] == ["good"]
    assert sorted(path.name for path in (tmp_path / "workspace" / "datasets").iterdir()) == ["good"]


# -- capture and reading --------------------------------------------------------------------------------------------


def test_stored_records_are_read_bit_for_bit(filled: Run) -> None:
    for number, (name, step) in enumerate(CHECKPOINTS):
        results = [result for batch in make_batches(10, number) for result in batch]
        captured = [result for result in results if isinstance(result, SampleRecords)]
        records = [(result.tokenized.id, record) for result in captured for record in result.records]
        spans = filled.read_spans(name)
        assert list(spans.columns) == list(SPAN_COLUMNS)
        assert spans["span"].tolist() == [f"{sample}#{record.span.index}" for sample, record in records]
        assert spans["text"].tolist() == [record.span.text for _, record in records]
        assert spans["loss"].tolist() == [np.float32(record.loss) for _, record in records]
        assert spans["token_start"].tolist() == [record.span.start for _, record in records]
        assert spans["window_cosine"].isna().tolist() == [r.window_cosine is None for _, r in records]
        assert spans["step"].isna().all() if step is None else (spans["step"] == step).all()
        np.testing.assert_array_equal(filled.read_vectors(name), np.stack([r.direction for _, r in records]))
        skipped = filled.read_skipped()
        assert skipped[skipped["checkpoint"] == name]["sample"].tolist() == ["left-out-4", "left-out-9"]
        for result in captured:
            tokens = filled.read_tokens(result.tokenized.id, name)
            np.testing.assert_array_equal(tokens["loss"], result.token_losses)
            assert "".join(tokens["text"]) == result.tokenized.input_text
            inside = tokens.dropna(subset="span")["span"].tolist()
            assert inside == [f"{result.tokenized.id}#{record.span.index}" for record in result.records]


@given(start=st.integers(-60, 60) | st.just(0), stop=st.none() | st.integers(-60, 60))
@settings(max_examples=40, deadline=None)
def test_vectors_slice_like_an_array(filled: Run, start: int, stop: int | None) -> None:
    np.testing.assert_array_equal(filled.read_vectors(None, start, stop), filled.read_vectors()[start:stop])


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(8)), group=st.integers(1, 4))
def test_order_of_writing_does_not_change_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], group: int
) -> None:
    # Workers finish in any order, and a resumed capture appends missing batches at the end.
    batches = make_batches(8, 0)
    frames = []
    for each in (range(8), order):
        run = make_run(Workspace.open(tmp_path_factory.mktemp("order")), "r", 8)
        for nth, batch in enumerate(each):
            run.append_batch("final", None, batch, batches[batch])
            if nth % group == group - 1:
                run.flush()
        run.close()
        frames.append(read_everything(run))
        middle = run.read_vectors(None, 3, 7)
        np.testing.assert_array_equal(middle, run.read_vectors()[3:7])
        run.compact()
        assert read_everything(run) == frames[-1], "compaction changed what is read"
        run.close()
    assert frames[0] == frames[1]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ids=st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=4, unique=True))
def test_any_text_may_be_an_id(tmp_path_factory: pytest.TempPathFactory, ids: list[str]) -> None:
    run = Workspace.open(tmp_path_factory.mktemp("ids")).create_run("r", {}, WIDTH, EMBEDDING_WIDTH)
    pairs = [make_tokenized(each, ["it's ", "1"]) for each in ids]
    run.write_samples([RunSample(tokenized, sample) for sample, tokenized in pairs])
    run.append_batch("o'clock \"/../", None, 0, [make_records(tokenized, 0) for _, tokenized in pairs])
    run.close()
    assert run.checkpoints == ["o'clock \"/../"]
    assert run.read_spans()["span"].tolist() == [f"{each}#{k}" for each in ids for k in range(2)]
    for each in reversed(ids):
        assert run.read_samples([each])["question"].tolist() == [f"question of {each}?"]
        assert run.read_tokens(each)["span"].dropna().tolist() == [f"{each}#0", f"{each}#1"]
        assert each not in run.search(np.ones(WIDTH), 10, exclude_sample=each)["sample"].tolist()


def test_samples_are_read_by_id_in_the_order_asked(filled: Run) -> None:
    found = filled.read_samples(["row-4-1", "row-1-0"])
    assert found["sample"].tolist() == ["row-4-1", "row-1-0"]
    assert found["meta"].tolist() == [{"kind": "1"}, {"kind": "0"}]
    assert found["n_tokens"].tolist() == [3 + 1, 3 + 1]
    with pytest.raises(UserError, match="did you mean row-4-1"):
        filled.read_samples(["row-4-11"])
    ids, embeddings = filled.read_question_embeddings()
    assert ids == filled.read_samples()["sample"].tolist()
    assert embeddings.shape == (len(ids), EMBEDDING_WIDTH)


def test_buffered_batches_are_read_only_after_flush(workspace: Workspace) -> None:
    run = make_run(workspace, "r", 4)
    batches = make_batches(4, 0)
    run.append_batch("final", None, 0, batches[0])
    run.append_batch("final", None, 1, batches[1])
    assert len(run.read_spans()) == 0
    fixed = run.snapshot()
    run.flush()
    assert run.finished_batches("final") == {0, 1}
    assert len(run.read_spans()) == run.count_spans() == len(run.read_vectors()) > 0
    assert len(fixed.read_spans()) == len(fixed.read_vectors()) == 0, "a snapshot changed"


def test_a_commit_while_a_view_opens_hides_no_finished_batch(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A view opens two tables. If a commit comes between, all its markers must have their records.
    run = make_run(workspace, "r", 4)
    batches = make_batches(4, 0)
    run.append_batch("final", None, 0, batches[0])
    run.append_batch("final", None, 1, batches[1])
    run.flush()
    run.append_batch("final", None, 3, batches[3])
    original = Table.open
    looks: list[str] = []

    def open_and_commit(self: Table, version: int | None = None) -> Any:
        found = original(self, version)
        looks.append(self.uri)
        if len(looks) == 1:
            run.flush()
        return found

    reader = workspace.open_run("r")
    monkeypatch.setattr(Table, "open", open_and_commit)
    view = reader._view("final")
    monkeypatch.undo()
    assert view is not None
    promised = view.captured.to_table(columns=["n_spans"]).column("n_spans").to_numpy().sum()
    assert len(view) == promised > 0, "markers were opened after records"
    assert len(reader.read_spans()) > promised, "the commit in between did not happen: this test checks nothing"


def test_a_commit_happens_when_the_buffer_is_full(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    # A kill loses the batches of one commit, so commits must happen without flush().
    monkeypatch.setattr("gsd_core.store.writer.COMMIT_ROWS", 4)
    run = make_run(workspace, "r", 9)
    for batch, results in enumerate(make_batches(9, 0)):
        run.append_batch("final", None, batch, results)
    done = workspace.open_run("r").finished_batches("final")
    assert {0, 1, 2, 3} <= done, "nothing is stored before flush()"


def test_batches_without_spans_are_finished_too(workspace: Workspace) -> None:
    run = workspace.create_run("r", {}, WIDTH, EMBEDDING_WIDTH)
    run.append_batch("final", None, 0, [])
    run.append_batch("final", None, 1, [Skipped("a", "too long")])
    run.close()
    assert run.finished_batches("final") == {0, 1}
    assert run.read_vectors().shape == (0, WIDTH)
    assert run.read_skipped().to_dict("records") == [{"sample": "a", "checkpoint": "final", "reason": "too long"}]
    assert len(run.search(np.ones(WIDTH), 5)) == 0


def test_a_batch_is_never_stored_twice(workspace: Workspace) -> None:
    run = make_run(workspace, "r", 2)
    batches = make_batches(2, 0)
    run.append_batch("final", None, 1, batches[1])
    for _ in range(2):
        with pytest.raises(ValueError, match="stored already"):
            run.append_batch("final", None, 1, batches[1])
        run.flush()


def test_a_direction_that_is_not_finite_is_refused(workspace: Workspace) -> None:
    run = workspace.create_run("r", {}, WIDTH, EMBEDDING_WIDTH)
    result = make_records(make_tokenized("a", ["x", "y"])[1], 0)
    result.records[1].direction[3] = np.nan
    with pytest.raises(UserError, match="not finite, span a#1"):
        run.append_batch("final", None, 0, [result])
    run.close()
    assert run.finished_batches("final") == set()


def test_empty_run_reads_as_empty_tables(workspace: Workspace) -> None:
    run = workspace.create_run("r", {"checkpoints": [{"name": "planned", "step": 3}]}, WIDTH, EMBEDDING_WIDTH)
    assert (run.checkpoints, run.default_checkpoint) == ([], "")
    for checkpoint in (None, "planned"):
        assert list(run.read_spans(checkpoint).columns) == list(SPAN_COLUMNS)
        assert run.read_vectors(checkpoint).shape == (0, WIDTH)
    assert len(run.read_samples()) == len(run.read_skipped()) == 0
    assert run.read_embeddings()[1].shape == run.read_question_embeddings()[1].shape == (0, EMBEDDING_WIDTH)
    with pytest.raises(UserError, match="no checkpoint 'other'"):
        run.read_spans("other")
    with pytest.raises(UserError, match="no sample 'a'"):
        run.read_tokens("a")
    info = workspace.list_runs()[0]
    assert (info.status, info.n_spans, info.n_samples) == ("capturing", 0, 0)


def test_embeddings_written_twice_are_stored_once(workspace: Workspace) -> None:
    run = workspace.create_run("r", {}, WIDTH, EMBEDDING_WIDTH)
    run.write_embeddings(["a#0", "a#1"], np.ones((2, EMBEDDING_WIDTH)))
    run.write_embeddings(["a#1", "b#0"], np.zeros((2, EMBEDDING_WIDTH)))
    ids, vectors = run.read_embeddings()
    assert ids == ["a#0", "a#1", "b#0"]
    assert vectors[:, 0].tolist() == [1, 1, 0]
    with pytest.raises(ValueError, match="width"):
        run.write_embeddings(["c#0"], np.ones((1, EMBEDDING_WIDTH + 1)))


# -- search ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_centred", [False, True])
def test_search_equals_a_matrix_product(filled: Run, is_centred: bool) -> None:
    vectors = filled.read_vectors().astype(np.float64)
    spans = filled.read_spans()
    center = vectors.mean(axis=0) if is_centred else np.zeros(WIDTH)
    unit = vectors - center
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    for at in (0, 7, len(spans) - 1):
        sample = spans["sample"][at]
        found = filled.search(
            vectors[at].astype(np.float32), 5, exclude_sample=sample, center=center if is_centred else None
        )
        cosines = np.where(spans["sample"] == sample, -9, unit @ unit[at])
        best = np.argsort(-cosines)[:5]
        assert found["span"].tolist() == spans["span"].iloc[best].tolist()
        np.testing.assert_allclose(found["cosine"], cosines[best], atol=1e-5)
        assert sample not in set(found["sample"])


def test_search_keeps_ties_in_capture_order_and_gives_zero_gradients_cosine_0(workspace: Workspace) -> None:
    # A zero gradient has no direction; centring must not give it one.
    run = workspace.create_run("r", {}, WIDTH, EMBEDDING_WIDTH)
    result = make_records(make_tokenized("a", list("abcde"))[1], 0)
    for record in result.records:
        record.direction[:] = np.eye(WIDTH, dtype=np.float16)[1 if record.span.index == 4 else 0]
    result.records[1].direction[:] = 0
    run.append_batch("final", None, 0, [result])
    run.close()
    found = run.search(np.eye(WIDTH)[0], 2)
    assert found["span"].tolist() == ["a#0", "a#2"], "equal cosines must stay in capture order"
    centred = run.search(np.eye(WIDTH)[0], 9, center=np.full(WIDTH, 0.1)).set_index("span")["cosine"]
    assert centred["a#1"] == 0
    assert (run.search(np.zeros(WIDTH), 9)["cosine"] == 0).all()
    assert len(run.search(np.ones(WIDTH), 0)) == 0
    with pytest.raises(ValueError, match="query has 3 values"):
        run.search(np.ones(3), 1)


# -- analysis -------------------------------------------------------------------------------------------------------


def test_stored_analysis_is_read_unchanged_and_sets_the_status(workspace: Workspace) -> None:
    run = make_run(workspace, "r", 5)
    write_missing(run, 5, 2)
    with pytest.raises(UserError, match="gsd analyze r"):
        run.read_points()
    points, clusters, arrays, info = make_analysis(run, "final")
    shuffled = points.sample(frac=1, random_state=0)
    run.write_analysis("final", shuffled, clusters, arrays, info)
    run.update_manifest(status="captured")
    found = run.read_points()
    assert found["span"].tolist() == run.read_spans()["span"].tolist(), "points are not in capture order"
    assert found["y"].tolist() == points["y"].tolist()
    assert run.read_clusters().to_dict("records") == clusters.to_dict("records")
    for name, array in arrays.items():
        np.testing.assert_array_equal(run.read_arrays()[name], array)
    assert run.results.infos("map") == {"final": {"n_clusters": 1}}
    assert (run.has_analysis(), run.has_analysis("step-10")) == (True, False)
    assert workspace.list_runs()[0].status == "analyzed"


def test_failed_write_of_an_analysis_keeps_the_earlier_one(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(workspace, "r", 3)
    write_missing(run, 3, 1)
    run.write_analysis("final", *make_analysis(run, "final", 1.0))
    points, clusters, arrays, info = make_analysis(run, "final", 2.0)
    with pytest.raises(ValueError, match="only booleans and numbers"):
        run.write_analysis("final", points, clusters, {"mean": np.array([object()])}, info)
    with pytest.raises(ValueError, match="captured span"):
        run.write_analysis("final", points.assign(span="x#0"), clusters, arrays, info)
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "write_json", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            run.write_analysis("final", points, clusters, arrays, info)
    assert set(run.read_points()["x"]) == {1.0}
    run.write_analysis("final", points, clusters, arrays, info)
    assert set(run.read_points()["x"]) == {2.0}
    assert len(list((tmp_path / "workspace/runs/r/results").iterdir())) == 1, (
        "the folder of the replaced analysis was not deleted"
    )
